"""Train with the package's own command and keep what pages quote, in figures/records/.

    python figures/record.py         the small model on drawn scenes: minutes on two CPU cores
    python figures/record.py bccd    the same on photographs; or a folder of your own
    python figures/record.py seeds   the first with two more seeds, and all three records together
    python figures/record.py cards --model mobilenet          playing cards, from ImageNet's weights
    python figures/record.py seeds cards --model mobilenet    the same with two more seeds
    python figures/record.py gpu     four runs of lite300: drawn scenes, photographs, bf16, fp32

Weights, record, replay and a picture of detections are replaced together. What follows is passed
on to every run, as in ``gpu --steps 100``. Photographs are looked for in data/, and downloaded
there at need; ``--root`` names another folder.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from book.replay import Replay
from ssd_lite import detect, draw, load_model
from ssd_lite.checkpoint import load_checkpoint, save_checkpoint
from ssd_lite.choices import CLASSIFIERS, choose_recipe, choose_spec
from ssd_lite.cli import make_parser
from ssd_lite.commands import train_command
from ssd_lite.datasets import data_root, open_data
from ssd_lite.distributed import choose_device
from ssd_lite.evaluation import evaluate_model

RECORDS = Path(__file__).parent / "records"
GPU_DATA = ("shapes", "bccd")


def picture(weights: Path, data: str, root: Path, columns: int = 3, rows: int = 2) -> Image.Image:
    """A sheet of held-out pictures with what the model finds in them."""
    model = load_model(weights)
    test = open_data(data, root, model.spec.image_size, download=False).test
    images = [test[i].image for i in range(min(columns * rows, len(test)))]
    drawn = [
        draw(image, found, model.classes) for image, found in zip(images, detect(model, images))
    ]
    width, height = max(d.width for d in drawn), max(d.height for d in drawn)
    sheet = Image.new(
        "RGB", (columns * width + (columns - 1) * 8, rows * height + (rows - 1) * 8), "white"
    )
    for i, d in enumerate(drawn):
        sheet.paste(d, (i % columns * (width + 8), i // columns * (height + 8)))
    return sheet


def main(what: str = "shapes", *options: str) -> None:
    """Record one run; or what ``seeds`` and ``gpu`` stand for."""
    RECORDS.mkdir(exist_ok=True)
    named = options[options.index("--device") + 1] if "--device" in options else None
    device = "gpu" if choose_device(named).type == "cuda" else "cpu"
    root = Path(options[options.index("--root") + 1] if "--root" in options else data_root())
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        if what == "seeds":
            named_data = options and not options[0].startswith("-")
            data, *words = options if named_data else ("shapes", *options)
            others = [train(data, run / str(seed), "--seed", str(seed), *words) for seed in (1, 2)]
            keep_seeds(others, f"{data}_{model_of(words)}_{device}")
        elif what == "gpu":
            for data in GPU_DATA:
                for precision, suffix in (("bf16", ""), ("fp32", "_fp32")):
                    name = Path(data).name
                    out = run / name / precision
                    train(data, out, "--model", "lite300", "--precision", precision, *options)
                    keep(out, f"{name}_lite300_{device}{suffix}", data, root)
        else:
            name = f"{Path(what).name}_{model_of(options)}_{device}"
            keep(train(what, run, *options), name, what, root)


def model_of(options: Sequence[str]) -> str:
    """The model that the options name."""
    return make_parser().parse_args(["train", *options]).model


def train(data: str, run: Path, *options: str) -> Path:
    """Train by the package's own command; returns the run's folder."""
    args = make_parser().parse_args(["train", "--data", data, "--out", str(run), *options])
    spec = choose_spec(args.model, data, args.size)
    test = open_data(data, args.root, spec.image_size, args.download).test
    watched = [test[i].image for i in range(min(6, len(test)))]
    replay = Replay(run / "replay.json", watched, choose_recipe(args).steps)
    train_command(args, on_step=None if args.model in CLASSIFIERS else replay)
    return run


def keep_seeds(others: list[Path], name: str) -> None:
    """Put the records of runs with other seeds beside the one that is kept already."""
    paths = [RECORDS / f"{name}.json", *(run / "record.json" for run in others)]
    text = json.dumps([json.loads(path.read_text()) for path in paths], indent=1)
    (RECORDS / f"{name}_seeds.json").write_text(text + "\n")


def keep(run: Path, name: str, data: str, root: Path) -> None:
    """Copy a finished run's record, replay and best weights, and draw what it finds."""
    kept = json.loads((run / "record.json").read_text())
    kept["config"]["data"] = Path(data).name  # where it lay is nobody's business
    (RECORDS / f"{name}.json").write_text(json.dumps(kept, indent=1))
    if (run / "replay.json").exists():
        shutil.copy(run / "replay.json", RECORDS / f"{name}_replay.json")
    weights = RECORDS / f"{name}.safetensors"
    if kept["config"]["model"] in CLASSIFIERS:  # in half the bytes; what is read has 32 bits again
        model, _, about = load_checkpoint(run / "best.safetensors")
        save_checkpoint(weights, model.half(), **about)
        keep_errors(weights, data, root)
    else:
        shutil.copy(run / "best.safetensors", weights)
    sheet = picture(weights, data, root)
    sheet.thumbnail((720, 720))  # or photographs make a heavy page
    sheet.save(RECORDS / f"{name}.jpg", quality=85)


def keep_errors(weights: Path, data: str, root: Path) -> None:
    """Which errors the kept weights make: numbers, the confusion matrix, the most wrong names."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["evaluate", "--weights", weights, "--data", data, "--root", root]
        evaluate = make_parser().parse_args([*map(str, words), "--errors", folder])
        evaluate.function(evaluate)
        found = json.loads((Path(folder) / "errors.json").read_text())
        del found["pictures"]
        model = load_model(weights)
        test = open_data(data, root, model.spec.image_size, download=False).test
        found["map50"] = evaluate_model(model, test).map50  # 16 bits may have cost some
        path = weights.with_name(f"{weights.stem}_errors.json")
        path.write_text(json.dumps(found, indent=1) + "\n")
        for name in ("confusion.png", "wrong_class.jpg"):
            if (picture := Path(folder) / name).exists():
                shutil.copy(picture, weights.with_name(f"{weights.stem}_{name}"))


if __name__ == "__main__":
    main(*sys.argv[1:])

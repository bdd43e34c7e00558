"""The command line: ``python -m ssd_lite train | evaluate | detect``."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ssd_lite.checkpoint import load_model, write_atomically
from ssd_lite.data import read_image
from ssd_lite.datasets import open_data
from ssd_lite.detection import Detections, detect
from ssd_lite.distributed import (
    broadcast_from_main,
    choose_device,
    describe_device,
    join_processes,
    rank,
)
from ssd_lite.drawing import draw
from ssd_lite.metrics import evaluate_model
from ssd_lite.model import SSD
from ssd_lite.recipe import GPU_RECIPE, LITE_RECIPE, PAPER, REAL_RECIPE, Recipe, recipe_from
from ssd_lite.runs import make_record, new_run, newest_run
from ssd_lite.spec import LITE, LITE_192, LITE_300, SSD300_VOC, SSD512_VOC, SSDSpec
from ssd_lite.torchvision_weights import load_vgg16_features
from ssd_lite.train import fit

DATA_HELP = (
    "shapes: drawn scenes, nothing to download. bccd: 364 photographs of blood cells, 9 MB, downloaded at need. "
    "voc: PASCAL VOC 2007 and 2012, about 3 GB, downloaded with --download. Else a folder in VOC layout: JPEGImages/, "
    "Annotations/ and ImageSets/Main/ with the lists trainval (or train) and test (or val)"
)
MODEL_HELP = (
    "lite: small, minutes on two CPU cores. lite300: the same at 300 pixels, with a recipe for minutes on a GPU. "
    "ssd300, ssd512: the paper's, with VGG16"
)
PRECISION_HELP = "in which the network computes; bf16 pays where the processor has it"
WEIGHTS_HELP = (
    "a run's folder, a .safetensors file, torchvision's SSD300 as a .pth file, or coco for torchvision's weights "
    "(136 MB, downloaded at need). By default the newest run below runs/"
)


def choose_spec(model: str, data: str) -> SSDSpec:
    """The lite model sees drawn scenes at 96 pixels and photographs at 192; lite300 is the same network at 300."""
    lite = LITE if data == "shapes" else LITE_192
    return {"lite": lite, "lite300": LITE_300, "ssd300": SSD300_VOC, "ssd512": SSD512_VOC}[model]


def choose_recipe(args: argparse.Namespace) -> Recipe:
    """The model's recipe, changed by what the command line says."""
    if args.model == "lite300":
        recipe = GPU_RECIPE if args.data == "shapes" else replace(GPU_RECIPE, augment="paper")
    elif args.model == "lite":
        recipe = LITE_RECIPE if args.data == "shapes" else REAL_RECIPE
    else:
        recipe = PAPER
    names = ("steps", "batch_size", "learning_rate", "seed", "precision", "compile", "augment")
    overrides = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    recipe = replace(recipe, **overrides)
    if args.steps:  # looks and checkpoints stay as many as they were
        interval = max(1, recipe.steps // 5)
        every = {
            name: min(interval, getattr(recipe, name)) for name in ("evaluate_every", "save_every")
        }
        recipe = replace(recipe, **every)
    return recipe


def train_command(
    args: argparse.Namespace, on_step: Callable[[int, SSD], None] | None = None
) -> None:
    """Train a model, or go on with a run that was interrupted; ``on_step`` as in :func:`fit`."""
    device = choose_device(args.device)
    join_processes(device)
    if args.resume:
        run = args.resume
        if not (run / "config.json").exists():
            raise ValueError(
                f"--resume {run}: no config.json in it; name a run's folder, runs/shapes-lite for example"
            )
        try:
            config = json.loads((run / "config.json").read_text())
            args.data, args.model, args.root = config["data"], config["model"], Path(config["root"])
            recipe = recipe_from(config["recipe"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{run / 'config.json'}: not what a run writes there ({error}); train anew"
            ) from None
    else:
        recipe = choose_recipe(args)
        run = broadcast_from_main(new_run(args))
    spec = choose_spec(args.model, args.data)
    data = open_data(args.data, args.root, spec.image_size, args.download)
    torch.manual_seed(recipe.seed)
    model = SSD(spec, data.classes)
    if args.pretrained and not args.resume:
        load_vgg16_features(model)
    is_main = rank() == 0
    if is_main:
        config = {
            "data": args.data,
            "model": args.model,
            "root": str(args.root),
            "recipe": asdict(recipe),
        }
        write_atomically(run / "config.json", json.dumps(config, indent=1).encode())
        print(
            f"{spec.name} on {args.data}: {len(data.train)} pictures to train on, {len(data.test)} held out, "
            f"{recipe.steps} steps of {recipe.batch_size} on {describe_device(device)}. Results go to {run}/",
            flush=True,
        )
    began = time.monotonic()
    try:
        fit(model, data.train, data.test, recipe, run, device, args.workers, on_step=on_step)
    except KeyboardInterrupt:
        raise SystemExit(
            f"\ninterrupted; go on with: python -m ssd_lite train --resume {run}"
        ) from None
    if is_main:
        seconds = time.monotonic() - began
        evaluation = evaluate_model(model, data.test, coco=True)  # once more, by size too
        record = make_record(run, model, evaluation, device, seconds)
        write_atomically(run / "record.json", json.dumps(record, indent=1).encode())
        print(evaluation.table())
        print(
            f"{record['seconds']:.0f} s. Try it: python -m ssd_lite detect PICTURE.jpg --weights {run}"
        )


def evaluate_command(args: argparse.Namespace) -> None:
    """Print a model's average precision on the held-out half of a data set."""
    model = load_model(args.weights or newest_run(), choose_device(args.device))
    data = open_data(args.data, args.root, model.spec.image_size, args.download)
    if data.classes != model.classes:
        raise ValueError(
            f"--data {args.data} has the classes {', '.join(data.classes)}; the model knows {', '.join(model.classes)}"
        )
    evaluation = evaluate_model(
        model, data.test, method=args.method, coco=args.coco, precision=args.precision
    )
    print(f"{model.spec.name}, {evaluation.images} pictures, {evaluation.objects} objects")
    print(evaluation.table())


def detect_command(args: argparse.Namespace) -> None:
    """Detect objects in picture files; write each with its boxes drawn, and all in one JSON file."""
    model = load_model(args.weights or newest_run(), choose_device(args.device))
    args.out.mkdir(parents=True, exist_ok=True)
    results, used = (
        {},
        {path.resolve() for path in args.images},
    )  # a drawing never replaces a picture
    for path in args.images:
        image = read_image(path)
        [found] = detect(model, [image], precision=args.precision)
        target, number = args.out / f"{path.stem}.png", 0
        while target.resolve() in used:
            number += 1
            target = args.out / f"{path.stem}-{number}.png"
        used.add(target.resolve())
        draw(image, found, model.classes, args.threshold).save(target)
        results[str(path)] = {
            "drawing": target.name,
            "detections": to_json(found, model.classes, args.threshold),
        }
        print(f"{path}: {len(results[str(path)]['detections'])} objects, drawn in {target}")
    write_atomically(args.out / "detections.json", json.dumps(results, indent=1).encode())


def to_json(found: Detections, classes: tuple[str, ...], threshold: float) -> list[dict]:
    """Detections as plain data: label, score and box (xyxy, pixels), best first."""
    return [
        {"label": classes[label - 1], "score": round(score, 4), "box": [round(x, 2) for x in box]}
        for box, score, label in zip(*(x.tolist() for x in found))
        if score >= threshold
    ]


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells an option's default where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m ssd_lite",
        description="The Single Shot MultiBox Detector: train it, measure it, use it.",
        epilog="Start with: python -m ssd_lite train. It needs no download, and minutes on a laptop.",
    )
    commands = parser.add_subparsers(required=True, metavar="train | evaluate | detect")

    def command(name: str, function, summary: str, epilog: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=summary, description=summary, epilog=epilog, formatter_class=Help
        )
        added.set_defaults(function=function)
        added.add_argument("--device", help="cuda, mps or cpu; by default the best there is")
        return added

    def with_data(added: argparse.ArgumentParser) -> None:
        added.add_argument("--data", default="shapes", help=DATA_HELP)
        added.add_argument(
            "--root", type=Path, default=Path("data"), help="folder for bccd and voc"
        )
        added.add_argument("--download", action="store_true", help="let voc be downloaded")

    added = command(
        "train",
        train_command,
        "train a detector",
        "Results go to a folder below runs/: log.csv, best.safetensors, last.safetensors, record.json. An interrupted "
        "run goes on exactly with --resume. Several GPUs: torchrun --nproc_per_node=N -m ssd_lite train ...",
    )
    with_data(added)
    added.add_argument(
        "--model", choices=("lite", "lite300", "ssd300", "ssd512"), default="lite", help=MODEL_HELP
    )
    # torchrun takes "--run" for an abbreviation of its own, wherever it stands
    added.add_argument(
        "--out", type=Path, help="folder for the results; by default a new one below runs/"
    )
    added.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with this run; other options are read from it",
    )
    added.add_argument(
        "--steps", type=int, help="batches to train on; by default the model's recipe"
    )
    added.add_argument(
        "--batch-size", type=int, help="pictures in a batch, of all processes together"
    )
    added.add_argument("--learning-rate", type=float, help="the largest of the schedule")
    added.add_argument(
        "--seed", type=int, help="another seed, other weights, order and augmentation"
    )
    added.add_argument(
        "--augment",
        help="how training pictures are varied: paper, none, or parts, as in distort+mirror",
    )
    added.add_argument(
        "--pretrained",
        action="store_true",
        help="VGG16 as trained on ImageNet (528 MB, downloaded)",
    )
    added.add_argument(
        "--precision", choices=("fp32", "bf16"), help="of the network; bf16 pays on recent GPUs"
    )
    added.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="torch.compile the network"
    )
    added.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes that read pictures; 0 keeps them in memory",
    )

    added = command(
        "evaluate",
        evaluate_command,
        "measure a detector's average precision on held-out pictures",
        "",
    )
    with_data(added)
    added.add_argument("--weights", help=WEIGHTS_HELP)
    added.add_argument(
        "--method", choices=("area", "11-point"), default="area", help="11-point is VOC 2007's"
    )
    added.add_argument("--coco", action="store_true", help="also COCO's six figures; takes longer")
    added.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=PRECISION_HELP)

    added = command(
        "detect",
        detect_command,
        "find objects in your pictures",
        "Writes each picture's drawing, and detections.json: label, score, box (left, top, right, bottom; pixels).",
    )
    added.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="picture files")
    added.add_argument("--weights", help=WEIGHTS_HELP)
    added.add_argument(
        "--threshold", type=float, default=0.5, help="smallest score that is drawn and listed"
    )
    added.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=PRECISION_HELP)
    added.add_argument(
        "--out",
        type=Path,
        default=Path("detections"),
        help="folder for drawings and detections.json",
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what the user can mend ends in one line, not in a traceback."""
    args = make_parser().parse_args(arguments)
    try:
        args.function(args)
    except (ValueError, OSError, FloatingPointError) as error:
        message = " ".join(str(error).split())
        if (
            "Original Traceback" in message
        ):  # of a process that reads pictures; its message comes last
            message = message.rpartition("Error: ")[2]
        print("error:", message, file=sys.stderr)
        raise SystemExit(2) from None

"""Train the small model with the package's own command and keep what pages plot and quote, in figures/records/.

Takes minutes on two CPU cores: ``python figures/record.py`` for drawn scenes, ``python figures/record.py bccd`` for
photographs. Weights, record and a picture of detections are replaced together. ``python figures/record.py seeds``
repeats the drawn scenes' run with two more seeds and keeps the three records side by side.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from ssd_lite import detect, draw, load
from ssd_lite.__main__ import open_data

RECORDS = Path(__file__).parent / "records"


def picture(weights: Path, data: str, root: Path, columns: int = 3, rows: int = 2) -> Image.Image:
    """A sheet of held-out pictures with what the model finds in them."""
    model = load(weights)
    test = open_data(data, root, model.spec.image_size, download=False).test
    images = [test[i].image for i in range(columns * rows)]
    drawn = [draw(image, found, model.classes) for image, found in zip(images, detect(model, images))]
    width, height = max(d.width for d in drawn), max(d.height for d in drawn)
    sheet = Image.new("RGB", (columns * width + (columns - 1) * 8, rows * height + (rows - 1) * 8), "white")
    for i, d in enumerate(drawn):
        sheet.paste(d, (i % columns * (width + 8), i // columns * (height + 8)))
    return sheet


def main(data: str = "shapes", root: str = "data") -> None:
    """Record one run, or with ``data="seeds"`` two more of the drawn scenes'."""
    RECORDS.mkdir(exist_ok=True)
    device = "gpu" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        if data == "seeds":
            others = [train("shapes", root, run / str(seed), "--seed", str(seed)) for seed in (1, 2)]
            keep_seeds(others, f"shapes_lite_{device}")
        else:
            keep(train(data, root, run), f"{data}_lite_{device}", data, Path(root))


def train(data: str, root: str, run: Path, *options: str) -> Path:
    """Train by the package's own command; returns the run's folder."""
    command = [sys.executable, "-m", "ssd_lite", "train", "--data", data, "--root", root, "--out", str(run)]
    subprocess.run([*command, *options], check=True)
    return run


def keep_seeds(others: list[Path], name: str) -> None:
    """Put the records of runs with other seeds beside the one that is kept already."""
    paths = [RECORDS / f"{name}.json", *(run / "record.json" for run in others)]
    text = json.dumps([json.loads(path.read_text()) for path in paths], indent=1)
    (RECORDS / f"{name}_seeds.json").write_text(text + "\n")


def keep(run: Path, name: str, data: str, root: Path) -> None:
    """Copy a finished run's record and best weights, and draw what it finds."""
    shutil.copy(run / "record.json", RECORDS / f"{name}.json")
    shutil.copy(run / "best.safetensors", RECORDS / f"{name}.safetensors")
    picture(run / "best.safetensors", data, root).save(RECORDS / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])

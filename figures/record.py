"""Train the small model with the package's own command and keep what pages plot and quote, in figures/records/.

Takes minutes on two CPU cores: ``python figures/record.py`` for drawn scenes, ``python figures/record.py bccd`` for
photographs. Weights, record and a picture of detections are replaced together.
"""

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
    """Record one run."""
    RECORDS.mkdir(exist_ok=True)
    device = "gpu" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "ssd_lite", "train", "--data", data, "--root", root, "--out", str(run)]
        subprocess.run(command, check=True)
        keep(run, f"{data}_lite_{device}", data, Path(root))


def keep(run: Path, name: str, data: str, root: Path) -> None:
    """Copy a finished run's record and best weights, and draw what it finds."""
    shutil.copy(run / "record.json", RECORDS / f"{name}.json")
    shutil.copy(run / "best.safetensors", RECORDS / f"{name}.safetensors")
    picture(run / "best.safetensors", data, root).save(RECORDS / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])

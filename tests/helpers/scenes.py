"""Small folders in VOC's layout, and the command line run as a reader runs it."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ssd_lite import datasets
from ssd_lite.cli import main
from ssd_lite.shapes import Shapes

ROOT = Path(__file__).parents[2]


def without_a_gpu(folder, monkeypatch):
    """Work in a folder, on the CPU."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def few_scenes(monkeypatch):
    """Make the command line's drawn scenes few: 32 to train on and 2 held out."""
    few = lambda count, seed, size: Shapes(count // 250, seed, size)  # noqa: E731
    few.classes = Shapes.classes
    monkeypatch.setattr(datasets, "Shapes", few)


def command(*arguments):
    """The command line, in this process."""
    main([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    """What a command complains of: one line, exit code 2, no traceback."""
    with pytest.raises(SystemExit) as stopped, warnings.catch_warnings(action="ignore"):
        command(*arguments)
    assert stopped.value.code == 2
    *before, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: ")
    assert "Traceback" not in last
    assert not any("Traceback" in line or line.startswith("error: ") for line in before)
    return last


def annotation(*objects, size=(60, 40)):
    """XML in VOC's form.

    An object is (name, box) or (name, box, difficult), boxes xyxy in pixels.
    """
    parts = [
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    ]
    for name, (x0, y0, x1, y1), *difficult in objects:
        corners = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        mark = "".join(f"<difficult>{d:d}</difficult>" for d in difficult)
        parts.append(f"<object><name>{name}</name>{mark}<bndbox>{corners}</bndbox></object>")
    return "".join(parts) + "</annotation>"


def write_folder(root, pictures, image_set="trainval"):
    """A folder in VOC's layout.

    ``pictures`` maps a name to (picture, XML); a picture is a PIL image, or a file's bytes.
    """
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for name, (picture, xml) in pictures.items():
        path = root / "JPEGImages" / f"{name}.jpg"
        path.write_bytes(picture) if isinstance(picture, bytes) else picture.save(path, quality=95)
        (root / "Annotations" / f"{name}.xml").write_bytes(
            xml if isinstance(xml, bytes) else xml.encode()
        )
    (root / "ImageSets/Main" / f"{image_set}.txt").write_text(
        "".join(f"{name}\n" for name in pictures)
    )
    return root


def plain(size=(60, 40), color=(90, 120, 150)):
    return Image.new("RGB", size, color)


def folder_of_scenes(root, train=12, test=3, size=64):
    """Drawn scenes as a folder in VOC's layout, with the lists trainval and test."""
    for image_set, count, seed in (("trainval", train, 0), ("test", test, 1)):
        pictures, scenes = {}, Shapes(count, seed, size)
        for i in range(count):
            names = [Shapes.classes[label - 1] for label in scenes[i].labels.tolist()]
            xml = annotation(*zip(names, (scenes[i].boxes * size).tolist()), size=(size, size))
            pictures[f"{image_set}{i}"] = (
                Image.fromarray(scenes[i].image.permute(1, 2, 0).numpy()),
                xml,
            )
        pictures[f"{image_set}all"] = every_class(size)
        write_folder(root, pictures, image_set)
    return root


def every_class(size):
    """A picture that the lists end with, so that each half of the data has every class."""
    boxes = [(10 * i + 2, 4, 10 * i + 9, 30) for i in range(len(Shapes.classes))]
    return plain((size, size)), annotation(*zip(Shapes.classes, boxes), size=(size, size))


def start(*arguments, cwd, before=(), gpus="", **options):
    """Start ``python -m ssd_lite ...`` in a folder of its own, on one thread.

    ``before`` are words between python and -m, ``gpus`` the numbers of those that it may see.
    """
    command = [sys.executable, *before, "-m", "ssd_lite", *map(str, arguments)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": gpus,
    }
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(*arguments, **options):
    """:func:`start` to the end: exit code, what was said, what was complained of."""
    process = start(*arguments, **options)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def weights(path):
    """A checkpoint's tensors, the optimizer's included."""
    return load_file(path)

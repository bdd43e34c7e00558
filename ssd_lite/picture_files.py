"""What ``detect`` does on the command line: pictures, folders, videos, one after the other."""

import argparse
import glob
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from ssd_lite.checkpoint import load_model, write_atomically
from ssd_lite.data import VIDEOS, picture_kinds, read_image, unreadable_kinds
from ssd_lite.detection import detect
from ssd_lite.distributed import choose_device
from ssd_lite.drawing import draw, plain_detections
from ssd_lite.layout import count
from ssd_lite.model import SSD
from ssd_lite.runs import newest_run
from ssd_lite.video import detect_in_video

MANY = 20  # pictures, from which on a bar shows the progress


def detect_command(args: argparse.Namespace) -> None:
    """Detect objects in pictures and videos: a drawing of each, and one JSON file for all.

    A file that is neither is skipped, and named at the end.
    """
    # 1. The model and the pictures.
    model = load_model(args.weights or newest_run(), choose_device(args.device))
    paths = find_pictures(args.images, args.out)
    videos = _named_videos(args.images, args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    used = {path.resolve() for path in paths}  # a drawing never replaces a picture
    failed = []

    # 2. One after the other. What is found stands on the disk before the next.
    with (
        results_file(args.out / "detections.json") as add,
        tqdm(paths, unit="picture", disable=len(paths) < MANY, dynamic_ncols=True) as progress,
    ):
        for path in progress:
            try:
                if path.resolve() in videos:
                    target = _free_name(args.out, path.stem, ".mp4", used)
                    _look_through(model, path, target, args, add)
                    continue
                image = _read_no_video(path)
            except ValueError as error:
                failed.append(" ".join(str(error).split()))
                continue
            [found] = detect(model, [image], precision=args.precision)
            target = _free_name(args.out, path.stem, ".png", used)
            draw(image, found, model.classes, args.threshold).save(target)
            detections = plain_detections(found, model.classes, args.threshold)
            add(str(path), {"drawing": target.name, "detections": detections})
            tqdm.write(f"{path}: {count(len(detections), 'object')}, drawn in {target}")

    # 3. What could not be read.
    if failed:
        print(f"{len(failed)} of {count(len(paths), 'picture')} failed:", file=sys.stderr)
        print(*(f"  {line}" for line in failed), sep="\n", file=sys.stderr)
        raise SystemExit(1)


def _look_through(
    model: SSD, path: Path, target: Path, args: argparse.Namespace, add: Callable[[str, dict], None]
) -> None:
    """Draw a video with its detections, and list it among the results."""
    try:
        said = detect_in_video(model, path, target, args.threshold, args.precision)
        tqdm.write(f"{path}: {said}")
    finally:
        if target.exists():  # also of a video that is damaged in the middle
            add(str(path), {"drawing": target.name})


def find_pictures(words: Sequence[str | Path], out: Path) -> list[Path]:
    """The picture files that words on the command line mean: files, folders, patterns.

    A folder means the pictures directly in it. Patterns are expanded here too, because not every
    shell does it; ``**`` is any number of folders, and ``*.jpg`` also means ``.JPG``. What is in
    ``out``, the last call's drawings, is left out unless it is named. A named file that is
    missing stays on the list if there are other pictures.

    Raises:
        ValueError: a folder or a pattern without pictures, or nothing but one missing file.
    """
    found: dict[Path, Path] = {}  # by what they are, so that each comes once
    for word in map(Path, words):
        for path in _meant_by(word, out):
            found.setdefault(path.resolve(), path)
    if len(found) == 1 and not any(path.exists() for path in found):
        raise ValueError(f"{words[0]}: no such file")
    return list(found.values())


def _meant_by(word: Path, out: Path) -> list[Path]:
    """The files that one word means."""
    if word.is_dir():
        paths = _pictures_among(sorted(word.iterdir()), out)
        if not paths:
            below = f"; for those in folders below it, name {word / '**'}"
            deeper = _pictures_among(sorted(word.rglob("*")), out)
            raise ValueError(f"{word}: a folder without pictures{below if deeper else ''}")
        return paths
    if not word.exists() and re.search(r"[*?\[]", str(word)):
        paths = _pictures_among(_expand(str(word)), out)
        if not paths:
            raise ValueError(f"{word}: no picture has such a name; look for a typing mistake")
        return paths
    return [word]


def _named_videos(words: Sequence[str | Path], out: Path) -> set[Path]:
    """Videos that are named, or meant by a pattern. Those in a folder may take hours: not taken."""
    named = [
        path for word in map(Path, words) if not word.is_dir() for path in _meant_by(word, out)
    ]
    return {path.resolve() for path in named if path.suffix.lower() in VIDEOS}


def _read_no_video(path: Path) -> UInt8[Tensor, "3 H W"]:
    """A picture; a video says how it can be looked through."""
    if path.suffix.lower() in VIDEOS:
        raise ValueError(
            f"{path}: a video, not a picture; to have it looked through, name it beside the folder"
        )
    return read_image(path)


def _expand(pattern: str) -> list[Path]:
    """Files that a pattern means; its ending is taken in capitals and small letters."""
    stem, dot, ending = pattern.rpartition(".")
    if dot and "[" not in ending:
        letter = r"[^\W\d_]"
        ending = re.sub(letter, lambda c: f"[{c[0].lower()}{c[0].upper()}]", ending)
        pattern = stem + dot + ending
    return [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]


def _pictures_among(paths: Sequence[Path], out: Path) -> list[Path]:
    """Files that are pictures by their names, but neither hidden nor drawings in ``out``.

    What cameras write and Pillow cannot read stays among them, to be named as failed.
    """
    drawings, kinds = _old_drawings(out), picture_kinds() | unreadable_kinds().keys()
    return [
        path
        for path in paths
        if path.suffix.lower() in kinds
        and not path.name.startswith(".")
        and path.is_file()
        and path.resolve() not in drawings
    ]


def _old_drawings(out: Path) -> set[Path]:
    """The drawings that an earlier call has left in ``out``."""
    try:
        results = json.loads((out / "detections.json").read_text(encoding="utf-8"))
        return {(out / result["drawing"]).resolve() for result in results.values()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):  # not there, or not ours
        return set()


def _free_name(folder: Path, stem: str, ending: str, used: set[Path]) -> Path:
    """Where to draw: a name that neither a picture nor an earlier drawing has; it is then used."""
    target, number = folder / f"{stem}{ending}", 0
    while target.resolve() in used:
        number += 1
        target = folder / f"{stem}-{number}{ending}"
    used.add(target.resolve())
    return target


@contextmanager
def results_file(path: Path) -> Iterator[Callable[[str, dict], None]]:
    """Collect results by name in a JSON file, losing none if the process is killed.

    Gives a function that adds one: a line is appended to ``detections.jsonl`` at once. When all
    is done, or an error ends it, the lines become one JSON file and are deleted.
    """
    lines = path.with_suffix(".jsonl")
    results: dict[str, dict] = {}
    done = False
    try:
        with open(lines, "w", encoding="utf-8") as file:

            def add(name: str, result: dict) -> None:
                results[name] = result
                file.write(json.dumps({name: result}) + "\n")
                file.flush()

            yield add
            done = True
    finally:
        if done or results:  # else what stands there from the last time stays
            write_atomically(path, json.dumps(results, indent=1).encode())
        lines.unlink()

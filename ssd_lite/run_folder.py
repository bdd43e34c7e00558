"""Chapter 11. A run's folder: taken by one training, found again after it was moved."""

import errno
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ssd_lite.checkpoint import write_atomically
from ssd_lite.datasets import NAMES
from ssd_lite.folders import Pictures, Survey
from ssd_lite.layout import few
from ssd_lite.recipe import Recipe, recipe_from

LOCK = "training.lock"  # there while a training writes into the folder
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # what a lock says that somebody else has


class Config(NamedTuple):
    """What ``config.json`` says of a run, its paths as they are now."""

    data: str
    model: str
    root: Path
    classes: tuple[str, ...] | None
    recipe: Recipe
    size: int | None = None  # of the pictures, where the model leaves it open
    pretrained: bool = False
    weights: str | None = None  # of the detector that it starts from


def new_run(name: str) -> Path:
    """A new folder, ours alone: runs/shapes-lite, runs/shapes-lite-2, ..."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    for run in map(Path("runs").joinpath, names):
        with suppress(FileExistsError):  # of another run, perhaps made this very moment
            run.mkdir(parents=True)
            return run
    raise AssertionError("numbers do not end")


def run_at(out: Path) -> Path:
    """The folder that was asked for, created if needed, unless it holds a run already."""
    if (out / "last.safetensors").exists():
        raise ValueError(
            f"--out {out}: holds a run already; go on with --resume {out}, or name another"
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


@contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder; the system releases it when this process ends.

    Raises:
        ValueError: another training is writing into it.
    """
    path = run / LOCK
    with open(path, "a", encoding="utf-8") as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno in _TAKEN:
                raise ValueError(
                    f"{run}: another training is writing into this folder; wait for its end, or "
                    "name another folder with --out"
                ) from None
            # Else a file system without locks: nothing can be held there.
        try:
            yield
        finally:
            if os.name != "nt":  # while it is still ours
                path.unlink(missing_ok=True)
    if os.name == "nt":  # Windows removes no open file
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _lock(file: int) -> None:
    """Lock an open file for this process, or raise at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_config(run: Path, config: Config) -> None:
    """Write ``config.json``: what a run is made of, so that it can go on and be measured.

    Folders are written from the root and as seen from the run, to be found after a move.
    """
    folders = {"data": Path(config.data), "root": config.root}
    is_name = config.data in NAMES or not folders["data"].exists()
    about = config._asdict() | {"root": str(config.root), "recipe": vars(config.recipe)}
    about["from_run"] = {}
    for name, folder in folders.items():
        if name == "data" and is_name:
            continue
        about[name] = str(folder.resolve())
        with suppress(ValueError):  # on another drive than the run
            about["from_run"][name] = Path(os.path.relpath(folder, run)).as_posix()
    content = json.dumps(about, indent=1, ensure_ascii=False)
    write_atomically(run / "config.json", content.encode())


def read_config(run: Path) -> Config | None:
    """What a run's ``config.json`` says; None if there is none.

    Raises:
        ValueError: it is damaged, or the run's data are not where they were.
    """
    path = run / "config.json"
    if not path.exists():
        return None
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        data, root = (_found(about, name, run) for name in ("data", "root"))
        classes = about.get("classes")
        config = Config(
            data,
            about["model"],
            Path(root),
            tuple(classes) if classes else None,
            recipe_from(about["recipe"]),
            about.get("size"),
            about.get("pretrained", False),
            about.get("weights"),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not what a run writes there ({error}); train anew") from None
    if Path(data).is_absolute() and not Path(data).exists():
        raise ValueError(
            f"{path}: the run's data are not in {data} any more; put them back, or write their "
            'place into this file, after "data"'
        )
    return config


def write_split(run: Path, survey: Survey) -> None:
    """Write ``split.json``: which pictures of a folder are trained on, and which are held out."""
    content = {
        "held out": survey.split,
        "train": _names(survey.root, survey.train),
        "test": _names(survey.root, survey.test),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(run / "split.json", text.encode())


def check_split(run: Path, survey: Survey) -> None:
    """Make sure that nothing this run was trained on is held out now.

    Raises:
        ValueError: some pictures have changed sides; names them.
    """
    path = run / "split.json"
    if not path.exists():
        return
    try:
        trained = set(json.loads(path.read_text(encoding="utf-8"))["train"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not what a run writes there ({error}); train anew") from None
    if moved := [name for name in _names(survey.root, survey.test) if name in trained]:
        raise ValueError(
            f"{survey.root}: {len(moved)} pictures that {run} was trained on are held out now: "
            f"{few(moved)}; put them back (its split.json says what was where), or train anew"
        )


def _names(root: Path, half: Pictures) -> list[str]:
    """The pictures of one half, as seen from their folder."""
    return [path.relative_to(root).as_posix() for path, *_ in half.items]


def how_to_go_on(run: Path) -> str:
    """What to say after an error, if steps were saved before it."""
    if not (run / "last.safetensors").exists():
        return ""
    return (
        f". What was learned is in {run / 'last.safetensors'}; once that is fixed, go on with: "
        f"python -m ssd_lite train --resume {run}"
    )


def _found(about: Mapping[str, Any], name: str, run: Path) -> str:
    """A folder as it was written, or, if it is not there, where it lies as seen from the run.

    There it must have its old name: some folder lies two above nearly every other.
    """
    written = str(about[name])
    moved = about.get("from_run", {}).get(name)
    if moved and not Path(written).exists():
        seen = (run / moved).resolve()
        if seen.exists() and seen.name == Path(written).name:
            return str(seen)
    return written

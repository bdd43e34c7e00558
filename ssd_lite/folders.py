"""Appendix B. Your own folder: what is in it, which half is held out, what must be fixed."""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from ssd_lite.annotations import Annotation, OutsideError, examine
from ssd_lite.data import Sample, read_image
from ssd_lite.formats import VOC, Source, find_annotations
from ssd_lite.layout import Files, choose_halves, count, few, same_text


class Pictures(Dataset):
    """Pictures whose annotations have been examined: file, boxes in pixels, labels, difficult."""

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.items: list[tuple[Path, np.ndarray, list[int], list[bool]]] = []

    def add(self, path: Path, annotation: Annotation, difficult: bool = True) -> None:
        """One more picture; objects of other classes, or difficult ones, can be left out."""
        names, marks = annotation.names, annotation.difficult
        keep = [
            i
            for i, name in enumerate(names)
            if name in self.classes and (difficult or not marks[i])
        ]
        labels = [self.classes.index(names[i]) + 1 for i in keep]
        self.items.append((path, annotation.boxes[keep], labels, [marks[i] for i in keep]))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        path, boxes, labels, difficult = self.items[index]
        image = read_image(path)
        size = np.array([image.shape[2], image.shape[1]] * 2)
        return Sample(
            image=image,
            boxes=torch.tensor((boxes / size).clip(0, 1), dtype=torch.float32).view(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            difficult=torch.tensor(difficult, dtype=torch.bool),
            name=str(path),
        )


@dataclass
class Survey:
    """What is in a folder, what was repaired, and what must be fixed first."""

    root: Path
    form: str  # "VOC's XML", for example
    train: Pictures
    test: Pictures
    split: str  # who decided what is held out
    notes: list[str] = field(default_factory=list)  # worth knowing
    repairs: list[str] = field(default_factory=list)  # each with its file
    problems: list[str] = field(default_factory=list)  # each with its file and a remedy


def survey_folder(root: str | Path, classes: Sequence[str] | None = None) -> Survey:
    """Find out what is in a folder of annotated pictures, without raising for what is wrong.

    VOC's XML in any arrangement, COCO's JSON, or YOLO's text. Lists or folders that say what is
    held out are honored; otherwise about a fifth is, by a hash of the names, so that adding
    pictures moves none of them.

    Args:
        root: the folder.
        classes: the only classes to be used; by default all that occur, sorted.
    """
    root = Path(root)
    files = Files(root)
    problems: list[str] = []
    notes: list[str] = []
    form, sources = find_annotations(files, problems, notes)
    examined, repairs = examine_all(form, sources, problems)
    note_contents(files, examined, notes)
    train, test, split = choose_halves(files, sorted(examined), problems, notes)

    # Classes: all that occur, or those that were asked for.
    learned, measured = (
        Counter(name for path in half for name in examined[path].names) for half in (train, test)
    )
    check_classes(learned, measured, classes, problems, notes)
    chosen = tuple(classes or sorted(learned | measured))
    halves = Pictures(chosen), Pictures(chosen)
    for half, paths in zip(halves, (train, test)):
        for path in paths:
            half.add(path, examined[path])
    return Survey(root, form, *halves, split, notes, repairs, problems)


def open_folder(root: str | Path, classes: Sequence[str] | None = None) -> Survey:
    """:func:`survey_folder`, which raises for what must be fixed and warns of what was.

    Raises:
        ValueError: all problems at once, each with its file and a remedy.
    """
    survey = survey_folder(root, classes)
    report(survey.root, survey.problems, survey.repairs)
    return survey


def report(root: Path, problems: Sequence[str], repairs: Sequence[str]) -> None:
    """Raise ``ValueError`` with all problems, or warn once of all repairs."""
    if problems:
        lines = by_kind(problems)
        more = f"; all of them: python -m ssd_lite check {root}" if len(lines) > 10 else ""
        found = count(len(problems), "problem")
        raise ValueError(f"{root}: {found}: {few(lines, 10, '; ')}{more}")
    if repairs:
        warnings.warn(f"{root}: repaired: {few(repairs, 3, '; ')}", stacklevel=3)


def by_kind(messages: Iterable[str], shown: int = 3) -> list[str]:
    """Messages that begin with a file, a few of each kind, and which other files each is about."""
    kinds: dict[str, list[str]] = {}
    for message in messages:
        what = message.partition(": ")[2]
        kinds.setdefault(re.sub(r"'.*?'|\".*?\"|[\d.-]+", "", what), []).append(message)
    lines = []
    for same in kinds.values():
        lines += same[:shown]
        if rest := [Path(message.partition(": ")[0]).name for message in same[shown:]]:
            files = few(list(dict.fromkeys(rest)), 20)
            lines.append(f"{len(rest)} more of this kind, in {files}")
    return lines


def examine_all(
    form: str, sources: Iterable[Source], problems: list[str]
) -> tuple[dict[Path, Annotation], list[str]]:
    """Every picture's annotation as it fits the picture, and what was repaired for that."""
    examined: dict[Path, Annotation] = {}
    repairs: list[str] = []
    outside = 0
    for picture, source, read in sources:
        if picture in examined:
            problems.append(f"{source}: {picture.name} has another annotation already; keep one")
            continue
        try:
            examined[picture], done = examine(read(), picture, source)
        except (ValueError, OSError) as error:
            outside += isinstance(error, OutsideError)
            problems.append(str(error))
            continue
        repairs += [f"{source}: {what}" for what in done]
    if form != VOC and outside > len(examined):
        problems.append(
            f"boxes of most pictures reach outside: are they corners x, y, x, y? {form} has x, y, "
            "width and height; export the labels again"
        )
    return examined, repairs


def note_contents(files: Files, examined: dict[Path, Annotation], notes: list[str]) -> None:
    """Note which annotations are empty, and which seem to be another picture's."""
    empty = [path.name for path, found in sorted(examined.items()) if not found.names]
    if empty:
        notes.append(
            f"{count(len(empty), 'picture has', 'pictures have')} an annotation without objects "
            f"and {'counts' if len(empty) == 1 else 'count'} as background: {few(empty)}"
        )
    others = [
        f"{path.stem}.xml: {found.filename}"
        for path, found in sorted(examined.items())
        if files.known(found.filename) and files.stem(found.filename) != same_text(path.stem)
    ]
    if others:
        notes.append(
            f"{count(len(others), 'annotation names', 'annotations name')} another file inside "
            f"({few(others)}); look whether the boxes fit"
        )


def check_classes(
    train: Counter[str],
    test: Counter[str],
    chosen: Sequence[str] | None,
    problems: list[str],
    notes: list[str],
) -> None:
    """What is odd about the classes' names, or about where they occur."""
    occur = train + test
    if unknown := sorted(set(chosen or ()) - set(occur)):
        problems.append(
            f"classes: no object is called {few(unknown)}; there are {few(sorted(occur), 20)}"
        )
    if chosen and (others := sorted(set(occur) - set(chosen))):
        notes.append(f"objects of other classes count as background: {few(others, 10)}")
    if not occur and not problems:
        problems.append("no object on any picture: nothing to learn; annotate some")
    if "background" in occur:
        problems.append(
            "a class is called 'background', which is no object; take those boxes out, or rename it"
        )
    alike: dict[str, list[str]] = {}
    for name in sorted(occur):
        alike.setdefault(name.casefold().replace("_", " ").replace("-", " "), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            notes.append(f"{' and '.join(map(repr, names))} are taken for different classes")
    if only := sorted(set(test) - set(train)):
        notes.append(f"held out only, so never learned and never found: {few(only, 10)}")

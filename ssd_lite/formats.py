"""Appendix B. Which form a folder's annotations have, and which file belongs to which picture."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import yaml

from ssd_lite.annotations import Annotation, read_annotation, read_coco, read_yolo
from ssd_lite.layout import Files, few, read_text

CLASS_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")


class Source(NamedTuple):
    """One picture's annotation, before it is read."""

    picture: Path
    path: Path  # of the annotation
    read: Callable[[], Annotation]


def find_annotations(
    files: Files, problems: list[str], notes: list[str]
) -> tuple[str, Iterator[Source]]:
    """The folder's form, and for each picture its annotation's file and how to read it."""
    if not files.root.is_dir():
        raise ValueError(f"{files.root}: no such folder")
    if not files.pictures:
        raise ValueError(
            f"{files.root}: no pictures in it; expected pictures with annotations in VOC's XML, "
            "COCO's JSON or YOLO's text"
        )
    if files.others.get(".xml"):
        return "VOC's XML", voc_sources(files, problems, notes)
    cocos = [p for p in files.others.get(".json", []) if b'"annotations"' in p.read_bytes()]
    if cocos:
        return "COCO's JSON", coco_sources(files, cocos, problems)
    texts = yolo_texts(files)
    if texts:
        return "YOLO's text", yolo_sources(files, texts, problems, notes)
    raise ValueError(
        f"{files.root}: pictures, but no annotations; expected VOC's XML, COCO's JSON or YOLO's "
        "text, which every labeling tool can export"
    )


def paired(
    files: Files, paths: Iterable[Path], problems: list[str], notes: list[str]
) -> Iterator[tuple[Path, Path]]:
    """Annotation files with their pictures; both are named where one is alone."""
    used, alone = set(), []
    for path in paths:
        try:
            picture = files.picture(path.stem, near=path)
        except ValueError as error:
            problems.append(str(error))
            continue
        if picture is None:
            alone.append(path.name)
        else:
            used.add(picture)
            yield picture, path
    if alone:
        notes.append(f"{len(alone)} annotations have no picture and are left out: {few(alone)}")
    bare = [p.name for same in files.pictures.values() for p in same if p not in used]
    if bare:
        notes.append(
            f"{len(bare)} pictures have no annotation and are left out (if nothing is on them, an "
            f"empty annotation says so): {few(bare)}"
        )


def voc_sources(files: Files, problems: list[str], notes: list[str]) -> Iterator[Source]:
    """Every XML file with its picture."""
    for picture, path in paired(files, files.others[".xml"], problems, notes):
        yield Source(picture, path, partial(read_annotation, path))


def coco_sources(files: Files, cocos: Iterable[Path], problems: list[str]) -> Iterator[Source]:
    """Every picture that a COCO file names."""
    for path in cocos:
        try:
            found = read_coco(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        for name, annotation in found.items():
            if picture := files.listed(name, path, problems):
                yield Source(picture, path, partial(_as_is, annotation))


def _as_is(annotation: Annotation) -> Annotation:
    return annotation


def yolo_sources(
    files: Files, texts: Iterable[Path], problems: list[str], notes: list[str]
) -> Iterator[Source]:
    """Every text file with its picture."""
    names = yolo_names(files, problems, notes)
    for picture, path in paired(files, texts, problems, notes):
        yield Source(picture, path, partial(read_yolo, path, names))


def yolo_texts(files: Files) -> list[Path]:
    """Text files that are named as a picture is."""
    return [path for path in files.others.get(".txt", []) if files.known(path.stem)]


def yolo_names(files: Files, problems: list[str], notes: list[str]) -> list[str]:
    """Names of the classes, from data.yaml or a file with one name a line."""
    for path in [*files.others.get(".yaml", []), *files.others.get(".yml", [])]:
        try:
            content = yaml.safe_load(read_text(path))
        except (yaml.YAMLError, ValueError) as error:
            problems.append(f"{path}: not YAML that can be read ({error})")
            continue
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, dict) and sorted(names) == list(range(len(names))):
            names = [names[number] for number in range(len(names))]
        if isinstance(names, list):
            return [str(name).strip() for name in names]
    for path in (p for same in files.others.values() for p in same if p.name in CLASS_FILES):
        return [line.strip() for line in read_text(path).splitlines() if line]
    notes.append("no data.yaml or classes.txt: the classes are called by their numbers")
    return [f"class {number}" for number in range(1000)]

"""Appendix B. Which form a folder's annotations have, and which belongs to which picture."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssd_lite.annotations import Annotation, coco_annotation, read_annotation, read_yolo
from ssd_lite.data import unreadable_kinds
from ssd_lite.layout import PARTS, Files, count, few, read_text

CLASS_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
NUMBERED = [f"class {number}" for number in range(1000)]
VOC, COCO, YOLO = "VOC's XML", "COCO's JSON", "YOLO's text"
PACKED = {".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"}
OTHER_JSON = {  # a key of its first entry, and whose it is
    **dict.fromkeys(("data", "annotation_id"), "Label Studio's own JSON"),
    "shapes": "LabelMe's own JSON",
    "image_id": "COCO's list of results, without pictures and classes",
}


class Source(NamedTuple):
    """One picture's annotation, before it is read."""

    picture: Path
    path: Path  # of the annotation
    read: Callable[[], Annotation]


def find_annotations(
    files: Files, problems: list[str], notes: list[str]
) -> tuple[str, Iterator[Source]]:
    """The folder's form, and for each picture its annotation's file and how to read it."""
    check_pictures(files, notes)
    found = label_files(files)
    if not found:
        raise ValueError(no_annotations(files))
    form, *others = found
    unread = [path for other in others for path in found[other]]
    if unread := unread + (files.others.get(".xml", []) if form != VOC else []):
        notes.append(
            f"only {form} is read, not {count(len(unread), 'file')} with labels in another form: "
            f"{few([path.name for path in unread])}"
        )
    sources = {VOC: voc_sources, COCO: coco_sources, YOLO: yolo_sources}[form]
    return form, sources(files, found[form], problems, notes)


def check_pictures(files: Files, notes: list[str]) -> None:
    """Raise ``ValueError`` unless there is a folder with pictures; note what cannot be read."""
    root, others = files.root, files.others
    if root.is_file():
        remedy = "unpack it first, and name" if root.suffix.lower() in PACKED else "name"
        raise ValueError(f"{root}: a file, not a folder; {remedy} the folder of the pictures")
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    unreadable = [
        f"{count(len(others[ending]), ending + ' file')}: {remedy}"
        for ending, remedy in unreadable_kinds().items()
        if ending in others
    ]
    if not files.pictures:
        packed = [path.name for ending in PACKED for path in others.get(ending, [])]
        hints = unreadable + [f"{name}: unpack it first" for name in packed]
        expected = "expected pictures with annotations in VOC's XML, COCO's JSON or YOLO's text"
        raise ValueError(f"{root}: {'; '.join(['no pictures in it', *hints, expected])}")
    notes += unreadable


def label_files(files: Files) -> dict[str, list[Path]]:
    """The files of each form in which there are annotations of these pictures."""
    xmls = files.others.get(".xml", [])
    found = {
        VOC: xmls if any(files.known(path.stem) for path in xmls) else [],
        COCO: [path for path in files.others.get(".json", []) if _may_be_coco(path)],
        YOLO: yolo_texts(files),
    }
    return {form: paths for form, paths in found.items() if paths}


def no_annotations(files: Files) -> str:
    """What is missing, and why each file that might be an annotation is not one."""
    reasons = []
    for ending, read in ((".xml", read_annotation), (".json", read_coco)):
        for path in files.others.get(ending, []):
            try:
                read(path)
                reasons.append(f"{path}: no picture has its name")
            except ValueError as error:
                reasons.append(str(error))
    expected = (
        "expected VOC's XML, COCO's JSON or YOLO's text, which every labeling tool can export"
    )
    there_is = f"; there is {few(reasons, 2, '; ')}" if reasons else ""
    return f"{files.root}: pictures, but no annotations; {expected}{there_is}"


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
        notes.append(
            f"{count(len(alone), 'annotation has', 'annotations have')} no picture, so left out: "
            f"{few(alone)}"
        )
    note_bare(files, used, notes)


def note_bare(files: Files, used: set[Path], notes: list[str]) -> None:
    """Note which pictures have no annotation."""
    bare = [p.name for same in files.pictures.values() for p in same if p not in used]
    if bare:
        notes.append(
            f"{count(len(bare), 'picture has', 'pictures have')} no annotation, so left out (if "
            f"nothing is on them, one without objects says so): {few(bare)}"
        )


def voc_sources(
    files: Files, paths: list[Path], problems: list[str], notes: list[str]
) -> Iterator[Source]:
    """Every XML file with its picture."""
    for picture, path in paired(files, paths, problems, notes):
        yield Source(picture, path, partial(read_annotation, path))


def coco_sources(
    files: Files, paths: list[Path], problems: list[str], notes: list[str]
) -> Iterator[Source]:
    """Every picture that a COCO file names."""
    used = set()
    for path in paths:
        try:
            found = read_coco(path)
        except ValueError as error:
            problems.append(str(error))
            continue
        for name, picture in files.listed(found, path, problems, notes).items():
            used.add(picture)
            yield Source(picture, path, found[name])
    note_bare(files, used, notes)


def read_coco(path: Path) -> dict[str, Callable[[], Annotation]]:
    """Functions that read each picture's annotation in a COCO file, by the picture's file name.

    Raises:
        ValueError: not COCO's JSON; names the file and what it is, or what it lacks.
    """
    content = _parse_coco(path)
    try:
        names = {entry["id"]: str(entry["name"]).strip() for entry in content["categories"]}
        images = {entry["id"]: entry for entry in content["images"]}
        objects: dict[Any, list] = {number: [] for number in images}
        for entry in content["annotations"]:
            objects.setdefault(entry["image_id"], []).append(entry)
        found: dict[str, Callable[[], Annotation]] = {
            str(image["file_name"]): partial(coco_annotation, path, image, objects[number], names)
            for number, image in images.items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: not COCO's JSON of boxes ({type(error).__name__}: {error}); it has images, "
            "annotations and categories, each with its id"
        ) from None
    if lost := [number for number in objects if number not in images]:
        raise ValueError(f"{path}: annotations of images {few(lost)}, but no such images; add them")
    return found


def _may_be_coco(path: Path) -> bool:
    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").lstrip()
    return text.startswith(b"{") and b'"annotations"' in text


def _parse_coco(path: Path) -> dict:
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not a whole JSON file ({error}); export it again") from None
    first = content[0] if isinstance(content, list) and content else content
    keys = first if isinstance(first, dict) else {}
    wanted = ("images", "annotations", "categories")
    if lacks := [key for key in wanted if not isinstance(content, dict) or key not in content]:
        whose = next((whose for key, whose in OTHER_JSON.items() if key in keys), None)
        raise ValueError(
            f"{path}: that is {whose}; export the labels as COCO, YOLO or Pascal VOC"
            if whose
            else f"{path}: not COCO's JSON of boxes: it lacks {', '.join(lacks)}"
        )
    return content


def yolo_sources(
    files: Files, paths: list[Path], problems: list[str], notes: list[str]
) -> Iterator[Source]:
    """Every text file with its picture."""
    names = yolo_names(files, problems, notes)
    for picture, path in paired(files, paths, problems, notes):
        yield Source(picture, path, partial(read_yolo, path, names))


def yolo_texts(files: Files) -> list[Path]:
    """Text files named like a picture, and those beside them, except lists and classes."""
    texts = files.others.get(".txt", [])
    named = {path for path in texts if files.known(path.stem)}
    folders = {path.parent for path in named}
    beside = {path for path in texts if path.parent in folders and path.stem.lower() not in PARTS}
    return sorted(named | {path for path in beside if path.name not in CLASS_FILES})


def yolo_names(files: Files, problems: list[str], notes: list[str]) -> list[str]:
    """Names of the classes: data.yaml's, the lines of a file, Label Studio's, or numbers."""
    for path in [*files.others.get(".yaml", []), *files.others.get(".yml", [])]:
        if names := _names_in_yaml(path, problems):
            return names
    for path in (p for same in files.others.values() for p in same if p.name in CLASS_FILES):
        return [line.strip() for line in read_text(path).splitlines() if line]
    for path in (p for p in files.others.get(".json", []) if p.name == "notes.json"):
        try:
            categories = json.loads(read_text(path))["categories"]
            by_id = {entry["id"]: str(entry["name"]).strip() for entry in categories}
            return [by_id[number] for number in range(len(by_id))]
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{path}: not Label Studio's notes ({error!r})")
    notes.append("no data.yaml or classes.txt: the classes are called by their numbers")
    return NUMBERED


def _names_in_yaml(path: Path, problems: list[str]) -> list[str]:
    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError) as error:
        problems.append(f"{path}: not YAML that can be read ({error})")
        return []
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and set(names) != set(range(len(names))):
        problems.append(f"{path}: names must be numbered from 0, not {few(list(names))}")
        return NUMBERED
    if isinstance(names, dict):
        names = [names[number] for number in range(len(names))]
    return [str(name).strip() for name in names] if isinstance(names, list) else []

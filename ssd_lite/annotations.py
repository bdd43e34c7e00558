"""Appendix B. Annotations as people have them: VOC's XML, COCO's JSON, YOLO's text."""

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ssd_lite.data import picture_size
from ssd_lite.layout import read_text

CORNERS = ("xmin", "ymin", "xmax", "ymax")
YES, NO = {"1", "true", "yes"}, {"", "0", "false", "no", "unspecified"}  # of <difficult>
# How far a box may reach outside its picture and be cut instead of refused.
SLACK_PIXELS, SLACK_SHARE = 3, 0.02


class Annotation(NamedTuple):
    """What one picture's annotation says, as written."""

    boxes: Float[np.ndarray, "G 4"]  # xyxy, in pixels
    names: list[str]
    difficult: list[bool]
    size: tuple[int, int] | None = None  # width and height of what was annotated, if it says so
    fractions: bool = False  # the boxes are in fractions of the picture instead
    filename: str = ""  # of the picture, if it says so


def read_annotation(path: Path) -> Annotation:
    """Read a VOC annotation.

    Raises a ``ValueError`` that names the file and says what is wrong with it.
    """
    root = _parse_xml(path)
    if root.tag != "annotation":
        raise ValueError(
            f"{path}: not VOC's XML: it begins with <{root.tag}>, not <annotation>; export the "
            "labels as 'PASCAL VOC'"
        )
    boxes, names, difficult = [], [], []
    for number, item in enumerate(root.iter("object"), start=1):
        try:
            (bndbox,) = item.findall("bndbox")
            names.append((item.findtext("name") or "").strip())
            boxes.append([float(bndbox.findtext(side, "")) for side in CORNERS])
        except ValueError:
            raise ValueError(
                f"{path}: object {number} lacks a name or a bndbox with the numbers xmin, ymin, "
                "xmax and ymax, or has two"
            ) from None
        if not names[-1]:
            raise ValueError(f"{path}: object {number} has an empty name; write its class there")
        hard = (item.findtext("difficult") or "").strip().lower()
        if hard not in YES | NO:
            raise ValueError(f"{path}: object {number} is difficult: {hard!r}; expected 0 or 1")
        difficult.append(hard in YES)
        check_corners(boxes[-1], f"{path}: object {number}")
    try:
        width, height = (round(float(root.findtext(f"size/{s}", "0"))) for s in ("width", "height"))
    except (ValueError, OverflowError):
        width = height = 0
    size = (width, height) if width > 0 and height > 0 else None
    array = np.array(boxes, dtype=float).reshape(-1, 4)
    filename = (root.findtext("filename") or "").strip()
    return Annotation(array, names, difficult, size, filename=filename)


def check_corners(box: list[float], where: str) -> None:
    """Raise ``ValueError`` unless four corners are finite and in their order."""
    x0, y0, x1, y1 = box
    if not all(map(math.isfinite, box)):
        raise ValueError(f"{where} has the box {box}; its corners must be finite numbers")
    if x1 < x0 or y1 < y0:
        raise ValueError(f"{where} has the box {box}, corners reversed; swap min and max")


def _parse_xml(path: Path) -> ElementTree.Element:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file, but the image set names it; restore it or take its name out"
        ) from None
    # Without zeros, so that UTF-16 hides nothing.
    if re.search(rb"<!DOCTYPE|<!ENTITY", text.replace(b"\0", b"")):
        raise ValueError(
            f"{path}: declares a document type or entities, which annotations never need; refused"
        )
    try:
        declared = re.match(rb"""\s*<\?xml[^>]*encoding=["']([\w.:-]+)["'][^>]*\?>""", text)
        if declared:  # the parser itself knows few encodings; Python knows most
            name = declared[1].decode()
            if name.lower() not in ("utf-8", "utf-16", "us-ascii", "iso-8859-1"):
                return ElementTree.fromstring(text[declared.end() :].decode(name))
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path}: not well-formed XML ({error}); fix or replace the file"
        ) from None
    except LookupError:
        raise ValueError(
            f"{path}: declares the encoding {name!r}, which nobody knows; write UTF-8 there if the "
            "file is in UTF-8"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not in the encoding it declares ({error})") from None


def coco_annotation(
    path: Path, image: dict, entries: list[dict], names: dict[Any, str]
) -> Annotation:
    """One picture's annotation, from its entries in a COCO file; a crowd is difficult.

    Raises:
        ValueError: an entry lacks something; names file and entry.
    """
    boxes, labels, crowds = [], [], []
    for entry in entries:
        where = f"{path}: annotation {entry.get('id')}"
        try:
            x, y, width, height = (float(value) for value in entry["bbox"])
            labels.append(names[entry["category_id"]])
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{where} lacks a known category_id or a bbox of four numbers"
            ) from None
        boxes.append([x, y, x + width, y + height])
        check_corners(boxes[-1], where)
        crowds.append(bool(entry.get("iscrowd", 0)))
    try:
        width, height = (int(image.get(side) or 0) for side in ("width", "height"))
    except (TypeError, ValueError, OverflowError):
        width = height = 0
    size = (width, height) if width > 0 and height > 0 else None
    return Annotation(np.array(boxes, dtype=float).reshape(-1, 4), labels, crowds, size)


def read_yolo(path: Path, names: list[str]) -> Annotation:
    """Read YOLO's text: for each object a line, its class's number and fractions of the picture.

    Four fractions are center and size; more are the corners of a polygon, whose box is taken.

    Raises:
        ValueError: a line that is neither, or a class without a name; names file and line.
    """
    boxes, labels = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not (words := line.split()):
            continue
        where = f"{path}: line {number}"
        try:
            label, values = int(words[0]), [float(word) for word in words[1:]]
            if len(values) == 4:
                cx, cy, width, height = values
                box = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
            elif len(values) >= 6 and len(values) % 2 == 0:
                x, y = values[0::2], values[1::2]
                box = [min(x), min(y), max(x), max(y)]
            else:
                raise ValueError
        except ValueError:
            raise ValueError(
                f"{where}: {line[:60]!r} is not a class's number and four fractions (center x, "
                "center y, width, height), nor a polygon"
            ) from None
        if not 0 <= label < len(names):
            raise ValueError(f"{where}: class {label}, but there are {len(names)} names, from 0 on")
        check_corners(box, where)
        if max(map(abs, box)) > 2:
            raise ValueError(f"{where}: {line[:60]!r} is in pixels; YOLO's numbers are fractions")
        boxes.append(box)
        labels.append(names[label])
    array = np.array(boxes, dtype=float).reshape(-1, 4)
    return Annotation(array, labels, [False] * len(labels), fractions=True)


class OutsideError(ValueError):
    """A box reaches too far outside its picture."""


class Examined(NamedTuple):
    """An annotation that fits its picture, and what had to be done for that."""

    annotation: Annotation  # boxes in pixels of the upright picture, inside it, with area
    repairs: list[str]


def examine(annotation: Annotation, picture: Path, source: Path) -> Examined:
    """Bring boxes to their picture: turned with it, scaled, cut at its edge, or refused.

    Raises:
        ValueError: the picture cannot be read, or the boxes cannot be its; names the file.
    """
    width, height, turn = picture_size(picture)
    boxes, repairs = annotation.boxes, []
    limits = np.array([width, height, width, height])

    # 1. Units: fractions, a picture that was turned, one of another size.
    if annotation.fractions:
        boxes = boxes * limits
    elif len(boxes) and boxes.max() <= 1:
        raise ValueError(
            f"{source}: boxes up to {boxes.max():g}: these look like fractions of the picture; "
            "VOC and COCO have pixels"
        )
    size = annotation.size
    if size and size != (width, height):
        if turn >= 5 and size == (height, width):
            boxes = _turned(boxes, height, width, turn)
            repairs.append(f"turned with its picture (EXIF {turn})")
        elif abs(size[0] * height - size[1] * width) <= 0.01 * size[0] * height:
            boxes = boxes * (width / size[0])
            repairs.append(f"scaled from {size[0]} × {size[1]} to {width} × {height} pixels")
        else:
            raise ValueError(
                f"{source}: for a picture of {size[0]} × {size[1]} pixels, but {picture.name} has "
                f"{width} × {height}; find the picture that was annotated"
            )

    # 2. The edge. VOC counts pixels from 1, so that a box may end one beyond.
    outside = np.maximum(-boxes, boxes - limits)
    slack = np.maximum(SLACK_PIXELS, SLACK_SHARE * limits)
    if (outside > slack).any():
        box = boxes[(outside > slack).any(axis=1)][0]
        raise OutsideError(
            f"{source}: the box {[round(float(v), 2) for v in box]} reaches outside the picture of "
            f"{width} × {height} pixels; fix the box, or {picture.name!r} is another picture"
        )
    if outside.size and outside.max() > 1:
        repairs.append(f"cut at the picture's edge by up to {outside.max():.1f} px")
    boxes = boxes.clip(0, limits)

    # 3. What marks nothing.
    real = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    if len(real) < len(boxes):
        repairs.append(f"{len(boxes) - len(real)} without area dropped")
    names, difficult = annotation.names, annotation.difficult
    kept = [names[i] for i in real], [difficult[i] for i in real]
    size = (width, height)
    return Examined(Annotation(boxes[real], *kept, size, filename=annotation.filename), repairs)


def _turned(
    boxes: Float[np.ndarray, "G 4"], width: int, height: int, turn: int
) -> Float[np.ndarray, "G 4"]:
    """Boxes of a picture of width × height as stored, where EXIF's 5 to 8 shows them."""
    x0, y0, x1, y1 = boxes.T
    x, y, x_back, y_back = (x0, x1), (y0, y1), (width - x1, width - x0), (height - y1, height - y0)
    new_x, new_y = {5: (y, x), 6: (y_back, x), 7: (y_back, x_back), 8: (y, x_back)}[turn]
    return np.stack([new_x[0], new_y[0], new_x[1], new_y[1]], axis=1)

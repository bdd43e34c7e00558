"""A detector's errors in pictures: the confusion matrix, and sheets of crops around errors."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from ssd_lite.boxes import iou
from ssd_lite.data import Samples
from ssd_lite.drawing import PALETTE, color, ink_on
from ssd_lite.errors import Errors
from ssd_lite.fonts import Font, name_and_font
from ssd_lite.verdicts import MISSED, Verdict

CELL, LETTERS, GRAY = 52, 14, "#5b6670"  # of the matrix, in pixels
MANY_CLASSES = 20  # more are not readable in one picture
TILE, MARGIN, LINE, IN_A_ROW = 192, 10, 18, 6  # of a sheet, in pixels
LEAST_SIDE = 48  # of what a crop shows, in pixels of the picture
MEANING = {
    "wrong class": "well placed, but called another class",
    "badly placed": "the right class, but the boxes overlap too little",
    "both": "near an object of another class, and overlapping it too little",
    "double": "of an object that a more confident detection (gray) has found",
    "background": "no object there, or none that is labeled",
    "missed": "objects that no detection found",
}


def confusion_picture(matrix: Int[np.ndarray, "K K"], classes: Sequence[str]) -> Image.Image:
    """The matrix of :func:`~ssd_lite.verdicts.confusion` as a table, background last.

    Right is blue and wrong is orange, the darker the larger the share of the row. Of more than 20
    classes, the 20 with the most errors have rows of their own; the rest is one row, "others".
    """
    # 1. The table, its background last, and room for the names.
    cells, names = _condensed(matrix, classes)
    cells, names = np.roll(cells, (-1, -1), axis=(0, 1)), [*names[1:], names[0]]
    sizes = [(font.getlength(text), text, font) for text, font in names]
    widest = round(max(length for length, *_ in sizes))
    upright = widest + 6 > CELL
    left, top = widest + 34, (widest if upright else LETTERS) + 40
    side = CELL * len(cells)
    font = name_and_font("", 0, LETTERS)[1]
    notes = ["The darker, the larger the share of the row."]
    if len(classes) > MANY_CLASSES:
        notes.append(f"The {MANY_CLASSES} classes with the most errors; errors.json has all.")
    wide = left + max(side, round(max(map(font.getlength, notes))) - left + 12) + 12
    picture = Image.new("RGB", (wide, top + side + 12 + LINE * len(notes) + 6), "white")
    pen = ImageDraw.Draw(picture)

    # 2. What the axes are.
    pen.text((left + side / 2, 6), "what was said", fill=GRAY, font=font, anchor="mt")
    _turned(picture, "what is there", font, (6, top + side // 2), GRAY, middle=True)

    # 3. Names and numbers.
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    for k, (_, text, name_font) in enumerate(sizes):
        place = k * CELL + CELL // 2
        pen.text((left - 8, top + place), text, fill="black", font=name_font, anchor="rm")
        if upright:
            _turned(picture, text, name_font, (left + place - LETTERS // 2 - 2, top - 6), "black")
        else:
            pen.text((left + place, top - 8), text, fill="black", font=name_font, anchor="mb")
    for row, column in np.ndindex(*cells.shape):
        x, y, number = left + column * CELL, top + row * CELL, int(cells[row, column])
        ground = _blend(PALETTE[0 if row == column else 1], float(shares[row, column]) ** 0.5)
        pen.rectangle((x, y, x + CELL, y + CELL), fill=ground, outline="#d5dade")
        if number:
            middle = (x + CELL / 2, y + CELL / 2)
            pen.text(middle, f"{number}", fill=ink_on(ground), font=font, anchor="mm")
    for k, note in enumerate(notes):
        pen.text((12, top + side + 12 + LINE * k), note, fill=GRAY, font=font, anchor="lt")
    return picture


def _condensed(
    matrix: Int[np.ndarray, "K K"], classes: Sequence[str]
) -> tuple[Int[np.ndarray, "N N"], list[tuple[str, Font]]]:
    """The matrix with at most so many classes as can be read, and their names with fonts."""
    names = [name_and_font("background", 0, LETTERS)]
    if len(classes) <= MANY_CLASSES:
        return matrix, names + [name_and_font(n, k, LETTERS) for k, n in enumerate(classes, 1)]
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    errors = (wrong.sum(axis=0) + wrong.sum(axis=1))[1:]
    kept = np.sort(np.argsort(-errors, kind="stable")[:MANY_CLASSES]) + 1
    group = np.full(len(matrix), len(kept) + 1)  # of each class: its row, or that of the others
    group[0], group[kept] = 0, np.arange(1, len(kept) + 1)
    small = np.zeros((len(kept) + 2, len(kept) + 2), dtype=np.int64)
    np.add.at(small, (group[:, None], group[None]), matrix)
    names += [name_and_font(classes[k - 1], int(k), LETTERS) for k in kept]
    return small, [*names, name_and_font("others", 0, LETTERS)]


class Crop(NamedTuple):
    """A place in a picture, what to draw there, and what to say of it."""

    picture: int  # its index
    boxes: list[tuple[list[float], str, int]]  # xyxy in pixels, color, width of the line
    lines: list[tuple[str, Font, str]]  # words, font, color


def error_sheet(errors: Errors, data: Samples, kind: str, most: int = 24) -> Image.Image:
    """Crops around the errors of one kind, the most confident first, each with what was said.

    The object is white and the detection has its class's color. ``data`` are the pictures in which
    the errors were made, and are read again, one for each crop.
    """
    places = errors.worst(kind)
    shown = places[:most]
    columns = min(IN_A_ROW, max(4, len(shown)))  # the title needs four
    rows = -(-len(shown) // columns)
    wide, high = TILE + MARGIN, TILE + 3 * LINE + MARGIN
    sheet = Image.new("RGB", (columns * wide + MARGIN, rows * high + 2 * LINE + MARGIN), "white")
    pen, font = ImageDraw.Draw(sheet), name_and_font("", 0, LETTERS + 2)[1]
    order = "largest first" if kind == MISSED else "most confident first"
    title = f"{kind}, {len(shown)} of {len(places)}, {order}: {MEANING[kind]}"
    pen.text((MARGIN, MARGIN), title, fill="black", font=font, anchor="lt")
    for n, (i, k) in enumerate(shown):
        x, y = MARGIN + n % columns * wide, 2 * LINE + n // columns * high
        crop, sample = _crop(errors, i, k, kind), data[i]
        sheet.paste(_drawn(sample.image, crop), (x, y))
        name = name_and_font(sample.name.replace("\\", "/").rpartition("/")[2], i, LETTERS - 2)
        lines = [*crop.lines, (*name, GRAY)]
        for row, (text, letters, ink) in enumerate(lines):
            place = (x, y + TILE + (row + 1) * LINE - 2)
            pen.text(place, _fitting(text, letters), fill=ink, font=letters, anchor="ls")
    return sheet


def _crop(errors: Errors, i: int, k: int, kind: str) -> Crop:
    """What to show of an error: the object, the detection, and both in words."""
    verdict = errors.verdicts[i]
    if kind == MISSED:
        box, label = verdict.truth.boxes[k].tolist(), int(verdict.truth.labels[k])
        score = verdict.found_at()[k]
        at = f"found at a score of {score:.2f}" if score else "found at no score"
        return Crop(i, [(box, "white", 3)], [_words(errors, "{}", label), _words(errors, at)])

    # 1. The detection and, below it, what it is about.
    boxes, scores, labels = verdict.detections
    label, about = int(labels[k]), int(verdict.objects[k])
    drawn = [(boxes[k].tolist(), color(label), 3)]
    said = _words(errors, f"{{}} {scores[k]:.2f}", label)
    if about < 0:
        return Crop(i, drawn, [said, _words(errors, "nothing there")])
    drawn.insert(0, (verdict.truth.boxes[about].tolist(), "white", 4))

    # 2. For a double, also the one that came before it.
    overlap = _overlap(verdict, k, about)
    if kind == "double":
        first = int(verdict.finders[about])
        drawn.insert(1, (boxes[first].tolist(), "#9aa4ad", 3))
        return Crop(i, drawn, [said, _words(errors, f"after {scores[first]:.2f}")])
    real = int(verdict.truth.labels[about])
    return Crop(i, drawn, [said, _words(errors, f"is {{}}, IoU {overlap:.2f}", real)])


def _overlap(verdict: Verdict, k: int, about: int) -> float:
    """IoU with two decimals, rounded down: 0.499 is not 0.50."""
    pair = verdict.detections.boxes[k, None], verdict.truth.boxes[about, None]
    return math.floor(100 * float(iou(*pair))) / 100


def _words(errors: Errors, text: str, label: int = 0) -> tuple[str, Font, str]:
    """Words with a class's name in them, in a font that has its letters."""
    name, font = name_and_font(errors.classes[label - 1] if label else "", label, LETTERS)
    return text.format(name), font, "black"


def _drawn(image: UInt8[Tensor, "3 H W"], crop: Crop) -> Image.Image:
    """The window around a crop's boxes, enlarged or reduced to a tile, with the boxes."""
    # 1. A square around them, inside the picture where that is large enough.
    height, width = image.shape[1:]
    corners = torch.tensor([box for box, *_ in crop.boxes])  # (N, 4)
    low, high = corners[:, :2].amin(dim=0), corners[:, 2:].amax(dim=0)
    side = max(LEAST_SIDE, 1.7 * float((high - low).max()))
    starts = [
        min(max(0.0, middle - side / 2), max(0.0, size - side))
        for middle, size in zip(((low + high) / 2).tolist(), (width, height))
    ]
    left, top = starts
    right, bottom = min(left + side, width), min(top + side, height)

    # 2. Its pixels.
    zoom = TILE / max(right - left, bottom - top)
    size = max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom))
    whole = Image.fromarray(image.permute(1, 2, 0).numpy())
    tile = whole.resize(size, Image.Resampling.BICUBIC, (left, top, right, bottom))

    # 3. The boxes, each on a dark rim.
    pen = ImageDraw.Draw(tile)
    for box, ink, line in crop.boxes:
        x0, y0, x1, y1 = ((v - (left, top)[n % 2]) * zoom for n, v in enumerate(box))
        out = line if ink == "white" else 0  # an object around a box that is equal to its own
        ends = (min(x0, x1) - out, min(y0, y1) - out, max(x0, x1) + out, max(y0, y1) + out)
        pen.rectangle(ends, outline="black", width=line + 2)
        inner = (ends[0] + 1, ends[1] + 1, ends[2] - 1, ends[3] - 1)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            pen.rectangle(inner, outline=ink, width=line)
    return tile


def _fitting(text: str, font: Font) -> str:
    """As much of a text as there is room for below a tile."""
    while text and font.getlength(text) > TILE:
        text = f"{text[:-2]}…"
    return text


def _turned(
    picture: Image.Image,
    text: str,
    font: Font,
    place: tuple[int, int],
    ink: str,
    middle: bool = False,
) -> None:
    """Write upwards, from a place or around it."""
    left, top, right, bottom = (round(x) for x in font.getbbox(text, anchor="lt"))
    mask = Image.new("L", (right + 2, LETTERS + 6))
    ImageDraw.Draw(mask).text((0, 1), text, fill=255, font=font, anchor="lt")
    mask = mask.rotate(90, expand=True)
    x, y = place
    y -= mask.height // 2 if middle else mask.height
    picture.paste(Image.new("RGB", mask.size, ink), (x, y), mask)


def _blend(ink: str, share: float) -> str:
    """A color on white, as strong as a share from 0 to 1."""
    mixed = [round(255 + (c - 255) * share) for c in ImageColor.getrgb(ink)[:3]]
    return "#{:02x}{:02x}{:02x}".format(*mixed)

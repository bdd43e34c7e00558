"""Diagrams as SVG, drawn from data: the map of the pieces, and any spec's architecture.

Needs nothing but the package. A notebook shows what these functions return as a picture, and the
pieces on the map lead to their chapters. ``figures/draw.py`` writes architectures to files, for
the pages that are not notebooks.
"""

from html import escape

import torch
from jaxtyping import Float
from torch import Tensor, nn

from book.plot import INK, PALE, PAPER
from book.svg import Diagram, arrow, label, picture, rectangle
from ssd_lite.boxes import cxcywh_to_xyxy
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.drawing import PALETTE
from ssd_lite.model import SSD
from ssd_lite.spec import SSDSpec

# Colors of the page's two themes. The plots keep the light ground in both.
LIGHT = {"ink": INK, "gray": "#5f6d79", "pale": PALE, "paper": PAPER, "card": "#ffffff"}
LIGHT |= {"lit": PALETTE[0], "on lit": "#ffffff", "box": "#B84A00"}
DARK = {
    "ink": "#e6ebf0",
    "gray": "#a4b1bd",
    "pale": "#55626e",
    "paper": "#14181e",
    "card": "#1f262e",
}
DARK |= {"lit": "#56B4E9", "on lit": "#10202c", "box": "#FF9D5C"}

# Each piece on the map: its column, row and width in columns; its chapter; what is written there.
PIECES = {
    "data": (0, 0, 1, "09_data_and_augmentation", "Data"),
    "heads": (1, 0, 1, "07_multiscale_heads", "Network"),
    "nms": (2, 0, 1, "08_nms", "NMS"),
    "evaluation": (3, 0, 1, "10_evaluation", "Evaluation"),
    "default boxes": (0, 1, 1, "02_default_boxes", "Default boxes"),
    "matching": (1, 1, 1, "03_matching", "Matching"),
    "encoding": (2, 1, 1, "04_encoding", "Encoding"),
    "loss": (3, 1, 1, "05_multibox_loss", "Loss"),
    "boxes": (0, 2, 1, "01_detection_as_convolution", "Boxes, IoU"),
    "training": (1.5, 2, 2, "11_training", "Training: all of it, many times"),
    "mining": (3, 2, 1, "06_hard_negative_mining", "Mining"),
}
# What flows between them: a word, and the points (column, row) that its line passes through.
FLOWS = (
    ("", [(0, 0), (1, 0)]),
    ("", [(1, 0), (2, 0)]),
    ("", [(2, 0), (3, 0)]),
    ("", [(0, 2), (0, 1)]),
    ("", [(0, 1), (1, 1)]),
    ("", [(1, 1), (2, 1)]),
    ("", [(2, 1), (3, 1)]),
    ("", [(3, 2), (3, 1)]),
    ("objects", [(0, 0), (0, 0.5), (0.85, 0.5), (0.85, 1)]),
    ("predictions", [(1.15, 0), (1.15, 0.5), (3, 0.5), (3, 1)]),
)


# The map follows its page's theme, the book's or JupyterLab's, and is light in print.
NAMES = {name: f"--map-{name.replace(' ', '-')}" for name in LIGHT}
MAP_THEME = {name: f"var({variable})" for name, variable in NAMES.items()}
LIGHT_MAP, DARK_MAP = (
    "".join(f"{NAMES[name]}: {theme[name]}; " for name in NAMES) for theme in (LIGHT, DARK)
)
MAP_STYLE = f"""
.piece-map {{ {LIGHT_MAP} overflow-x: auto; }}
@media screen {{
  :is([data-theme="dark"], [data-jp-theme-light="false"]) .piece-map {{ {DARK_MAP} }}
}}
.piece-map div {{ position: relative; min-width: 36rem; max-width: 740px; margin: auto; }}
.piece-map svg {{ display: block; width: 100%; height: auto; }}
.piece-map a {{ position: absolute; border-radius: 8px; }}
.piece-map a:hover {{ outline: 3px solid var(--map-lit); outline-offset: -2px; }}
.piece-map a:focus-visible {{ outline: 3px solid var(--map-ink); outline-offset: -2px; }}
@media (max-width: 600px) {{
  .piece-map.from-right {{ direction: rtl; }}
  .piece-map div {{ direction: ltr; }}
}}
"""


class Navigation(str):
    """HTML source, which a notebook shows as a part of its page, with links that work."""

    def _repr_html_(self) -> str:
        return str(self)


def pipeline_map(lit: str | None = None, folder: str = "") -> Navigation:
    """Map of the pieces of SSD, one of them lit.

    It is the same everywhere but for the piece that is lit. Each piece leads to its chapter.

    Args:
        lit: one of :data:`PIECES`, such as "default boxes", or None for none.
        folder: where the chapters are, as seen from the page, such as "chapters/".
    """
    if lit is not None and lit not in PIECES:
        raise ValueError(f"lit: expected one of {', '.join(PIECES)}, got {lit!r}")
    theme, wide, high, half = MAP_THEME, 180, 92, (78, 27)
    across, down = 740, 260

    def at(column: float, row: float) -> tuple[float, float]:
        return 10 + wide / 2 + wide * column, 38 + high * row

    # The links lie over the drawing: JupyterLab can't follow those of an SVG.
    parts, links = [], []
    for word, points in FLOWS:
        *way, (x0, y0), (x1, y1) = [at(*point) for point in points]
        tip = (x1 - half[0], y1) if x1 > x0 else (x1, y1 - half[1] if y1 > y0 else y1 + half[1])
        parts.append(arrow([*way, (x0, y0), tip], theme))
        if word:
            (xa, ya), (xb, _) = (at(*point) for point in points[1:3])
            middle, room = (xa + xb) / 2, 5 * len(word) + 2
            parts.append(rectangle(middle - room, ya - 10, 2 * room, 20, theme["paper"]))
            parts.append(label(middle, ya + 5, word, theme["gray"], 15, "middle"))
    for name, (column, row, columns, page, word) in PIECES.items():
        fill, ink, small = ("lit", "on lit", "on lit") if name == lit else ("card", "ink", "gray")
        x, y = at(column, row)
        reach = half[0] + wide * (columns - 1) / 2
        edge = theme["lit" if name == lit else "pale"]
        left, top, width, height = x - reach, y - half[1], 2 * reach, 2 * half[1]
        chapter = str(int(page[:2]))
        parts.append(rectangle(left, top, width, height, theme[fill], edge, 8))
        parts.append(label(x, y + 8, word, theme[ink], 17, "middle", bold=name == lit))
        parts.append(label(left + 7, top + 15, chapter, theme[small], 12))
        here = ' aria-current="page"' if name == lit else ""
        place = f"left: {left / across:.2%}; top: {top / down:.2%}; "
        place += f"width: {width / across:.2%}; height: {height / down:.2%}"
        links.append(
            f'<a href="{folder}{page}.ipynb" aria-label="Chapter {chapter}: {escape(word)}"{here} '
            f'style="{place}"></a>'
        )
    svg = picture(across, down, parts, theme).strip().replace("<svg ", '<svg aria-hidden="true" ')
    # The map is wider than a phone: it begins at the end where its lit piece is.
    side = " from-right" if lit and PIECES[lit][0] >= 2 else ""
    head = f'<nav class="piece-map{side}" aria-label="Map of the pieces">'
    drawing = "\n".join([svg, *links])
    return Navigation(f"{head}\n<style>{MAP_STYLE}</style>\n<div>{drawing}</div>\n</nav>\n")


def architecture(spec: SSDSpec, dark: bool = False) -> Diagram:
    """A spec's network, from the picture down to its detections, one row for each map.

    Every map is drawn as the picture laid flat, under its own grid of cells, with the default
    boxes of one cell.
    """
    theme = DARK if dark else LIGHT
    with torch.device("meta"):  # only shapes are asked for
        model = SSD(spec, ["any class"])
    channels = [*model.base.channels, *(extra.channels for extra in spec.extras)]
    boxes = cxcywh_to_xyxy(make_default_boxes(spec))  # (A, 4)
    parts, y = [], 14
    parts += tile(y, 0, boxes[:0], theme)
    parts.append(label(TEXT, y + 32, "the picture", theme["ink"], 18, bold=True))
    parts.append(
        label(
            TEXT,
            y + 53,
            f"{spec.image_size} × {spec.image_size} pixels, 3 colors",
            theme["gray"],
            15,
        )
    )
    for name, way, n, shapes, depth, of_level in zip(
        map_names(model),
        layers(model),
        spec.maps,
        spec.boxes_per_cell,
        channels,
        boxes.split(spec.boxes_per_level),
    ):
        parts.append(arrow([(CENTER, y + TILE + 4), (CENTER, y + ROW - 4)], theme))
        parts.append(label(CENTER + 12, y + TILE + 25, way, theme["gray"], 14, halo=theme["paper"]))
        y += ROW
        cells = of_level.view(n, n, shapes, 4)  # (rows, columns, shapes, 4)
        parts += tile(y, n, cells[n // 2, n // 2], theme)
        parts.append(label(TEXT, y + 20, name, theme["ink"], 18, bold=True))
        parts.append(label(TEXT, y + 42, f"{n} × {n} cells, {depth} channels", theme["gray"], 15))
        parts.append(
            label(TEXT, y + 63, f"{shapes} boxes a cell: {len(of_level)}", theme["box"], 15)
        )
        parts.append(arrow([(END - 30, y + TILE / 2), (END, y + TILE / 2)], theme, tip=False))
    bottom = y + ROW
    parts.append(arrow([(END, 14 + ROW + TILE / 2), (END, bottom + 4)], theme))
    parts.append(label(END - 8, y + TILE + 20, "heads, 3 × 3", theme["gray"], 14, "end"))
    total = len(boxes)
    count = f"{total} default boxes, an answer for each:"
    answers = f"{total} × (C + 1) scores, {total} × 4 offsets; then NMS"
    parts.append(rectangle(10, bottom + 6, WIDTH - 20, 62, theme["lit"], radius=8))
    parts.append(label(WIDTH / 2, bottom + 32, count, theme["on lit"], 16, "middle", bold=True))
    parts.append(label(WIDTH / 2, bottom + 55, answers, theme["on lit"], 15, "middle"))
    title = f"Architecture of {spec.name}, with {total} default boxes"
    return picture(WIDTH, bottom + 78, parts, theme, title)


# Measures of the architecture's picture, in pixels.
WIDTH, ROW, TILE, SLANT = 560, 122, 74, 70  # a row's height, and a tile's height and slant
# Middle of the tiles, left edge of the words, the line that collects the answers.
CENTER, TEXT, END = 135, 285, 546


def tile(y: float, cells: int, boxes: Float[Tensor, "n 4"], theme: dict[str, str]) -> list[str]:
    """The picture laid flat: a grid of cells with its top edge at ``y``, and boxes on it.

    The boxes are xyxy, in fractions of the picture.
    """
    wide = 2 * (CENTER - 15) - SLANT

    def at(u: float, v: float) -> str:
        return f"{15 + u * wide + (1 - v) * SLANT:.1f},{y + v * TILE:.1f}"

    def outline(box: list[float]) -> str:
        left, top, right, bottom = box
        return " ".join([at(left, top), at(right, top), at(right, bottom), at(left, bottom)])

    ticks = [i / cells for i in range(1, cells)]
    lines = " ".join([f"M{at(t, 0)} L{at(t, 1)} M{at(0, t)} L{at(1, t)}" for t in ticks])
    parts = [
        f'<polygon points="{outline([0, 0, 1, 1])}" fill="{theme["card"]}" '
        f'stroke="{theme["ink"]}"/>'
    ]
    if lines:
        parts.append(
            f'<path d="{lines}" stroke="{theme["pale"]}" '
            f'stroke-width="{0.4 if cells > 15 else 0.9}"/>'
        )
    for box in boxes.tolist():
        parts.append(
            f'<polygon points="{outline(box)}" fill="none" '
            f'stroke="{theme["box"]}" stroke-width="1.6"/>'
        )
    return parts


def map_names(model: SSD) -> list[str]:
    """What the maps are called: in VGG16's case as in the paper."""
    extras = range(len(model.spec.extras))
    if model.spec.base == "vgg16":
        return ["conv4_3", "fc7", *(f"conv{8 + i}_2" for i in extras)]
    return ["stride 4", "stride 8", "stride 16", *(f"extra {1 + i}" for i in extras)]


def layers(model: SSD) -> list[str]:
    """What lies between one map and the next, in a few words, counted from the modules."""
    words = []
    for stage in model.base.children():
        convolutions = sum(isinstance(layer, nn.Conv2d) for layer in stage.modules())
        pools = sum(isinstance(layer, nn.MaxPool2d) for layer in stage.modules())
        if convolutions:  # and not the norm, which has none
            words.append(f"{convolutions} convolutions" + (f", {pools} poolings" if pools else ""))
    for squeezed, outputs, kernel, stride, _ in model.spec.extras:
        halving = f", stride {stride}" if stride > 1 else ""
        words.append(f"1 × 1 to {squeezed}, then {kernel} × {kernel} to {outputs}{halving}")
    return words

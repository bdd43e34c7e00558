"""Checks of chapter 2's exercises."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from book.checks import Check, same_as
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.spec import SSD300_COCO, SSD300_VOC, SSDSpec


def count() -> Check:
    return same_as(
        right=lambda maps, ratios: sum(n * n * (2 + 2 * len(r)) for n, r in zip(maps, ratios)),
        cases=[
            ((38, 19, 10, 5, 3, 1), ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))),
            ((2, 1), ((), (4,))),
        ],
        mistakes={
            "You counted cells. Each cell has a box for every shape.": lambda maps, ratios: sum(
                n * n for n in maps
            ),
            "A map of n has n × n cells.": lambda maps, ratios: sum(
                n * (2 + 2 * len(r)) for n, r in zip(maps, ratios)
            ),
            "A ratio of 2 stands for two boxes: 2 : 1 and 1 : 2.": lambda maps, ratios: sum(
                n * n * (2 + len(r)) for n, r in zip(maps, ratios)
            ),
            "Close. There are two squares at a cell, "
            "and a ratio of 2 stands for two boxes.": lambda maps, ratios: sum(
                n * n * (1 + len(r)) for n, r in zip(maps, ratios)
            ),
            "There are two squares at a cell: "
            "the level's own and the extra one.": lambda maps, ratios: sum(
                n * n * (1 + 2 * len(r)) for n, r in zip(maps, ratios)
            ),
        },
        praise="It's 8732 for SSD300.",
    )


def _address(number, by_shape=False, by_column=False, one_level=False):
    level = 0
    while not one_level and number >= (boxes := SSD300_VOC.boxes_per_level[level]):
        number, level = number - boxes, level + 1
    n, shapes = SSD300_VOC.maps[level], SSD300_VOC.boxes_per_cell[level]
    shape, cell = divmod(number, n * n) if by_shape else divmod(number, shapes)[::-1]
    row, column = divmod(cell, n)[:: -1 if by_column else 1]
    return level, row, column, shape


def address() -> Check:
    return same_as(
        right=_address,
        cases=[(number,) for number in (0, 5, 151, 152, 5775, 5776, 7000, 8731)],
        mistakes={
            "Levels are counted from 0.": lambda number: (
                _address(number)[0] + 1,
                *_address(number)[1:],
            ),
            "Four numbers are wanted: the level comes first.": lambda number: _address(number)[1:],
            "Right on the first level only. Take off the boxes of the levels before.": (
                lambda number: _address(number, one_level=True)
            ),
            "Row and column are swapped: the next cell is the one to the right.": (
                lambda number: _address(number, by_column=True)
            ),
            "You go through all cells for each shape. The order is all shapes at each cell.": (
                lambda number: _address(number, by_shape=True)
            ),
        },
        praise="Number 7000 is (level, row, column, shape) "
        f"{_address(7000)}, and `make_default_boxes(SSD300_VOC)[7000]` stands there.",
    )


def _centers(rows, columns, step, height, width, half=0.5, order="ij"):
    y, x = (
        (torch.arange(rows) + half) * step / height,
        (torch.arange(columns) + half) * step / width,
    )
    cy, cx = torch.meshgrid(y, x, indexing=order)
    return torch.stack([cx, cy], dim=-1).view(-1, 2)


def centers() -> Check:
    return same_as(
        right=_centers,
        cases=[(2, 3, 8, 16, 24), (30, 40, 16, 480, 640), (8, 10, 64, 480, 640)],
        mistakes={
            "Half a step is missing: a center is in the middle of its cell.": lambda *a: _centers(
                *a, half=0
            ),
            "These are (cy, cx). The book's boxes begin with cx.": lambda *a: _centers(*a).flip(1),
            "The order is column by column. Go along a row first.": lambda *a: _centers(
                *a, order="xy"
            ),
            "Both are divided by the width. cy is a fraction of the height.": (
                lambda r, c, s, h, w: _centers(r, c, s, w, w)
            ),
            "These are pixels. Divide by the picture's width and height.": (
                lambda r, c, s, h, w: _centers(r, c, s, h, w) * torch.tensor([w, h])
            ),
            "The cells fill the picture evenly, "
            "but the step says how far apart they are.": lambda r, c, s, h, w: _centers(
                r, c, 1, r, c
            ),
        },
        praise="On a square map, swapped axes raise no error and look plausible, "
        "which is why such mistakes live long.",
    )


def smallest_side() -> Check:
    return same_as(
        right=lambda step, threshold: step / 2 / (1 - (2 * threshold / (1 + threshold)) ** 0.5),
        cases=[(8, 0.5), (16, 0.5), (8, 0.7), (100, 0.3)],
        mistakes={
            "You moved the object along one axis. "
            "The worst place is off in both.": lambda step, threshold: (
                step / 2 * (1 + threshold) / (1 - threshold)
            ),
            "You moved it by a whole step. "
            "Beyond half a step another center is nearer.": lambda step, threshold: (
                step / (1 - (2 * threshold / (1 + threshold)) ** 0.5)
            ),
            "You divided what they share by one box's area. "
            "IoU divides by the union.": lambda step, threshold: step / 2 / (1 - threshold**0.5),
            "This is right for a threshold of 0.5 only.": lambda step, threshold: (
                step / 2 / (1 - (2 / 3) ** 0.5)
            ),
        },
        praise="A stricter threshold needs larger boxes, or denser ones.",
    )


def _random_objects() -> tuple[Float[Tensor, "1000 4"], Float[Tensor, "1000"]]:
    """Objects with sides from 5 % to 90 % of the picture, at most 2 : 1 or 1 : 2, and the sides."""
    random = torch.Generator().manual_seed(1)
    side = 0.05 * 18 ** torch.rand(1000, generator=random)  # (1000,)
    root = 2 ** (torch.rand(1000, generator=random) - 0.5)  # (1000,): of the aspect ratio
    size = torch.stack([side * root, side / root], dim=1).clamp(max=1)  # (1000, 2)
    center = size / 2 + torch.rand(1000, 2, generator=random) * (1 - size)
    return cxcywh_to_xyxy(torch.cat([center, size], dim=1)), side


def _cause(spec: SSDSpec) -> str:
    """What may be wrong with a layout that loses larger objects."""
    gap = max(b / a for a, b in zip(spec.sizes, spec.sizes[1:]))
    in_steps = min(size / step for size, step in zip(spec.sizes[:4], spec.steps))
    if gap > 2.2:
        return f"One of your sizes is {gap:.1f} times the one before it."
    if in_steps < 2.2:
        return f"One of the first four sizes is only {in_steps:.1f} steps of its own map."
    return "Did you take away the extra square, or shapes that fill the gaps?"


def judge_spec(spec: SSDSpec) -> str:
    boxes = make_default_boxes(spec)
    if len(boxes) > 8000:
        return (
            f"That's too many boxes: {len(boxes)}. "
            "Which shapes did the table of layouts show to buy next to nothing?"
        )
    objects, side = _random_objects()
    missed = iou(objects, cxcywh_to_xyxy(boxes)).amax(dim=1) < 0.5  # (1000,)
    small = side < 0.1
    others = 1 - missed[~small].float().mean()
    if others < 0.995:
        lost = 300 * side[missed & ~small]  # in pixels
        return (
            f"You pay with larger objects: {others:.2%} of them are reached, and those lost have "
            f"sides from {lost.min():.0f} to {lost.max():.0f} px. {_cause(spec)}"
        )
    if (share := 1 - missed[small].float().mean()) < 0.95:
        return (
            f"The large ones are all right, but of the small ones you reach {share:.1%}. "
            "Look at your smallest size."
        )
    return ""


def my_spec() -> Check:
    return Check(
        judge_spec,
        mistakes={
            "That's too many boxes": SSD300_COCO,
            "The large ones are all right, but": replace(SSD300_VOC, ratios=((2,),) * 6),
            "You pay with larger objects": replace(
                SSD300_VOC, sizes=(15, *SSD300_VOC.sizes[1:]), ratios=((2,),) * 6
            ),
        },
        praise="Small objects reached, large ones kept, and fewer boxes than the reference.",
    )

"""Checks of chapter 4's exercises."""

import math

import torch

from book.checks import Check, same_as
from ssd_lite.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh


def _offsets_of(box, default, units=(0.1, 0.2), corner=False, own=False, log=math.log):
    (x0, y0, x1, y1), (dx, dy, dw, dh) = box, default
    x, y, w, h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    if corner:
        x, y = x0, y0
    by_w, by_h = (w, h) if own else (dw, dh)
    moves = [(x - dx) / by_w / units[0], (y - dy) / by_h / units[0]]
    return moves + [log(w / dw) / units[1], log(h / dh) / units[1]]


def offsets_of() -> Check:
    return same_as(
        right=_offsets_of,
        cases=[
            ((4, 8, 14, 12), (12, 12, 8, 8)),
            ((4, 6, 12, 12), (8, 8, 8, 8)),
            ((1, 2, 4, 9), (3, 3, 5, 2)),
        ],
        mistakes={
            "These are the raw offsets. Divide by the units, 0.1 and 0.2.": lambda b, d: (
                _offsets_of(b, d, units=(1, 1))
            ),
            "The units are swapped: 0.1 is for the center, 0.2 for the size.": lambda b, d: (
                _offsets_of(b, d, (0.2, 0.1))
            ),
            "You multiplied by the units. "
            "Counted in tenths, a number becomes larger.": lambda b, d: _offsets_of(b, d, (10, 5)),
            "`box` has corners. Work out its center and size first.": lambda b, d: _offsets_of(
                cxcywh_to_xyxy(torch.tensor(b, dtype=torch.float64)).tolist(), d
            ),
            "You took the top left corner. The move goes from center to center.": lambda b, d: (
                _offsets_of(b, d, corner=True)
            ),
            "You divided the move by the object's size. "
            "The network knows only its default box's.": lambda b, d: _offsets_of(b, d, own=True),
            "The moves are right. The logarithm has a unit, too: divide it by 0.2.": lambda b, d: (
                _offsets_of(b, d, (0.1, 1))
            ),
            "That is the logarithm to base 10. "
            "SSD takes the natural one, `math.log`.": lambda b, d: _offsets_of(
                b, d, log=math.log10
            ),
            "All signs are reversed. Go from the default box to the object.": lambda b, d: [
                -v for v in _offsets_of(b, d)
            ],
            "The factors are there, but not their logarithms.": lambda b, d: _offsets_of(
                b, d, log=lambda v: v
            ),
            "That is the growth less 1. Near 1 it looks like the logarithm, "
            "but halving and doubling are not opposite.": lambda b, d: _offsets_of(
                b, d, log=lambda v: v - 1
            ),
        },
        praise="The first of the cases is the car.",
    )


def _boxes_of(t, d, units=(0.1, 0.2), corners=True, exp=torch.exp, in_widths=True):
    center = d[:, :2] + units[0] * t[:, :2] * (d[:, 2:] if in_widths else 1)
    boxes = torch.cat([center, d[:, 2:] * exp(units[1] * t[:, 2:])], dim=1)
    return cxcywh_to_xyxy(boxes) if corners else boxes


def boxes_of() -> Check:
    t = torch.tensor([[-3.75, -2.5, 1.1157, -3.4657], [0, 1.25, 0, -1.4384], [1, 1, 1, 1]])
    d = torch.tensor([[0.75, 0.75, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.2, 0.4, 0.1, 0.3]])
    return same_as(
        right=_boxes_of,
        cases=[(t, d), (torch.zeros(2, 4), d[:2]), (2 * t.flip(0), d)],
        mistakes={
            "These are centers and sizes. Corners are asked for.": lambda t, d: _boxes_of(
                t, d, corners=False
            ),
            "The units are missing: an offset of 1 is a tenth of a width.": lambda t, d: _boxes_of(
                t, d, (1, 1)
            ),
            "You divided by the units. That is what encoding did; undo it.": lambda t, d: _boxes_of(
                t, d, (10, 5)
            ),
            "The move is counted in the default box's width and height, "
            "not in pictures.": lambda t, d: _boxes_of(t, d, in_widths=False),
            "That is a logarithm, not yet a factor. `exp` makes it one.": lambda t, d: _boxes_of(
                t, d, exp=lambda v: v
            ),
            "You went a whole width to either side of the center. Half is enough.": lambda t, d: (
                2 * _boxes_of(t, d) - xyxy_to_cxcywh(_boxes_of(t, d))[:, :2].repeat(1, 2)
            ),
            "You multiplied the move by the new size. "
            "It is counted in the default box's.": lambda t, d: _boxes_of(
                torch.cat([t[:, :2] * torch.exp(0.2 * t[:, 2:]), t[:, 2:]], dim=1), d
            ),
            "The size is 1 plus the logarithm. "
            "That is near, but a large shrinking would turn the box inside out.": lambda t, d: (
                _boxes_of(t, d, exp=lambda v: 1 + v)
            ),
        },
        praise="Zeros give back the default boxes, which is the first thing to try with any "
        "decoder.",
    )


def mirrored() -> Check:
    signs = torch.tensor
    return same_as(
        right=lambda t: t * signs([-1.0, 1, 1, 1]),
        cases=[
            (torch.tensor([[-3.75, -2.5, 1.12, -3.47]]),),
            (torch.arange(1.0, 9).view(2, 4),),
            (torch.zeros(1, 4),),
        ],
        mistakes={
            "Nothing has changed, but an object to the left of its box "
            "is now to the right of it.": lambda t: t,
            "All signs are reversed. Does a box in the mirror shrink where it grew?": lambda t: -t,
            "The width keeps its sign: a wide object stays wide in the mirror.": lambda t: (
                t * signs([-1.0, 1, -1, 1])
            ),
            "That is how a *position* is mirrored, 1 − x. An offset counts from the box.": (
                lambda t: torch.cat([1 - t[:, :1], t[:, 1:]], dim=1)
            ),
            "That mirrors top to bottom.": lambda t: t * signs([1.0, -1, 1, 1]),
        },
        praise="A good code changes little when the world does.",
    )


def _units_for(raw, how=torch.std):
    return how(raw[:, :2]).item(), how(raw[:, 2:]).item()


def _some_raw(seed, center, size):
    noise = torch.randn(4000, 4, generator=torch.Generator().manual_seed(seed))
    return noise * torch.tensor([center, center, size, size])


def units_for() -> Check:
    return same_as(
        right=_units_for,
        cases=[(_some_raw(0, 0.14, 0.26),), (_some_raw(1, 0.3, 0.1),), (_some_raw(2, 2.0, 3.0),)],
        mistakes={
            "These are variances, in the sense of statistics. "
            "Dividing by them does not make the spread 1.": lambda raw: _units_for(raw, torch.var),
            "These are weights, to multiply by. Units are what you divide by.": lambda raw: (
                _units_for(raw, lambda v: 1 / v.std())
            ),
            "That is the mean distance from 0, "
            "which is smaller than the standard deviation.": lambda raw: _units_for(
                raw, lambda v: v.abs().mean()
            ),
            "Size first? The center's unit comes first.": lambda raw: _units_for(raw)[::-1],
            "That is one unit for everything. Each of the two kinds needs its own.": lambda raw: (
                (raw.std().item(),) * 2
            ),
        },
        praise="So if anybody asks: SSD's variances are standard deviations.",
        tolerance=1e-3,
    )


def _sides(boxes, d, log=torch.log, half=0.5, order=(0, 1, 2, 3)):
    near = (d[:, :2] - boxes[:, :2]) / (half * d[:, 2:])
    far = (boxes[:, 2:] - d[:, :2]) / (half * d[:, 2:])
    return log(torch.cat([near, far], dim=1))[:, list(order)]


def _side_to_side(boxes, d):
    return (boxes - cxcywh_to_xyxy(d)) / (0.5 * d[:, 2:]).repeat(1, 2)


def sides() -> Check:
    d = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.3, 0.4, 0.2, 0.4]])
    b = torch.tensor([[0.25, 0.375, 0.75, 0.75], [0.25, 0.35, 0.6, 0.9]])
    return same_as(
        right=_sides,
        cases=[(b, d), (cxcywh_to_xyxy(d), d)],
        mistakes={
            "The logarithm is missing: the box itself must have 0, 0, 0, 0.": lambda b, d: _sides(
                b, d, log=lambda v: v
            ),
            "You measured in whole widths. "
            "The center is half a width from its own side.": lambda b, d: _sides(b, d, half=1),
            "You measured in half the object's width and height. "
            "Take the default box's.": lambda b, d: (
                _sides(b, d) - torch.log((b[:, 2:] - b[:, :2]) / d[:, 2:]).repeat(1, 2)
            ),
            "These are distances in pictures. "
            "Measure them in half the default box's width and height.": lambda b, d: (
                _sides(b, d) + torch.log(d[:, 2:] / 2).repeat(1, 2)
            ),
            "The order is left, top, right, bottom.": lambda b, d: _sides(b, d, order=(0, 2, 1, 3)),
            "That goes from side to side. Measure from the default box's center.": _side_to_side,
        },
        praise="On the scenes that the solution tries, all four spread wider than SSD's sizes.",
    )

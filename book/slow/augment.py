"""Chapter 9. A box through a window, a view cut out by slicing, and crops trial by trial."""

import math

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssd_lite.augment import MIN_OVERLAPS, TRIALS

Box = list[float]  # left, top, right, bottom; a window is one too


def through(window: Box, box: Box, squares: int = 16) -> Box:
    """A box, seen through a window; what is seen is 16 squares wide and high."""
    left, top, right, bottom = window
    width, height = right - left, bottom - top
    origin, side = (left, top, left, top), (width, height, width, height)
    return [squares * (p - o) / s for p, o, s in zip(box, origin, side)]


def overlap(a: Box, b: Box) -> float:
    """IoU of two boxes."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (both - shared)


def one_trial(window: Box, numbers: list[float]) -> Box:
    """A random crop inside a window, from four uniform numbers."""
    for_scale, for_ratio, for_x, for_y = numbers
    scale = 0.3 + 0.7 * for_scale
    low, high = max(1 / 2, scale**2), min(2, 1 / scale**2)  # wider or taller would not fit
    root = math.sqrt(low + (high - low) * for_ratio)
    wide, tall = scale * root, scale / root
    x, y = (1 - wide) * for_x, (1 - tall) * for_y  # wherever it fits
    left, top, side = window[0], window[1], (window[2] - window[0], window[3] - window[1])
    x0, x1 = (left + v * side[0] for v in (x, x + wide))
    y0, y1 = (top + v * side[1] for v in (y, y + tall))
    return [x0, y0, x1, y1]


def first_of_each_kind(
    window: Box, objects: list[Box], uniforms: Float[Tensor, " crop"]
) -> list[tuple[Box, int] | None]:
    """For each kind the first trial that will do, and its number; None if all fail."""
    firsts: list[tuple[Box, int] | None] = []
    for least, trials in zip(MIN_OVERLAPS, uniforms.view(-1, TRIALS, 4).tolist()):
        firsts.append(None)
        for number, numbers in enumerate(trials, start=1):
            trial = one_trial(window, numbers)
            if objects and max(overlap(trial, box) for box in objects) >= least:
                firsts[-1] = trial, number
                break
    return firsts


def slow_crop(
    window: Box, objects: list[Box], uniforms: Float[Tensor, " crop"], choice: float
) -> Box:
    """The whole window, or the first crop of some kind: one of them, drawn at random."""
    firsts = first_of_each_kind(window, objects, uniforms)
    candidates = [window, *(first[0] for first in firsts if first)]
    return candidates[int(choice * len(candidates))]


def slow_view(
    image: Float[Tensor, "3 H W"],
    boxes: Float[Tensor, "G 4"],
    labels: Int[Tensor, " G"],
    window: list[int],  # in whole pixels
    mirrored: Bool[Tensor, ""],
    mean: Float[Tensor, "3 1 1"],
) -> tuple[Float[Tensor, "3 h w"], list[Box], list[int]]:
    """What a window shows: paste the picture on a ground, slice, and go through the boxes."""
    height, width = image.shape[1:]
    left, top, right, bottom = window
    view = mean.expand(3, bottom - top, right - left).clone()
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    view[:, y0 - top : y1 - top, x0 - left : x1 - left] = image[:, y0:y1, x0:x1]
    moved, kept = [], []
    for (a, b, c, d), label in zip(boxes.tolist(), labels.tolist()):
        a, b, c, d = a * width - left, b * height - top, c * width - left, d * height - top
        in_view = 0 <= (a + c) / 2 <= right - left and 0 <= (b + d) / 2 <= bottom - top
        box = a / (right - left), b / (bottom - top), c / (right - left), d / (bottom - top)
        a, b, c, d = (min(max(v, 0), 1) for v in box)
        if mirrored:
            a, c = 1 - c, 1 - a
        moved.append([a, b, c, d] if label and in_view else [0, 0, 0, 0])
        kept.append(label if in_view else 0)
    return (view.flip(2) if mirrored else view), moved, kept

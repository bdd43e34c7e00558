"""Chapter 2, second half. The default boxes that follow from a specification."""

import torch
from jaxtyping import Float
from torch import Tensor

from ssd_lite.spec import SSDSpec


def sizes_by_rule(image_size: int, first: int, low: int, high: int, levels: int) -> tuple[int, ...]:
    """Sizes as the authors' code computes them, in whole pixels.

    ``first``, ``low`` and ``high`` are in percent of the image. Level 0 stands apart (``first``).
    The others start at ``low`` and climb to ``high`` in steps of whole percent, floored, so that
    the last need not reach it. One more step closes the list. The authors' layer drops fractions
    of a pixel. Paper: section 2.2, eq. 4 with m = levels - 1, because level 0 takes no part; the
    equation does not floor.
    """
    step = (high - low) // (levels - 2)
    percents = [first] + [low + k * step for k in range(levels)]
    return tuple(image_size * percent // 100 for percent in percents)


def cell_centers(map_size: int, step: float, image_size: int) -> Float[Tensor, "cells 2"]:
    """Centers (cx, cy) of a level's cells, row by row, in [0, 1].

    Cell i is centered at (i + 0.5) · step pixels. The steps of the authors' code are rounded, so
    the last center may lie outside the image.
    """
    ticks = (torch.arange(map_size, dtype=torch.float64) + 0.5) * step / image_size  # (map_size,)
    cy, cx = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([cx, cy], dim=-1).view(-1, 2)  # (map_size², 2)


def box_shapes(spec: SSDSpec, level: int) -> Float[Tensor, "shapes 2"]:
    """Widths and heights of the default boxes at one cell, in fractions of the image."""
    size, next_size = spec.sizes[level], spec.sizes[level + 1]
    shapes = [(size, size)]
    if spec.extra_square:
        side = (size * next_size) ** 0.5
        shapes += [(side, side)]
    for ratio in spec.ratios[level]:
        long, short = size * ratio**0.5, size / ratio**0.5
        shapes += [(long, short), (short, long)]
    shapes = torch.tensor(shapes, dtype=torch.float64) / spec.image_size  # (shapes, 2)
    return shapes.clamp(max=1) if spec.clip_sizes else shapes


def make_default_boxes(spec: SSDSpec) -> Float[Tensor, "A 4"]:
    """All default boxes of a spec, cxcywh in fractions of the image.

    The order is the order of the network's outputs: level by level; in a level row by row, cell
    by cell; in a cell the square, the extra square, then each ratio and its reciprocal. Paper:
    section 2.2, "Choosing scales and aspect ratios for default boxes".
    """
    levels = []
    for level, (map_size, step) in enumerate(zip(spec.maps, spec.steps)):
        centers = cell_centers(map_size, step, spec.image_size)  # (cells, 2)
        shapes = box_shapes(spec, level)  # (shapes, 2)
        grid = (len(centers), len(shapes), 2)
        pairs = [centers[:, None].expand(grid), shapes[None].expand(grid)]
        levels += [torch.cat(pairs, dim=-1).view(-1, 4)]
    return torch.cat(levels).float()  # (A, 4)

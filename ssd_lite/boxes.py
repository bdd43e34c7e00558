"""Chapter 1. Box formats, area and intersection over union (IoU)."""

import torch
from jaxtyping import Float
from torch import Tensor


def cxcywh_to_xyxy(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Center, width and height to left, top, right and bottom; any unit."""
    center, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def xyxy_to_cxcywh(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
    """Left, top, right and bottom to center, width and height; any unit."""
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(top_left + bottom_right) / 2, bottom_right - top_left], dim=-1)


def area(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """Area of xyxy boxes. A box with reversed corners holds nothing: its area is 0."""
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return width * height


def intersection(a: Float[Tensor, "*b n 4"], b: Float[Tensor, "*b m 4"]) -> Float[Tensor, "*b n m"]:
    """Area that every box of ``a`` shares with every box of ``b``, both xyxy."""
    ax0, ay0, ax1, ay1 = a[..., :, None, :].unbind(-1)  # (*B, N, 1) each
    bx0, by0, bx1, by1 = b[..., None, :, :].unbind(-1)  # (*B, 1, M) each
    width = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp(min=0)  # (*B, N, M)
    height = (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp(min=0)
    return width * height  # (*B, N, M)


def iou(a: Float[Tensor, "*b n 4"], b: Float[Tensor, "*b m 4"]) -> Float[Tensor, "*b n m"]:
    """Intersection over union of every pair of xyxy boxes, in [0, 1].

    Two boxes without area have IoU 0, not 0/0. The paper (section 2.2) calls it Jaccard overlap.
    """
    shared = intersection(a, b)  # (*B, N, M)
    union = area(a)[..., :, None] + area(b)[..., None, :] - shared
    return torch.where(union > 0, shared / union, 0)


def paired_iou(a: Float[Tensor, "*n 4"], b: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n"]:
    """IoU of each box of ``a`` with the box of ``b`` in the same place, both xyxy."""
    return iou(a[..., None, :], b[..., None, :])[..., 0, 0]


def check_boxes(boxes: Tensor, name: str = "boxes") -> None:
    """Raise ``ValueError`` unless ``boxes`` are real xyxy boxes.

    That is: shape (..., 4), finite, corners in order. Reads the values, so on a GPU it waits for
    them: call it where data comes in, not in a training step.
    """
    if boxes.shape[-1:] != (4,) or not boxes.is_floating_point():
        given = f"{boxes.dtype} of shape {tuple(boxes.shape)}"
        raise ValueError(f"{name}: expected floats of shape (..., 4), got {given}")
    width, height = (boxes[..., 2:] - boxes[..., :2]).unbind(-1)
    good = (width > 0) & (height > 0) & boxes.isfinite().all(dim=-1)  # NaN > 0 is False
    bad = ~good
    if bad.any():
        first = boxes[bad][0].tolist()
        raise ValueError(
            f"{name}: {int(bad.sum())} of {bad.numel()} boxes have no area or are not finite; "
            f"the first is {first}. Expected x0 < x1 and y0 < y1: drop such boxes, or swap their "
            "corners"
        )

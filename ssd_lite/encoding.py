"""Chapter 4. Encoding: a box as four offsets from its default box, and back."""

import torch
from jaxtyping import Float
from torch import Tensor

from ssd_lite.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh


def encode(
    boxes: Float[Tensor, "*b A 4"],
    default_boxes: Float[Tensor, "A 4"],
    variances: tuple[float, float] = (0.1, 0.2),
) -> Float[Tensor, "*b A 4"]:
    """Offsets from each default box to its target box. Paper: section 2.2, eq. 2.

    The center moves in units of the default box's width and height, the size changes by a
    factor whose logarithm is the offset; ``variances`` divide both, so that typical offsets are
    near 1. A box without area has no logarithm: -inf.

    Args:
        boxes: xyxy, one for each default box, same unit as the default boxes.
        default_boxes: cxcywh.
        variances: units of the center's and of the size's offsets.
    """
    boxes = xyxy_to_cxcywh(boxes)  # (*B, A, 4)
    center, size = default_boxes.split(2, dim=1)  # (A, 2) each
    move = (boxes[..., :2] - center) / size / variances[0]  # (*B, A, 2)
    growth = torch.log(boxes[..., 2:] / size) / variances[1]  # (*B, A, 2)
    return torch.cat([move, growth], dim=-1)


def decode(
    offsets: Float[Tensor, "*b A 4"],
    default_boxes: Float[Tensor, "A 4"],
    variances: tuple[float, float] = (0.1, 0.2),
    max_log_size: float = float("inf"),
) -> Float[Tensor, "*b A 4"]:
    """Boxes (xyxy) that offsets stand for: the inverse of :func:`encode`.

    Boxes may reach beyond the image. ``max_log_size`` caps the logarithm of the growth, as
    torchvision does; the reference does not.
    """
    center, size = default_boxes.split(2, dim=1)  # (A, 2) each
    center = center + offsets[..., :2] * variances[0] * size  # (*B, A, 2)
    log_growth = (offsets[..., 2:] * variances[1]).clamp(max=max_log_size)
    return cxcywh_to_xyxy(torch.cat([center, size * log_growth.exp()], dim=-1))  # (*B, A, 4)

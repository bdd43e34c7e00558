"""Chapter 9. Windows: boxes and pixels, seen through the same four numbers.

A window is the part of a picture that will be seen: xyxy in fractions of the picture, beyond 0..1
where it reaches outside. Boxes go through it forward, pixels are fetched through it backward.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

SHRUNK = (2, 4, 8, 16)  # pictures shrunk by so much serve windows that zoom out as far


def identity_window(boxes: Float[Tensor, "B G 4"]) -> Float[Tensor, "B 4"]:
    """Windows that show each picture as it is."""
    corner = boxes.new_zeros(len(boxes), 2)
    return torch.cat([corner, corner + 1], dim=1)


def compose_windows(
    outer: Float[Tensor, "*b 4"], inner: Float[Tensor, "*c 4"]
) -> Float[Tensor, "*d 4"]:
    """A box given in fractions of another, in the other's own units."""
    origin, side = outer[..., :2], outer[..., 2:] - outer[..., :2]
    return torch.cat([origin + inner[..., :2] * side, origin + inner[..., 2:] * side], dim=-1)


def boxes_in_window(
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    window: Float[Tensor, "B 4"],
    mirrored: Bool[Tensor, "B 1"],
) -> tuple[Float[Tensor, "B G 4"], Int[Tensor, "B G"]]:
    """Boxes in fractions of a window, cut at its edge; gone if their center is outside."""
    top_left, bottom_right = window[:, None].split(2, dim=2)  # (B, 1, 2) each
    origin, side = top_left.repeat(1, 1, 2), (bottom_right - top_left).repeat(1, 1, 2)
    boxes = (boxes - origin) / side  # (B, G, 4)
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    seen = ((center >= 0) & (center <= 1)).all(dim=2) & (labels > 0)  # (B, G)
    left, top, right, bottom = boxes.unbind(2)  # (B, G) each
    flipped = torch.stack([1 - right, top, 1 - left, bottom], dim=2)  # (B, G, 4)
    boxes = torch.where(mirrored[:, :, None], flipped, boxes)
    return torch.where(seen[:, :, None], boxes.clamp(0, 1), 0), torch.where(seen, labels, 0)


def sample_windows(
    images: Float[Tensor, "B 3 H W"],
    window: Float[Tensor, "B 4"],
    mirrored: Bool[Tensor, "B 1"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
    sizes: Int[Tensor, "B 2"] | None = None,
) -> Float[Tensor, "B 3 size size"]:
    """What each window shows, warped to ``size`` × ``size``.

    Crop, expand, resize and mirror in a single sampling. A window that shows much of a picture in
    few pixels samples a shrunk copy, or thin lines would flicker: the smallest that still has a
    pixel for each of the window's. Arguments as for
    :func:`~ssd_lite.augment.augment_batch`.
    """
    # The zeros outside a picture become the mean.
    images, window = on_canvas(images - mean, window, sizes)
    grid = window_grid(window, mirrored, size)  # (B, size, size, 2)
    result = F.grid_sample(images, grid, align_corners=False)
    zoom = zoom_out(images, window, size)[:, None, None, None]  # (B, 1, 1, 1)
    for shrink in SHRUNK:
        images = F.avg_pool2d(images, 2)  # by 2 once more
        smaller = F.grid_sample(images, grid, align_corners=False)
        result = torch.where(zoom >= shrink, smaller, result)
    return result + mean


def on_canvas(
    images: Float[Tensor, "B 3 H W"],
    window: Float[Tensor, "B 4"],
    sizes: Int[Tensor, "B 2"] | None = None,
) -> tuple[Float[Tensor, "B 3 H2 W2"], Float[Tensor, "B 4"]]:
    """Pictures of many sizes on canvases of one, zero around them, and windows in its fractions.

    The canvas can be halved as often as :data:`SHRUNK` asks for, without a remainder.
    """
    height, width = images.shape[2:]
    if sizes is not None:
        row = torch.arange(height, device=images.device) < sizes[:, :1]  # (B, H)
        column = torch.arange(width, device=images.device) < sizes[:, 1:]  # (B, W)
        images = images * (row[:, :, None] & column[:, None])[:, None]
    wider, higher = -width % SHRUNK[-1], -height % SHRUNK[-1]
    if wider or higher:
        images = F.pad(images, (0, wider, 0, higher))  # (B, 3, H2, W2)
    high, wide = (height, width) if sizes is None else sizes.unbind(1)
    left, top, right, bottom = window.unbind(1)  # (B,) each
    x, y = wide / images.shape[3], high / images.shape[2]  # the picture, as a share of its canvas
    return images, torch.stack([left * x, top * y, right * x, bottom * y], dim=1)


def window_grid(
    window: Float[Tensor, "B 4"], mirrored: Bool[Tensor, "B 1"], size: int
) -> Float[Tensor, "B size size 2"]:
    """Where a picture is looked at for each pixel of its window, in ``grid_sample``'s -1..1."""
    ticks = (torch.arange(size, device=window.device) + 0.5) / size  # (S,)
    along_x = torch.where(mirrored, 1 - ticks, ticks)  # (B, S)
    left, top, right, bottom = window.split(1, dim=1)  # (B, 1) each, in fractions of the picture
    x = left + along_x * (right - left)  # (B, S)
    y = top + ticks * (bottom - top)
    x, y = x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)
    return torch.stack([x, y], dim=-1) * 2 - 1


def zoom_out(
    images: Float[Tensor, "B 3 H W"], window: Float[Tensor, "B 4"], size: int
) -> Float[Tensor, " B"]:
    """How many of a picture's pixels fall on one of its window's, along the denser side."""
    width, height = (window[:, 2:] - window[:, :2]).unbind(1)  # (B,) each
    return torch.maximum(width * images.shape[3], height * images.shape[2]) / size

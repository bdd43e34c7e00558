"""Appendix F. Augmentation that stays in a CPU's cache: the same pictures, sooner."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ssd_lite import augment

CHUNK_ELEMENTS = 2**20  # of the pictures that a CPU works on at once: what its cache holds


def augment_batch(
    images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B uniforms"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
    parts: Collection[str] = augment.PARTS,
) -> tuple[Float[Tensor, "B 3 size size"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]]:
    """:func:`ssd_lite.augment.augment_batch`, a few pictures at a time on a CPU."""
    if images.device.type != "cpu":
        return augment.augment_batch(images, boxes, labels, uniforms, mean, size, parts)
    count = max(1, CHUNK_ELEMENTS // max(images[:1].numel(), 1))
    chunks = zip(*(x.split(count) for x in (images, boxes, labels, uniforms)))
    done = [augment.augment_batch(*chunk, mean, size, parts, sample_windows) for chunk in chunks]
    return tuple(map(torch.cat, zip(*done))) if len(done) > 1 else done[0]


def sample_windows(
    images: Float[Tensor, "B 3 H W"],
    window: Float[Tensor, "B 4"],
    mirrored: Bool[Tensor, "B 1"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
) -> Float[Tensor, "B 3 size size"]:
    """:func:`ssd_lite.augment.sample_windows`, shrinking only the pictures that need it.

    To know which these are would synchronize a GPU.
    """
    images = images - mean
    grid = augment.window_grid(window, mirrored, size)  # (B, size, size, 2)
    result = F.grid_sample(images, grid, align_corners=False)
    zoom = augment.zoom_out(images, window, size)  # (B,)
    for shrink, beyond in augment.SHRUNK:
        far = zoom > beyond
        smaller = F.avg_pool2d(images[far], shrink)
        result[far] = F.grid_sample(smaller, grid[far], align_corners=False)
    return result + mean

"""Appendix F. Augmentation that stays in a CPU's cache: the same pictures, sooner."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ssd_lite import augment, windows
from ssd_lite.photometric import distortions, shift_color

CHUNK_ELEMENTS = 2**20  # of the pictures that a CPU works on at once: what its cache holds


def augment_batch(
    images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B uniforms"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
    parts: Collection[str] = augment.PARTS,
    sizes: Int[Tensor, "B 2"] | None = None,
) -> tuple[Float[Tensor, "B 3 size size"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]]:
    """:func:`ssd_lite.augment.augment_batch`, a few pictures at a time on a CPU.

    Nothing is done to what no window shows.
    """
    if images.device.type != "cpu":
        return augment.augment_batch(images, boxes, labels, uniforms, mean, size, parts, sizes)
    if sizes is None:
        sizes = torch.tensor([images.shape[2:]]).expand(len(images), 2)
    window, mirrored = augment.draw_windows(boxes, labels, uniforms, parts)
    tape = augment.cut_tape(uniforms)["distort"]

    count = max(1, CHUNK_ELEMENTS // max(images[:1].numel(), 1))
    views = [images.new_zeros(0, 3, size, size, dtype=torch.float32)]
    for chunk in range(0, len(images), count):
        few = slice(chunk, chunk + count)
        pictures, there, inside = shown(images[few], window[few], sizes[few])
        pictures = pictures.float()
        if "distort" in parts:
            pictures = distort(pictures, tape[few])
        views.append(sample_windows(pictures, there, mirrored[few], mean, size, inside))
    return torch.cat(views), *windows.boxes_in_window(boxes, labels, window, mirrored)


def distort(
    images: Float[Tensor, "B 3 H W"], uniforms: Float[Tensor, "B 9"]
) -> Float[Tensor, "B 3 H W"]:
    """:func:`ssd_lite.photometric.distort`, skipping what is off for all of a few pictures."""
    brightness, before, saturation, hue, after = distortions(uniforms)
    if brightness.any():
        images = (images + brightness).clamp_(0, 255)
    if (before != 1).any():
        images = (images * before).clamp_(0, 255)
    if (saturation != 1).any() or hue.any():
        images = shift_color(images, saturation, hue)
    if (after != 1).any():
        images = (images * after).clamp_(0, 255)
    return images


def shown(
    images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"],
    window: Float[Tensor, "B 4"],
    sizes: Int[Tensor, "B 2"],
) -> tuple[Tensor, Float[Tensor, "B 4"], Int[Tensor, "B 2"]]:
    """The part of a few pictures that their windows show, and the windows and sizes in it.

    Its corner is one that the shrunk copies have too, and its edge is beyond what they mix in.
    """
    step = windows.SHRUNK[-1]
    (x0, x1), (y0, y1) = (
        span(window[:, axis] * side, window[:, axis + 2] * side, side, step)
        for axis, side in ((0, sizes[:, 1]), (1, sizes[:, 0]))
    )
    corner, end = torch.tensor([y0, x0]), torch.tensor([y1, x1])
    inside = torch.minimum(sizes, end) - corner  # (B, 2): height and width of what is left
    scale, shift = (sizes / inside).flip(1).repeat(1, 2), (corner / inside).flip(1).repeat(1, 2)
    return images[:, :, y0:y1, x0:x1], window * scale - shift, inside


def span(
    low: Float[Tensor, " B"], high: Float[Tensor, " B"], side: Int[Tensor, " B"], step: int
) -> tuple[int, int]:
    """First pixel that is needed along one side, and the one after the last."""
    first = min(int(low.min()), int(side.min()) - 1) // step - 1
    first = max(0, first) * step
    last = min(int(side.max()), (int(high.max()) // step + 2) * step)
    return first, max(last, first + 1)


def sample_windows(
    images: Float[Tensor, "B 3 H W"],
    window: Float[Tensor, "B 4"],
    mirrored: Bool[Tensor, "B 1"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
    sizes: Int[Tensor, "B 2"],
) -> Float[Tensor, "B 3 size size"]:
    """:func:`ssd_lite.windows.sample_windows`, each picture at one of its sizes alone.

    Finding out which size that is would synchronize a GPU.
    """
    padded = (sizes != torch.tensor(images.shape[2:])).any()
    images, window = windows.on_canvas(images - mean, window, sizes if padded else None)
    grid = windows.window_grid(window, mirrored, size)  # (B, size, size, 2)
    zoom = windows.zoom_out(images, window, size)  # (B,)
    halvings = (zoom[:, None] >= torch.tensor(windows.SHRUNK)).sum(dim=1)  # (B,)
    result = images.new_empty(len(images), 3, size, size)
    for count in halvings.unique().tolist():
        some = halvings == count
        some = slice(None) if some.all() else some  # a view, not a copy
        shrunk = images[some]
        for _ in range(count):
            left, right = shrunk[..., 0::2], shrunk[..., 1::2]  # sooner than avg_pool2d
            shrunk = (
                left[:, :, 0::2] + left[:, :, 1::2] + right[:, :, 0::2] + right[:, :, 1::2]
            ) / 4
        result[some] = F.grid_sample(shrunk, grid[some], align_corners=False)
    return result.add_(mean)

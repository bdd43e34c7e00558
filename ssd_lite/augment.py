"""Chapter 9. Augmentation of whole batches, on any device: distort, then one affine map each.

Everything random is read from one tensor of uniform numbers, ``uniforms``, a row for each image.
The functions are pure: same numbers, same result, whatever the batch around an image, the device
or the number of processes. Constants are plain numbers, not tensors made of lists: a list would
have to be sent to a GPU, which synchronizes.
"""

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ssd_lite.boxes import iou
from ssd_lite.photometric import distort

TRIALS = 50  # crops tried for each kind
# Kinds of crop: the IoU that it must reach with some object; 0.0 is any crop.
MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
CROP_UNIFORMS = len(MIN_OVERLAPS) * TRIALS * 4
# How many uniform numbers each step takes for one image, and in which order.
UNIFORMS = {"distort": 9, "expand": 4, "crop": CROP_UNIFORMS, "choice": 1, "mirror": 1}
UNIFORMS_PER_IMAGE = sum(UNIFORMS.values())
SHRUNK = ((2, 1.5), (4, 3))  # pictures shrunk by so much serve windows that zoom out further
PARTS = ("distort", "expand", "crop", "mirror")  # the paper's, in the order of the authors' code


def augment_batch(
    images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B uniforms"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
    parts: Collection[str] = PARTS,
    sample: Callable[..., Float[Tensor, "B 3 size size"]] | None = None,
) -> tuple[Float[Tensor, "B 3 size size"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]]:
    """The paper's augmentation: distort, expand, crop, warp, mirror.

    In the order of the authors' code. Paper: sections 2.2 and 3.6.

    Args:
        images: gray levels 0..255, as bytes or floats.
        boxes: xyxy, in fractions of the image, padded.
        labels: 1..C, 0 for padding.
        uniforms: in [0, 1), ``UNIFORMS_PER_IMAGE`` numbers an image.
        mean: gray levels that fill what lies outside a picture.
        size: height and width of the result.
        parts: which of :data:`PARTS` take part.
        sample: how windows are seen, :func:`sample_windows` by default.

    Returns:
        images, boxes and labels; objects whose center is cut away have become padding.
    """
    tape = dict(zip(UNIFORMS, uniforms.split(list(UNIFORMS.values()), dim=1)))
    images = images.float()
    if "distort" in parts:
        images = distort(images, tape["distort"])
    window = expand(tape["expand"]) if "expand" in parts else identity_window(boxes)  # (B, 4)
    if "crop" in parts:
        window = crop(window, boxes, labels, tape["crop"], tape["choice"])
    mirrored = (tape["mirror"] < 0.5) & ("mirror" in parts)  # (B, 1)
    images = (sample or sample_windows)(images, window, mirrored, mean, size)
    return images, *boxes_in_window(boxes, labels, window, mirrored)


def mirror_batch(
    images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B uniforms"],
) -> tuple[
    UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]
]:
    """Mirror each picture with probability ½, and do nothing else.

    Enough where data are plentiful. Arguments as for :func:`augment_batch`.
    """
    mirrored = uniforms[:, -1:] < 0.5  # (B, 1)
    images = torch.where(mirrored[:, :, None, None], images.flip(3), images)
    return images, *boxes_in_window(boxes, labels, identity_window(boxes), mirrored)


def parse_augment(name: str) -> tuple[str, ...]:
    """Some of :data:`PARTS` by name.

    "paper" is all of them, "none" none; others are joined, as in "distort+mirror".
    """
    if name == "none":
        return ()
    return PARTS if name == "paper" else tuple(name.split("+"))


def identity_window(boxes: Float[Tensor, "B G 4"]) -> Float[Tensor, "B 4"]:
    """Windows that show each picture as it is."""
    corner = boxes.new_zeros(len(boxes), 2)
    return torch.cat([corner, corner + 1], dim=1)


def expand(uniforms: Float[Tensor, "B 4"]) -> Float[Tensor, "B 4"]:
    """Windows up to 4 × as wide and high as their picture, with probability ½.

    Else the picture itself. A window is what will be seen: xyxy in fractions of the picture,
    reaching beyond 0..1 where it shows only the mean.
    """
    ratio = torch.where(uniforms[:, :1] < 0.5, 1 + 3 * uniforms[:, 1:2], 1)  # (B, 1)
    top_left = -uniforms[:, 2:] * (ratio - 1)  # (B, 2)
    return torch.cat([top_left, top_left + ratio], dim=1)


def crop(
    window: Float[Tensor, "B 4"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B crop"],
    choice: Float[Tensor, "B 1"],
) -> Float[Tensor, "B 4"]:
    """Windows inside windows: the paper's random crops.

    For each kind of crop the first trial that some object satisfies; then one kind, drawn at
    random. The whole window is one of the kinds, and the only one where there is no object. As in
    the authors' sampler, a kind for which every trial failed takes no part in the lot.
    """
    # 1. All trials of all kinds: scale, aspect ratio and place.
    kinds = len(MIN_OVERLAPS)
    uniforms = uniforms.view(len(uniforms), kinds * TRIALS, 4)
    scale = 0.3 + 0.7 * uniforms[..., 0]  # (B, kinds · trials)
    low, high = scale.square().clamp(min=0.5), (1 / scale.square()).clamp(max=2)
    ratio = (low + (high - low) * uniforms[..., 1]).sqrt()
    side = torch.stack([scale * ratio, scale / ratio], dim=-1)  # (B, kinds · trials, 2)
    top_left = (1 - side) * uniforms[..., 2:]
    trials = torch.cat([top_left, top_left + side], dim=-1)
    trials = compose_windows(window[:, None], trials)  # (B, kinds · trials, 4)

    # 2. Of each kind the first trial that overlaps some object enough.
    overlap = iou(trials, boxes)  # (B, kinds · trials, G)
    overlap = torch.where(labels[:, None] > 0, overlap, -1).amax(dim=2).view(-1, kinds, TRIALS)
    good = [some >= least for some, least in zip(overlap.unbind(1), MIN_OVERLAPS)]
    good = torch.stack(good, dim=1)  # (B, kinds, trials)
    first = good.int().argmax(dim=2)  # (B, kinds)
    first = first[:, :, None, None].expand(-1, -1, 1, 4)
    trials = trials.view(-1, kinds, TRIALS, 4).gather(2, first)[:, :, 0]  # (B, kinds, 4)

    # 3. One of those that succeeded, or the whole window.
    candidates = torch.cat([window[:, None], trials], dim=1)  # (B, 1 + kinds, 4)
    possible = F.pad(good.any(dim=2), (1, 0), value=True)  # (B, 1 + kinds)
    # Which of the possible ones, counted from 0.
    drawn = (choice * possible.sum(dim=1, keepdim=True)).floor()  # (B, 1)
    place = ((possible.cumsum(dim=1) - 1 == drawn) & possible).int().argmax(dim=1)  # (B,)
    return candidates.gather(1, place[:, None, None].expand(-1, 1, 4))[:, 0]


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
    seen = ((center > 0) & (center < 1)).all(dim=2) & (labels > 0)  # (B, G)
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
) -> Float[Tensor, "B 3 size size"]:
    """What each window shows, warped to ``size`` × ``size``.

    Crop, expand, resize and mirror in a single sampling. A window that shows much of a picture in
    few pixels samples a copy shrunk by 2 or 4, or thin lines would flicker.
    """
    images = images - mean  # so that the zeros outside a picture become the mean
    grid = window_grid(window, mirrored, size)  # (B, size, size, 2)
    result = F.grid_sample(images, grid, align_corners=False)
    zoom = zoom_out(images, window, size)[:, None, None, None]  # (B, 1, 1, 1)
    for shrink, beyond in SHRUNK:
        smaller = F.grid_sample(F.avg_pool2d(images, shrink), grid, align_corners=False)
        result = torch.where(zoom > beyond, smaller, result)
    return result + mean


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

"""Chapter 9. Augmentation of whole batches, on any device: distort, then an affine map for each.

Everything random is read from one tensor of uniform numbers, ``uniforms``, a row for each image.
The functions are pure: same numbers, same result, whatever the batch around an image, the device
or the number of processes. Constants are plain numbers, not tensors made of lists: a list would
have to be sent to a GPU, which synchronizes.
"""

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ssd_lite.boxes import iou
from ssd_lite.photometric import distort
from ssd_lite.windows import boxes_in_window, compose_windows, identity_window, sample_windows

TRIALS = 50  # crops tried for each kind
MIN_SCALE, MAX_RATIO = 0.3, 2  # of a crop: side of a square of its area, longer side over shorter
# Kinds of crop: the IoU that it must reach with some object; 0.0 is any crop.
MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
CROP_UNIFORMS = len(MIN_OVERLAPS) * TRIALS * 4
# How many uniform numbers each step takes for one image, and in which order.
UNIFORMS = {"distort": 9, "expand": 4, "crop": CROP_UNIFORMS, "choice": 1, "mirror": 1}
UNIFORMS_PER_IMAGE = sum(UNIFORMS.values())
PARTS = ("distort", "expand", "crop", "mirror")  # the paper's, in the order of the authors' code


def augment_batch(
    images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B uniforms"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
    parts: Collection[str] = PARTS,
    sizes: Int[Tensor, "B 2"] | None = None,
) -> tuple[Float[Tensor, "B 3 size size"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]]:
    """The paper's augmentation: distort, expand, crop, warp, mirror.

    In the order of the authors' code. Paper: sections 2.2 and 3.6.

    Args:
        images: gray levels 0..255, as bytes or floats; pictures as they were read, which are
            padded at the right and below where others are larger.
        boxes: xyxy, in fractions of the image, padded.
        labels: 1..C, 0 for padding.
        uniforms: in [0, 1), ``UNIFORMS_PER_IMAGE`` numbers an image.
        mean: gray levels that fill what lies outside a picture.
        size: height and width of the result.
        parts: which of :data:`PARTS` take part.
        sizes: height and width of each picture without its padding; by default all are whole.

    Returns:
        images, boxes and labels; objects whose center is cut away have become padding.
    """
    images = images.float()
    if "distort" in parts:
        images = distort(images, cut_tape(uniforms)["distort"])
    window, mirrored = draw_windows(boxes, labels, uniforms, parts)
    images = sample_windows(images, window, mirrored, mean, size, sizes)
    return images, *boxes_in_window(boxes, labels, window, mirrored)


def cut_tape(uniforms: Float[Tensor, "B uniforms"]) -> dict[str, Float[Tensor, "B _"]]:
    """The uniform numbers of each step, by its name in :data:`UNIFORMS`."""
    return dict(zip(UNIFORMS, uniforms.split(list(UNIFORMS.values()), dim=1)))


def draw_windows(
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B uniforms"],
    parts: Collection[str] = PARTS,
) -> tuple[Float[Tensor, "B 4"], Bool[Tensor, "B 1"]]:
    """What will be seen of each picture, xyxy in fractions of it, and whether it is mirrored."""
    tape = cut_tape(uniforms)
    window = expand(tape["expand"]) if "expand" in parts else identity_window(boxes)  # (B, 4)
    if "crop" in parts:
        window = crop(window, boxes, labels, tape["crop"], tape["choice"])
    return window, (tape["mirror"] < 0.5) & ("mirror" in parts)


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


def longest_side(size: int) -> int:
    """Pixels along a picture's side beyond which no crop of ``size`` pixels shows more detail."""
    return math.ceil(size / (MIN_SCALE / MAX_RATIO**0.5))


def parse_augment(name: str) -> tuple[str, ...]:
    """Some of :data:`PARTS` by name.

    "paper" is all of them, "none" none; others are joined, as in "distort+mirror".
    """
    if name == "none":
        return ()
    return PARTS if name == "paper" else tuple(name.split("+"))


def expand(uniforms: Float[Tensor, "B 4"]) -> Float[Tensor, "B 4"]:
    """Windows up to 4 × as wide and high as their picture, with probability ½.

    Otherwise the picture itself. A window is what will be seen: xyxy in fractions of the picture,
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

    Each kind of crop takes the first trial that some object satisfies; then one kind is drawn at
    random. The whole window is one of the kinds, and the only one where there is no object. As in
    the authors' sampler, a kind whose trials all failed takes no part in the draw.
    """
    # 1. All trials of all kinds: scale, aspect ratio and place.
    kinds = len(MIN_OVERLAPS)
    uniforms = uniforms.view(len(uniforms), kinds * TRIALS, 4)
    scale = MIN_SCALE + (1 - MIN_SCALE) * uniforms[..., 0]  # (B, kinds · trials)
    low, high = scale.square().clamp(min=1 / MAX_RATIO), (1 / scale.square()).clamp(max=MAX_RATIO)
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

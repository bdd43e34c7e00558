"""Chapter 9, second half. Augmentation on whole batches, on any device: distort, then one affine map per image.

Everything random is read from one tensor of uniform numbers, ``uniforms``, a row for each image. The functions are pure:
same noise, same result, whatever the batch around an image, the device or the number of processes. Constants are plain
numbers, not tensors made of lists: a GPU would have to be sent those, and the host would wait.
"""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ssd_lite.boxes import iou

TRIALS = 50  # crops tried for each kind
# Kinds of crop: the IoU that it must reach with some object; 0.0 is any crop.
MIN_OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
CROP_UNIFORMS = len(MIN_OVERLAPS) * TRIALS * 4
# Numbers for one image: distort, expand, crops, choice among them, mirror.
UNIFORMS_PER_IMAGE = 9 + 4 + CROP_UNIFORMS + 1 + 1
PARTS = ("distort", "expand", "crop", "mirror")  # the paper's, in the order of the authors' code


def augment_batch(
    images: Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B noise"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
    parts: Collection[str] = PARTS,
) -> tuple[Float[Tensor, "B 3 size size"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]]:
    """The paper's augmentation: distort, expand, crop, warp, mirror, in the order of the authors'
    code. Paper: sections 2.2 and 3.6.

    Args:
        images: gray levels 0..255.
        boxes: xyxy, in fractions of the image, padded.
        labels: 1..C, 0 for padding.
        noise: uniform in [0, 1), ``UNIFORMS_PER_IMAGE`` numbers an image.
        mean: gray levels that fill what lies outside a picture.
        size: height and width of the result.
        parts: which of :data:`PARTS` take part.

    Returns:
        images, boxes and labels; objects whose center is cut away have become padding.
    """
    for_color, for_expand, for_crop, for_choice, for_mirror = uniforms.split(
        [9, 4, CROP_UNIFORMS, 1, 1], dim=1
    )
    window = identity_window(boxes)  # (B, 4)
    mirrored = (for_mirror < 0.5) & ("mirror" in parts)  # (B, 1)
    if "distort" in parts:
        images = distort(images, for_color)
    if "expand" in parts:
        window = expand(for_expand)
    if "crop" in parts:
        window = crop(window, boxes, labels, for_crop, for_choice)
    boxes, labels = boxes_in_window(boxes, labels, window, mirrored)
    return sample_windows(images, window, mirrored, mean, size), boxes, labels


CHUNK_ELEMENTS = 2**20  # of the pictures that a CPU works on: what its cache holds


def augment_in_chunks(
    images: UInt8[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B noise"],
    *how,
) -> tuple[Float[Tensor, "B 3 size size"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]]:
    """:func:`augment_batch` for pictures in bytes, by as many at a time as a CPU's cache holds;
    on a GPU all at once. Otherwise the same arguments, and the same result."""
    few = (
        max(1, CHUNK_ELEMENTS // max(images[:1].numel(), 1))
        if images.device.type == "cpu"
        else len(images)
    )
    shares = zip(*(x.split(few) for x in (images, boxes, labels, uniforms)))
    done = [augment_batch(share[0].float(), *share[1:], *how) for share in shares]
    return tuple(map(torch.cat, zip(*done))) if len(done) > 1 else done[0]


def mirror_batch(
    images: UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    uniforms: Float[Tensor, "B noise"],
) -> tuple[
    UInt8[Tensor, "B 3 H W"] | Float[Tensor, "B 3 H W"], Float[Tensor, "B G 4"], Int[Tensor, "B G"]
]:
    """Every second picture mirrored, and nothing else: for data that are plentiful. Arguments
    as for the whole."""
    mirrored = uniforms[:, -1:] < 0.5  # (B, 1)
    images = torch.where(mirrored[:, :, None, None], images.flip(3), images)
    return images, *boxes_in_window(boxes, labels, identity_window(boxes), mirrored)


def parse_augment(name: str) -> tuple[str, ...]:
    """Some of :data:`PARTS` by name: "paper" is all of them, "none" none, others are joined, as
    in "distort+mirror"."""
    if name == "none":
        return ()
    return PARTS if name == "paper" else tuple(name.split("+"))


def identity_window(boxes: Float[Tensor, "B G 4"]) -> Float[Tensor, "B 4"]:
    """Windows that show each picture as it is."""
    corner = boxes.new_zeros(len(boxes), 2)
    return torch.cat([corner, corner + 1], dim=1)


def expand(uniforms: Float[Tensor, "B 4"]) -> Float[Tensor, "B 4"]:
    """Windows up to 4 × as wide and high as their picture, for every second picture; else the
    picture itself.

    A window is what will be seen: xyxy in fractions of the picture, reaching beyond 0..1 where
    it shows only the mean.
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
    """Windows inside windows. For each kind of crop the first trial that some object satisfies;
    then one kind by lot.

    The whole window is one of the kinds, and the only one where there is no object. As in the
    authors' sampler, a kind for which every trial failed takes no part in the lot.
    """
    kinds = len(MIN_OVERLAPS)
    uniforms = uniforms.view(len(uniforms), kinds * TRIALS, 4)
    scale = 0.3 + 0.7 * uniforms[..., 0]  # (B, kinds · trials)
    low, high = scale.square().clamp(min=0.5), (1 / scale.square()).clamp(max=2)
    ratio = (low + (high - low) * uniforms[..., 1]).sqrt()
    side = torch.stack([scale * ratio, scale / ratio], dim=-1)  # (B, kinds · trials, 2)
    top_left = (1 - side) * uniforms[..., 2:]
    trials = compose_windows(
        window[:, None], torch.cat([top_left, top_left + side], dim=-1)
    )  # (B, kinds · trials, 4)

    overlap = iou(trials, boxes)  # (B, kinds · trials, G)
    overlap = torch.where(labels[:, None] > 0, overlap, -1).amax(dim=2).view(-1, kinds, TRIALS)
    good = [some >= least for some, least in zip(overlap.unbind(1), MIN_OVERLAPS)]
    good = torch.stack(good, dim=1)  # (B, kinds, trials)
    first = good.int().argmax(dim=2)  # (B, kinds)
    trials = trials.view(-1, kinds, TRIALS, 4).gather(
        2, first[:, :, None, None].expand(-1, -1, 1, 4)
    )[:, :, 0]

    candidates = torch.cat([window[:, None], trials], dim=1)  # (B, 1 + kinds, 4)
    possible = F.pad(good.any(dim=2), (1, 0), value=True)  # (B, 1 + kinds)
    drawn = (
        choice * possible.sum(dim=1, keepdim=True)
    ).floor()  # (B, 1): which of the possible ones
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
    """Boxes as seen through a window: in its fractions, cut at its edge, gone if their center
    is not in it."""
    origin, side = (
        window[:, None, :2].repeat(1, 1, 2),
        (window[:, None, 2:] - window[:, None, :2]).repeat(1, 1, 2),
    )
    boxes = (boxes - origin) / side  # (B, G, 4)
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    seen = ((center > 0) & (center < 1)).all(dim=2) & (labels > 0)  # (B, G)
    left, top, right, bottom = boxes.unbind(2)  # (B, G) each
    boxes = torch.where(
        mirrored[:, :, None], torch.stack([1 - right, top, 1 - left, bottom], dim=2), boxes
    )
    return torch.where(seen[:, :, None], boxes.clamp(0, 1), 0), torch.where(seen, labels, 0)


def sample_windows(
    images: Float[Tensor, "B 3 H W"],
    window: Float[Tensor, "B 4"],
    mirrored: Bool[Tensor, "B 1"],
    mean: Float[Tensor, "3 1 1"],
    size: int,
) -> Float[Tensor, "B 3 size size"]:
    """What each window shows, warped to ``size`` × ``size``: crop, expand, resize and mirror in
    a single sampling.

    A window that shows much of a picture in few pixels samples a copy shrunk by 2 or 4, or thin
    lines would flicker.
    """
    ticks = (torch.arange(size, device=images.device) + 0.5) / size  # (S,)
    along_x = torch.where(mirrored, 1 - ticks, ticks)  # (B, S)
    x = window[:, :1] + along_x * (
        window[:, 2:3] - window[:, :1]
    )  # (B, S), in fractions of the picture
    y = window[:, 1:2] + ticks * (window[:, 3:] - window[:, 1:2])
    grid = (
        torch.stack([x[:, None].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
        * 2
        - 1
    )

    width, height = (window[:, 2:] - window[:, :2]).unbind(1)  # (B,) each
    # Picture pixels per result pixel.
    zoom_out = torch.maximum(width * images.shape[3], height * images.shape[2]) / size  # (B,)
    images = images - mean  # so that the zeros outside a picture become the mean
    result = F.grid_sample(images, grid, align_corners=False)
    for shrink, beyond in ((2, 1.5), (4, 3)):
        far = zoom_out > beyond
        if images.device.type == "cpu":
            result[far] = F.grid_sample(
                F.avg_pool2d(images[far], shrink), grid[far], align_corners=False
            )
        else:  # all, for to count the far ones the host would have to wait
            smaller = F.grid_sample(F.avg_pool2d(images, shrink), grid, align_corners=False)
            result = torch.where(far[:, None, None, None], smaller, result)
    return result + mean


def distort(
    images: Float[Tensor, "B 3 H W"], uniforms: Float[Tensor, "B 9"]
) -> Float[Tensor, "B 3 H W"]:
    """Change brightness, contrast, saturation and hue, each in every second picture. Gray
    levels 0..255 in and out.

    As in the authors' code: brightness by up to ±32 levels, contrast and saturation by a factor
    of 0.5 to 1.5, hue by up to ±36°, contrast either before or after saturation and hue. Paper:
    section 2.2, after Howard (2013).
    """
    on, amount = uniforms[:, :4, None, None] < 0.5, uniforms[:, 4:8, None, None]  # (B, 4, 1, 1)
    brightness = torch.where(on[:, 0:1], 64 * amount[:, 0:1] - 32, 0)  # (B, 1, 1, 1)
    contrast = torch.where(on[:, 1:2], 0.5 + amount[:, 1:2], 1)
    saturation = torch.where(on[:, 2:3], 0.5 + amount[:, 2:3], 1)
    hue = torch.where(on[:, 3:4], 0.2 * amount[:, 3:4] - 0.1, 0)  # in turns
    early = uniforms[:, 8, None, None, None] < 0.5

    images = (images + brightness).clamp_(0, 255)
    images = shift_color(
        images.mul_(torch.where(early, contrast, 1)).clamp_(0, 255), saturation, hue
    )
    return images.mul_(torch.where(early, 1, contrast)).clamp_(0, 255)


def shift_color(
    images: Float[Tensor, "B 3 H W"],
    saturation: Float[Tensor, "B 1 1 1"],
    hue: Float[Tensor, "B 1 1 1"],  # in turns
) -> Float[Tensor, "B 3 H W"]:
    """Multiply saturation and turn hue, in the color space HSV; the value, the largest of R,
    G, B, stays."""
    red, green, blue = images.split(1, dim=1)  # (B, 1, H, W) each
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    after = torch.where(
        value == red, green - blue, torch.where(value == green, blue - red, red - green)
    )
    sixth = (
        torch.where(value == red, 0, torch.where(value == green, 2.0, 4.0)) + 6 * hue
    )  # hue in sixths of a turn
    sixth += torch.where(chroma > 0, after / chroma, 0)
    sixth -= 6 * (sixth / 6).floor_()  # in [0, 6): red is 0, green 2, blue 4
    # How much of the chroma each color lacks: red nothing within 1 of its own place, all beyond 2; so green and blue.
    lacking = [
        2 - (sixth - 3).abs_(),
        (sixth - 2).abs_() - 1,
        (sixth - 4).abs_() - 1,
    ]  # red's is measured from cyan
    lacking = torch.cat(lacking, dim=1).clamp_(0, 1)  # (B, 3, H, W)
    return value - torch.minimum(chroma * saturation, value) * lacking

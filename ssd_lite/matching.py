"""Chapter 3. Matching: which default box answers for which object."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ssd_lite.boxes import cxcywh_to_xyxy, iou


def bipartite(overlap: Float[Tensor, "B G A"]) -> Int[Tensor, "B G"]:
    """Give every object a default box of its own: index into A, or -1 if none is left for it.

    Greedy over all pairs: the pair with the largest IoU is joined first, then the largest among
    the objects and boxes that are left, and so on, in all images at once. Ties go to the first
    object, then to the first box. Pairs at or below 1e-6 do not count.
    """
    _, objects, boxes = overlap.shape
    free = overlap.clone()  # (B, G, A); a pair whose object or box is taken becomes -1
    forced = torch.full(overlap.shape[:2], -1, device=overlap.device)  # (B, G)
    for _ in range(min(objects, boxes)):
        best, pair = free.flatten(1).max(dim=1, keepdim=True)  # (B, 1)
        g, a = pair // boxes, pair % boxes  # (B, 1): of which object, of which default box
        forced.scatter_(1, g, torch.where(best > 1e-6, a, forced.gather(1, g)))
        free.scatter_(1, g[:, :, None].expand(-1, 1, boxes), -1)  # strike out the object
        free.scatter_(2, a[:, :, None].expand(-1, objects, 1), -1)  # and its box
    return forced


def assign(
    default_boxes: Float[Tensor, "A 4"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    threshold: float = 0.5,
    force: Callable[[Float[Tensor, "B G A"]], Int[Tensor, "B G"]] = bipartite,
) -> Int[Tensor, "B A"]:
    """Index of the object that each default box answers for, or -1 for background.

    Every object gets a default box of its own, and every other default box answers for the
    object that it overlaps most, if their IoU reaches ``threshold``. Paper: section 2.2,
    "Matching strategy".

    Args:
        default_boxes: cxcywh, in fractions of the image.
        boxes: objects, xyxy, in fractions of the image, padded; an image may have none.
        labels: 1..C; 0 marks padding, which claims nothing.
        threshold: smallest IoU at which a default box answers for an object without being
            forced to.
        force: gives each object its own default box.
    """
    check_ground_truth(default_boxes, boxes, labels)
    if boxes.shape[1] == 0:
        return labels.new_full((len(boxes), len(default_boxes)), -1)
    overlap = iou(boxes, cxcywh_to_xyxy(default_boxes).expand(len(boxes), -1, -1))  # (B, G, A)
    overlap.masked_fill_(labels[:, :, None] <= 0, -1)  # padding

    # 1. By threshold.
    best, assigned = overlap.max(dim=1)  # (B, A)
    assigned = torch.where(best >= threshold, assigned, -1)

    # 2. The forced matches have the last word.
    forced = force(overlap)  # (B, G)
    objects = torch.arange(forced.shape[1], device=forced.device).expand_as(forced)  # (B, G)
    overflow = assigned.shape[1]  # one column more, for the objects without a box
    assigned = F.pad(assigned, (0, 1))  # (B, A + 1)
    return assigned.scatter(1, torch.where(forced < 0, overflow, forced), objects)[:, :-1]  # (B, A)


def match(
    default_boxes: Float[Tensor, "A 4"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    threshold: float = 0.5,
) -> tuple[Int[Tensor, "B A"], Float[Tensor, "B A 4"]]:
    """What each default box should have said: a label and a box.

    Label 0 is background; boxes are xyxy, in fractions of the image. Arguments as for
    :func:`assign`.
    """
    assigned = assign(default_boxes, boxes, labels, threshold)  # (B, A)
    return targets(assigned, default_boxes, boxes, labels)


def targets(
    assigned: Int[Tensor, "B A"],
    default_boxes: Float[Tensor, "A 4"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
) -> tuple[Int[Tensor, "B A"], Float[Tensor, "B A 4"]]:
    """Label and box of the object that each default box answers for.

    A background box has itself as its target box, so that its offsets are 0 and no image,
    however empty, makes a NaN.
    """
    background = assigned < 0
    default_xyxy = cxcywh_to_xyxy(default_boxes).expand(*assigned.shape, 4)  # (B, A, 4)
    if boxes.shape[1] == 0:
        return torch.zeros_like(assigned), default_xyxy
    index = assigned.clamp(min=0)
    target_labels = torch.where(background, 0, labels.gather(1, index))  # (B, A)
    target_boxes = boxes.gather(1, index[:, :, None].expand(-1, -1, 4))  # (B, A, 4)
    return target_labels, torch.where(background[:, :, None], default_xyxy, target_boxes)


def check_ground_truth(default_boxes: Tensor, boxes: Tensor, labels: Tensor) -> None:
    """Raise ``ValueError`` for shapes, dtypes or devices that do not fit together.

    Reads no values, so it never synchronizes.
    """
    if boxes.dim() != 3 or boxes.shape[2] != 4 or not boxes.is_floating_point():
        raise ValueError(
            f"boxes: expected floats of shape (B, G, 4), got {boxes.dtype} of {tuple(boxes.shape)}"
        )
    if labels.shape != boxes.shape[:2] or labels.dtype != torch.int64:
        raise ValueError(
            f"labels: expected int64 of shape {tuple(boxes.shape[:2])} to go with the boxes, "
            f"got {labels.dtype} of {tuple(labels.shape)}"
        )
    if default_boxes.dim() != 2 or default_boxes.shape[1] != 4:
        raise ValueError(f"default_boxes: expected shape (A, 4), got {tuple(default_boxes.shape)}")
    if not default_boxes.device == boxes.device == labels.device:
        raise ValueError(
            f"default_boxes, boxes and labels must be on one device, got {default_boxes.device}, "
            f"{boxes.device} and "
            f"{labels.device}; move the batch with .to(device)"
        )

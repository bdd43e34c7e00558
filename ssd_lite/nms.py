"""Chapter 8, first part. Non-maximum suppression (NMS): one box for one object."""

import torch
import torchvision
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssd_lite.boxes import iou


def batched_nms(
    boxes: Float[Tensor, "B K 4"], labels: Int[Tensor, "B K"], iou_threshold: float = 0.45
) -> Bool[Tensor, "B K"]:
    """Mask of the boxes that survive greedy NMS, per image and per class.

    Paper: section 3.7.

    Args:
        boxes: xyxy, each image's in descending order of score.
        labels: 1..C; 0 marks padding, which comes last and neither survives nor suppresses.
        iou_threshold: a box is suppressed by a surviving, higher-scored box of its class with
            an IoU above this.
    """
    method = nms_sequential if boxes.device.type == "cpu" else nms_parallel
    return method(boxes, labels, iou_threshold)


def nms_parallel(
    boxes: Float[Tensor, "B K 4"], labels: Int[Tensor, "B K"], iou_threshold: float = 0.45
) -> Bool[Tensor, "B K"]:
    """:func:`batched_nms` for a GPU: a fixed point, for all images and classes together.

    A box survives if no *surviving* higher-scored box of its class overlaps it. Apply that rule
    to every box at once, again and again: after n rounds the first n + 1 boxes are surely right,
    so it ends, with the greedy answer.
    """
    same_class = labels[:, :, None] == labels[:, None, :]  # (B, K, K)
    rivals = (iou(boxes, boxes) > iou_threshold) & same_class
    rivals = rivals.triu(diagonal=1)  # row i may suppress column j only if it scores higher
    keep = labels > 0
    while True:
        for _ in range(8):  # check for convergence every 8 rounds: each check synchronizes
            before, keep = keep, (labels > 0) & ~(rivals & keep[:, :, None]).any(dim=1)
        if torch.equal(before, keep):
            return keep


def nms_sequential(
    boxes: Float[Tensor, "B K 4"], labels: Int[Tensor, "B K"], iou_threshold: float = 0.45
) -> Bool[Tensor, "B K"]:
    """:func:`batched_nms` for a CPU: torchvision's sequential kernel, image by image.

    Its cost grows with the square of what a call is given, so images stay apart; one call
    serves all classes. Boxes of different classes are moved so far apart that they cannot
    overlap, in double precision, so that no IoU (of boxes within ±1e6) changes.
    """
    # 1. One wild box must not cost the others their precision, and NaN must stay where it is.
    lost = boxes.isnan().any(dim=-1, keepdim=True)  # (B, K, 1)
    boxes = torch.where(lost, 0, boxes.double()).clamp(-1e6, 1e6)
    # 2. A place of its own for every class.
    spread = boxes.max() - boxes.min() + 1 if boxes.numel() else 0
    apart = boxes + (labels * spread)[:, :, None]  # (B, K, 4)
    # 3. The kernel, on what is no padding: that comes last.
    order = -torch.arange(boxes.shape[1], dtype=torch.float64)  # for scores: they descend already
    keep = torch.zeros_like(labels, dtype=torch.bool)
    for image, count in enumerate((labels > 0).sum(dim=1).tolist()):
        kept = torchvision.ops.nms(apart[image, :count], order[:count], iou_threshold)
        keep[image, kept] = True
    return keep

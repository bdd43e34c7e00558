"""Chapter 8, second part. Post-processing: from thousands of answers to a few."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssd_lite.encoding import decode
from ssd_lite.nms import batched_nms
from ssd_lite.spec import SSDSpec


def postprocess(
    logits: Float[Tensor, "B A classes"],
    offsets: Float[Tensor, "B A 4"],
    default_boxes: Float[Tensor, "A 4"],
    spec: SSDSpec,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    per_class: int = 400,
    per_image: int = 200,
) -> tuple[Float[Tensor, "B K 4"], Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """Raw predictions to detections: boxes, scores and labels, best first.

    Boxes are xyxy in fractions of the image; all images are padded to the same K with label 0.
    The defaults are the paper's (section 3.7) and its code's.
    """
    # 1. Where: decode every answer.
    boxes = decode_boxes(offsets, default_boxes, spec)  # (B, A, 4)
    # 2. What: the best of each class, then one list per image.
    boxes, scores, labels = candidates(logits, boxes, score_threshold, per_class)  # (B, C·k)
    # 3. Each object once.
    keep = batched_nms(boxes, labels, iou_threshold)
    return compact(boxes, scores, labels, keep, per_image)


def decode_boxes(
    offsets: Float[Tensor, "B A 4"], default_boxes: Float[Tensor, "A 4"], spec: SSDSpec
) -> Float[Tensor, "B A 4"]:
    """The boxes (xyxy) that offsets stand for, cut at the image's edge if the spec says so."""
    boxes = decode(offsets.float(), default_boxes, spec.variances, spec.max_log_size)
    return boxes.clamp(0, 1) if spec.clip_detections else boxes


def candidates(
    logits: Float[Tensor, "B A classes"],
    boxes: Float[Tensor, "B A 4"],
    score_threshold: float,
    per_class: int,
) -> tuple[Float[Tensor, "B K 4"], Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """The ``per_class`` best of each class above the threshold: one list per image, best first.

    A box is in the list once for every class that it may be. Label 0 is padding.
    """
    scores = logits.float().softmax(dim=2)[:, :, 1:].transpose(1, 2)  # (B, C, A)
    scores = torch.where(scores > score_threshold, scores, 0)
    scores, index = scores.topk(min(per_class, scores.shape[2]), dim=2)  # (B, C, k)
    labels = torch.arange(1, scores.shape[1] + 1, device=scores.device)  # (C,)
    labels = torch.where(scores > 0, labels[:, None], 0)  # (B, C, k)
    scores, order = scores.flatten(1).sort(dim=1, descending=True, stable=True)  # (B, C·k)
    index, labels = (x.flatten(1).gather(1, order) for x in (index, labels))
    return boxes.gather(1, index[:, :, None].expand(-1, -1, 4)), scores, labels


def compact(
    boxes: Float[Tensor, "B N 4"],
    scores: Float[Tensor, "B N"],
    labels: Int[Tensor, "B N"],
    keep: Bool[Tensor, "B N"],
    per_image: int,
) -> tuple[Float[Tensor, "B K 4"], Float[Tensor, "B K"], Int[Tensor, "B K"]]:
    """Survivors to the front, in their order, at most ``per_image``; padding behind them."""
    order = keep.int().argsort(dim=1, descending=True, stable=True)[:, :per_image]  # (B, K)
    kept = keep.gather(1, order)
    scores, labels = (torch.where(kept, x.gather(1, order), 0) for x in (scores, labels))
    return boxes.gather(1, order[:, :, None].expand(-1, -1, 4)), scores, labels

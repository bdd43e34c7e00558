"""Chapter 8, second half. Detection from end to end: from thousands of answers to a few."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ssd_lite.encoding import decode
from ssd_lite.fast.winograd import arithmetic
from ssd_lite.model import SSD
from ssd_lite.nms import batched_nms
from ssd_lite.spec import SSDSpec


class Detections(NamedTuple):
    """What was found in one image, best first."""

    boxes: Float[Tensor, "D 4"]  # xyxy, in pixels of the image that came in
    scores: Float[Tensor, " D"]  # probability of the label, in [0, 1]
    labels: Int[Tensor, " D"]  # 1..C


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
    """Raw predictions to detections: boxes (xyxy in fractions of the image), scores and labels,
    best first.

    Padded to the same K for all images with label 0. The thresholds' defaults are the paper's
    (section 3.7) and its code's. An image's best candidates go first; others are looked at only if
    too few survive.
    """
    boxes = decode(offsets.float(), default_boxes, spec.variances, spec.max_log_size)  # (B, A, 4)
    if spec.clip_detections:
        boxes = boxes.clamp(0, 1)
    if logits.device.type == "cpu":
        logits, boxes = drop_sure_background(logits, boxes, score_threshold)
    scores = logits.float().softmax(dim=2)[:, :, 1:].transpose(1, 2)  # (B, C, A)
    scores = torch.where(scores > score_threshold, scores, 0)
    scores, box = scores.topk(min(per_class, scores.shape[2]), dim=2)  # (B, C, k)
    label = torch.arange(1, scores.shape[1] + 1, device=scores.device)[:, None].expand_as(scores)
    scores, order = scores.flatten(1).sort(dim=1, descending=True, stable=True)  # (B, C·k)
    box, label = box.flatten(1).gather(1, order), label.flatten(1).gather(1, order)
    label = torch.where(scores > 0, label, 0)

    considered = 5 * per_image
    while True:
        k = min(considered, scores.shape[1])
        chosen = boxes.gather(1, box[:, :k, None].expand(-1, -1, 4))  # (B, k, 4)
        keep = batched_nms(chosen, label[:, :k], iou_threshold)  # (B, k)
        # The rest cannot matter if enough survive already, or if there is no rest: NMS looks
        # only at higher scores.
        if k == scores.shape[1] or ((keep.sum(dim=1) >= per_image) | (label[:, k] == 0)).all():
            break
        considered *= 4

    # Survivors first, in their order.
    best = keep.int().argsort(dim=1, descending=True, stable=True)[:, :per_image]  # (B, K)
    kept = keep.gather(1, best)
    boxes = chosen.gather(1, best[:, :, None].expand(-1, -1, 4))  # (B, K, 4)
    return (
        boxes,
        torch.where(kept, scores.gather(1, best), 0),
        torch.where(kept, label.gather(1, best), 0),
    )


def drop_sure_background(
    logits: Float[Tensor, "B A classes"], boxes: Float[Tensor, "B A 4"], score_threshold: float
) -> tuple[Float[Tensor, "B N classes"], Float[Tensor, "B N 4"]]:
    """The boxes, in their order, that may reach the threshold for some class; N is the largest
    number that an image keeps.

    A class c is never likelier than in a contest with background alone: its probability is at
    most sigmoid(l_c - l_0). That takes no softmax, and a trained network leaves few boxes. On a
    GPU, asking how many would make the host wait for longer than the rest takes.
    """
    lead = logits[:, :, 1:].amax(dim=2).float() - logits[:, :, 0].float()  # (B, A)
    least = (
        torch.tensor(score_threshold).clamp(0, 1).logit() - 1e-3
    )  # which is more than any rounding
    alive = lead > least
    most = int(alive.sum(dim=1).amax()) if len(alive) else 0
    if most > alive.shape[1] / 2:
        return logits, boxes
    first = alive.int().argsort(dim=1, descending=True, stable=True)[:, :most, None]  # (B, N, 1)
    return logits.gather(1, first.expand(-1, -1, logits.shape[2])), boxes.gather(
        1, first.expand(-1, -1, 4)
    )


@torch.inference_mode()
def detect(
    model: SSD,
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    per_class: int = 400,
    per_image: int = 200,
    precision: str = "fp32",
) -> list[Detections]:
    """Detect objects in pictures of any size: one :class:`Detections` for each, on the CPU.

    For a drawing raise ``score_threshold`` to about 0.5; for measuring average precision leave
    it low. ``precision`` "bf16" lets the network compute in bfloat16, which pays where the processor
    has it; boxes and scores stay fp32.

    Raises:
        ValueError: an image of the wrong shape or type, or a network that answers with NaN or
            infinity.
    """
    if not images:
        return []
    training = model.training
    model.eval()
    try:
        prepared = model.preprocess(images).contiguous(memory_format=torch.channels_last)
        with arithmetic(prepared.device, precision):
            logits, offsets = model(prepared)
    finally:
        model.train(training)
    boxes, scores, labels = postprocess(
        logits,
        offsets,
        model.default_boxes,
        model.spec,
        score_threshold,
        iou_threshold,
        per_class,
        per_image,
    )
    size = torch.tensor([[*image.shape[:0:-1]] * 2 for image in images])  # (B, 4): W, H, W, H
    finite = logits.isfinite().all() & offsets.isfinite().all() & boxes.isfinite().all()
    boxes, scores, labels = (x.to("cpu", non_blocking=True) for x in (boxes, scores, labels))
    if not finite:  # the last copy from a GPU: here the host waits for it, and so for those before
        raise ValueError(
            "logits: the network answers with NaN or infinity; its weights or its images are damaged"
        )
    boxes, counts = boxes * size[:, None], (labels > 0).sum(dim=1).tolist()
    return [Detections(b[:n], s[:n], c[:n]) for b, s, c, n in zip(boxes, scores, labels, counts)]

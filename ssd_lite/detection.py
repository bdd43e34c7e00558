"""Chapter 8, last part. Detection from end to end: pictures in, labeled boxes out."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ssd_lite import fast
from ssd_lite.inputs import Picture, as_tensors
from ssd_lite.model import SSD
from ssd_lite.precision import autocast


class Detections(NamedTuple):
    """What was found in one image, best first."""

    boxes: Float[Tensor, "D 4"]  # xyxy, in pixels of the image that came in, inside it
    scores: Float[Tensor, " D"]  # probability of the label, in [0, 1]
    labels: Int[Tensor, " D"]  # 1..C


@torch.inference_mode()
def detect(
    model: SSD,
    images: Picture | UInt8[Tensor, "B 3 _ _"] | Sequence[Picture],
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    per_class: int = 400,
    per_image: int = 200,
    precision: str = "fp32",
) -> list[Detections]:
    """Detect objects in pictures of any size: one :class:`Detections` for each, on the CPU.

    A picture is a path, a PIL image, a uint8 array (H, W, 3) or a uint8 tensor (3, H, W), in RGB;
    ``images`` is one of them or a list. For a drawing raise ``score_threshold`` to about 0.5; for
    measuring average precision leave it low. ``precision`` "bf16" lets the network compute in
    bfloat16, which pays where the processor has it; boxes and scores stay fp32.

    Raises:
        ValueError: an image of the wrong shape or type, a model whose weights have 16 bits, or a
            network that answers with NaN or infinity.
    """
    images = as_tensors(images)
    if not images:
        return []
    if model.default_boxes.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"model: its weights and boxes were made {model.default_boxes.dtype}, too coarse for a "
            'box; load it anew, and let the network alone compute in 16 bits: precision="bf16"'
        )
    # 1. The network's answers, in evaluation mode.
    training = model.training
    model.eval()
    try:
        prepared = model.preprocess(images).contiguous(memory_format=torch.channels_last)
        network = fast.accelerate(model)  # the same answers, sooner: appendix F
        with autocast(prepared.device, precision):
            logits, offsets = network(prepared)
    finally:
        model.train(training)

    # 2. Thousands of them to a few: as in postprocess, sooner.
    limits = score_threshold, iou_threshold, per_class, per_image
    boxes, scores, labels = fast.postprocess(
        logits, offsets, model.default_boxes, model.spec, *limits
    )

    # 3. To the CPU, cut at the picture's edge, in pixels, without padding.
    size = torch.tensor([[*image.shape[:0:-1]] * 2 for image in images])  # (B, 4): W, H, W, H
    finite = logits.isfinite().all() & offsets.isfinite().all() & boxes.isfinite().all()
    boxes, scores, labels = (x.to("cpu", non_blocking=True) for x in (boxes, scores, labels))
    if not finite:  # synchronizes: the copies above are complete after this line
        raise ValueError(
            "logits: the network answers with NaN or infinity; its weights or its images are "
            "damaged"
        )
    boxes, counts = boxes.clamp(0, 1) * size[:, None], (labels > 0).sum(dim=1).tolist()
    found = zip(boxes, scores, labels, counts)
    return [Detections(b[:n], s[:n], c[:n]) for b, s, c, n in found]

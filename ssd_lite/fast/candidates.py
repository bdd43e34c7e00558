"""Appendix F. Post-processing that looks at few candidates: the same detections, sooner."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssd_lite.nms import batched_nms
from ssd_lite.postprocessing import candidates, compact, decode_boxes
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
    """:func:`ssd_lite.postprocessing.postprocess`, which gives the same detections.

    Boxes that are surely background go before the softmax (on a CPU), and candidates that
    score low wait until it is known that too few of the others survive.
    """
    boxes = decode_boxes(offsets, default_boxes, spec)  # (B, A, 4)
    if logits.device.type == "cpu":  # on a GPU, counting would synchronize, and cost more
        logits, boxes = drop_sure_background(logits, boxes, score_threshold)
    boxes, scores, labels = candidates(logits, boxes, score_threshold, per_class)  # (B, C·k)
    n = window = 5 * per_image
    some = boxes[:, :n], scores[:, :n], labels[:, :n]
    while True:
        keep = batched_nms(some[0], some[2], iou_threshold)  # (B, n)
        best = compact(*some, keep, per_image)
        # The rest cannot matter if enough survive, or if there is none: NMS looks only at
        # higher scores.
        enough = keep.sum(dim=1) >= per_image
        if n >= labels.shape[1] or (enough | (labels[:, n] == 0)).all():
            return best
        # The next candidates, behind the survivors, which alone suppress any; padding goes last.
        more = zip(best, (boxes, scores, labels))
        b, s, c = (torch.cat([x, y[:, n : n + window]], dim=1) for x, y in more)
        some = compact(b, s, c, c > 0, c.shape[1])
        n += window


def drop_sure_background(
    logits: Float[Tensor, "B A classes"], boxes: Float[Tensor, "B A 4"], score_threshold: float
) -> tuple[Float[Tensor, "B N classes"], Float[Tensor, "B N 4"]]:
    """The boxes, in their order, that may reach the threshold for some class.

    N is the largest number that an image keeps. A class c is never likelier than in a contest
    with background alone: its probability is at most sigmoid(l_c - l_0). That takes no softmax,
    and a trained network leaves few boxes.
    """
    margin = logits[:, :, 1:].amax(dim=2).float() - logits[:, :, 0].float()  # (B, A)
    min_margin = torch.tensor(score_threshold).clamp(0, 1).logit()
    possible = margin > min_margin - 1e-3  # safety margin, larger than any rounding error
    n_max = int(possible.sum(dim=1).amax()) if len(possible) else 0
    if n_max > possible.shape[1] / 2:
        return logits, boxes
    order = possible.int().argsort(dim=1, descending=True, stable=True)
    order = order[:, :n_max, None]  # (B, N, 1)
    logits = logits.gather(1, order.expand(-1, -1, logits.shape[2]))
    return logits, boxes.gather(1, order.expand(-1, -1, 4))

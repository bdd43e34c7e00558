"""Appendix F. A softmax over many classes, row by row: the same loss, sooner."""

from functools import partial

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ssd_lite import loss

MANY = 16  # classes from which the softmax is quicker along rows; measured on CPUs


def cross_entropy(
    logits: Float[Tensor, "B A classes"], target_labels: Int[Tensor, "B A"]
) -> Float[Tensor, "B A"]:
    """:func:`ssd_lite.loss.cross_entropy`; with many classes as one long list of rows."""
    if logits.shape[2] < MANY:
        return loss.cross_entropy(logits, target_labels)
    rows = logits.float().flatten(0, 1)  # (B · A, C + 1)
    return F.cross_entropy(rows, target_labels.flatten(), reduction="none").view_as(target_labels)


multibox_loss = partial(loss.multibox_loss, classification_loss=cross_entropy)

"""Chapter 5. The MultiBox loss: classification and localization over all default boxes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


class MultiBoxLoss(NamedTuple):
    """The parts of the loss, each a scalar tensor still on the device."""

    total: Tensor  # classification + localization: what is minimized
    classification: Tensor
    localization: Tensor
    positives: Tensor  # default boxes that answer for an object, in the batch
    negatives: Tensor  # background boxes that took part


def cross_entropy(
    logits: Float[Tensor, "B A classes"], target_labels: Int[Tensor, "B A"]
) -> Float[Tensor, "B A"]:
    """Each box's classification loss: minus the logarithm of the right label's probability."""
    by_class = logits.float().transpose(1, 2)  # (B, C + 1, A): where PyTorch expects the classes
    return F.cross_entropy(by_class, target_labels, reduction="none")  # (B, A)


def multibox_loss(
    logits: Float[Tensor, "B A classes"],
    offsets: Float[Tensor, "B A 4"],
    target_labels: Int[Tensor, "B A"],
    target_offsets: Float[Tensor, "B A 4"],
    choose_negatives: Callable[[Float[Tensor, "B A"], Bool[Tensor, "B A"]], Bool[Tensor, "B A"]],
    normalizer: Float[Tensor, ""] | None = None,
    classification_loss: Callable[
        [Float[Tensor, "B A classes"], Int[Tensor, "B A"]], Float[Tensor, "B A"]
    ] = cross_entropy,
) -> MultiBoxLoss:
    """Cross-entropy over positives and chosen negatives, smooth L1 over positives; per positive.

    Paper: section 2.2, eq. 1 to 3.

    Args:
        logits: class scores before softmax; class 0 is background, so there are C + 1.
        offsets: predicted offsets.
        target_labels: from :func:`~ssd_lite.matching.match`; 0 is background.
        target_offsets: from :func:`~ssd_lite.encoding.encode`; read only where there is an object.
        choose_negatives: given each box's cross-entropy and the mask of positives, a mask of
            the background boxes that take part. The paper's choice is
            :func:`~ssd_lite.mining.hard_negatives`.
        normalizer: what the sums are divided by; by default the positives of the batch, at
            least 1.
        classification_loss: each box's loss from its scores and its label.
    """
    check_targets(logits, offsets, target_labels, target_offsets)
    positive = target_labels > 0  # (B, A)
    # 1. What: every box's scores have their cost; positives and chosen negatives will count.
    box_losses = classification_loss(logits, target_labels)  # (B, A)
    with torch.no_grad():
        negative = choose_negatives(box_losses, positive)  # (B, A)

    # 2. Where: background has no offsets to learn. It is told what it says already, so distance
    # and gradient are 0, whatever its target. A mask afterwards would hide a NaN from the loss,
    # but not from the gradient.
    offsets = offsets.float()
    wanted = torch.where(positive[:, :, None], target_offsets, offsets.detach())  # (B, A, 4)
    distance = F.smooth_l1_loss(offsets, wanted, reduction="none")  # (B, A, 4)

    # 3. Sums, per positive.
    if normalizer is None:
        normalizer = positive.sum().clamp(min=1)  # an image without objects must not give 0/0
    classification = torch.where(positive | negative, box_losses, 0).sum() / normalizer
    localization = distance.sum() / normalizer
    total = classification + localization
    return MultiBoxLoss(total, classification, localization, positive.sum(), negative.sum())


def check_targets(
    logits: Tensor, offsets: Tensor, target_labels: Tensor, target_offsets: Tensor
) -> None:
    """Raise ``ValueError`` for shapes, dtypes or devices that do not fit together.

    Reads no values, so it never synchronizes.
    """
    batch = tuple(target_labels.shape)
    if target_labels.dtype != torch.int64 or len(batch) != 2:
        raise ValueError(
            f"target_labels: expected int64 of shape (B, A), got {target_labels.dtype} of {batch}"
        )
    for name, tensor in {
        "logits": logits,
        "offsets": offsets,
        "target_offsets": target_offsets,
    }.items():
        last = "C + 1" if name == "logits" else 4
        if tensor.shape[:2] != batch or tensor.dim() != 3 or (last == 4 and tensor.shape[2] != 4):
            wanted = f"({batch[0]}, {batch[1]}, {last})"
            raise ValueError(
                f"{name}: expected shape {wanted} to go with the labels, got {tuple(tensor.shape)}"
            )
        if tensor.device != target_labels.device:
            raise ValueError(
                f"{name} is on {tensor.device}, target_labels on {target_labels.device}: use one "
                "device"
            )

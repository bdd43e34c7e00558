"""Chapter 5. The loss box by box, two choices of negatives, and three ways to mask."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def all_of_them(
    losses: Float[Tensor, "B A"],
    positive: Bool[Tensor, "B A"],
) -> Bool[Tensor, "B A"]:
    return ~positive


def first(k: float) -> Callable:
    """A choice: the first k negatives of an image per positive, whatever they cost."""

    def choose(losses: Tensor, positive: Tensor) -> Tensor:
        quota = k * positive.sum(dim=1, keepdim=True)  # (B, 1)
        return ~positive & ((~positive).cumsum(dim=1) <= quota)

    return choose


def slow_loss(logits, offsets, target_labels, target_offsets, choose_negatives):
    classification, localization, positives = 0, 0, 0
    for image, labels in enumerate(target_labels.tolist()):
        losses = []
        for box, label in enumerate(labels):
            z = logits[image, box]  # (classes,)
            losses += [z.exp().sum().log() - z[label]]
        known = torch.stack(losses).detach()[None]  # (1, A)
        chosen = choose_negatives(known, target_labels[image, None] > 0)[0]
        for box, label in enumerate(labels):
            if label > 0 or chosen[box]:
                classification = classification + losses[box]
            if label > 0:
                positives += 1
                for m in range(4):
                    d = (offsets[image, box, m] - target_offsets[image, box, m]).abs()
                    localization = localization + (d**2 / 2 if d < 1 else d - 0.5)
    n = max(1, positives)
    return classification / n, localization / n


def mask_by_product(offsets: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    return (F.smooth_l1_loss(offsets, targets, reduction="none") * mask).sum()


def where_afterwards(offsets: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    distance = F.smooth_l1_loss(offsets, targets, reduction="none")
    return torch.where(mask, distance, 0).sum()


def where_beforehand(offsets: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    targets = torch.where(mask, targets, offsets.detach())
    return F.smooth_l1_loss(offsets, targets, reduction="none").sum()

"""Chapter 6. Hard-negative mining: the background boxes that the network gets most wrong."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def hard_negatives(
    losses: Float[Tensor, "B A"], positive: Bool[Tensor, "B A"], ratio: float = 3
) -> Bool[Tensor, "B A"]:
    """Mask of the background boxes with the largest loss: ``ratio`` per positive.

    Each image has its own quota, or all its background boxes if there are fewer. An image without
    positives gets none. Ties go to the first box. Paper: section 2.2, "Hard negative mining".

    A fractional quota is rounded down.

    One sort suffices: the mask is built in sorted order, where "the hardest k" is "the first
    k", and scattered back.
    """
    positives = positive.sum(dim=1, keepdim=True)  # (B, 1)
    quota = (ratio * positives).floor().clamp(max=positive.shape[1] - positives)  # (B, 1)
    losses = losses.masked_fill(positive, -torch.inf)  # (B, A): positives come last
    order = losses.sort(dim=1, descending=True, stable=True).indices  # (B, A)
    chosen = torch.arange(order.shape[1], device=order.device) < quota  # (B, A), in sorted order
    return torch.zeros_like(positive).scatter(1, order, chosen)


def all_negatives(
    losses: Float[Tensor, "B A"], positive: Bool[Tensor, "B A"]
) -> Bool[Tensor, "B A"]:
    """Every background box: what happens without mining."""
    return ~positive

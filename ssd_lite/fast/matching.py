"""Appendix F. Matching that joins many pairs in one round: the same matches, sooner."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssd_lite import matching


def match(
    default_boxes: Float[Tensor, "A 4"],
    boxes: Float[Tensor, "B G 4"],
    labels: Int[Tensor, "B G"],
    threshold: float = 0.5,
) -> tuple[Int[Tensor, "B A"], Float[Tensor, "B A 4"]]:
    """:func:`ssd_lite.matching.match`, usually after one round."""
    assigned = matching.assign(default_boxes, boxes, labels, threshold, bipartite)
    return matching.targets(assigned, default_boxes, boxes, labels)


def bipartite(overlap: Float[Tensor, "B G A"]) -> Int[Tensor, "B G"]:
    """:func:`ssd_lite.matching.bipartite`, usually after one round.

    One round joins *every* pair that is the best of both its row and its column, in all images
    at once. Such a pair keeps its partners whatever happens elsewhere, so the result is that of
    the greedy loop.
    """
    count = overlap.shape[1]
    objects = torch.arange(count, device=overlap.device)
    free = overlap.clone()  # (B, G, A); a pair whose object or box is taken becomes -1
    forced = torch.full(overlap.shape[:2], -1, device=overlap.device)  # (B, G)
    # Whether pairs are left is looked at rarely on a GPU, which has to be waited for.
    every = 1 if overlap.device.type == "cpu" else 8
    for rounds in range(1, count + 1):
        best, choice = free.max(dim=2)  # (B, G)
        # What every object h would have of the box that object g chose.
        rivals = free.gather(2, choice[:, None].expand(-1, len(objects), -1))  # (B, G, G): h, g
        wins = (best > 1e-6) & (rivals.argmax(dim=1) == objects)  # (B, G)
        forced = torch.where(wins, choice, forced)
        looks = rounds % every == 0 and rounds < count
        if looks and not (~wins & (best > 1e-6)).any():  # early exit
            break
        taken = torch.zeros_like(free[:, 0]).scatter_add_(1, choice, wins.to(free.dtype))  # (B, A)
        free.masked_fill_(wins[:, :, None] | (taken[:, None] > 0), -1)
    return forced

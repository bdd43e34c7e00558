"""Chapter 3. Three matchers for one image, from its table of IoUs: objects by default boxes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def threshold_alone(overlap: Float[Tensor, "G A"], threshold: float = 0.5) -> Int[Tensor, " A"]:
    best, assigned = overlap.max(dim=0)  # (A,): over the objects
    return torch.where(best >= threshold, assigned, -1)


def overwriting(overlap: Float[Tensor, "G A"], threshold: float = 0.5) -> Int[Tensor, " A"]:
    assigned = threshold_alone(overlap, threshold)  # (A,)
    for g, ious in enumerate(overlap):
        assigned[ious.argmax()] = g
    return assigned


def slow_bipartite(overlap: Float[Tensor, "G A"]) -> list[int]:
    """A default box for each object, largest pair first; -1 if none is left."""
    left = overlap.clone()
    forced = [-1] * len(overlap)
    for _ in overlap:
        g, a = divmod(left.argmax().item(), left.shape[1])  # row and column
        if left[g, a] <= 1e-6:
            break  # only pairs that do not overlap are left
        forced[g] = a
        left[g], left[:, a] = -1, -1  # struck out
    return forced


def pairs_first(overlap: Float[Tensor, "G A"], threshold: float = 0.5) -> Int[Tensor, " A"]:
    assigned = threshold_alone(overlap, threshold)  # (A,)
    for g, a in enumerate(slow_bipartite(overlap)):
        if a >= 0:
            assigned[a] = g
    return assigned


def lost(assigned: Int[Tensor, " A"], objects: int) -> list[int]:
    """The objects that no default box answers for."""
    return [g for g in range(objects) if not (assigned == g).any()]

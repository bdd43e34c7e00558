"""Checks of chapter 8's exercises."""

import torch

from book.checks import BLANK, Check, same_as
from ssd_lite.boxes import iou


def count() -> Check:
    random = torch.Generator().manual_seed(0)
    return same_as(
        right=lambda p, t: int((p[:, 1:] > t).sum()),
        cases=[
            (torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.9, 0.05, 0.05]]), 0.25),
            (torch.tensor([[0.25, 0.5, 0.25]]), 0.25),
            ((2 * torch.randn(50, 6, generator=random)).softmax(dim=1), 0.1),
            ((2 * torch.randn(50, 6, generator=random)).softmax(dim=1), 0.01),
        ],
        mistakes={
            "Background took part. It is never a candidate.": lambda p, t: int((p > t).sum()),
            "A score that equals the threshold isn't above it.": (
                lambda p, t: int((p[:, 1:] >= t).sum())
            ),
            "You counted boxes. A box that scores well in two classes is two candidates.": (
                lambda p, t: int((p[:, 1:] > t).any(dim=1).sum())
            ),
            "You took each box's best class only. SSD asks every class of every box.": (
                lambda p, t: int(((p.argmax(dim=1) > 0) & (p.amax(dim=1) > t)).sum())
            ),
        },
        praise="A candidate is a pair of a box and a class, so there can be more of them than "
        "boxes.",
    )


def _survivors(overlap, threshold, ghosts=False, touching=False, backwards=False):
    kept = []
    indices = range(len(overlap))
    for j in reversed(indices) if backwards else indices:
        above = range(j) if ghosts else kept
        shares = [overlap[i][j] for i in above]
        if not any(x > threshold or (touching and x == threshold) for x in shares):
            kept.append(j)
    return sorted(kept)


def survivors() -> Check:
    return same_as(
        right=_survivors,
        cases=[
            ([[1, 0.6, 0.2], [0.6, 1, 0.6], [0.2, 0.6, 1]], 0.45),
            ([[1, 0.5, 0.7], [0.5, 1, 0.1], [0.7, 0.1, 1]], 0.5),
            ([[1, 0.6, 0, 0], [0.6, 1, 0.6, 0], [0, 0.6, 1, 0.6], [0, 0, 0.6, 1]], 0.45),
            ([], 0.45),
        ],
        mistakes={
            "A box that is gone still suppresses others. Ask only those that survive.": (
                lambda o, t: _survivors(o, t, ghosts=True)
            ),
            "An overlap that equals the threshold isn't above it.": (
                lambda o, t: _survivors(o, t, touching=True)
            ),
            "You began with the worst box. The list is best first.": (
                lambda o, t: _survivors(o, t, backwards=True)
            ),
        },
        praise="In a chain, every other box survives, "
        "because the ones between are gone when their turn comes.",
    )


def judge_apart(answer):
    random = torch.Generator().manual_seed(0)
    for low, high in ((0, 1), (-0.5, 1.5), (-30, 1)):
        corner = low + (high - low) * torch.rand(40, 2, 2, generator=random)
        boxes = torch.cat([corner.amin(dim=1), corner.amax(dim=1)], dim=1)  # (40, 4)
        labels = torch.randint(1, 6, (40,), generator=random)
        moved = answer(boxes.clone(), labels)
        if moved is None:
            return BLANK
        same = labels[:, None] == labels
        before, after = iou(boxes, boxes), iou(moved, moved)
        if after[~same].max() > 0:
            where = f"With coordinates from {low} to {high}"
            return f"{where}, boxes of different classes still overlap."
        if not torch.allclose(after[same], before[same], atol=1e-4):
            shift = moved - boxes  # (40, 4)
            uneven = (shift.amax(dim=1) - shift.amin(dim=1)).max() > 0.01 * shift.abs().max()
            why = "You moved too far for a float's digits."
            if uneven:
                why = "Move all four numbers by the same amount."
            return f"Within a class the overlaps have changed. {why}"
    return ""


def apart() -> Check:
    return Check(
        judge_apart,
        mistakes={
            "With coordinates from 0 to 1, boxes": lambda b, c: b,
            "With coordinates from -0.5 to 1.5, boxes": lambda b, c: b + 1.001 * c[:, None],
            "With coordinates from -30 to 1, boxes": lambda b, c: b + (c * (b.max() + 2))[:, None],
            "You moved too far for a float's digits": lambda b, c: b + 1e6 * c[:, None],
            "Move all four numbers by the same amount": lambda b, c: (
                b + torch.tensor([1, 1, 0, 0]) * (c * (b.max() - b.min() + 1))[:, None]
            ),
        },
        praise="The extent of all boxes is always enough, while the largest coordinate alone "
        "isn't.",
    )


def _looks(keep, enough, first, cap=True, once=False, factor=4, spare=0):
    seen = first
    while not once and sum(keep[:seen]) < enough + spare and seen < len(keep):
        seen *= factor
    return min(seen, len(keep)) if cap else seen


def looks() -> Check:
    return same_as(
        right=_looks,
        cases=[
            ([True, False] * 50, 10, 25),
            ([True] + [False] * 29 + [True] * 70, 10, 20),
            ([True] * 3, 10, 20),
            ([True] * 10 + [False] * 90, 10, 20),
            ([True] + [False] * 199, 2, 10),
            ([], 5, 10),
        ],
        mistakes={
            "It looks once. What if too few survive?": lambda k, e, f: _looks(k, e, f, once=True),
            "Exactly enough is enough.": lambda k, e, f: _looks(k, e, f, spare=1),
            "You look at more candidates than there are.": (
                lambda k, e, f: _looks(k, e, f, cap=False)
            ),
            "It doubles. Look at four times as many each time.": (
                lambda k, e, f: _looks(k, e, f, factor=2)
            ),
            "You stopped at the candidate that was enough. A look is at a whole block.": (
                lambda k, e, f: next((n for n in range(len(k) + 1) if sum(k[:n]) >= e), len(k))
            ),
        },
        praise="The function may peek at the answer, `keep`, "
        "because a box's fate doesn't depend on anything below it.",
    )


def _soft(overlap, scores, sigma, resort=True, square=True, also_taken=False):
    scores, order = scores.clone(), scores.argsort(descending=True).tolist()
    left = torch.ones(len(scores), dtype=torch.bool)
    for n in range(len(scores)):
        top = int(torch.where(left, scores, -1.0).argmax()) if resort else order[n]
        left[top] = False
        decay = torch.exp(-(overlap[top] ** (2 if square else 1)) / sigma)
        if also_taken:
            decay[top] = 1
            scores = scores * decay
        else:
            scores = torch.where(left, scores * decay, scores)
    return scores


def soft_scores() -> Check:
    line = torch.tensor([[1, 0.9, 0.1, 0], [0.9, 1, 0.3, 0], [0.1, 0.3, 1, 0.6], [0, 0, 0.6, 1]])
    return same_as(
        right=_soft,
        cases=[
            (line, torch.tensor([0.9, 0.85, 0.6, 0.5]), 0.5),
            (line, torch.tensor([0.5, 0.85, 0.6, 0.9]), 0.3),
            (line[:1, :1], torch.tensor([0.7]), 0.5),
        ],
        mistakes={
            "The order is that of the old scores. After each step, look for the highest anew.": (
                lambda *a: _soft(*a, resort=False)
            ),
            "The IoU is not squared.": lambda *a: _soft(*a, square=False),
            "A box that was taken keeps its score. You lowered it later on.": (
                lambda *a: _soft(*a, also_taken=True)
            ),
        },
        praise="With a small sigma it comes close to dropping; with a large one, to doing nothing.",
    )

"""Checks of chapter 3's exercises."""

import torch

from book.checks import BLANK, Check, same_as
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.matching import bipartite
from ssd_lite.spec import SSD300_VOC

BY_HAND = {
    "Box 2 reaches 0.52 with object 1, but it's object 2's own.": [1, 0, 1, -1, 0],
    "You served the objects in order. Greedy goes by IoU: the 0.70 comes first.": [0, 0, 1, 2, 0],
    "The last object wrote over the others in box 0. Object 1 overlaps it most.": [2, 0, 1, -1, 0],
    "Box 4 overlaps object 0 by exactly 0.50, and that reaches the threshold.": [1, 0, 2, -1, -1],
    "Box 3 is nobody's own, and 0.20 is below the threshold: background.": [1, 0, 2, 2, 0],
}


def judge_by_hand(answer):
    answer = list(answer)
    if answer == [1, 0, 2, -1, 0]:
        return ""
    if len(answer) != 5:
        return f"There are five default boxes; you gave {len(answer)} numbers."
    for message, wrong in BY_HAND.items():
        if answer == wrong:
            return message
    first = next(a for a, (got, right) in enumerate(zip(answer, [1, 0, 2, -1, 0])) if got != right)
    return f"Look again at box {first}. Strike out rows and columns as you go."


def by_hand() -> Check:
    return Check(
        judge_by_hand, BY_HAND, praise="Object 2 wanted box 0 as well, and took what was left."
    )


def _forced(overlap, threshold, force=True, at_least=True, order=False):
    best, assigned = overlap.max(dim=0)
    assigned = torch.where(best >= threshold if at_least else best > threshold, assigned, -1)
    forced = assigned.clone()
    if force:
        forced[overlap.argmax(dim=1)] = torch.arange(len(overlap))
    return torch.where(assigned >= 0, assigned, forced) if order else forced


def forced() -> Check:
    return same_as(
        right=_forced,
        cases=[
            (torch.tensor([[0.1, 0.3, 0.2], [0.6, 0.2, 0.5]]), 0.5),
            (
                torch.tensor([[0.7, 0.6, 0.0, 0.1], [0.0, 0.55, 0.2, 0.0], [0.0, 0.1, 0.1, 0.2]]),
                0.5,
            ),
            (torch.tensor([[0.25, 0.0, 0.0]]), 0.3),
            (torch.tensor([[0.8, 0.7, 0.1], [0.1, 0.2, 0.3]]), 0.5),
        ],
        mistakes={
            "That is the threshold alone. Where is every object's best box?": lambda *a: _forced(
                *a, force=False
            ),
            "Those are the objects' own boxes. "
            "All that reach the threshold answer, too.": lambda overlap, threshold: _forced(
                overlap, 2
            ),
            "A box that just reaches the threshold answers: at least, not more than.": lambda *a: (
                _forced(*a, at_least=False)
            ),
            "The threshold has the last word, and takes an object's own box away.": lambda *a: (
                _forced(*a, order=True)
            ),
            "Boxes below the threshold must become background, "
            "but for the forced ones.": lambda overlap, threshold: _forced(overlap, 0),
        },
        praise="Where nobody quarrels, `pairs_first` gives the same.",
    )


def _owner(overlap, threshold=0.5, force=True):
    best, assigned = overlap.max(dim=0)
    assigned = torch.where(best >= threshold, assigned, -1)
    for g, ious in enumerate(overlap if force else []):
        assigned[ious.argmax()] = g
    return assigned


def _losses(overlap, threshold=0.5, force=True):
    assigned = _owner(overlap, threshold, force)
    return sum(not (assigned == g).any() for g in range(len(overlap)))


def losses() -> Check:
    return same_as(
        right=_losses,
        cases=[
            (torch.tensor([[0.75, 0.4, 0.2], [0.44, 0.24, 0.3]]),),  # lost
            (
                torch.tensor([[0.75, 0.6, 0.2], [0.44, 0.24, 0.3]]),
            ),  # overwritten, and still has another
            (torch.tensor([[0.1, 0.3, 0.2], [0.6, 0.2, 0.1]]),),  # no quarrel
            (torch.tensor([[0.3, 0.1], [0.3, 0.1], [0.3, 0.1]]),),  # three want one
            (
                torch.tensor([[0.3, 0.1, 0.2], [0.7, 0.1, 0.0], [0.1, 0.2, 0.6]]),
            ),  # the better one came last
            (torch.tensor([[0.9, 0.6], [0.1, 0.7]]),),  # no background at all
        ],
        mistakes={
            "You counted who is overwritten. "
            "Such an object may still have boxes by threshold.": lambda overlap: _losses(
                overlap, threshold=2
            ),
            "You counted the objects that reach 0.5 with no box. "
            "Each of them also insists on its best.": lambda overlap: _losses(overlap, force=False),
            "You took −1 for an object. It stands for background.": lambda overlap: (
                len(overlap) - len(_owner(overlap).unique())
            ),
            "You take it that −1 always occurs. "
            "Where no box is background, it does not.": lambda overlap: (
                len(overlap) + 1 - len(_owner(overlap).unique())
            ),
            "You counted quarrels, so two who fight count as two. "
            "One of them keeps the box.": lambda overlap: sum(
                n for n in overlap.argmax(dim=1).bincount().tolist() if n > 1
            ),
        },
        praise="Run it over your annotations before you decide whether to care.",
    )


def judge_worst(worst):
    for n in (1, 2, 5, 8):
        table = worst(n)
        if table is None:
            return BLANK
        if table.shape != (n, n) or not ((table > 1e-6) & (table <= 1)).all():
            return (
                f"worst({n}) should be a table of {n} × {n} numbers between 0 and 1, "
                "and none of them 0."
            )
        if len(table.unique()) < n * n:
            return "Some numbers are equal. With ties it is too easy: make them all different."
        left, rounds = table.clone(), 0
        while left.max() > 1e-6:
            rounds += 1
            wish = left.argmax(dim=1).tolist()
            for g in [
                g for g, a in enumerate(wish) if left[g, a] > 1e-6 and left[:, a].argmax() == g
            ]:
                left[g], left[:, wish[g]] = -1, -1
        if rounds < n and rounds == 1:
            return f"worst({n}) takes one round: every object wants another box."
        if rounds < n:
            return f"worst({n}) takes {rounds} rounds. In each, exactly one pair may be mutual."
    return ""


def worst() -> Check:
    return Check(
        judge_worst,
        mistakes={
            "every object wants another box": lambda n: (
                torch.arange(1, n * n + 1).view(n, n) / n**2 / 2 + torch.eye(n) / 2
            ),
            "Some numbers are equal": lambda n: torch.full((n, n), 0.5),
            "exactly one pair may be mutual": lambda n: (
                torch.arange(1, n * n + 1).view(n, n) / n**2 / 3
                + torch.cat([torch.ones(n, 1), torch.zeros(n, n - 1)], dim=1) / 3
                + torch.diag(torch.arange(n) > 1).roll(0, 0) * 0.2
            ),
        },
        praise="Everybody wants what the one before them takes.",
    )


def top_boxes(overlap, k, forced=True):
    """Each object's k best boxes; a box wanted by several goes to the largest IoU."""
    wanted = overlap >= overlap.topk(k, dim=1).values[:, -1:].clamp(min=1e-6)  # (G, A)
    best, assigned = torch.where(wanted, overlap, -1).max(dim=0)
    assigned = torch.where(best > 0, assigned, -1)
    for g, a in enumerate(bipartite(overlap[None])[0].tolist() if forced else []):
        assigned[a] = g
    return assigned


def by_threshold(overlap, threshold, forced=True):
    best, assigned = overlap.max(dim=0)
    assigned = torch.where(best >= threshold, assigned, -1)
    for g, a in enumerate(bipartite(overlap[None])[0].tolist() if forced else []):
        assigned[a] = g
    return assigned


def judge_matcher(matcher):
    random = torch.Generator().manual_seed(1)
    corners = cxcywh_to_xyxy(make_default_boxes(SSD300_VOC))
    counts, sides, quality, reference = [], [], [], 0
    for _ in range(100):
        size = 0.05 * 12 ** torch.rand(4, 1, generator=random) * torch.ones(4, 2)
        corner = torch.rand(4, 2, generator=random) * (1 - size)
        overlap = iou(torch.cat([corner, corner + size], dim=1), corners)  # (4, 8732)
        assigned = matcher(overlap.clone())
        if assigned is None:
            return BLANK
        if assigned.shape != (8732,):
            return (
                "It should give one number for each default box, shape (8732,), "
                f"and gives {tuple(assigned.shape)}."
            )
        counts.append(torch.bincount(assigned[assigned >= 0], minlength=4))
        sides.append(size[:, 0])
        quality.append(overlap.gather(0, assigned[None].clamp(min=0))[0][assigned >= 0])
        reference += int((by_threshold(overlap, 0.5) >= 0).sum())
    count, side, quality = torch.cat(counts), torch.cat(sides), torch.cat(quality)
    if (count == 0).any():
        return (
            f"{(count == 0).sum()} of {len(count)} objects are lost. "
            "Give everybody a box of its own first."
        )
    if (mean := count[side < 0.1].float().mean()) < 4:
        return (
            f"Objects below a tenth of the picture have {mean:.1f} positives on average; "
            "4 were asked for."
        )
    if count.sum() > reference:
        return (
            f"You use {count.sum()} positives, and the reference {reference}. "
            "Take some from the large objects."
        )
    if quality.mean() < 0.4:
        return f"The mean IoU of your positives is {quality.mean():.2f}. Choose nearer boxes."
    return ""


def my_matcher() -> Check:
    return Check(
        judge_matcher,
        mistakes={
            "objects are lost": lambda overlap: by_threshold(overlap, 0.5, forced=False),
            "below a tenth of the picture have": lambda overlap: by_threshold(overlap, 0.5),
            "Take some from the large objects": lambda overlap: by_threshold(overlap, 0.25),
            "Choose nearer boxes": lambda overlap: top_boxes(
                overlap.sqrt() * (overlap > 0.1) * (overlap < 0.4), 8
            ),
        },
        praise="Small objects have more positives now. "
        "Whether the network learns more from them is another question.",
    )

"""Checks of chapter 6's exercises."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from book.checks import BLANK, Check, same_as
from ssd_lite.mining import hard_negatives


def quota() -> Check:
    return same_as(
        right=lambda positives, boxes, ratio: min(ratio * positives, boxes - positives),
        cases=[(2, 8, 1), (2, 8, 3), (3, 8, 3), (0, 8732, 3), (20, 8732, 3), (8, 8, 3)],
        mistakes={
            "There may be less background than that. "
            "What if 3 of 8 boxes are positive?": lambda p, a, r: r * p,
            "Positives are not background, so the limit is lower "
            "than the number of all boxes.": lambda p, a, r: min(r * p, a),
            "A picture without positives has a quota of 0: three for each of none.": (
                lambda p, a, r: min(r * max(p, 1), a - p)
            ),
            "That is the number of all boxes that take part. "
            "The quota counts negatives.": lambda p, a, r: min((r + 1) * p, a),
        },
        praise="And torchvision's has no limit.",
    )


def _ranks(order):
    return torch.zeros_like(order).scatter(1, order, torch.arange(order.shape[1]).expand_as(order))


class _Watch(TorchDispatchMode):
    """Keeps the names of the operators that PyTorch runs."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def judge_ranks(answer):
    random = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(7, generator=random) for _ in range(4)])
    with _Watch() as watch:
        got = answer(orders)
    if got is None:
        return BLANK
    if not isinstance(got, Tensor) or got.shape != orders.shape:
        return "The answer should be a tensor of the same shape as `order`."
    if torch.equal(got, _ranks(orders)):
        sorted_it = {"sort", "argsort"} & watch.names
        return "Right, but you sorted. Write each rank where it belongs." if sorted_it else ""
    if torch.equal(got, orders.gather(1, torch.arange(7).expand_as(orders))):
        return (
            "This is `order` again: `gather` reads from positions, and you want to write to them."
        )
    if torch.equal(got, orders.gather(1, orders)):
        return "`order` of `order` is a box once more. Write ranks, not boxes."
    if (got == got[:1]).all():
        return "All pictures have the same ranks. Each row of `order` is a permutation of its own."
    return (
        f"For {orders[0].tolist()} it gives {got[0].tolist()}, "
        f"and {_ranks(orders)[0].tolist()} is right."
    )


def ranks() -> Check:
    return Check(
        judge_ranks,
        mistakes={
            "Right, but you sorted": lambda order: order.argsort(dim=1),
            "`gather` reads from positions": lambda order: order.gather(
                1, torch.arange(order.shape[1]).expand_as(order)
            ),
            "`order` of `order`": lambda order: order.gather(1, order),
            "All pictures have the same ranks": lambda order: _ranks(order[:1]).expand_as(order),
        },
        praise="Compare it with the quota, and you have mining with one sort, in another way.",
    )


def _mine(losses, positive, ratio, quota_of):
    count = positive.sum(dim=1, keepdim=True)
    quota = quota_of(count, ratio * count).clamp(max=positive.shape[1] - count)
    order = losses.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1) < quota


def mine() -> Check:
    random = torch.Generator().manual_seed(0)
    losses = torch.rand(4, 12, generator=random)
    positive = torch.zeros(4, 12, dtype=torch.bool)
    positive[1, :1], positive[2, :2], positive[3, :5] = True, True, True
    return same_as(
        right=lambda v, p, r, m: _mine(v, p, r, lambda n, q: torch.where(n == 0, m, q)),
        cases=[(losses, positive, ratio, m) for ratio, m in ((3, 5), (1, 2), (3, 100))],
        mistakes={
            "Empty pictures still have none.": lambda v, p, r, m: _mine(v, p, r, lambda n, q: q),
            "You raised every quota to `at_least`. Only pictures without positives get it.": (
                lambda v, p, r, m: _mine(v, p, r, lambda n, q: q.clamp(min=m))
            ),
            "You added `at_least` to every quota. Only pictures without positives get it.": (
                lambda v, p, r, m: _mine(v, p, r, lambda n, q: q + m)
            ),
            "You took the same number of negatives everywhere. "
            "With objects, it is the ratio that counts.": (
                lambda v, p, r, m: _mine(v, p, r, lambda n, q: torch.full_like(q, m))
            ),
        },
        praise="The loss divides by the positives of the batch, so keep `at_least` small: "
        "these negatives weigh as much as any.",
    )


def _focal(losses, positive, gamma, weight=lambda p, gamma: (1 - p) ** gamma, divide=None):
    p = (-losses).exp()
    return (weight(p, gamma) * losses).sum() / (divide or positive.sum().clamp(min=1))


def focal_total() -> Check:
    losses = torch.tensor([[0.05, 1.4, 2.2, 0.01], [0.7, 0.2, 0.1, 3.0]])
    positive = torch.tensor([[False, True, True, False], [False, False, False, True]])
    return same_as(
        right=_focal,
        cases=[
            (losses, positive, 2.0),
            (losses, positive, 0.5),
            (losses[:, :1], positive[:, :1], 2.0),
        ],
        mistakes={
            "The weight is 1 − p. You turned down the boxes that are wrong.": lambda *a: _focal(
                *a, weight=lambda p, g: p**g
            ),
            "You used the loss in place of 1 − p. First get p: exp(−loss).": lambda v, n, g: (
                (v**g * v).sum() / n.sum().clamp(min=1)
            ),
            "In one case nothing is positive: divide by at least 1.": lambda v, n, g: (
                ((1 - (-v).exp()) ** g * v).sum() / n.sum()
            ),
            "That divides by all boxes. The loss is per positive.": lambda v, n, g: _focal(
                v, n, g, divide=v.numel()
            ),
            "That is the cross-entropy: `gamma` makes no difference.": lambda *a: _focal(
                *a, weight=lambda p, g: 1
            ),
            "Only positives are summed. In focal loss all boxes take part.": lambda v, n, g: _focal(
                v.where(n, torch.zeros(())), n, g
            ),
        },
        praise="Put it in the place of the classification loss, "
        "start the biases at the floor, and train.",
    )


def judge_random(answer):
    torch.manual_seed(0)
    losses = torch.arange(20.0).expand(3, -1).clone()
    positive = torch.zeros(3, 20, dtype=torch.bool)
    positive[0, 3], positive[1, 4:6], positive[2, :8] = True, True, True
    wanted = hard_negatives(losses, positive).sum(dim=1)
    seen = torch.zeros(3, 20)
    for _ in range(300):
        mask = answer(losses, positive)
        if mask is None:
            return BLANK
        if mask.shape != positive.shape or mask.dtype != torch.bool:
            return "The answer should be a mask: booleans of the shape of `positive`."
        if (mask & positive).any():
            return "Positives are among your negatives. Set them aside before you rank."
        seen += mask
        if not torch.equal(mask.sum(dim=1), wanted):
            return f"The quotas are {wanted.tolist()}, and you chose {mask.sum(dim=1).tolist()}."
    chance = seen / 300  # how often each was chosen
    if ((chance == 0) | (chance == 1))[~positive].all():
        return "The same boxes come every time. Draw anew at every call."
    expected = (wanted / (~positive).sum(dim=1))[:, None]
    if ((chance - expected).abs() > 0.15)[~positive].any():
        return "Some boxes have a better chance than others. It must not depend on the loss."
    return ""


def random_negatives() -> Check:
    return Check(
        judge_random,
        mistakes={
            "The same boxes come every time": hard_negatives,
            "Positives are among your negatives": lambda v, p: (
                torch.rand_like(v).argsort(1).argsort(1) < 3 * p.sum(1, keepdim=True)
            ),
            "The quotas are": lambda v, p: torch.rand_like(v).masked_fill(p, 2) < 0.3,
            "Some boxes have a better chance": lambda v, p: hard_negatives(
                v + 8 * torch.rand_like(v) * (v > -1), p
            ),
        },
        praise="One line, if you let `hard_negatives` do the rest.",
    )

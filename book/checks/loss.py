"""Checks of chapter 5's exercises."""

import torch
import torch.nn.functional as F

from book.checks import Check, same_as
from ssd_lite.boxes import cxcywh_to_xyxy, iou, paired_iou
from ssd_lite.encoding import decode


def _knee(d, beta, inner=lambda d, b: d**2 / (2 * b), outer=lambda d, b: d - b / 2):
    d = d.abs()
    return torch.where(d < beta, inner(d, beta), outer(d, beta))


def smooth_l1() -> Check:
    return same_as(
        right=_knee,
        cases=[(torch.linspace(-3, 3, 13), beta) for beta in (1.0, 0.5, 2.0)],
        mistakes={
            "It jumps at the knee: the line starts where the parabola ends.": lambda d, b: _knee(
                d, b, outer=lambda d, b: d
            ),
            "It bends at the knee: there the parabola's slope must be 1.": lambda d, b: _knee(
                d, b, inner=lambda d, b: d**2 / 2, outer=lambda d, b: d - b + b**2 / 2
            ),
            "The line is right. The parabola must reach it with slope 1.": lambda d, b: _knee(
                d, b, inner=lambda d, b: d**2 / 2
            ),
            "Right for a knee at 1 only. The slopes must meet at any knee.": lambda d, b: _knee(
                d, b, inner=lambda d, b: d**2 / 2, outer=lambda d, b: d - 0.5
            ),
            "That's Huber's loss, whose line has slope beta. Here it's 1.": lambda d, b: (
                b * _knee(d, b)
            ),
            "On the negative side it becomes a line, too. Take |d| first.": lambda d, b: (
                torch.where(d < b, d**2 / (2 * b), d - b / 2)
            ),
        },
        praise="It's `F.smooth_l1_loss(..., beta=beta)`. `F.huber_loss` is the same times beta.",
    )


def _push(z, labels, chosen, sign=1, part=None, n=None):
    part = (labels > 0) | chosen if part is None else part
    n = (labels > 0).sum().clamp(min=1) if n is None else n
    return sign * (z.softmax(dim=2) - F.one_hot(labels, z.shape[2])) * part[:, :, None] / n


def _case(seed, share):
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, 4, (2, 6), generator=random) * (
        torch.rand(2, 6, generator=random) < share
    )
    chosen = (labels == 0) & (torch.rand(2, 6, generator=random) < 0.5)
    return torch.randn(2, 6, 4, generator=random), labels, chosen


def score_push() -> Check:
    return same_as(
        right=_push,
        cases=[_case(0, 0.4), _case(1, 0.6), _case(2, 0.0)],
        mistakes={
            "The sign is the wrong way around: said minus should.": lambda z, y, c: _push(
                z, y, c, sign=-1
            ),
            "Boxes that do not take part must get exactly 0.": lambda z, y, c: _push(
                z, y, c, part=torch.ones_like(c)
            ),
            "The positives take part as well as the chosen negatives.": lambda z, y, c: _push(
                z, y, c, part=c
            ),
            "The sum isn't divided by the number of positives.": lambda z, y, c: _push(
                z, y, c, n=1
            ),
            "You divided by all that take part. N counts positives.": lambda z, y, c: _push(
                z, y, c, n=((y > 0) | c).sum().clamp(min=1)
            ),
            "You divided each image by its own positives. N is the batch's.": lambda z, y, c: _push(
                z, y, c, n=(y > 0).sum(dim=1).clamp(min=1)[:, None, None]
            ),
            "`F.one_hot` needs the number of classes: some aren't in the batch.": lambda z, y, c: (
                (z.softmax(dim=2) - F.one_hot(y))
                * ((y > 0) | c)[:, :, None]
                / (y > 0).sum().clamp(min=1)
            ),
            "Softmax runs over the classes of one box, the last dimension.": lambda z, y, c: (
                _push(z, y, c)
                + (z.softmax(dim=1) - z.softmax(dim=2))
                * ((y > 0) | c)[:, :, None]
                / (y > 0).sum().clamp(min=1)
            ),
            "One of the batches has no object, and 0/0 is NaN.": lambda z, y, c: _push(
                z, y, c, n=(y > 0).sum()
            ),
        },
        praise="Softmax, minus one, masked, divided: that's all classification ever says.",
    )


def _lse(z, top, back=True):
    value = (z - top).exp().sum(dim=1).log()
    return value + top.expand(len(z), 1)[:, 0] if back else value


def log_sum_exp() -> Check:
    return same_as(
        right=lambda z: z.logsumexp(dim=1),
        cases=[
            (torch.tensor([[1.0, 2, 3], [0, 0, 0]]),),
            (torch.tensor([[1000.0, 999, 0], [-1000, -1001, -1002], [1, 2, 3]]),),
        ],
        mistakes={
            "exp overflows for large scores. Take the maximum off first.": lambda z: _lse(
                z, torch.zeros(1, 1)
            ),
            "One maximum for all rows: those far below it become -inf.": lambda z: _lse(
                z, z.max()[None, None]
            ),
            "You took the maximum off and didn't put it back.": lambda z: _lse(
                z, z.amax(1, keepdim=True), back=False
            ),
            "That's the maximum alone: close for a confident box, wrong for others.": lambda z: (
                z.amax(dim=1)
            ),
            "That's the maximum of each column. A box is a row.": lambda z: (
                (z - z.amax(0)).exp().sum(dim=1).log() + z.amax(0)[0]
            ),
        },
        praise="`torch.logsumexp` and `F.cross_entropy` do the same.",
    )


def _per_image(x, positive, chosen, least=1, over=None):
    sums, n = (x * (positive | chosen)).sum(dim=1), positive.sum(dim=1).clamp(min=least)
    return (sums / n).sum() / (len(x) if over is None else over(positive))


def _batch(seed):
    random = torch.Generator().manual_seed(seed)
    share = torch.tensor([[0.0], [0.2], [0.7]])
    positive = torch.rand(3, 10, generator=random) < share
    chosen = ~positive & (torch.rand(3, 10, generator=random) < 0.4)
    return torch.rand(3, 10, generator=random), positive, chosen


def per_image() -> Check:
    return same_as(
        right=_per_image,
        cases=[_batch(0), _batch(3), _batch(5)],
        mistakes={
            "That divides by the positives of the batch, as the book does.": lambda x, p, c: (
                (x * (p | c)).sum() / p.sum().clamp(min=1)
            ),
            "A picture without positives makes it 0/0 or x/0.": lambda x, p, c: _per_image(
                x, p, c, least=0
            ),
            "You added the pictures up. Take their mean.": lambda x, p, c: _per_image(
                x, p, c, over=lambda p: 1
            ),
            "That's one number for each picture. Take their mean.": lambda x, p, c: (
                (x * (p | c)).sum(dim=1) / p.sum(dim=1).clamp(min=1)
            ),
            "The chosen negatives are missing.": lambda x, p, c: _per_image(
                x, p, torch.zeros_like(c)
            ),
            "Only the chosen negatives take part, not all.": lambda x, p, c: _per_image(
                x, p, torch.ones_like(c)
            ),
            "Pictures without objects count, too: divide by all pictures.": lambda x, p, c: (
                _per_image(x, p, c, over=lambda p: p.any(dim=1).sum())
            ),
            "That's the mean over the boxes that take part, in each picture.": lambda x, p, c: (
                (x * (p | c)).sum(dim=1) / (p | c).sum(dim=1).clamp(min=1)
            ).mean(),
        },
        praise="Now a lone object weighs as much as a crowd. Is that what you'll be judged by?",
    )


def _positives(seed, count):
    random = torch.Generator().manual_seed(seed)
    default_boxes = 0.3 + 0.2 * torch.rand(count, 4, generator=random)
    target = cxcywh_to_xyxy(default_boxes + 0.1 * torch.rand(count, 4, generator=random))
    return torch.randn(count, 4, generator=random), target, default_boxes


def iou_loss() -> Check:
    return same_as(
        right=lambda o, goal, d: (1 - paired_iou(decode(o, d), goal)).sum(),
        cases=[_positives(0, 5), _positives(1, 1), _positives(2, 9)],
        mistakes={
            "A loss falls as boxes get better. IoU rises.": lambda o, goal, d: paired_iou(
                decode(o, d), goal
            ).sum(),
            "Each box has a target of its own; you compared all with all.": lambda o, goal, d: (
                1 - iou(decode(o, d), goal)
            ).sum(),
            "The default boxes didn't move: decode the offsets first.": lambda o, goal, d: (
                1 - paired_iou(cxcywh_to_xyxy(d), goal)
            ).sum(),
            "Offsets aren't boxes: decode them first.": lambda o, goal, d: (
                1 - paired_iou(o, goal)
            ).sum(),
            "That's the mean. The book adds up, and divides once, at the end.": lambda o, goal, d: (
                1 - paired_iou(decode(o, d), goal)
            ).mean(),
        },
        praise="Now look at its gradient where the two boxes don't touch.",
    )

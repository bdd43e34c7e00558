"""Checks of chapter 10's exercises."""

import numpy as np

from book.checks import Check, same_as
from ssd_lite.metrics import average_precision, precision_recall


def _point(scores, hits, total, threshold):
    shown = [hit for score, hit in zip(scores, hits) if score > threshold]
    return sum(shown) / len(shown), sum(shown) / total


def point() -> Check:
    return same_as(
        right=_point,
        cases=[
            ([0.9, 0.5, 0.8, 0.3], [True, True, False, True], 5, 0.4),
            ([0.9, 0.5, 0.8, 0.5], [True, False, True, True], 4, 0.5),
            ([0.2, 0.7], [True, False], 1, 0.5),
        ],
        mistakes={
            "Recall is a share of the objects that are there. You divided by the detections.": (
                lambda s, h, n, t: (_point(s, h, n, t)[0],) * 2
            ),
            "Precision is a share of the detections above the threshold. "
            "You divided by all of them.": (
                lambda s, h, n, t: (
                    sum(x for y, x in zip(s, h) if y > t) / len(s),
                    _point(s, h, n, t)[1],
                )
            ),
            "Recall is a share of all `total` objects, found or not. "
            "You divided by the hits in the list.": (
                lambda s, h, n, t: (
                    _point(s, h, n, t)[0],
                    sum(x for y, x in zip(s, h) if y > t) / sum(h),
                )
            ),
            "The hits below the threshold aren't shown, so they find nothing.": (
                lambda s, h, n, t: (_point(s, h, n, t)[0], sum(h) / n)
            ),
            "A score equal to the threshold isn't above it.": (
                lambda s, h, n, t: _point(s, h, n, t - 1e-9)
            ),
            "The other way around: precision first, then recall.": lambda s, h, n, t: _point(
                s, h, n, t
            )[::-1],
        },
        praise="Do this for every threshold, and you've drawn the curve.",
    )


def _eleven(precision, recall, levels=range(11), envelope=True, strict=False, reached=False):
    heights = []
    for k in levels:
        there = [p for p, r in zip(precision, recall) if (r > k / 10 if strict else r >= k / 10)]
        if there:
            heights.append(max(there) if envelope else there[0])
        elif not reached:
            heights.append(0)
    return sum(heights) / max(len(heights), 1)


def eleven_points() -> Check:
    return same_as(
        right=_eleven,
        cases=[
            ([1, 1 / 2, 2 / 3, 3 / 4, 3 / 5], [1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4]),
            ([1, 1, 1], [1 / 10, 2 / 10, 3 / 10]),
            ([0, 1 / 2, 2 / 3], [0, 1 / 2, 1]),
            ([0, 0], [0, 0]),
        ],
        mistakes={
            "Those are ten points. The one at recall 0 counts, too.": (
                lambda p, r: _eleven(p, r, levels=range(1, 11))
            ),
            "You took the precision where the recall is first reached. "
            "The envelope may be higher further on.": (lambda p, r: _eleven(p, r, envelope=False)),
            "A recall that is reached exactly is reached.": lambda p, r: _eleven(p, r, strict=True),
            "Recalls that are never reached count as 0, and you left them out of the mean.": (
                lambda p, r: _eleven(p, r, reached=True)
            ),
            "Three times 0.1 is more than 0.3 in floating point, so divide whole numbers by 10.": (
                lambda p, r: (
                    sum(
                        max((a for a, b in zip(p, r) if b >= t), default=0)
                        for t in np.arange(0, 1.1, 0.1)
                    )
                    / 11
                )
            ),
        },
        praise="That's the number in the paper's VOC 2007 tables, for one class.",
    )


def _verdicts(overlap, threshold, voc=False, first=False, again=False, strict=False, low=False):
    taken, verdicts = set(), []
    for row in overlap:
        free = [g for g in range(len(row)) if voc or again or g not in taken]
        near = [g for g in free if (row[g] > threshold if strict else row[g] >= threshold)]
        choice = None
        if near:
            choice = near[0] if first else max(near, key=lambda g: row[g])
        hit = choice is not None and (again or choice not in taken)
        if hit:
            taken.add(choice)
        elif low and free:
            taken.add(max(free, key=lambda g: row[g]))
        verdicts.append(int(hit))
    return verdicts


def coco_verdicts() -> Check:
    return same_as(
        right=_verdicts,
        cases=[
            ([[0.7, 0.1], [0.7, 0.55]], 0.5),
            ([[0.6, 0.8], [0.1, 0.7]], 0.5),
            ([[0.9], [0.8], [0.5]], 0.5),
            ([[0.5, 0.2], [0.3, 0.4]], 0.5),
            ([[0.4], [0.8]], 0.5),
            ([[], []], 0.5),
            ([], 0.5),
        ],
        mistakes={
            "That is VOC's rule: "
            "your detections don't look for another object when theirs is taken.": (
                lambda o, b: _verdicts(o, b, voc=True)
            ),
            "Your detections take the first free object that is near enough. "
            "They should take the one they overlap most.": (
                lambda o, b: _verdicts(o, b, first=True)
            ),
            "An object can be found once. Yours are found again and again.": (
                lambda o, b: _verdicts(o, b, again=True)
            ),
            "An IoU of exactly the threshold is a hit.": lambda o, b: _verdicts(o, b, strict=True),
            "A detection below the threshold takes nothing: its object stays free.": (
                lambda o, b: _verdicts(o, b, low=True)
            ),
        },
        praise="Greedy: the most confident detection chooses, and the others take what's left.",
    )


def _costs(hits, total, miss, alarm):
    return [
        miss * (total - sum(hits[:n])) + alarm * (n - sum(hits[:n])) for n in range(len(hits) + 1)
    ]


def _how_many(hits, total, miss, alarm):
    costs = _costs(hits, total, miss, alarm)
    return costs.index(min(costs))


def _downhill(hits, total, miss, alarm):
    costs, n = _costs(hits, total, miss, alarm), 0
    while n + 1 < len(costs) and costs[n + 1] < costs[n]:
        n += 1
    return n


def _last(hits, total, miss, alarm):
    costs = _costs(hits, total, miss, alarm)
    return max(n for n, c in enumerate(costs) if c == min(costs))


_list = [True, True, False, True, False, False, True, False]


def how_many() -> Check:
    return same_as(
        right=_how_many,
        cases=[
            (_list, 5, 1, 1),
            (_list, 5, 1, 10),
            (_list, 5, 10, 1),
            ([False, False, True], 1, 1, 1),
            ([False, True, True, True], 3, 2, 3),
            ([], 2, 1, 1),
        ],
        mistakes={
            "You stopped at the first detection that didn't pay. "
            "A hit further down may make up for it.": _downhill,
            "Keeping none is allowed, and it's sometimes cheapest.": (
                lambda h, n, m, a: max(
                    1,
                    min(range(len(h) + 1), key=lambda k: (_costs(h, n, m, a)[k] if k else 1e9, k)),
                )
            ),
            "Of equally cheap numbers you took the largest.": _last,
            "You swapped the two costs.": lambda h, n, m, a: _how_many(h, n, a, m),
        },
        praise="The score of the last one kept is your threshold. Choose it on held-out pictures.",
    )


def _ordered_ap(scores, hits, total, key):
    order = sorted(range(len(scores)), key=lambda d: key(scores[d], hits[d]))
    return average_precision(
        *precision_recall(np.array([hits[d] for d in order], dtype=bool), total)
    )


def _bounds(scores, hits, total):
    low = _ordered_ap(scores, hits, total, key=lambda s, h: (-s, h))
    return low, _ordered_ap(scores, hits, total, key=lambda s, h: (-s, not h))


def bounds() -> Check:
    return same_as(
        right=_bounds,
        cases=[
            ([0.9, 0.8, 0.8, 0.7], [True, False, True, True], 4),
            ([0.5, 0.5, 0.5, 0.5], [False, True, True, False], 2),
            ([0.2, 0.9, 0.4], [True, False, True], 2),
            ([0.6, 0.8, 0.8, 0.6, 0.6], [True, True, False, False, True], 3),
        ],
        mistakes={
            "Both are the same: you left equal scores in the order in which they came.": (
                lambda s, h, n: (_ordered_ap(s, h, n, lambda a, b: -a),) * 2
            ),
            "You moved hits past detections with another score. "
            "Only equal ones may change places.": (
                lambda s, h, n: (
                    _ordered_ap(s, h, n, lambda a, b: (b, -a)),
                    _ordered_ap(s, h, n, lambda a, b: (not b, -a)),
                )
            ),
            "The lowest first, then the highest.": lambda s, h, n: _bounds(s, h, n)[::-1],
            "Your list is sorted upward. The most confident comes first.": (
                lambda s, h, n: (
                    _ordered_ap(s, h, n, lambda a, b: (a, b)),
                    _ordered_ap(s, h, n, lambda a, b: (a, not b)),
                )
            ),
        },
        praise="If the two are far apart, the scores are too coarse to rank by.",
    )

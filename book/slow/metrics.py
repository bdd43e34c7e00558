"""Chapter 10. Hits, the curve and its average as plain loops, and VOC's rule in one queue."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ssd_lite.boxes import iou
from ssd_lite.detection import Detections
from ssd_lite.evaluation import of_class
from ssd_lite.metrics import COCO_RECALLS, GroundTruth, average_precision, precision_recall


def slow_match(
    overlap: list[list[float]],
    threshold: float = 0.5,
) -> list[bool]:
    """Which of a picture's detections are hits, most confident first."""
    taken, hits = set(), []
    for row in overlap:  # one detection's IoU with each object
        best = max(range(len(row)), key=lambda g: row[g], default=None)
        close = best is not None and row[best] >= threshold
        hits.append(close and best not in taken)
        if close:
            taken.add(best)
    return hits


class Verdicts(NamedTuple):
    """A class's detections in all pictures, most confident first."""

    hits: Bool[np.ndarray, " D"]
    scores: Float[np.ndarray, " D"]
    picture: Int[np.ndarray, " D"]  # the index of each one's picture
    objects: Int[np.ndarray, " pictures"]  # how many there are to find


def judge(
    found: Sequence[Detections],
    real: Sequence[GroundTruth],
    label: int,
    threshold: float = 0.5,
) -> Verdicts:
    hits, scores, picture, objects = [], [], [], []
    for i, (f, r) in enumerate(zip(found, real)):
        f, r = of_class(f, r, label)
        hits += slow_match(iou(f.boxes, r.boxes).tolist(), threshold)
        scores += f.scores.tolist()
        picture += [i] * len(f.scores)
        objects.append(len(r.boxes))
    order = np.argsort(-np.array(scores), kind="stable")
    lists = np.array(hits, bool), np.array(scores), np.array(picture, int)
    return Verdicts(*(x[order] for x in lists), np.array(objects))


def judge_all(
    found: Sequence[Detections],
    real: Sequence[GroundTruth],
    classes: int = 5,
    threshold: float = 0.5,
) -> list[Verdicts]:
    labels = range(1, classes + 1)
    return [judge(found, real, label, threshold) for label in labels]


def mean_ap(
    judged: list[Verdicts],
    average: Callable = average_precision,
) -> float:
    """The mean over the classes: by area, unless told otherwise."""
    curves = [precision_recall(v.hits, v.objects.sum()) for v in judged]
    return float(np.mean([average(*curve) for curve in curves]))


def drawn(judged: list[Verdicts]) -> tuple[int, int]:
    """Hits and false alarms among what scores above 0.5."""
    shown = np.concatenate([v.hits[v.scores > 0.5] for v in judged])
    return int(shown.sum()), int((~shown).sum())


def slow_curve(
    hits: Sequence[bool],
    objects: int,
) -> tuple[list[float], list[float]]:
    precision, recall, so_far = [], [], 0
    for said, hit in enumerate(hits, start=1):
        so_far += int(hit)
        precision.append(so_far / said)
        recall.append(so_far / objects)
    return precision, recall


def slow_average_precision(
    precision: Sequence[float], recall: Sequence[float], method: str
) -> float:
    def envelope(level):
        reached = [p for p, r in zip(precision, recall) if r >= level]
        return max(reached, default=0)

    if method == "area":
        ends = sorted({0, *recall})  # where the envelope may step
        return sum((b - a) * envelope(b) for a, b in zip(ends, ends[1:]))
    eleven = [k / 10 for k in range(11)]
    levels = eleven if method == "11-point" else COCO_RECALLS
    return sum(envelope(level) for level in levels) / len(levels)


def slow_ap(
    found: Sequence[Detections],
    real: Sequence[GroundTruth],
    label: int,
    method: str,
) -> float:
    """One class's average precision by VOC's rule; NaN if it is absent."""
    queue, objects = [], 0
    for i, (f, r) in enumerate(zip(found, real)):
        objects += int(((r.labels == label) & ~r.ignored).sum())
        for d in range(len(f.labels)):
            if f.labels[d] == label:
                queue.append((-f.scores[d].item(), i, d))
    if objects == 0:
        return math.nan
    hits, taken = [], set()
    queue.sort(key=lambda entry: entry[0])  # equal scores stay as they come
    for _, i, d in queue:
        best, most = None, 0
        for g in range(len(real[i].labels)):
            if real[i].labels[g] == label:
                pair = found[i].boxes[d][None], real[i].boxes[g][None]
                fit = iou(*pair).item()
                if fit > most:
                    best, most = g, fit
        if most < 0.5:
            hits.append(False)
        elif not real[i].ignored[best]:  # an ignored one: neither good nor bad
            hits.append((i, best) not in taken)
            taken.add((i, best))
    return slow_average_precision(*slow_curve(hits, objects), method)

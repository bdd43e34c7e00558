"""Chapter 10. Which errors does a detector make, which classes does it confuse, what is a score?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ssd_lite.boxes import area
from ssd_lite.detection import Detections
from ssd_lite.evaluation import check_evaluation
from ssd_lite.metrics import GroundTruth
from ssd_lite.verdicts import HIT, KINDS, MISSED, NEAR, UNCOUNTED, Verdict, confusion, judge


class Reliability(NamedTuple):
    """How often detections are right, in bins of their scores; NaN in an empty bin."""

    edges: Float[np.ndarray, " E"]  # one more than bins
    counts: Int[np.ndarray, " N"]
    scores: Float[np.ndarray, " N"]  # mean of the bin
    hits: Float[np.ndarray, " N"]  # share of the bin's detections

    def error(self, least: float = 0) -> float:
        """Expected calibration error of the bins from ``least`` on; NaN without detections.

        It is the mean distance of scores and hits, each bin weighted by its detections. The many
        low scores of a detector drown the others, so ask for those that you use. (Guo et al., 2017,
        equation 3)
        """
        chosen = (self.counts > 0) & (self.edges[:-1] >= least - 1e-9)
        if not chosen.any():
            return float("nan")
        distance = np.abs(self.scores - self.hits)[chosen]
        return float(np.average(distance, weights=self.counts[chosen]))


@dataclass(frozen=True)
class Errors:
    """What a detector does wrong on a data set, from :func:`find_errors`."""

    classes: tuple[str, ...]
    score_threshold: float
    iou_threshold: float
    verdicts: tuple[Verdict, ...]  # of each image
    confusion: Int[np.ndarray, "K K"]  # rows truth, columns detections, 0 is background
    reliability: Reliability  # of all scores, also those below the threshold

    def counts(self) -> Int[np.ndarray, "C 8"]:
        """How many of each of ``KINDS`` by class.

        A detection counts for the class that it says, a missed object for its own.
        """
        table = np.zeros((len(self.classes), len(KINDS)), dtype=np.int64)
        for verdict in self.verdicts:
            sure = (verdict.detections.scores >= self.score_threshold).numpy()
            said = verdict.detections.labels.numpy()[sure] - 1
            kinds = np.array([KINDS.index(kind) for kind in verdict.kinds[sure]], dtype=np.int64)
            np.add.at(table, (said, kinds), 1)
            missed = verdict.truth.labels.numpy()[verdict.missed(self.score_threshold)] - 1
            np.add.at(table, (missed, KINDS.index(MISSED)), 1)
        return table

    def worst(self, kind: str) -> list[tuple[int, int]]:
        """Where a kind of error is: image and detection, the most confident first.

        For "missed" it is image and object, the largest first.
        """
        found = []
        for i, verdict in enumerate(self.verdicts):
            if kind == MISSED:
                weights = area(verdict.truth.boxes).numpy()
                chosen = verdict.missed(self.score_threshold)
            else:
                weights = verdict.detections.scores.numpy()
                chosen = (verdict.kinds == kind) & (weights >= self.score_threshold)
            found += [(-weights[k], i, int(k)) for k in np.flatnonzero(chosen)]
        return [(i, k) for _, i, k in sorted(found)]

    def confused(self, most: int = 5) -> list[tuple[str, str, int]]:
        """The classes taken for another most often: what is there, what was said, how often."""
        mistaken = self.confusion[1:, 1:] * ~np.eye(len(self.classes), dtype=bool)
        order = np.argsort(-mistaken, axis=None, kind="stable")[:most]
        pairs = [divmod(int(k), len(self.classes)) for k in order]
        return [
            (self.classes[t], self.classes[s], n) for t, s in pairs if (n := int(mistaken[t, s]))
        ]

    def table(self) -> str:
        """A line for each class and one for all, a column for each kind that can occur."""
        counts = self.counts()
        shown = [k for k, kind in enumerate(KINDS) if kind != UNCOUNTED or counts[:, k].any()]
        rows = [*zip(self.classes, counts), ("all", counts.sum(axis=0))]
        width = max(len(name) for name, _ in rows)
        lines = [f"{'':{width}}  {'  '.join(KINDS[k] for k in shown)}"]
        lines += [
            f"{name:{width}}  " + "  ".join(f"{row[k]:{len(KINDS[k])}}" for k in shown)
            for name, row in rows
        ]
        return "\n".join(lines)


def find_errors(
    detections: Sequence[Detections],
    ground_truths: Sequence[GroundTruth],
    classes: Sequence[str],
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> Errors:
    """Sort what a detector says on a data set into hits and kinds of errors.

    Args:
        detections: of each image, boxes in pixels, also those with low scores.
        ground_truths: of each image, boxes in pixels.
        classes: names; label i + 1 means ``classes[i]``.
        score_threshold: detections that score less are not said.
        iou_threshold: what a hit must overlap its object by.
    """
    check_evaluation(detections, ground_truths, classes)
    if not 0 <= score_threshold <= 1:
        raise ValueError(f"score_threshold: expected 0 to 1, got {score_threshold}")
    if not NEAR < iou_threshold <= 1:
        raise ValueError(
            f"iou_threshold: expected more than {NEAR}, at most 1, got {iou_threshold}"
        )
    pairs = list(zip(detections, ground_truths))
    verdicts = tuple(judge(d, t, iou_threshold) for d, t in pairs)
    matrix = np.zeros((len(classes) + 1, len(classes) + 1), dtype=np.int64)
    for d, t in pairs:
        sure = Detections(*(x[d.scores >= score_threshold] for x in d))
        matrix += confusion(sure, t, len(classes), iou_threshold)
    scores = np.concatenate([[], *(v.detections.scores.numpy() for v in verdicts)])
    kinds = np.concatenate([np.array([], dtype=str), *(v.kinds for v in verdicts)])
    counted = kinds != UNCOUNTED
    curve = reliability(scores[counted], kinds[counted] == HIT)
    return Errors(tuple(classes), score_threshold, iou_threshold, verdicts, matrix, curve)


def reliability(
    scores: Float[np.ndarray, " D"], hits: Bool[np.ndarray, " D"], bins: int = 10
) -> Reliability:
    """The share of hits in bins of the score, of equal width from 0 to 1."""
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges, scores, side="right").clip(1, bins) - 1  # (D,)
    counts = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=x, minlength=bins) for x in (scores, hits)]
    means = [np.divide(s, counts, out=np.full(bins, np.nan), where=counts > 0) for s in sums]
    return Reliability(edges, counts, *means)

"""Chapter 10. One image's verdict: hit, wrong class, badly placed, double, background, missed."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ssd_lite.boxes import area, intersection, iou
from ssd_lite.detection import Detections
from ssd_lite.metrics import GroundTruth

NEAR = 0.1  # IoU, from which on a detection is about an object, if not well placed
HIT, UNCOUNTED, MISSED = "hit", "not counted", "missed"
MISTAKES = ("wrong class", "badly placed", "both", "double", "background")
KINDS = (HIT, *MISTAKES, UNCOUNTED, MISSED)  # the last is said of objects, the others of detections


class Verdict(NamedTuple):
    """What became of one image's detections and objects, whatever they score."""

    detections: Detections  # best first
    truth: GroundTruth
    kinds: Shaped[np.ndarray, " D"]  # words of KINDS
    objects: Int[np.ndarray, " D"]  # which object each detection is about, -1 if none
    finders: Int[np.ndarray, " G"]  # which detection hits each object, -1 if none

    def found_at(self) -> Float[np.ndarray, " G"]:
        """The score of the hit that finds each object, 0 if there is none."""
        scores = self.detections.scores.numpy()
        return np.append(scores, scores.dtype.type(0))[self.finders]

    def missed(self, threshold: float) -> Bool[np.ndarray, " G"]:
        """Objects that count, and that no hit of ``threshold`` or more has found."""
        found = (self.finders >= 0) & (self.found_at() >= threshold)
        return ~found & ~self.truth.ignored.numpy()


def judge(detections: Detections, truth: GroundTruth, iou_threshold: float = 0.5) -> Verdict:
    """The verdict on each of one image's detections, and who finds each object.

    Best first, a detection takes the free object of its class that it overlaps most, by
    ``iou_threshold`` or more: a **hit**. Else it is the first of these that fits:

    - **not counted**: an ignored object of its class covers that share of it, as in COCO;
    - **double**: it overlaps an object of its class by ``iou_threshold``, but that is taken;
    - **wrong class**: it overlaps an object of another class by ``iou_threshold``;
    - **badly placed**: it overlaps an object of its class by 0.1 or more, taken or not;
    - **both** wrong: it overlaps an object of another class by 0.1 or more;
    - **background**: it overlaps no object by 0.1.

    Overlaps are IoUs with objects that count; ignored ones are neither found nor missed, and
    excuse nothing else. What scores less changes no verdict. The kinds are those of TIDE (Bolya et
    al., 2020), which asks for "badly placed" first; Hoiem et al. (2012) had fewer.
    """
    # 1. Who overlaps whom.
    detections = _best_first(detections)
    overlap, covers = _overlaps(detections, truth, iou_threshold)  # (D, G)
    own = (detections.labels[:, None] == truth.labels).numpy()  # (D, G)

    # 2. Who finds whom.
    taken = assign(np.where(own & (overlap >= iou_threshold), overlap, 0))  # (D,)
    finders = np.full(len(own.T), -1)
    finders[taken[taken >= 0]] = np.flatnonzero(taken >= 0)

    # 3. What the others are, and the object that they are about.
    same, same_at = _largest(np.where(own, overlap, 0))
    other, other_at = _largest(np.where(own, 0, overlap))
    tests = [
        (HIT, taken >= 0, taken),
        (UNCOUNTED, (own & covers).any(axis=1), -1),
        ("double", same >= iou_threshold, same_at),
        ("wrong class", other >= iou_threshold, other_at),
        ("badly placed", same >= NEAR, same_at),
        ("both", other >= NEAR, other_at),
    ]
    names, conditions, objects = zip(*tests)
    kinds = np.select(conditions, names, "background")
    return Verdict(detections, truth, kinds, np.select(conditions, objects, -1), finders)


def confusion(
    detections: Detections, truth: GroundTruth, classes: int, iou_threshold: float = 0.5
) -> Int[np.ndarray, "K K"]:
    """How often each class (row) was called each class (column) in one image; 0 is background.

    Best first, a detection takes the free object, of whatever class, that it overlaps most, by
    ``iou_threshold`` or more. Row 0 holds the detections left over, column 0 the objects. Ignored
    objects are in no row, nor are detections left over that one of any class covers as above.
    """
    detections = _best_first(detections)
    overlap, covers = _overlaps(detections, truth, iou_threshold)  # (D, G)
    taken = assign(np.where(overlap >= iou_threshold, overlap, 0))  # (D,)
    said, labels = detections.labels.numpy(), truth.labels.numpy()
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    np.add.at(matrix, (labels[taken[taken >= 0]], said[taken >= 0]), 1)
    left = (taken < 0) & ~covers.any(axis=1)  # (D,)
    matrix[0] += np.bincount(said[left], minlength=classes + 1)
    free = ~truth.ignored.numpy()
    free[taken[taken >= 0]] = False
    matrix[:, 0] += np.bincount(labels[free], minlength=classes + 1)
    return matrix


def assign(overlap: Float[np.ndarray, "D G"]) -> Int[np.ndarray, " D"]:
    """Row by row, the free column with the largest overlap, which is then taken; -1 without any."""
    taken, free = np.full(len(overlap), -1), np.ones(overlap.shape[1])
    for d in np.flatnonzero(overlap.any(axis=1)):
        left = overlap[d] * free
        if left.any():
            taken[d] = left.argmax()
            free[taken[d]] = 0
    return taken


def _overlaps(
    detections: Detections, truth: GroundTruth, iou_threshold: float
) -> tuple[Float[np.ndarray, "D G"], Bool[np.ndarray, "D G"]]:
    """IoU with the objects that count, 0 with the others, and which of the others cover whom.

    An ignored object covers a detection by the share of it that lies inside, as in
    :func:`~ssd_lite.metrics.match_coco`.
    """
    found, real, ignored = detections.boxes.double(), truth.boxes.double(), truth.ignored.numpy()
    covered = intersection(found, real) / area(found).clamp(min=1e-12)[:, None]  # (D, G)
    overlap = np.where(ignored, 0, iou(found, real).numpy())
    return overlap, ignored & (covered.numpy() >= iou_threshold)


def _best_first(detections: Detections) -> Detections:
    order = detections.scores.argsort(descending=True, stable=True)
    return Detections(*(x[order] for x in detections))


def _largest(
    overlap: Float[np.ndarray, "D G"],
) -> tuple[Float[np.ndarray, " D"], Int[np.ndarray, " D"]]:
    """Each row's largest value and where it is; 0 if there are no columns."""
    padded = np.pad(overlap, ((0, 0), (0, 1)))
    return padded.max(axis=1), padded.argmax(axis=1)

"""Chapter 10. How good is a detector? Average precision (AP) in VOC's two ways and in
COCO's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from ssd_lite.boxes import area, check_boxes, intersection, iou
from ssd_lite.data import Sample
from ssd_lite.detection import Detections, detect
from ssd_lite.model import SSD

COCO_THRESHOLDS = np.linspace(0.5, 0.95, 10)
COCO_RECALLS = np.linspace(0, 1, 101)
COCO_SIZES = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}


class GroundTruth(NamedTuple):
    """What is really in one image."""

    boxes: Float[Tensor, "G 4"]  # xyxy, in pixels of the image
    labels: Int[Tensor, " G"]  # 1..C
    ignored: Bool[Tensor, " G"]  # "difficult", "iscrowd": not to be found, not held against


def precision_recall(
    hits: Bool[np.ndarray, " D"], ground_truth: int
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """Precision and recall after each detection, best first. ``hits`` says which found an
    object."""
    found = np.cumsum(hits)
    return found / np.arange(1, len(hits) + 1), found / max(ground_truth, 1)


def average_precision(
    precision: Float[np.ndarray, " D"], recall: Float[np.ndarray, " D"], method: str = "area"
) -> float:
    """Area under a precision-recall curve, after precision is made never to rise with recall.

    Args:
        precision, recall: from :func:`precision_recall`.
        method: "area", all of it (VOC since 2010); "11-point", the mean at recalls 0, 0.1, ...,
            1 (VOC 2007, and the paper's figures); "coco", the mean at 101 recalls.
    """
    envelope = np.maximum.accumulate(precision[::-1])[
        ::-1
    ]  # (D,): the best precision at this recall or more
    if method == "area":
        return float(np.sum(np.diff(recall, prepend=0) * envelope))
    if method not in ("11-point", "coco"):
        raise ValueError(f"method: expected 'area', '11-point' or 'coco', got {method!r}")
    levels = np.arange(11) / 10 if method == "11-point" else COCO_RECALLS
    places = np.searchsorted(recall, levels)  # the first detection to reach each recall
    return float(np.append(envelope, 0)[np.minimum(places, len(envelope))].mean())


def match_voc(
    found: Detections, real: GroundTruth, threshold: float = 0.5
) -> Int[np.ndarray, " D"]:
    """VOC's verdict on one image's detections of one class, best first: 1 a hit, 0 a false
    alarm, -1 not counted.

    Each detection looks at the object that it overlaps most, taken or not; only the first to
    reach it is a hit.
    """
    if len(real.boxes) == 0:
        return np.zeros(len(found.boxes), dtype=np.int64)
    best, choice = (x.numpy() for x in iou(found.boxes, real.boxes).max(dim=1))  # (D,)
    close = best >= threshold
    first = np.zeros(len(choice), dtype=bool)
    candidates = np.flatnonzero(close)
    first[candidates[np.unique(choice[candidates], return_index=True)[1]]] = True
    return np.where(close & real.ignored.numpy()[choice], -1, (close & first).astype(np.int64))


def match_coco(
    found: Detections, real: GroundTruth, size: tuple[float, float] = COCO_SIZES["all"]
) -> Int[np.ndarray, "10 D"]:
    """COCO's verdict at its ten IoU thresholds on one image's detections of one class: 1, 0 or
    -1 as in VOC's.

    Each detection, best first, takes the free object that it overlaps most. Objects outside
    ``size`` (pixels²) or ignored are taken only if no other can be, and do not count; the
    ignored ones never fill up, and overlap by the share of the *detection* that they cover.
    Detections outside ``size`` that hit nothing do not count either.
    """
    found_boxes, real_boxes = found.boxes.double(), real.boxes.double()
    areas, found_areas = area(real_boxes).numpy(), area(found_boxes).numpy()  # (G,), (D,)
    crowd = real.ignored.numpy()
    aside = crowd | (areas < size[0]) | (areas > size[1])  # (G,)
    order = np.argsort(aside, kind="stable")
    crowd, aside = crowd[order], aside[order]

    shared = intersection(found_boxes, real_boxes).numpy()[:, order]  # (D, G)
    own = found_areas[:, None]
    overlap = shared / np.maximum(
        np.where(crowd, own, own + areas[order] - shared), 1e-12
    )  # (D, G)

    verdict = np.zeros((len(COCO_THRESHOLDS), len(overlap)), dtype=np.int64)
    for t, threshold in enumerate(COCO_THRESHOLDS):
        free = np.ones(len(order), dtype=bool)
        for d in range(len(overlap)):
            reach = (free | crowd) & (overlap[d] >= threshold)  # (G,)
            counted = reach & ~aside
            if not reach.any():
                continue
            pool = np.flatnonzero(counted if counted.any() else reach)
            choice = pool[
                len(pool) - 1 - np.argmax(overlap[d, pool][::-1])
            ]  # the last of equals, as in pycocotools
            free[choice] = False
            verdict[t, d] = -1 if aside[choice] else 1
    outside = (found_areas < size[0]) | (found_areas > size[1])  # (D,)
    return np.where(outside & (verdict == 0), -1, verdict)


@dataclass(frozen=True)
class Evaluation:
    """Average precision of a detector on a data set; NaN where a class has no object to be
    found."""

    classes: tuple[str, ...]
    per_class: dict[str, float]  # AP at IoU 0.5 by class
    map50: float  # its mean over the classes that occur: VOC's mAP
    coco: dict[str, float]  # AP, AP50, AP75, APs, APm, APl; empty unless asked for
    images: int
    ground_truth: int

    def table(self) -> str:
        """One line a class, then the means."""
        width = max(map(len, (*self.classes, "mAP@0.5")))
        rows = {**self.per_class, "mAP@0.5": self.map50, **self.coco}
        return "\n".join(
            f"{name:<{width}}  {'absent' if np.isnan(v) else f'{v:.4f}'}"
            for name, v in rows.items()
        )


def evaluate(
    found: Sequence[Detections],
    real: Sequence[GroundTruth],
    classes: Sequence[str],
    method: str = "area",
    coco: bool = False,
) -> Evaluation:
    """Average precision per class and its mean over the classes that occur in ``real``.

    Args:
        found: detections of each image, boxes in pixels.
        real: objects of each image, boxes in pixels.
        classes: names; label i + 1 means ``classes[i]``.
        method: as in :func:`average_precision`, for the AP at IoU 0.5.
        coco: also compute COCO's six figures (slower).
    """
    check_evaluation(found, real, classes)
    per_class = {}
    for label, name in enumerate(classes, start=1):
        chosen = [of_class(f, r, label) for f, r in zip(found, real)]
        verdicts = [match_voc(f, r) for f, r in chosen]
        per_class[name] = _score(verdicts, chosen, [~r.ignored.numpy() for _, r in chosen], method)
    return Evaluation(
        classes=tuple(classes),
        per_class=per_class,
        map50=_mean(per_class.values()),
        coco=coco_metrics(found, real, len(classes)) if coco else {},
        images=len(real),
        objects=sum(int((~r.ignored).sum()) for r in real),
    )


def evaluate_model(
    model: SSD,
    data: Dataset,
    batch_size: int = 32,
    method: str = "area",
    coco: bool = False,
    precision: str = "fp32",
) -> Evaluation:
    """:func:`evaluate` a model on a data set of :class:`~ssd_lite.data.Sample`, in batches."""
    found, real = [], []
    for start in range(0, len(data), batch_size):
        samples = [data[i] for i in range(start, min(start + batch_size, len(data)))]
        found += detect(model, [sample.image for sample in samples], precision=precision)
        real += [ground_truth(sample) for sample in samples]
    return evaluate(found, real, model.classes, method, coco)


def ground_truth(sample: Sample) -> GroundTruth:
    """A sample's objects in pixels, those marked difficult ignored."""
    height, width = sample.image.shape[1:]
    return GroundTruth(
        sample.boxes * torch.tensor([width, height, width, height]), sample.labels, sample.difficult
    )


def coco_metrics(
    found: Sequence[Detections], real: Sequence[GroundTruth], classes: int
) -> dict[str, float]:
    """COCO's AP (mean over IoU 0.5:0.95), AP50, AP75 and AP by size, from 100 detections a
    class and image."""
    ap = {size: np.full((classes, len(COCO_THRESHOLDS)), np.nan) for size in COCO_SIZES}
    for label in range(1, classes + 1):
        chosen = [of_class(f, r, label, limit=100) for f, r in zip(found, real)]
        for size, (low, high) in COCO_SIZES.items():
            verdicts = [match_coco(f, r, (low, high)) for f, r in chosen]
            areas = [area(r.boxes.double()) for _, r in chosen]
            counted = [
                ((a >= low) & (a <= high) & ~r.ignored).numpy() for a, (_, r) in zip(areas, chosen)
            ]
            for t in range(len(COCO_THRESHOLDS)):
                ap[size][label - 1, t] = _score([v[t] for v in verdicts], chosen, counted, "coco")
    return {
        "AP": _mean(ap["all"].ravel()),
        "AP50": _mean(ap["all"][:, 0]),
        "AP75": _mean(ap["all"][:, 5]),
        "APs": _mean(ap["small"].ravel()),
        "APm": _mean(ap["medium"].ravel()),
        "APl": _mean(ap["large"].ravel()),
    }


def of_class(
    found: Detections, real: GroundTruth, label: int, limit: int | None = None
) -> tuple[Detections, GroundTruth]:
    """One image's detections and objects of one class, the detections best first, at most
    ``limit``."""
    mine = (found.labels == label).nonzero()[:, 0]
    mine = mine[found.scores[mine].argsort(descending=True, stable=True)][:limit]
    theirs = real.labels == label
    return Detections(*(x[mine] for x in found)), GroundTruth(*(x[theirs] for x in real))


def _score(
    verdicts: list[np.ndarray],
    chosen: list[tuple[Detections, GroundTruth]],
    counted: list[np.ndarray],
    method: str,
) -> float:
    """AP of one class from every image's verdicts; NaN if it has no object to find."""
    ground_truth = int(sum(c.sum() for c in counted))
    if ground_truth == 0:
        return float("nan")  # absent: no evidence, neither good nor bad
    verdict = np.concatenate(verdicts)
    scores = torch.cat([f.scores for f, _ in chosen]).numpy()
    order = np.argsort(-scores, kind="stable")
    hits = verdict[order][verdict[order] >= 0] == 1
    return average_precision(*precision_recall(hits, ground_truth), method)


def _mean(values) -> float:
    values = np.array([v for v in values if not np.isnan(v)])
    return float(values.mean()) if len(values) else float("nan")


def check_evaluation(
    found: Sequence[Detections], real: Sequence[GroundTruth], classes: Sequence[str]
) -> None:
    """Raise ``ValueError`` unless detections and objects speak of the same images and of known
    classes."""
    if len(found) != len(real):
        raise ValueError(
            f"found and real: expected one entry for each image in both, got {len(found)} and {len(real)}"
        )
    for i, (f, r) in enumerate(zip(found, real)):
        check_boxes(r.boxes, f"real[{i}].boxes")
        for name, labels in (("found", f.labels), ("real", r.labels)):
            if len(labels) and (labels.min() < 1 or labels.max() > len(classes)):
                raise ValueError(
                    f"{name}[{i}].labels: expected 1..{len(classes)} for {len(classes)} classes (0 is background), "
                    f"got {int(labels.min())}..{int(labels.max())}"
                )
        if not (f.scores.isfinite().all() and f.boxes.isfinite().all()):
            raise ValueError(
                f"found[{i}]: boxes and scores must be finite; the network answers with NaN or infinity"
            )

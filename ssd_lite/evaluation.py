"""Chapter 10, second half. How good is a detector? Its average precision on a data set."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ssd_lite.boxes import area, check_boxes
from ssd_lite.data import Sample, Samples
from ssd_lite.detection import Detections, detect
from ssd_lite.metrics import (
    COCO_SIZES,
    COCO_THRESHOLDS,
    GroundTruth,
    average_precision,
    match_coco,
    match_voc,
    precision_recall,
)
from ssd_lite.model import SSD


@dataclass(frozen=True)
class Evaluation:
    """Average precision of a detector on a data set.

    NaN where a class has no object to be found.
    """

    classes: tuple[str, ...]
    per_class: dict[str, float]  # AP at IoU 0.5 by class
    map50: float  # its mean over the classes that occur: VOC's mAP
    coco: dict[str, float]  # AP, AP50, AP75, APs, APm, APl; empty unless asked for
    images: int
    objects: int

    def table(self) -> str:
        """One line for each class, then the means."""
        width = max(map(len, (*self.classes, "mAP@0.5")))
        rows = {**self.per_class, "mAP@0.5": self.map50, **self.coco}
        return "\n".join(
            f"{name:<{width}}  {'absent' if np.isnan(v) else f'{v:.4f}'}"
            for name, v in rows.items()
        )


def evaluate(
    detections: Sequence[Detections],
    ground_truths: Sequence[GroundTruth],
    classes: Sequence[str],
    method: str = "area",
    coco: bool = False,
) -> Evaluation:
    """Average precision per class, and its mean over the classes that occur.

    Args:
        detections: of each image, boxes in pixels.
        ground_truths: of each image, boxes in pixels.
        classes: names; label i + 1 means ``classes[i]``.
        method: as in :func:`~ssd_lite.metrics.average_precision`, for the AP at IoU 0.5.
        coco: also compute COCO's six figures (slower).
    """
    check_evaluation(detections, ground_truths, classes)
    per_class = {}
    for label, name in enumerate(classes, start=1):
        chosen = [of_class(d, t, label) for d, t in zip(detections, ground_truths)]
        verdicts = [match_voc(d, t) for d, t in chosen]
        counted = [~t.ignored.numpy() for _, t in chosen]
        per_class[name] = _score(verdicts, chosen, counted, method)
    return Evaluation(
        classes=tuple(classes),
        per_class=per_class,
        map50=_mean(per_class.values()),
        coco=coco_metrics(detections, ground_truths, len(classes)) if coco else {},
        images=len(ground_truths),
        objects=sum(int((~t.ignored).sum()) for t in ground_truths),
    )


def evaluate_model(
    model: SSD,
    data: Samples,
    batch_size: int = 32,
    method: str = "area",
    coco: bool = False,
    precision: str = "fp32",
) -> Evaluation:
    """:func:`evaluate` a model on a data set of :class:`~ssd_lite.data.Sample`, in batches."""
    detections, ground_truths = [], []
    for sample, found in detect_all(model, data, batch_size, precision):
        detections.append(found)
        ground_truths.append(ground_truth(sample))
    return evaluate(detections, ground_truths, model.classes, method, coco)


def detect_all(
    model: SSD, data: Samples, batch_size: int = 32, precision: str = "fp32"
) -> Iterator[tuple[Sample, Detections]]:
    """Each sample of a data set with what is found in it, in batches, as they are asked for."""
    for start in range(0, len(data), batch_size):
        samples = [data[i] for i in range(start, min(start + batch_size, len(data)))]
        yield from zip(samples, detect(model, [s.image for s in samples], precision=precision))


def ground_truth(sample: Sample) -> GroundTruth:
    """A sample's objects in pixels, those marked difficult ignored."""
    height, width = sample.image.shape[1:]
    size = torch.tensor([width, height, width, height])
    return GroundTruth(sample.boxes * size, sample.labels, sample.difficult)


def coco_metrics(
    detections: Sequence[Detections], ground_truths: Sequence[GroundTruth], classes: int
) -> dict[str, float]:
    """COCO's six figures, from 100 detections per class and image.

    AP (mean over IoU 0.5:0.95), AP50, AP75 and AP by size.
    """
    ap = {size: np.full((classes, len(COCO_THRESHOLDS)), np.nan) for size in COCO_SIZES}
    for label in range(1, classes + 1):
        chosen = [of_class(d, t, label, limit=100) for d, t in zip(detections, ground_truths)]
        areas = [area(t.boxes.double()) for _, t in chosen]
        for size, (low, high) in COCO_SIZES.items():
            verdicts = [match_coco(d, t, (low, high)) for d, t in chosen]
            counted = [
                ((a >= low) & (a <= high) & ~t.ignored).numpy() for a, (_, t) in zip(areas, chosen)
            ]
            for k in range(len(COCO_THRESHOLDS)):
                ap[size][label - 1, k] = _score([v[k] for v in verdicts], chosen, counted, "coco")
    return {
        "AP": _mean(ap["all"].ravel()),
        "AP50": _mean(ap["all"][:, 0]),
        "AP75": _mean(ap["all"][:, 5]),
        "APs": _mean(ap["small"].ravel()),
        "APm": _mean(ap["medium"].ravel()),
        "APl": _mean(ap["large"].ravel()),
    }


def of_class(
    detections: Detections, truth: GroundTruth, label: int, limit: int | None = None
) -> tuple[Detections, GroundTruth]:
    """One image's detections and objects of one class.

    The detections come best first, at most ``limit`` of them.
    """
    detected = (detections.labels == label).nonzero()[:, 0]
    detected = detected[detections.scores[detected].argsort(descending=True, stable=True)][:limit]
    real = truth.labels == label
    return Detections(*(x[detected] for x in detections)), GroundTruth(*(x[real] for x in truth))


def _score(
    verdicts: list[np.ndarray],
    chosen: list[tuple[Detections, GroundTruth]],
    counted: list[np.ndarray],
    method: str,
) -> float:
    """AP of one class from every image's verdicts; NaN if it has no object to find."""
    objects = int(sum(c.sum() for c in counted))
    if objects == 0:
        return float("nan")  # absent: no evidence, neither good nor bad
    verdict = np.concatenate(verdicts)
    scores = torch.cat([d.scores for d, _ in chosen]).numpy()
    order = np.argsort(-scores, kind="stable")
    hits = verdict[order][verdict[order] >= 0] == 1
    return average_precision(*precision_recall(hits, objects), method)


def _mean(values: Iterable[float]) -> float:
    """Of the classes that occur; NaN if none does."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float("nan")


def check_evaluation(
    detections: Sequence[Detections], ground_truths: Sequence[GroundTruth], classes: Sequence[str]
) -> None:
    """Raise ``ValueError`` unless detections and ground truths belong together.

    They must be about the same images and known classes.
    """
    if len(detections) != len(ground_truths):
        raise ValueError(
            "detections and ground_truths: expected one entry for each image in both, got "
            f"{len(detections)} and {len(ground_truths)}"
        )
    count = len(classes)
    for i, (detected, truth) in enumerate(zip(detections, ground_truths)):
        check_boxes(truth.boxes, f"ground_truths[{i}].boxes")
        for name, labels in (("detections", detected.labels), ("ground_truths", truth.labels)):
            if len(labels) and (labels.min() < 1 or labels.max() > count):
                raise ValueError(
                    f"{name}[{i}].labels: expected 1..{count} for {count} classes (0 is "
                    f"background), got {int(labels.min())}..{int(labels.max())}"
                )
        if not (detected.scores.isfinite().all() and detected.boxes.isfinite().all()):
            raise ValueError(
                f"detections[{i}]: boxes and scores must be finite; the network answers with NaN "
                "or infinity"
            )

"""Chapter 10, first half. Precision, recall and average precision (AP): VOC's two and COCO's."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ssd_lite.boxes import area, intersection, iou
from ssd_lite.detection import Detections

COCO_THRESHOLDS = np.linspace(0.5, 0.95, 10)
COCO_RECALLS = np.linspace(0, 1, 101)
COCO_SIZES = {  # least and largest area, in pixels²
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}


class GroundTruth(NamedTuple):
    """What is really in one image."""

    boxes: Float[Tensor, "G 4"]  # xyxy, in pixels of the image
    labels: Int[Tensor, " G"]  # 1..C
    ignored: Bool[Tensor, " G"]  # "difficult", "iscrowd": neither required nor penalized


def precision_recall(
    hits: Bool[np.ndarray, " D"], objects: int
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """Precision and recall after each detection, best first.

    ``hits`` says which detections found one of the ``objects``.
    """
    found = np.cumsum(hits)
    return found / np.arange(1, len(hits) + 1), found / max(objects, 1)


def average_precision(
    precision: Float[np.ndarray, " D"], recall: Float[np.ndarray, " D"], method: str = "area"
) -> float:
    """Area under the envelope of a precision-recall curve, which never rises with recall.

    Args:
        precision, recall: from :func:`precision_recall`.
        method: "area", all of it (VOC since 2010); "11-point", the mean at recalls 0, 0.1, ...,
            1 (VOC 2007, and the paper's figures); "coco", the mean at 101 recalls.
    """
    # The best precision at this recall or more.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # (D,)
    if method == "area":
        return float(np.sum(np.diff(recall, prepend=0) * envelope))
    if method not in ("11-point", "coco"):
        raise ValueError(f"method: expected 'area', '11-point' or 'coco', got {method!r}")
    levels = np.arange(11) / 10 if method == "11-point" else COCO_RECALLS
    places = np.searchsorted(recall, levels)  # the first detection to reach each recall
    return float(np.append(envelope, 0)[places].mean())


def match_voc(
    detections: Detections, truth: GroundTruth, threshold: float = 0.5
) -> Int[np.ndarray, " D"]:
    """VOC's verdict on one image's detections of one class, best first.

    1 is a hit, 0 a false alarm, -1 is not counted. Each detection looks at the object that it
    overlaps most, taken or not; only the first to reach it is a hit.
    """
    if len(truth.boxes) == 0:
        return np.zeros(len(detections.boxes), dtype=np.int64)
    best, choice = (x.numpy() for x in iou(detections.boxes, truth.boxes).max(dim=1))  # (D,)
    close = best >= threshold
    first = np.zeros(len(choice), dtype=bool)
    candidates = np.flatnonzero(close)
    first[candidates[np.unique(choice[candidates], return_index=True)[1]]] = True
    return np.where(close & truth.ignored.numpy()[choice], -1, (close & first).astype(np.int64))


def match_coco(
    detections: Detections, truth: GroundTruth, size: tuple[float, float] = COCO_SIZES["all"]
) -> Int[np.ndarray, "10 D"]:
    """COCO's verdict at its ten IoU thresholds on one image's detections of one class.

    1, 0 or -1 as in :func:`match_voc`. Each detection, best first, takes the free object that it
    overlaps most. Objects outside ``size`` (pixels²) or ignored are taken only if no other can
    be, and do not count; ignored ones can be taken repeatedly, and overlap by the share of the
    *detection* that they cover. Detections outside ``size`` that hit nothing do not count either.
    """
    # 1. Which objects count: the others are put aside, to the end.
    areas = area(truth.boxes.double()).numpy()  # (G,)
    detected_areas = area(detections.boxes.double()).numpy()  # (D,)
    crowd = truth.ignored.numpy()
    aside = crowd | (areas < size[0]) | (areas > size[1])  # (G,)
    order = np.argsort(aside, kind="stable")
    crowd, aside, areas = crowd[order], aside[order], areas[order]

    # 2. Who overlaps whom: IoU, or with a crowd the share of the detection.
    shared = intersection(detections.boxes.double(), truth.boxes.double()).numpy()[:, order]
    whole = detected_areas[:, None]
    overlap = shared / np.maximum(np.where(crowd, whole, whole + areas - shared), 1e-12)  # (D, G)

    # 3. Detection by detection, at every threshold.
    verdict = np.zeros((len(COCO_THRESHOLDS), len(overlap)), dtype=np.int64)
    for t, threshold in enumerate(COCO_THRESHOLDS):
        free = np.ones(len(order), dtype=bool)
        for d in range(len(overlap)):
            reach = (free | crowd) & (overlap[d] >= threshold)  # (G,)
            counted = reach & ~aside
            if not reach.any():
                continue
            pool = np.flatnonzero(counted if counted.any() else reach)
            # The last of equals, as in pycocotools.
            choice = pool[len(pool) - 1 - np.argmax(overlap[d, pool][::-1])]
            free[choice] = False
            verdict[t, d] = -1 if aside[choice] else 1

    # 4. A miss of another size is none of this size's business.
    outside = (detected_areas < size[0]) | (detected_areas > size[1])  # (D,)
    return np.where(outside & (verdict == 0), -1, verdict)

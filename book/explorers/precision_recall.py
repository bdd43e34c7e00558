"""Chapter 10's explorer: a score threshold that moves along the precision-recall curve."""

from collections.abc import Sequence

import numpy as np
import traitlets
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri
from ssd_lite import metrics
from ssd_lite.boxes import iou
from ssd_lite.detection import Detections
from ssd_lite.evaluation import check_evaluation, of_class
from ssd_lite.metrics import GroundTruth, match_voc


class PrecisionRecallExplorer(Explorer):
    """Slide the score threshold and see the hits, the false alarms and the missed objects.

    All the pictures are shown, and the curve counts what is found in them and nothing else.

    Args:
        images: the pictures, a handful; shown as squares.
        found: detections of each picture, boxes in pixels.
        real: objects of each picture, boxes in pixels; those to be ignored are left out, as VOC
            does.
        classes: names; label i + 1 means ``classes[i]``.
        label: of the class to begin with.
        threshold: to begin with; detections that score more are shown.
    """

    module = "precision_recall.js"
    knobs = ("label", "threshold")
    label = traitlets.Int().tag(sync=True)
    threshold = traitlets.Float().tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)
    # Of all pictures and classes, with boxes in fractions. An object is label, picture, box;
    # a detection is label, picture, box, score, and the object it finds or -1.
    objects = traitlets.List().tag(sync=True)
    detections = traitlets.List().tag(sync=True)  # best first

    def __init__(
        self,
        images: Sequence[UInt8[Tensor, "3 _ _"]],
        found: Sequence[Detections],
        real: Sequence[GroundTruth],
        classes: Sequence[str],
        label: int = 1,
        threshold: float = 0.5,
    ):
        check_evaluation(found, real, classes)
        if len(images) != len(real):
            raise ValueError(
                f"images: expected one for each entry of real, {len(real)}, got {len(images)}"
            )
        if not 1 <= label <= len(classes):
            raise ValueError(
                f"label: expected 1..{len(classes)} for {len(classes)} classes, got {label}"
            )
        objects, detections = [], []
        for picture, (image, f, r) in enumerate(zip(images, found, real)):
            size = f.boxes.new_tensor(
                [image.shape[2], image.shape[1]] * 2
            )  # width and height, twice
            for of in range(1, len(classes) + 1):
                mine, theirs = of_class(f, r, of)
                first, verdicts = len(objects), match_voc(mine, theirs)
                places = (
                    theirs.ignored.logical_not().cumsum(0) - 1
                ).tolist()  # of the objects that count
                objects += [
                    [of, picture, box] for box in _rounded(theirs.boxes[~theirs.ignored] / size)
                ]
                claims = iou(mine.boxes, theirs.boxes).argmax(dim=1).tolist() if len(places) else []
                lines = zip(
                    _rounded(mine.boxes / size),
                    mine.scores.tolist(),
                    verdicts.tolist(),
                    strict=True,
                )
                for d, (box, score, verdict) in enumerate(lines):
                    if verdict >= 0:
                        detections.append(
                            [of, picture, box, score, first + places[claims[d]] if verdict else -1]
                        )
        super().__init__(
            label=label,
            threshold=threshold,
            classes=list(classes),
            pictures=[data_uri(image) for image in images],
            objects=objects,
            detections=sorted(detections, key=lambda line: -line[3]),
        )

    @property
    def hits(self) -> Bool[np.ndarray, " D"]:
        """Which of the class's detections find an object, of all that there are, best first."""
        return np.array(
            [line[4] >= 0 for line in self.detections if line[0] == self.label], dtype=bool
        )

    @property
    def scores(self) -> Float[np.ndarray, " D"]:
        """Their scores."""
        return np.array([line[3] for line in self.detections if line[0] == self.label])

    @property
    def total(self) -> int:
        """How many objects of the class there are to be found."""
        return sum(line[0] == self.label for line in self.objects)

    @property
    def precision(self) -> float:
        """Share of hits among detections that score above the threshold; NaN if there are none."""
        shown = self.hits[self.scores > self.threshold]
        return float(shown.mean()) if len(shown) else float("nan")

    @property
    def recall(self) -> float:
        """Share of the objects that these detections find."""
        return float(self.hits[self.scores > self.threshold].sum()) / max(self.total, 1)

    @property
    def average_precision(self) -> float:
        """Area under the envelope of the whole curve; NaN if the class does not occur.

        It does not depend on the threshold.
        """
        if self.total == 0:
            return float("nan")
        return metrics.average_precision(*metrics.precision_recall(self.hits, self.total))


def _rounded(boxes: Float[Tensor, "N 4"]) -> list[list[float]]:
    """Boxes for drawing."""
    return [[round(side, 4) for side in box] for box in boxes.tolist()]

"""Chapter 8's explorer: greedy NMS, one step after the other."""

from collections.abc import Sequence

import torch
import traitlets
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri
from ssd_lite.nms import batched_nms


class NMSExplorer(Explorer):
    """Step through the greedy loop: the box it takes, the rivals it strikes out, who is left.

    :attr:`kept` is what survives when all steps are done.

    Args:
        image: the picture, square.
        boxes: the candidates, xyxy, in fractions of the picture, best first.
        scores: theirs, descending.
        labels: theirs, 1..C.
        classes: names; label i + 1 means ``classes[i]``.
        iou_threshold: a box is struck out if it overlaps a survivor by more.
        per_class: whether it takes a survivor of the box's own class.
        step: how many steps are done.
    """

    module = "nms.js"
    knobs = ("step", "iou_threshold", "per_class")
    step = traitlets.Int().tag(sync=True)
    iou_threshold = traitlets.Float().tag(sync=True)
    per_class = traitlets.Bool().tag(sync=True)
    boxes = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    scores = traitlets.List(traitlets.Float()).tag(sync=True)
    labels = traitlets.List(traitlets.Int()).tag(sync=True)
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        image: UInt8[Tensor, "3 H W"],
        boxes: Float[Tensor, "K 4"],
        scores: Float[Tensor, " K"],
        labels: Int[Tensor, " K"],
        classes: Sequence[str],
        iou_threshold: float = 0.45,
        per_class: bool = True,
        step: int = 1,
    ):
        if not len(boxes) == len(scores) == len(labels):
            raise ValueError(
                f"scores and labels: expected one for each of {len(boxes)} boxes, "
                f"got {len(scores)} and {len(labels)}"
            )
        if (scores.diff() > 0).any():
            raise ValueError("scores: they must descend; sort the candidates, best first")
        if ((labels < 1) | (labels > len(classes))).any():
            raise ValueError(
                f"labels: expected 1..{len(classes)}, one for each of the classes, "
                f"got {labels.tolist()}"
            )
        super().__init__(
            step=step,
            iou_threshold=iou_threshold,
            per_class=per_class,
            boxes=boxes.tolist(),
            scores=scores.tolist(),
            labels=labels.tolist(),
            classes=list(classes),
            picture=data_uri(image),
        )

    @property
    def kept(self) -> Bool[Tensor, " K"]:
        """Which boxes survive."""
        boxes = torch.tensor(self.boxes, dtype=torch.float64).view(1, -1, 4)
        labels = torch.tensor([self.labels], dtype=torch.int64)  # (1, K)
        return batched_nms(
            boxes, labels if self.per_class else torch.ones_like(labels), self.iou_threshold
        )[0]

"""Chapter 11's explorer: what a network found in a few pictures during its training."""

from collections.abc import Sequence

import torch
import traitlets
from jaxtyping import UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri
from ssd_lite.detection import Detections
from ssd_lite.drawing import color, ink_on


class ReplayExplorer(Explorer):
    """Move through the moments of a training run and see what was found in a few pictures.

    Args:
        frames: the moments, from :func:`~book.replay.read_replay`.
        images: the pictures that were looked at.
        classes: names; label i + 1 means ``classes[i]``.
        threshold: the score below which nothing was kept, where the slider of scores begins.
    """

    module = "replay.js"
    knobs = ("moment", "threshold")
    moment = traitlets.Int().tag(sync=True)  # which frame is shown
    threshold = traitlets.Float().tag(sync=True)  # detections that score less are left out
    frames = traitlets.List(traitlets.Dict()).tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sizes = traitlets.List().tag(sync=True)  # width and height of each
    classes = traitlets.List(traitlets.Unicode()).tag(sync=True)
    colors = traitlets.List().tag(sync=True)  # of each class: its own, and that of letters on it

    def __init__(
        self,
        frames: Sequence[dict],
        images: Sequence[UInt8[Tensor, "3 _ _"]],
        classes: Sequence[str],
        threshold: float = 0.3,
    ):
        if not frames:
            raise ValueError(
                "frames: expected one moment or more, got none; train with watch=Replay(...) first"
            )
        for frame in frames:
            if len(frame["found"]) != len(images):
                raise ValueError(
                    f"images: expected the {len(frame['found'])} that the replay looked at, "
                    f"got {len(images)}"
                )
        own = [color(label) for label in range(1, len(classes) + 1)]
        super().__init__(
            moment=0,
            threshold=threshold,
            frames=list(frames),
            pictures=[data_uri(image) for image in images],
            sizes=[[image.shape[2], image.shape[1]] for image in images],
            classes=list(classes),
            colors=[[ground, ink_on(ground)] for ground in own],
        )

    @property
    def found(self) -> list[Detections]:
        """For each picture the moment's detections that reach the threshold, boxes in pixels."""
        shown = []
        for lines in self.frames[self.moment]["found"]:
            rows = torch.tensor([line for line in lines if line[1] >= self.threshold]).view(
                -1, 6
            )  # (N, 6)
            shown.append(Detections(rows[:, 2:], rows[:, 1], rows[:, 0].long()))
        return shown

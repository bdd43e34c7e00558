"""A training run to look at: what the network found in a few pictures on the way.

:class:`Replay` records them while :func:`~ssd_lite.train.fit` trains, :func:`read_replay` reads
them, and :class:`~book.explorers.replay.ReplayExplorer` shows them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from ssd_lite.checkpoint import write_atomically
from ssd_lite.detection import detect
from ssd_lite.model import SSD


def moments(steps: int, count: int = 12) -> list[int]:
    """Steps at which to look: ever further apart, because most is learned early.

    The first and the last step are among them.
    """
    first = max(1, steps / 100)
    later = [round(first * (steps / first) ** (k / (count - 2))) for k in range(count - 1)]
    return sorted({0, *later})


class Replay:
    """What a model finds in ``images`` at a dozen moments of ``steps``, as a JSON file.

    Give it to :func:`~ssd_lite.train.fit` as ``on_step``. A run that goes on after an interruption
    goes on with the file.

    Args:
        path: the file.
        images: a few held-out pictures.
        steps: of the whole run.
        threshold: smallest score that is kept.
        most: so many answers of a picture are kept; random weights are sure of hundreds.
    """

    def __init__(
        self,
        path: str | Path,
        images: Sequence[UInt8[Tensor, "3 _ _"]],
        steps: int,
        threshold: float = 0.3,
        most: int = 20,
    ):
        self.path, self.images, self.threshold, self.most = Path(path), images, threshold, most
        self.moments = moments(steps)
        self.frames = read_replay(self.path)

    def __call__(self, step: int, model: SSD) -> None:
        """Look, if it is time to."""
        if step not in self.moments:
            return
        found = [
            [
                [label, round(score, 3), *(round(side, 1) for side in box)]
                for box, score, label in zip(*(x.tolist() for x in detections))
            ]
            for detections in detect(model, self.images, self.threshold, per_image=self.most)
        ]
        self.frames = [frame for frame in self.frames if frame["step"] < step]
        self.frames.append({"step": step, "found": found})
        write_atomically(self.path, json.dumps(self.frames).encode())


def read_replay(path: str | Path) -> list[dict]:
    """The moments of a replay, in order.

    Each is a step, and for each picture what was found: label, score, box (xyxy).
    """
    return json.loads(Path(path).read_text()) if Path(path).exists() else []

"""The detector on a page: draw, drop a picture, and see what the network finds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import traitlets
from jaxtyping import UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, bundle, data_uri
from book.explorers.weights import small_checkpoint
from ssd_lite.drawing import PALETTE, ink_on
from ssd_lite.spec import LITE


class TryIt(Explorer):
    """A sheet to draw on, and a detector that looks at it, on the reader's own machine.

    It's asleep until the reader starts it: only then are its weights loaded, on a page from the
    script ``folder``/``name``.js, which :func:`~book.explorers.weights.weights_script` makes, and
    in JupyterLab from Python.

    Args:
        detectors: by the name of its script, a detector's title and its checkpoint.
        examples: pictures to begin with; None is an empty sheet.
        folder: where the scripts with the weights are, seen from the book's first page.
        score_threshold: answers that score less are left out.
        iou_threshold: of NMS.
        per_class: whether NMS strikes out only boxes of the same class.
        left_out: numbers of the maps that take no part.
        follow: number of the answer, from the best on, whose way is told; 0 for none.
    """

    module = "try_it.js"
    knobs = (
        *("example", "detector", "score_threshold", "iou_threshold", "per_class"),
        *("left_out", "follow"),
    )
    example = traitlets.Int().tag(sync=True)  # its number; -1 is the reader's own
    detector = traitlets.Int().tag(sync=True)  # likewise
    score_threshold = traitlets.Float().tag(sync=True)
    iou_threshold = traitlets.Float().tag(sync=True)
    per_class = traitlets.Bool().tag(sync=True)
    left_out = traitlets.List(traitlets.Int()).tag(sync=True)
    follow = traitlets.Int().tag(sync=True)  # number of the answer that is explained; 0 for none
    detectors = traitlets.List(traitlets.Dict()).tag(sync=True)
    examples = traitlets.List(traitlets.Dict()).tag(sync=True)
    folder = traitlets.Unicode().tag(sync=True)
    palette = traitlets.List().tag(sync=True)  # of each class: its color, and that of letters on it
    engine = traitlets.Unicode().tag(sync=True)  # the module of the worker

    def __init__(
        self,
        detectors: Mapping[str, tuple[str, str | Path]],
        examples: Mapping[str, UInt8[Tensor, "3 _ _"] | None],
        folder: str = "_static/detectors",
        score_threshold: float = 0.5,
        iou_threshold: float = 0.45,
        per_class: bool = True,
        left_out: Sequence[int] = (),
        follow: int = 0,
    ):
        self.weights = {name: small_checkpoint(path) for name, (_, path) in detectors.items()}
        size = {name: round(len(x) * 4 / 3 / 1e6, 1) for name, x in self.weights.items()}
        super().__init__(
            example=0,
            detector=0,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            per_class=per_class,
            left_out=list(left_out),
            follow=follow,
            detectors=[
                {"name": name, "title": title, "megabytes": size[name]}
                for name, (title, _) in detectors.items()
            ],
            examples=[
                {"name": name, "picture": None if image is None else _example(image)}
                for name, image in examples.items()
            ],
            folder=folder,
            palette=[[color, ink_on(color)] for color in PALETTE],
            engine=bundle("worker.js"),
        )
        self.on_msg(self._send_weights)

    def _send_weights(self, _, message: dict, __) -> None:
        """To a page in JupyterLab, which asks for them."""
        name = message["weights"]
        self.send({"weights": name}, [self.weights[name]])


def _example(image: UInt8[Tensor, "3 H W"]) -> str:
    """A picture to look at: a small one as the network would get it from Python."""
    return data_uri(image, lossless=max(image.shape) <= LITE.image_size)

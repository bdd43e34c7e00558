"""Chapter 1's explorer: two boxes, and how well they agree."""

from collections.abc import Sequence

import traitlets
from jaxtyping import UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri


class IoUExplorer(Explorer):
    """Drag two boxes over a picture and watch what they share.

    Args:
        image: the picture, square.
        first, second: the boxes, xyxy, in squares.
        squares: how many squares wide the picture is.
    """

    module = "iou.js"
    knobs = ("first", "second")
    first = traitlets.List(traitlets.Float()).tag(sync=True)
    second = traitlets.List(traitlets.Float()).tag(sync=True)
    squares = traitlets.Int().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        image: UInt8[Tensor, "3 H W"],
        first: Sequence[float],
        second: Sequence[float],
        squares: int = 16,
    ):
        super().__init__(
            first=list(first), second=list(second), squares=squares, picture=data_uri(image)
        )

"""Chapter 4's explorer: four offsets, and the box that they make of a default box."""

from collections.abc import Sequence

import torch
import traitlets
from jaxtyping import Float, UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri
from ssd_lite.boxes import check_boxes, cxcywh_to_xyxy
from ssd_lite.encoding import decode, encode


class EncodingExplorer(Explorer):
    """Turn the offsets and the decoded box moves; drag the box and the offsets follow.

    The offsets are what the explorer keeps, as if a network had said them: when the default box is
    moved or a variance is turned, they stay, and :attr:`box` is another one.

    Args:
        image: the picture, square.
        default_box: cxcywh, in fractions of the picture.
        object_box: the object's box, xyxy, in fractions of the picture. The offsets begin at those
            that say it.
        object_name: what the object is called.
        squares: how many squares wide the picture is; the arithmetic is shown in squares.
        variances: units of the center's and of the size's offsets.
    """

    module = "encoding.js"
    knobs = ("offsets", "variances", "default_box")
    offsets = traitlets.List(traitlets.Float()).tag(sync=True)
    variances = traitlets.List(traitlets.Float()).tag(sync=True)
    default_box = traitlets.List(traitlets.Float()).tag(sync=True)  # cxcywh
    object_box = traitlets.List(traitlets.Float()).tag(sync=True)  # xyxy
    object_name = traitlets.Unicode().tag(sync=True)
    squares = traitlets.Int().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        image: UInt8[Tensor, "3 H W"],
        default_box: Sequence[float],
        object_box: Sequence[float],
        object_name: str = "object",
        squares: int = 16,
        variances: Sequence[float] = (0.1, 0.2),
    ):
        given = torch.tensor([[*default_box], [*object_box]], dtype=torch.float64)
        check_boxes(cxcywh_to_xyxy(given[:1]), "default_box")
        check_boxes(given[1:], "object_box")
        if len(variances) != 2 or min(variances) <= 0:
            raise ValueError(
                f"variances: got {tuple(variances)}; expected two, of center and size, both above 0"
            )
        super().__init__(
            offsets=encode(given[1:], given[:1], tuple(variances))[0].tolist(),
            variances=list(variances),
            default_box=given[0].tolist(),
            object_box=given[1].tolist(),
            object_name=object_name,
            squares=squares,
            picture=data_uri(image),
        )

    @property
    def box(self) -> Float[Tensor, "4"]:
        """The box that the offsets stand for, xyxy in fractions of the picture."""
        numbers = torch.tensor([self.offsets, self.default_box], dtype=torch.float64)
        return decode(numbers[:1], numbers[1:], tuple(self.variances))[0]

"""Chapter 6's explorer: which background boxes take part, at any ratio and moment."""

from collections.abc import Sequence

import torch
import traitlets
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri, layout
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.mining import hard_negatives
from ssd_lite.spec import SSDSpec


class MiningExplorer(Explorer):
    """Choose a scene's hardest background boxes, by any ratio, at moments of a training.

    :attr:`losses`, :attr:`positive` and :attr:`chosen` are those of the scene and the moment that
    are shown.

    Args:
        spec: whose default boxes these are.
        images: the scenes, square.
        losses: classification loss of every default box, at each moment of the training, in each
            scene.
        positive: which boxes answer for an object, in each scene.
        steps: the step of the training at each moment.
        ratio: negatives for each positive, to begin with.
    """

    module = "mining.js"
    knobs = ("scene", "moment", "ratio")
    scene = traitlets.Int().tag(sync=True)
    moment = traitlets.Int().tag(sync=True)
    ratio = traitlets.Float().tag(sync=True)
    steps = traitlets.List(traitlets.Int()).tag(sync=True)
    spec = traitlets.Dict().tag(sync=True)
    pictures = traitlets.List(traitlets.Unicode()).tag(sync=True)
    table = traitlets.Bytes().tag(sync=True)  # float32: losses by moment, scene and box
    positives = traitlets.List(traitlets.List(traitlets.Int())).tag(
        sync=True
    )  # which boxes, in each scene

    def __init__(
        self,
        spec: SSDSpec,
        images: UInt8[Tensor, "S 3 H W"],
        losses: Float[Tensor, "M S A"],
        positive: Bool[Tensor, "S A"],
        steps: Sequence[int],
        ratio: float = 3,
    ):
        boxes = len(make_default_boxes(spec))
        if losses.shape[2] != boxes:
            raise ValueError(
                f"losses: {spec.name} has {boxes} default boxes, got losses for {losses.shape[2]}"
            )
        if len(steps) != len(losses):
            raise ValueError(
                f"steps: expected one for each of {len(losses)} moments, got {len(steps)}"
            )
        if not losses.isfinite().all():
            raise ValueError(
                "losses: not all are finite, and a NaN has no rank; look where it comes from"
            )
        super().__init__(
            scene=0,
            moment=0,
            ratio=ratio,
            steps=list(steps),
            spec=layout(spec),
            pictures=[data_uri(image) for image in images],
            table=losses.detach().to("cpu", torch.float32).contiguous().numpy().tobytes(),
            positives=[mask.nonzero()[:, 0].tolist() for mask in positive],
        )

    @property
    def losses(self) -> Float[Tensor, " A"]:
        """Classification loss of every default box."""
        table = torch.frombuffer(bytearray(self.table), dtype=torch.float32)
        return table.view(len(self.steps), len(self.pictures), -1)[self.moment, self.scene]

    @property
    def positive(self) -> Bool[Tensor, " A"]:
        """Which boxes answer for an object."""
        mask = torch.zeros_like(self.losses, dtype=torch.bool)  # (A,)
        mask[self.positives[self.scene]] = True
        return mask

    @property
    def chosen(self) -> Bool[Tensor, " A"]:
        """Which background boxes take part."""
        return hard_negatives(self.losses[None], self.positive[None], self.ratio)[0]

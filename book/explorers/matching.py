"""Chapter 3's explorer: objects to drag, and which default boxes answer for them."""

from collections.abc import Mapping, Sequence

import torch
import traitlets
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri, layout
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.matching import assign
from ssd_lite.spec import SSDSpec

FORCED = ("none", "overwrite", "bipartite")
MOST = 4  # objects in a scene: as many as there are colors


class MatchingExplorer(Explorer):
    """Drag objects over default boxes, and see who answers for whom, and who is lost.

    :attr:`assigned` is what the knobs say: the answer of the package's matcher, or of one of the
    two that lose objects.

    Args:
        scenes: by name, a square picture, its objects, xyxy in fractions of the picture, and what
            they are called.
        specs: whose default boxes there are to choose from.
        threshold: the smallest IoU at which a default box answers for an object that is not its
            own.
        forced: how objects come by a default box of their own: ``"none"`` do; by ``"overwrite"``
            each takes its best, also from another; ``"bipartite"``, as in
            :mod:`ssd_lite.matching`, the largest pair goes first.
    """

    module = "matching.js"
    knobs = ("scene", "spec", "objects", "threshold", "forced")
    scene = traitlets.Unicode().tag(sync=True)
    spec = traitlets.Unicode().tag(sync=True)
    objects = traitlets.List(traitlets.List(traitlets.Float())).tag(
        sync=True
    )  # xyxy, in fractions of the picture
    threshold = traitlets.Float().tag(sync=True)
    forced = traitlets.Enum(FORCED).tag(sync=True)
    scenes = traitlets.Dict().tag(sync=True)
    specs = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        scenes: Mapping[str, tuple[UInt8[Tensor, "3 H W"], Float[Tensor, "G 4"], Sequence[str]]],
        specs: Sequence[SSDSpec],
        threshold: float = 0.5,
        forced: str = "none",
    ):
        if not scenes or not specs:
            raise ValueError(
                f"scenes, specs: got {len(scenes)} and {len(specs)}; give at least one of each"
            )
        for name, (_, boxes, names) in scenes.items():
            if not 1 <= len(boxes) == len(names) <= MOST:
                raise ValueError(
                    f"scenes: {name!r} has {len(boxes)} objects and {len(names)} names; give 1 to "
                    f"{MOST} objects, and a name for each"
                )
        if not 0 < threshold <= 1:
            raise ValueError(
                f"threshold: got {threshold}; an IoU to reach is above 0 and at most 1"
            )
        if forced not in FORCED:
            raise ValueError(f"forced: got {forced!r}; expected one of {', '.join(FORCED)}")
        self._specs = {spec.name: spec for spec in specs}
        given = {
            name: {
                "picture": data_uri(image),
                "objects": boxes.double().round(decimals=4).tolist(),
                "names": list(names),
            }
            for name, (image, boxes, names) in scenes.items()
        }
        first = next(iter(given))
        super().__init__(
            scene=first,
            spec=specs[0].name,
            objects=given[first]["objects"],
            threshold=threshold,
            forced=forced,
            scenes=given,
            specs={spec.name: layout(spec) for spec in specs},
        )

    @property
    def default_boxes(self) -> Float[Tensor, "A 4"]:
        """Those of the chosen spec, cxcywh."""
        return make_default_boxes(self._specs[self.spec])

    @property
    def assigned(self) -> Int[Tensor, " A"]:
        """Index of the object that each default box answers for, or -1 for background."""
        default_boxes = self.default_boxes.double()  # as precise as the knobs are
        objects = torch.tensor(self.objects, dtype=torch.float64).view(-1, 4)
        if self.forced == "bipartite" or len(objects) == 0:
            labels = torch.ones(1, len(objects), dtype=torch.int64)
            return assign(default_boxes, objects[None], labels, self.threshold)[0]
        overlap = iou(objects, cxcywh_to_xyxy(default_boxes))  # (G, A)
        best, assigned = overlap.max(dim=0)  # (A,)
        assigned = torch.where(best >= self.threshold, assigned, -1)
        if self.forced == "overwrite":
            for g, ious in enumerate(overlap):
                if ious.max() > 1e-6:
                    assigned[ious.argmax()] = g
        return assigned

    @property
    def lost(self) -> list[int]:
        """The objects that no default box answers for."""
        return [g for g in range(len(self.objects)) if g not in self.assigned]

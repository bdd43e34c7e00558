"""Chapter 2's explorer: a spec's scales, shapes and maps, and which objects they reach."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import traitlets
from jaxtyping import Float, UInt8
from torch import Tensor

from book.explorers.explorer import Explorer, data_uri
from ssd_lite.spec import (
    LITE,
    SSD300_COCO,
    SSD300_TORCHVISION,
    SSD300_VOC,
    SSD512_COCO,
    SSD512_VOC,
    SSDSpec,
)

SPECS = {
    spec.name: spec
    for spec in (SSD300_VOC, SSD300_COCO, SSD512_VOC, SSD512_COCO, SSD300_TORCHVISION, LITE)
}


def knobs_of(spec: SSDSpec) -> dict:
    """Where the explorer's knobs stand for a spec."""
    return {
        "base": spec.name,
        "scales": [size / spec.image_size for size in spec.sizes],
        "ratios": [list(ratios) for ratios in spec.ratios],
        "maps": len(spec.maps),
        "extra_square": spec.extra_square,
        "clip_sizes": spec.clip_sizes,
    }


class DefaultBoxExplorer(Explorer):
    """Turn a spec's scales, aspect ratios and maps, and see which objects it reaches.

    Shown are the boxes of a cell and the recall of a data set's objects.

    :attr:`spec` is what the knobs say: make its boxes, or build an ``SSD`` of it and train it.

    Args:
        spec: where to begin, one of the package's own.
        image: the picture under the boxes, square.
        objects: xyxy, in fractions of their pictures; their recall is shown.
        cell: level, row and column of the cell whose boxes are drawn at first.
        in_view: the picture's own objects, xyxy in fractions of it; each is drawn with its best
            IoU, green when some default box reaches 0.5 with it and red when none does.
    """

    module = "default_boxes.js"
    knobs = ("base", "scales", "ratios", "maps", "extra_square", "clip_sizes", "cell")
    base = traitlets.Unicode().tag(sync=True)  # the spec that gives all that has no knob
    scales = traitlets.List(traitlets.Float()).tag(
        sync=True
    )  # sizes in fractions of the picture, one more than maps
    ratios = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    maps = traitlets.Int().tag(sync=True)  # how many of the base's maps are used, from the finest
    extra_square = traitlets.Bool().tag(sync=True)
    clip_sizes = traitlets.Bool().tag(sync=True)
    cell = traitlets.List(traitlets.Int()).tag(
        sync=True
    )  # level, row, column: whose boxes are drawn
    specs = traitlets.Dict().tag(sync=True)
    picture = traitlets.Unicode().tag(sync=True)
    objects = traitlets.Bytes().tag(sync=True)  # float32
    in_view = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)  # in the picture

    def __init__(
        self,
        spec: SSDSpec,
        image: UInt8[Tensor, "3 H W"],
        objects: Float[Tensor, "G 4"],
        cell: Sequence[int] = (2, 4, 4),
        in_view: Float[Tensor, "n 4"] | None = None,
    ):
        if SPECS.get(spec.name) != spec:
            raise ValueError(
                f"spec: expected one of {', '.join(SPECS)}, got {spec.name!r}; "
                "set the knobs for another"
            )
        specs = {
            name: {
                "image_size": s.image_size,
                "maps": s.maps,
                "steps": s.steps,
                "knobs": knobs_of(s),
            }
            for name, s in SPECS.items()
        }
        objects = objects.to("cpu", torch.float32).contiguous().numpy().tobytes()
        super().__init__(
            **knobs_of(spec),
            cell=list(cell),
            specs=specs,
            picture=data_uri(image),
            objects=objects,
            in_view=[] if in_view is None else in_view.tolist(),
        )

    @property
    def spec(self) -> SSDSpec:
        """The spec that the knobs describe.

        It is a network of the base's layers, up to the last map that is used.
        """
        base, used = SPECS[self.base], self.maps
        unused = len(base.maps) - used
        return replace(
            base,
            name=f"{self.base}, as dialed",
            maps=base.maps[:used],
            steps=base.steps[:used],
            sizes=tuple(scale * base.image_size for scale in self.scales[: used + 1]),
            ratios=tuple(tuple(ratios) for ratios in self.ratios[:used]),
            extras=base.extras[: max(0, len(base.extras) - unused)],
            extra_square=self.extra_square,
            clip_sizes=self.clip_sizes,
        )

"""Chapter 2, first half. The specification of an SSD: what tells one from another, as data."""

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple


class ExtraLayer(NamedTuple):
    """One added level: a 1 × 1 convolution to ``squeezed`` channels, then a larger one."""

    squeezed: int
    channels: int
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class SSDSpec:
    """All that distinguishes one SSD from another.

    Sizes and steps are in pixels of the network's input. Level k has ``maps[k]`` × ``maps[k]``
    cells. Each cell has a square default box of side ``sizes[k]``, another of side √(sizes[k] ·
    sizes[k+1]), and for each ratio r in ``ratios[k]`` a wide box (r : 1) and a tall one (1 : r).
    ``sizes`` therefore has one entry more than ``maps``.
    """

    name: str
    image_size: int
    base: str  # "vgg16" or "lite"
    maps: tuple[int, ...]
    steps: tuple[float, ...]
    sizes: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]
    extras: tuple[ExtraLayer, ...]
    extra_square: bool = True  # the box of side √(sizes[k] · sizes[k+1])
    # What follows belongs to later chapters.
    variances: tuple[float, float] = (0.1, 0.2)  # units of the offsets: of the center, of the size
    mean: tuple[float, float, float] = (123 / 255, 117 / 255, 104 / 255)  # RGB, in [0, 1]
    std: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    antialias: bool = False  # when a larger picture is shrunk to image_size
    # torchvision's departures from the reference.
    clip_sizes: bool = False  # default boxes no larger than the image
    clip_detections: bool = False  # decoded boxes cut at the image's edge before NMS
    max_log_size: float = float("inf")  # largest log of decoded size over default size

    def __post_init__(self) -> None:
        levels = len(self.maps)
        if not (len(self.steps) == len(self.ratios) == levels and len(self.sizes) == levels + 1):
            raise ValueError(
                f"SSDSpec {self.name!r}: {levels} maps need {levels} steps, {levels} tuples of "
                f"ratios and {levels + 1} sizes; got {len(self.steps)}, {len(self.ratios)} and "
                f"{len(self.sizes)}"
            )
        ratios = itertools.chain(*self.ratios)
        numbers = (self.image_size, *self.maps, *self.steps, *self.sizes, *ratios)
        if not all(number > 0 for number in numbers):
            raise ValueError(
                f"SSDSpec {self.name!r}: image_size, maps, steps, sizes and ratios must be above 0"
            )

    @property
    def boxes_per_cell(self) -> tuple[int, ...]:
        """Number of default boxes at a cell of each level."""
        return tuple(1 + self.extra_square + 2 * len(ratios) for ratios in self.ratios)

    @property
    def boxes_per_level(self) -> tuple[int, ...]:
        """Number of default boxes of each level; 8732 in all for SSD300."""
        return tuple(side * side * k for side, k in zip(self.maps, self.boxes_per_cell))


SSD300_VOC = SSDSpec(
    name="SSD300_VOC",
    image_size=300,
    base="vgg16",
    maps=(38, 19, 10, 5, 3, 1),
    steps=(8, 16, 32, 64, 100, 300),
    sizes=(30, 60, 111, 162, 213, 264, 315),
    ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    extras=(
        ExtraLayer(256, 512, 3, 2, 1),
        ExtraLayer(128, 256, 3, 2, 1),
        ExtraLayer(128, 256, 3, 1, 0),
        ExtraLayer(128, 256, 3, 1, 0),
    ),
)
SSD300_COCO = replace(SSD300_VOC, name="SSD300_COCO", sizes=(21, 45, 99, 153, 207, 261, 315))
SSD512_VOC = SSDSpec(
    name="SSD512_VOC",
    image_size=512,
    base="vgg16",
    maps=(64, 32, 16, 8, 4, 2, 1),
    steps=(8, 16, 32, 64, 128, 256, 512),
    sizes=(35, 76, 153, 230, 307, 384, 460, 537),
    ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    extras=(
        ExtraLayer(256, 512, 3, 2, 1),
        ExtraLayer(128, 256, 3, 2, 1),
        ExtraLayer(128, 256, 3, 2, 1),
        ExtraLayer(128, 256, 3, 2, 1),
        ExtraLayer(128, 256, 4, 1, 1),
    ),
)
SSD512_COCO = replace(SSD512_VOC, name="SSD512_COCO", sizes=(20, 51, 133, 215, 296, 378, 460, 542))
SSD300_TORCHVISION = replace(
    SSD300_COCO,
    name="SSD300_TORCHVISION",
    mean=(0.48235, 0.45882, 0.40784),
    clip_sizes=True,
    clip_detections=True,
    max_log_size=4.135166556742356,  # log(1000 / 16)
)
LITE = SSDSpec(
    name="LITE",
    image_size=96,
    base="lite",
    maps=(24, 12, 6, 3, 2, 1),
    steps=(4, 8, 16, 32, 48, 96),
    sizes=(8, 18, 34, 54, 72, 86, 104),
    ratios=((), (2,), (2, 3), (2, 3), (2,), (2,)),
    extras=(
        ExtraLayer(64, 128, 3, 2, 1),
        ExtraLayer(64, 128, 3, 2, 1),
        ExtraLayer(64, 128, 3, 2, 1),
    ),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    antialias=True,
)
LITE_192 = replace(  # for photographs
    LITE,
    name="LITE_192",
    image_size=192,
    maps=(48, 24, 12, 6, 3, 2),
    steps=(4, 8, 16, 32, 64, 96),
    sizes=(12, 24, 48, 84, 120, 156, 192),
)
LITE_300 = replace(  # for a GPU: an SSD300's pictures and one map more, the finest
    LITE,
    name="LITE_300",
    image_size=300,
    maps=(75, 38, 19, 10, 5, 3, 1),
    steps=(4, 8, 16, 32, 64, 100, 300),
    sizes=(15, 30, 60, 111, 162, 213, 264, 315),
    ratios=((), (2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    extras=(*LITE.extras, ExtraLayer(64, 128, 3, 1, 0)),
)

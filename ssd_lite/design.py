"""Chapter 7. A spec for any base and any size of picture."""

from collections.abc import Sequence

import torch

from ssd_lite.bases import BASES
from ssd_lite.default_boxes import sizes_by_rule
from ssd_lite.spec import ExtraLayer, SSDSpec

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_spec(
    base: str,
    image_size: int,
    percents: tuple[int, int, int] = (10, 20, 90),
    extras: Sequence[ExtraLayer] | None = None,
    steps: Sequence[float] | None = None,
) -> SSDSpec:
    """The spec of an SSD on any base, for pictures of any size.

    Maps are counted by running the base's layers; sizes and ratios follow the paper's rule.

    Args:
        base: a name in :data:`ssd_lite.bases.BASES`.
        image_size: side of the network's input, in pixels.
        percents: of the first map's boxes, the second's and the last's, in percent of the picture.
        extras: added layers; by default each halves the map, down to one cell.
        steps: in pixels; by default the base's strides, and for added layers an even spacing.

    Raises:
        ValueError: an unknown base, or pictures too small for it.
    """
    # 1. The maps, on a device that keeps shapes and computes nothing.
    if base not in BASES:
        raise ValueError(f"base: expected one of {', '.join(BASES)}, got {base!r}")
    with torch.device("meta"):
        network = BASES[base][0]().eval()
        try:
            maps = [x.shape[-1] for x in network(torch.empty(1, 3, image_size, image_size))]
        except RuntimeError:  # nothing is left of the picture
            maps = [0]
    extras = halving(maps[-1]) if extras is None else tuple(extras)
    maps = [*maps, *map_sides(maps[-1], extras)]
    if len(maps) < 4 or not all(side > 0 for side in maps):
        raise ValueError(
            f"image_size: {image_size} pixels leave {base} too few maps; take 64 or more"
        )

    # 2. What the paper says of sizes, steps and ratios.
    levels = len(maps)
    even = [image_size / side for side in maps[len(network.strides) :]]
    outer = {0, levels - 2, levels - 1}  # where objects are rare, or boxes many
    return SSDSpec(
        name=f"{base.upper()}_{image_size}",
        image_size=image_size,
        base=base,
        maps=tuple(maps),
        steps=tuple(steps or (*network.strides, *even)),
        sizes=sizes_by_rule(image_size, *percents, levels),
        ratios=tuple((2,) if level in outer else (2, 3) for level in range(levels)),
        extras=extras,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        antialias=True,
    )


def halving(side: int) -> tuple[ExtraLayer, ...]:
    """Added layers that halve a map of ``side`` cells until at most three are left, then one."""
    layers = []
    while side > 3:
        layers.append(ExtraLayer(128, 256, 3, 2, 1))
        side = (side + 1) // 2
    if side > 1:
        layers.append(ExtraLayer(128, 256, side, 1, 0))
    return tuple(layers)


def map_sides(side: int, extras: Sequence[ExtraLayer]) -> list[int]:
    """Cells a side of the maps that added layers make, one after the other."""
    sides = []
    for layer in extras:
        side = (side + 2 * layer.padding - layer.kernel) // layer.stride + 1
        sides.append(side)
    return sides

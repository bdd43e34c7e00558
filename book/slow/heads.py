"""Chapter 7. From a head's map to a list, spelled out, and what can be asked of a network."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssd_lite.model import SSD


def slow_per_box(x: Float[Tensor, "B KV H W"], values: int) -> Float[Tensor, "B HWK values"]:
    batch, channels, height, width = x.shape
    lists = []
    for picture in range(batch):
        rows = []
        for row in range(height):
            for column in range(width):
                for shape in range(channels // values):
                    first = shape * values
                    rows.append(x[picture, first : first + values, row, column])
        lists.append(torch.stack(rows))
    return torch.stack(lists)


def bare_reshape(x: Float[Tensor, "B KV H W"], values: int) -> Float[Tensor, "B HWK values"]:
    return x.reshape(len(x), -1, values)


def maps_of(model: SSD, images: Float[Tensor, "B 3 S S"]) -> list[Tensor]:
    """Every map that the heads read, fine to coarse."""
    maps = model.base(images)
    for extra in model.extras:
        maps.append(extra(maps[-1]))
    return maps


def receptive_field(layers: Sequence[nn.Module]) -> int:
    """Side of the square of pixels that one activation can see."""
    side, jump = 1, 1
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            sizes = (layer.kernel_size, layer.dilation, layer.stride)
            kernel, dilation, stride = (v if isinstance(v, int) else v[0] for v in sizes)
            side += (kernel - 1) * dilation * jump
            jump *= stride
    return side


def layers_of_maps(model: SSD) -> Iterator[list[nn.Module]]:
    """All layers up to each map, fine to coarse."""
    path: list[nn.Module] = []
    for name, stage in model.base.named_children():
        if name != "norm":
            path = [*path, *stage.modules()]
            yield path
    for extra in model.extras:
        path = [*path, *extra.modules()]
        yield path


def seen_by_heads(model: SSD) -> list[int]:
    """Side of the square of pixels that one prediction can see, for each map."""
    stacks = zip(layers_of_maps(model), model.offsets)
    return [receptive_field([*path, head]) for path, head in stacks]

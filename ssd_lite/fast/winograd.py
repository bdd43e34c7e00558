"""Appendix F. Winograd's convolution: 3 × 3 with a quarter of the products, for CPUs."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

# F(4, 3) of Lavin and Gray (2016): three weights along six numbers give four results, by six
# products.
FROM_INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
FROM_WEIGHT = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
TO_RESULT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
TILE_BUDGET = 2**17  # tiles times channels at once: what the processor's cache holds
WIDE = 256  # channels that some layer must have for the network to gain as a whole

# Maps a parameter to a copy of its values and their transform. Values are compared, because
# fused optimizers change parameters without counting up their version.
_kept = WeakTensorKeyDictionary()


def accelerate(network: Callable) -> Callable:
    """``network``, but on a CPU its large 3 × 3 convolutions are done by Winograd's method.

    Answers and gradients are the same up to rounding, some 1e-5 of a typical number. A narrow
    network comes back as it is: looking at each of its operations costs more than it would gain.
    On other devices, and under autocast, the network computes as usual.
    """
    layers = network.modules() if isinstance(network, nn.Module) else []
    if not any(_is_wide(layer) for layer in layers):
        return network

    def accelerated(images: Tensor) -> Any:
        if images.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return network(images)
        with Winograd():
            return network(images)

    return accelerated


def _is_wide(layer: nn.Module) -> bool:
    """Whether a layer is a 3 × 3 convolution of many channels to many."""
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (3, 3) or layer.groups > 1:
        return False
    return min(layer.in_channels, layer.out_channels) >= WIDE


class Winograd(TorchFunctionMode):
    """A context in which convolutions are done by Winograd's method where that pays.

    The network's code stays as it is: every call of ``F.conv2d`` is looked at here.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if function is F.conv2d and not kwargs and is_worthwhile(*args):
            return winograd_conv2d(*args[:3])
        return function(*args, **(kwargs or {}))


def is_worthwhile(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,  # may be a word
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Whether :func:`winograd_conv2d` can do a convolution, and gains by it.

    The transforms' cost grows with the channels, the products saved with the channels' square. On
    large maps the plain backward pass is slow, so there training gains with fewer channels. The
    limits were measured on CPUs.
    """
    shape = (tuple(weight.shape[2:]), *map(_pair, (stride, padding, dilation)), groups)
    tiles = -(-x.shape[2] // 4) * -(-x.shape[3] // 4)
    learning = torch.is_grad_enabled()
    ready = not learning and isinstance(weight, nn.Parameter)  # its transform will be kept
    return (
        shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        and x.dtype == weight.dtype == torch.float32
        and min(weight.shape[:2]) >= (64 if learning and tiles >= 1000 else 128)
        and len(x) * tiles >= (16 if ready else 200)
    )


def _pair(number: Any) -> Any:
    """An option of a convolution, given for both directions or for each."""
    return tuple(number) if isinstance(number, (tuple, list)) else (number, number)


def winograd_conv2d(
    x: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "O C 3 3"],
    bias: Float[Tensor, " O"] | None = None,
) -> Float[Tensor, "B O H W"]:
    """``F.conv2d(x, weight, bias, padding=1)`` with 36 products for 16 results instead of 144.

    The picture is cut into tiles of 6 × 6 that overlap by 2. One linear map takes the tiles and
    another the weights to a place where convolution is multiplication; there 36 matrix products
    mix the channels, and a third map leads back, to 4 × 4 results a tile. Rounding errors are
    larger than the plain sum's, some 1e-5 of a typical result. Channels come last in memory.
    """
    return WinogradConv2d.apply(x, weight, bias, _product_weights(weight))


class WinogradConv2d(torch.autograd.Function):
    """The three linear maps, one after the other; backward their adjoints, in reverse."""

    @staticmethod
    def forward(
        context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, weights: Tensor
    ) -> Tensor:
        context.save_for_backward(x, weights)
        # 1. Cut: views of tiles that overlap, and of the blocks where their results belong.
        tiles = _tiles_of(x)  # (6, 6, B, down, across, C)
        (batch, down, across, channels), outputs = tiles.shape[2:], weights.shape[2]
        to_products, to_results = _transform_2d(FROM_INPUT, x), _transform_2d(TO_RESULT, x)
        y = x.new_empty(batch, 4 * down, 4 * across, outputs).permute(0, 3, 1, 2)  # channels last
        blocks = _blocks_of(y)  # (4, 4, B, down, across, O)
        for band in _bands(batch, down, across * max(channels, outputs)):
            # 2. Transform, multiply, transform back: as many tiles as the cache holds.
            factors = to_products @ tiles[:, :, *band].reshape(36, -1)  # (36, T·C)
            products = torch.bmm(factors.view(36, -1, channels), weights)  # (36, T, O)
            part = blocks[:, :, *band]
            part.copy_((to_results @ products.view(36, -1)).view(part.shape))
        if bias is not None:
            y += bias[:, None, None]
        return y[:, :, : x.shape[2], : x.shape[3]].clone(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weights = context.saved_tensors
        # 1. Cut both ends: the picture into tiles, its gradient into blocks.
        tiles = _tiles_of(x)
        (batch, down, across, channels), (_, _, height, width) = tiles.shape[2:], x.shape
        blocks = _blocks_of(F.pad(gradient, (0, 4 * across - width, 0, 4 * down - height)))
        to_products, to_results = _transform_2d(FROM_INPUT, x), _transform_2d(TO_RESULT, x)
        of_weights = torch.empty_like(weights)
        of_x = x.new_zeros(batch, down + 1, 4, across + 1, 4, channels)
        columns, outputs = across * max(channels, gradient.shape[1]), gradient.shape[1]
        for i, (images, rows) in enumerate(_bands(batch, down, columns)):
            # 2. Through the products, to the weights and to the tiles.
            of_products = to_results.T @ blocks[:, :, images, rows].reshape(16, -1)
            of_products = of_products.view(36, -1, outputs)  # (36, T, O)
            factors = to_products @ tiles[:, :, images, rows].reshape(36, -1)
            factors = factors.view(36, -1, channels)  # (36, T, C)
            of_weights.baddbmm_(factors.transpose(1, 2), of_products, beta=min(i, 1))
            of_factors = torch.bmm(of_products, weights.transpose(1, 2))  # (36, T, C)
            of_tiles = to_products.T @ of_factors.view(36, -1)
            of_tiles = of_tiles.view(6, 6, *tiles[0, 0, images, rows].shape)
            of_tiles = of_tiles.permute(2, 3, 0, 4, 1, 5)  # (B, down, 6, across, 6, C)
            # 3. Tiles overlap: each one's last two rows and columns are its neighbors' first.
            below = slice(rows.start + 1, rows.stop + 1)
            of_x[images, rows, :, :-1] += of_tiles[:, :, :4, :, :4]
            of_x[images, rows, :, 1:, :2] += of_tiles[:, :, :4, :, 4:]
            of_x[images, below, :2, :-1] += of_tiles[:, :, 4:, :, :4]
            of_x[images, below, :2, 1:, :2] += of_tiles[:, :, 4:, :, 4:]
        of_x = of_x.flatten(3, 4).flatten(1, 2)[:, 1 : height + 1, 1 : width + 1]
        of_x = of_x.permute(0, 3, 1, 2)  # (B, C, H, W)
        of_weight = _transform_2d(FROM_WEIGHT, x).T @ of_weights.view(36, -1)
        of_weight = of_weight.view(3, 3, channels, outputs).permute(3, 2, 0, 1)  # (O, C, 3, 3)
        of_bias = gradient.sum((0, 2, 3)) if context.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, None


def _transform_2d(matrix: tuple, like: Tensor) -> Float[Tensor, "results numbers"]:
    """A linear map of rows, then of columns, as one matrix for all numbers of a tile."""
    matrix = torch.tensor(matrix, dtype=like.dtype)
    return torch.kron(matrix, matrix)


def _product_weights(weight: Float[Tensor, "O C 3 3"]) -> Float[Tensor, "36 C O"]:
    """The weights' transform; outside training it is kept until the parameter changes."""
    keep = isinstance(weight, nn.Parameter) and not torch.is_grad_enabled()
    if keep and weight in _kept and torch.equal(_kept[weight][0], weight):
        return _kept[weight][1]
    by_tap = weight.detach().permute(2, 3, 1, 0).reshape(9, -1)  # (9, C·O)
    values = (_transform_2d(FROM_WEIGHT, weight) @ by_tap).view(36, *weight.shape[1::-1])
    if keep:
        _kept[weight] = (weight.detach().clone(), values)
    return values


def _tiles_of(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "6 6 B down across C"]:
    """Views of a padded picture's tiles, 6 × 6 and 4 apart."""
    down, across = -(-x.shape[2] // 4), -(-x.shape[3] // 4)
    right, below = 4 * across + 3 - x.shape[3], 4 * down + 3 - x.shape[2]
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, right, 1, below))
    return x.contiguous().unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3)


def _blocks_of(y: Float[Tensor, "B O H W"]) -> Float[Tensor, "4 4 B down across O"]:
    """Views of the 4 × 4 blocks that a picture consists of."""
    y = y.permute(0, 2, 3, 1).unflatten(1, (-1, 4)).unflatten(3, (-1, 4))
    return y.permute(2, 4, 0, 1, 3, 5)


def _bands(batch: int, down: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Slices of images and rows of tiles to work on at once: several images, or part of one."""
    images = max(1, TILE_BUDGET // (down * columns))
    rows = min(down, max(1, TILE_BUDGET // columns))
    for first in range(0, batch, images):
        for top in range(0, down, rows):
            yield slice(first, min(first + images, batch)), slice(top, min(top + rows, down))

"""Chapter 1. Boxes as sets of squares, IoU pair by pair, and a classifier slid over a picture."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def squares_of(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    left, top, right, bottom = box
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def slow_iou(a: Tensor, b: Tensor) -> Float[Tensor, "N M"]:
    """IoU of every box in a (N, 4) with every box in b (M, 4)."""
    table = torch.zeros(len(a), len(b))
    for n, (left, top, right, bottom) in enumerate(a.tolist()):
        for m, (x0, y0, x1, y1) in enumerate(b.tolist()):
            width = min(right, x1) - max(left, x0)
            height = min(bottom, y1) - max(top, y0)
            shared = max(width, 0) * max(height, 0)
            both = (right - left) * (bottom - top) + (x1 - x0) * (y1 - y0)
            table[n, m] = shared / (both - shared)
    return table


def make_classifier(classes: int = 4) -> nn.Sequential:
    return nn.Sequential(
        # (B, 3, 32, 32) → (B, 16, 14, 14)
        nn.Conv2d(3, 16, kernel_size=6, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (B, 16, 7, 7)
        nn.Conv2d(16, 32, kernel_size=3),  # (B, 32, 5, 5)
        nn.ReLU(),
        nn.Flatten(),  # (B, 800)
        nn.Linear(32 * 5 * 5, 32),  # (B, 32)
        nn.ReLU(),
        nn.Linear(32, classes),  # (B, 4)
    )


@torch.no_grad()
def slide(
    classifier: nn.Module,
    picture: Float[Tensor, "3 H W"],
    window: int = 32,
    step: int = 4,
) -> Float[Tensor, "classes rows columns"]:
    """Logits of every window, one window at a time."""
    height, width = picture.shape[1:]
    rows = []
    for y in range(0, height - window + 1, step):
        row = []
        for x in range(0, width - window + 1, step):
            crop = picture[:, y : y + window, x : x + window]
            row.append(classifier(crop[None])[0])  # (classes,)
        rows.append(torch.stack(row))  # (columns, classes)
    return torch.stack(rows).permute(2, 0, 1)


def as_convolution(classifier: nn.Sequential) -> nn.Sequential:
    """The same weights, for pictures of any size."""
    first, last = classifier[6], classifier[8]  # both fully connected
    block = nn.Conv2d(32, first.out_features, kernel_size=5)
    point = nn.Conv2d(last.in_features, last.out_features, kernel_size=1)
    block.weight.data = first.weight.data.view(-1, 32, 5, 5)  # was (32, 800)
    point.weight.data = last.weight.data[:, :, None, None]  # was (4, 32)
    block.bias, point.bias = first.bias, last.bias
    return nn.Sequential(*classifier[:5], block, nn.ReLU(), point)


@torch.no_grad()
def multiplications(network: nn.Sequential, picture: Tensor) -> list[int]:
    """Each layer's: it uses every weight once at every cell that it writes."""
    counts, x = [], picture[None]
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            cells = math.prod(x.shape[2:])
            counts.append(layer.weight.numel() * cells)
    return counts

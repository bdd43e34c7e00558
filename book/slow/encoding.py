"""Chapter 4. The offsets of one box after another."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def slow_encode(
    boxes: Float[Tensor, "A 4"], defaults: Float[Tensor, "A 4"]
) -> Float[Tensor, "A 4"]:
    offsets = []
    for (x0, y0, x1, y1), (dx, dy, dw, dh) in zip(boxes.tolist(), defaults.tolist()):
        x, y, w, h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        moves = [(x - dx) / dw / 0.1, (y - dy) / dh / 0.1]
        growth = [math.log(w / dw) / 0.2, math.log(h / dh) / 0.2]
        offsets.append(moves + growth)
    return torch.tensor(offsets)  # (A, 4)

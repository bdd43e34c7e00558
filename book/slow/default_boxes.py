"""Chapter 2. All default boxes of a spec by loops, and how well the best of them fits an object."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.default_boxes import box_shapes, make_default_boxes
from ssd_lite.spec import SSDSpec


def slow_default_boxes(spec: SSDSpec) -> Float[Tensor, "A 4"]:
    boxes = []
    for level, (cells, step) in enumerate(zip(spec.maps, spec.steps)):
        for row in range(cells):
            for column in range(cells):
                cx = (column + 0.5) * step / spec.image_size
                cy = (row + 0.5) * step / spec.image_size
                for width, height in box_shapes(spec, level).tolist():
                    boxes.append((cx, cy, width, height))
    return torch.tensor(boxes)  # (A, 4)


def best_iou(
    spec: SSDSpec, objects: Float[Tensor, "G 4"]
) -> tuple[Float[Tensor, " G"], Int[Tensor, " G"]]:
    """IoU of each object with its best default box, and the index of that box."""
    corners = cxcywh_to_xyxy(make_default_boxes(spec))  # (A, 4)
    best = iou(objects, corners).max(dim=1)
    return best.values, best.indices

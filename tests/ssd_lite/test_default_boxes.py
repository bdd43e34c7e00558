"""Chapter 2: the specifications, and every default box against arithmetic in pixels."""

import math
from dataclasses import replace

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from ssd_lite import spec as spec_module
from ssd_lite.default_boxes import box_shapes, cell_centers, make_default_boxes, sizes_by_rule
from ssd_lite.spec import (
    SSD300_COCO,
    SSD300_TORCHVISION,
    SSD300_VOC,
    SSD512_COCO,
    SSD512_VOC,
    SSDSpec,
)

# What the paper and its code say, written down a second time: cells, step (px) and ratios of each
# level. The sizes (px) end with a maximum.
LEVELS_300 = [
    (38, 8, [2]),
    (19, 16, [2, 3]),
    (10, 32, [2, 3]),
    (5, 64, [2, 3]),
    (3, 100, [2]),
    (1, 300, [2]),
]
LEVELS_512 = [
    (64, 8, [2]),
    (32, 16, [2, 3]),
    (16, 32, [2, 3]),
    (8, 64, [2, 3]),
    (4, 128, [2, 3]),
    (2, 256, [2]),
    (1, 512, [2]),
]
REFERENCE = {
    "SSD300_VOC": (300, LEVELS_300, [30, 60, 111, 162, 213, 264, 315]),
    "SSD300_COCO": (300, LEVELS_300, [21, 45, 99, 153, 207, 261, 315]),
    "SSD512_VOC": (512, LEVELS_512, [35, 76, 153, 230, 307, 384, 460, 537]),
    "SSD512_COCO": (512, LEVELS_512, [20, 51, 133, 215, 296, 378, 460, 542]),
}
ALL = [
    value for value in vars(spec_module).values() if isinstance(value, SSDSpec)
]  # the small ones of our own too


def oracle(image_size, levels, sizes):
    """One box after another, in pixels, as plain numbers."""
    boxes = []
    for k, (cells, step, ratios) in enumerate(levels):
        for row in range(cells):
            for column in range(cells):
                shapes = [
                    (sizes[k], sizes[k]),
                    (math.sqrt(sizes[k] * sizes[k + 1]), math.sqrt(sizes[k] * sizes[k + 1])),
                ]
                for ratio in ratios:
                    shapes.append((sizes[k] * math.sqrt(ratio), sizes[k] / math.sqrt(ratio)))
                    shapes.append((sizes[k] / math.sqrt(ratio), sizes[k] * math.sqrt(ratio)))
                for width, height in shapes:
                    boxes.append([step * (column + 0.5), step * (row + 0.5), width, height])
    return torch.tensor(boxes, dtype=torch.float64) / image_size


def torchvision_boxes(spec, clip):
    """Default boxes of torchvision's own generator, cxcywh in [0, 1]."""
    scales = [size / spec.image_size for size in spec.sizes]
    generator = DefaultBoxGenerator(
        [list(r) for r in spec.ratios], scales=scales, steps=list(spec.steps), clip=clip
    )
    maps = [torch.zeros(1, 1, m, m) for m in spec.maps]
    size = spec.image_size
    xyxy = (
        generator(ImageList(torch.zeros(1, 3, size, size), [(size, size)]), maps)[0].double() / size
    )
    return torch.cat([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], dim=1)


@pytest.mark.parametrize(
    "spec, count",
    [(SSD300_VOC, 8732), (SSD300_COCO, 8732), (SSD512_VOC, 24564), (SSD512_COCO, 24564)],
)
def test_the_papers_number_of_boxes(spec, count):
    assert make_default_boxes(spec).shape == (count, 4)


@pytest.mark.parametrize("spec", [s for s in ALL if not s.clip_sizes], ids=lambda s: s.name)
def test_every_default_box_equals_the_arithmetic_in_pixels(spec):
    ours = (
        spec.image_size,
        list(zip(spec.maps, spec.steps, spec.ratios)),
        spec.sizes,
    )  # no paper has these numbers
    boxes = make_default_boxes(spec)
    assert boxes.dtype == torch.float32
    torch.testing.assert_close(
        boxes.double(), oracle(*REFERENCE.get(spec.name, ours)), rtol=1e-7, atol=1e-7
    )


def test_each_of_the_papers_specs_is_compared_with_the_paper():
    assert set(REFERENCE) == {s.name for s in ALL if s.base == "vgg16" and not s.clip_sizes}


@pytest.mark.parametrize(
    "spec, percents",
    [
        (SSD300_VOC, (10, 20, 90)),
        (SSD300_COCO, (7, 15, 90)),
        (SSD512_VOC, (7, 15, 90)),
        (SSD512_COCO, (4, 10, 90)),
    ],
)
def test_the_floor_rule_gives_the_sizes_of_the_specs(spec, percents):
    assert sizes_by_rule(spec.image_size, *percents, levels=len(spec.maps)) == spec.sizes


def test_boxes_equal_torchvisions_generator():
    expected = torchvision_boxes(SSD300_TORCHVISION, clip=True)
    torch.testing.assert_close(
        make_default_boxes(SSD300_TORCHVISION).double(), expected, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "spec, count", [(SSD300_VOC, 20), (SSD300_COCO, 2)], ids=["VOC sizes", "COCO sizes"]
)
def test_how_many_boxes_torchvisions_clip_changes(spec, count):
    differences = (
        (make_default_boxes(spec).double() - torchvision_boxes(spec, clip=True)).abs().amax(dim=1)
    )
    assert (differences > 1e-4).sum() == count
    clipped = make_default_boxes(replace(spec, clip_sizes=True)).double()
    torch.testing.assert_close(clipped, torchvision_boxes(spec, clip=True), rtol=0, atol=1e-6)


def test_the_last_center_of_the_10_x_10_level_lies_outside_the_image():
    centers = cell_centers(10, SSD300_VOC.steps[2], 300) * 300
    assert centers.max().item() == pytest.approx(304)
    boxes = make_default_boxes(SSD300_VOC)
    assert boxes[:, :2].max().item() == pytest.approx(304 / 300)  # not clipped


def test_a_cells_boxes_have_the_area_of_their_size_whatever_their_ratio():
    shapes = box_shapes(SSD300_VOC, 1) * 300
    areas = shapes.prod(dim=1).tolist()
    assert areas == pytest.approx([60 * 60, 60 * 111] + [60 * 60] * 4)
    assert (shapes[2:, 0] / shapes[2:, 1]).tolist() == pytest.approx([2, 1 / 2, 3, 1 / 3])


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.name)
def test_boxes_per_cell_counts_the_boxes(spec):
    assert spec.boxes_per_level == tuple(k * m * m for k, m in zip(spec.boxes_per_cell, spec.maps))
    assert sum(spec.boxes_per_level) == len(make_default_boxes(spec))


@pytest.mark.parametrize("spec", ALL, ids=lambda s: s.name)
def test_a_spec_is_bound_to_its_own_name_and_made_of_plain_tuples(spec):
    assert getattr(spec_module, spec.name) is spec
    assert {
        type(spec.maps),
        type(spec.steps),
        type(spec.sizes),
        type(spec.ratios),
        type(spec.extras),
    } == {tuple}


@pytest.mark.parametrize("field", ["steps", "sizes", "ratios"])
def test_a_spec_refuses_a_list_of_the_wrong_length(field):
    with pytest.raises(ValueError, match="SSDSpec 'mine': 6 maps need .* 7 sizes"):
        replace(SSD300_VOC, name="mine", **{field: getattr(SSD300_VOC, field)[:-1]})


@pytest.mark.parametrize(
    "field, value",
    [
        ("image_size", 0),
        ("maps", (38, 19, 10, 5, 3, 0)),
        ("steps", (8, 16, 32, 64, 100, -300)),
        ("sizes", (0, 60, 111, 162, 213, 264, 315)),
        ("ratios", ((2,), (2, 0), (2, 3), (2, 3), (2,), (2,))),
    ],
)
def test_a_spec_refuses_what_is_not_above_0(field, value):
    with pytest.raises(ValueError, match="SSDSpec 'mine': .* must be above 0"):
        replace(SSD300_VOC, name="mine", **{field: value})

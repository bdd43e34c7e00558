"""Chapter 1: box formats, area, IoU."""

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from ssd_lite.boxes import area, check_boxes, cxcywh_to_xyxy, intersection, iou, xyxy_to_cxcywh
from tests.helpers import oracles

numbers = st.floats(-1000, 1000, width=32)
any_boxes = st.lists(
    st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=5
)  # corners in any order


def random_boxes(n, seed=0):
    low, size = (
        torch.rand(2, n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        * 100
    )
    return torch.cat([low, low + size], dim=1)


def test_a_known_box_in_both_formats():
    assert cxcywh_to_xyxy(torch.tensor([5.0, 6, 4, 2])).tolist() == [3, 5, 7, 7]
    assert xyxy_to_cxcywh(torch.tensor([3.0, 5, 7, 7])).tolist() == [5, 6, 4, 2]


@given(any_boxes)
def test_the_formats_are_inverses(boxes):
    boxes = torch.tensor(boxes, dtype=torch.float64)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)
    torch.testing.assert_close(xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)), boxes)


def test_formats_and_area_equal_torchvision():
    boxes = random_boxes(50)
    torch.testing.assert_close(
        xyxy_to_cxcywh(boxes), torchvision.ops.box_convert(boxes, "xyxy", "cxcywh")
    )
    torch.testing.assert_close(area(boxes), torchvision.ops.box_area(boxes))


def test_iou_equals_torchvision():
    a, b = random_boxes(50, seed=1), random_boxes(60, seed=2)
    torch.testing.assert_close(iou(a, b), torchvision.ops.box_iou(a, b))


@given(any_boxes, any_boxes)
def test_iou_equals_the_plain_loop_even_for_reversed_boxes(a, b):
    expected = torch.tensor([[oracles.iou(x, y) for y in b] for x in a], dtype=torch.float64)
    actual = iou(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64))
    torch.testing.assert_close(actual, expected)


@given(any_boxes, any_boxes)
def test_iou_is_symmetric_and_between_0_and_1(a, b):
    a, b = torch.tensor(a), torch.tensor(b)
    assert torch.equal(iou(a, b), iou(b, a).T)
    assert ((iou(a, b) >= 0) & (iou(a, b) <= 1 + 1e-6)).all()


def test_iou_of_a_box_with_itself_is_1():
    boxes = random_boxes(50)
    assert (iou(boxes, boxes).diagonal() == 1).all()


def test_boxes_that_only_touch_share_nothing():
    left, right = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[1.0, 0, 2, 1]])
    assert intersection(left, right).item() == iou(left, right).item() == 0


def test_two_boxes_without_area_have_iou_0_not_nan():
    point = torch.tensor([[3.0, 3, 3, 3]])
    assert iou(point, point).item() == 0


def test_a_batch_is_its_images_one_by_one():
    a, b = random_boxes(12, seed=3).view(3, 4, 4), random_boxes(15, seed=4).view(3, 5, 4)
    assert torch.equal(iou(a, b), torch.stack([iou(x, y) for x, y in zip(a, b)]))


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_boxes_at_all(shape):
    none = torch.zeros(shape)
    assert area(none).shape == shape[:-1]
    assert iou(none, none).shape == (*shape[:-1], shape[-2])
    check_boxes(none)


@pytest.mark.parametrize(
    "bad",
    [
        [2.0, 3, 2, 5],  # no width
        [2.0, 3, 4, 3],  # no height
        [4.0, 3, 2, 5],  # reversed
        [2.0, 5, 4, 3],
        [float("nan"), 3, 4, 5],
        [2.0, 3, float("inf"), 5],
    ],
)
def test_bug_log_of_a_zero_size_or_inverted_box_amdegroot_162(bad):
    """The loss became NaN many steps later.

    Here such a box is refused where data comes in, and shown.
    """
    with pytest.raises(
        ValueError, match="real: 1 of 2 boxes .* the first is .*" + str(bad[2]).replace(".", r"\.")
    ):
        check_boxes(torch.tensor([[1.0, 1, 2, 2], bad]), "real")


@pytest.mark.parametrize(
    "wrong", [torch.zeros(2, 5), torch.zeros(4, 0), torch.zeros(()), torch.ones(2, 4).long()]
)
def test_check_boxes_names_what_has_the_wrong_shape_or_type(wrong):
    with pytest.raises(ValueError, match="real: expected floats of shape"):
        check_boxes(wrong, "real")

"""Chapter 4: offsets and back."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from ssd_lite.boxes import cxcywh_to_xyxy
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.encoding import decode, encode
from ssd_lite.spec import SSD300_TORCHVISION, SSD300_VOC

places, sizes = st.floats(-1, 2), st.floats(0.01, 2)
cxcywh = st.tuples(places, places, sizes, sizes)
pairs = st.lists(st.tuples(cxcywh, cxcywh), min_size=1, max_size=5)


def random_boxes(n, seed):
    """Boxes (cxcywh), none 22 times as large as another.

    torchvision caps the factor at 62.5, far above.
    """
    return (
        torch.rand(n, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.05
    )


def test_a_box_encoded_by_hand():
    """Twice as wide, as high as before, and a quarter of the default box's width to the right."""
    offsets = encode(
        torch.tensor([[0.25, 0.25, 1.25, 0.75]]), torch.tensor([[0.625, 0.5, 0.5, 0.5]])
    )
    assert offsets[0].tolist() == pytest.approx([0.25 / 0.1, 0, math.log(2) / 0.2, 0])


@given(pairs, st.floats(0.05, 1), st.floats(0.05, 1))
def test_decode_is_the_inverse_of_encode(boxes, of_center, of_size):
    boxes, defaults = torch.tensor(boxes, dtype=torch.float64).unbind(1)
    boxes, variances = cxcywh_to_xyxy(boxes), (of_center, of_size)
    torch.testing.assert_close(
        decode(encode(boxes, defaults, variances), defaults, variances), boxes
    )


@given(pairs)
def test_encode_is_the_inverse_of_decode(boxes):
    offsets, defaults = torch.tensor(boxes, dtype=torch.float64).unbind(1)
    torch.testing.assert_close(encode(decode(offsets, defaults), defaults), offsets)


def test_a_default_box_has_offsets_0():
    defaults = make_default_boxes(SSD300_VOC)
    torch.testing.assert_close(decode(torch.zeros(8732, 4), defaults), cxcywh_to_xyxy(defaults))


def test_both_ways_equal_torchvisions_box_coder():
    defaults, boxes = random_boxes(100, seed=0), cxcywh_to_xyxy(random_boxes(100, seed=1))
    coder, corners = BoxCoder(weights=(10, 10, 5, 5)), cxcywh_to_xyxy(defaults)
    offsets = coder.encode_single(boxes, corners)
    torch.testing.assert_close(encode(boxes, defaults), offsets)
    torch.testing.assert_close(decode(offsets, defaults), coder.decode_single(offsets, corners))


def test_the_cap_on_growth_is_torchvisions():
    defaults, wild = random_boxes(20, seed=2), torch.full((20, 4), 100.0, dtype=torch.float64)
    expected = BoxCoder(weights=(10, 10, 5, 5)).decode_single(wild, cxcywh_to_xyxy(defaults))
    torch.testing.assert_close(
        decode(wild, defaults, max_log_size=SSD300_TORCHVISION.max_log_size), expected
    )
    assert not torch.allclose(decode(wild, defaults), expected)


def test_a_batch_is_its_images_one_by_one():
    defaults, boxes = (
        random_boxes(6, seed=3),
        cxcywh_to_xyxy(random_boxes(24, seed=4).view(2, 2, 6, 4)),
    )
    offsets = encode(boxes, defaults)
    assert torch.equal(offsets[1, 0], encode(boxes[1, 0], defaults))
    assert torch.equal(decode(offsets, defaults)[1, 0], decode(offsets[1, 0], defaults))


def test_a_box_without_area_has_no_logarithm():
    """Why check_boxes refuses it where data comes in."""
    offsets = encode(torch.tensor([[0.5, 0.5, 0.5, 0.75]]), torch.tensor([[0.5, 0.5, 0.5, 0.5]]))
    assert offsets[0, 2].item() == -math.inf

"""Appendix F: post-processing that looks at fewer candidates, against the plain one."""

import math

import pytest
import torch

from ssd_lite import fast
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.encoding import encode
from ssd_lite.fast import candidates
from ssd_lite.fast.candidates import drop_sure_background
from ssd_lite.nms import nms_parallel, nms_sequential
from ssd_lite.postprocessing import postprocess
from ssd_lite.spec import LITE


def inputs(background, dtype=torch.float32):
    """Predictions of three images, in which background leads by so much."""
    generator = torch.Generator().manual_seed(background)
    defaults = make_default_boxes(LITE)
    logits = 3 * torch.randn(3, len(defaults), 6, generator=generator)
    logits[:, :, 0] += background
    logits[1, :, 0] += 2  # the images keep different numbers
    offsets = torch.randn(3, len(defaults), 4, generator=generator)
    return logits.to(dtype), offsets, defaults, LITE


def assert_same(ours, theirs):
    """Equal to the bit, but for the padding's length and its boxes."""
    for image in range(len(ours[2])):
        real, there = ours[2][image] > 0, theirs[2][image] > 0
        for mine, plain in zip(ours, theirs):
            assert torch.equal(mine[image, real], plain[image, there])


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.01, 0.3, 0.999, 1.0, 2.0])
@pytest.mark.parametrize("background", [0, 4, 8, 12, 50])  # many candidates, few, none
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_plain_one(threshold, background, dtype):
    predictions = inputs(background, dtype)
    assert_same(fast.postprocess(*predictions, threshold), postprocess(*predictions, threshold))


@pytest.mark.parametrize("per_image", [1, 3, 50])
@pytest.mark.parametrize("iou_threshold", [0.0, 0.45, 1.0])
def test_it_looks_at_more_candidates_until_enough_survive(per_image, iou_threshold):
    """At an IoU of 0 nearly all go, and it must look at all; at 1 the first few are enough."""
    predictions, limits = inputs(0), (0.01, iou_threshold, 400, per_image)
    assert_same(fast.postprocess(*predictions, *limits), postprocess(*predictions, *limits))


def crowd():
    """The surest of five classes' candidates are all in one place, and few of the others survive.

    In the second image fewer still: only the crowd is above the threshold.
    """
    logits, _, defaults, spec = inputs(0)
    generator = torch.Generator().manual_seed(1)
    logits[:, :1500, 1:] += 4
    logits[1, 1500:, 0] += 50
    place = torch.tensor([0.4, 0.4, 0.6, 0.6]) + 0.01 * torch.rand(3, 1500, 4, generator=generator)
    offsets = torch.zeros(3, len(defaults), 4)
    offsets[:, :1500] = encode(place, defaults[:1500])
    return logits, offsets, defaults, spec


@pytest.mark.parametrize("method", [nms_parallel, nms_sequential])
@pytest.mark.parametrize("per_image", [10, 50, 200])
def test_however_many_candidates_it_compares_few_at_once(method, per_image, monkeypatch):
    """A GPU's memory grows with their square."""
    looks = []

    def noted(boxes, labels, iou_threshold):
        looks.append(boxes.shape[1])
        return method(boxes, labels, iou_threshold)

    monkeypatch.setattr(candidates, "batched_nms", noted)
    predictions, limits = crowd(), (0.01, 0.45, 400, per_image)
    ours = fast.postprocess(*predictions, *limits)
    assert len(looks) == math.ceil(2000 / (5 * per_image))
    assert max(looks) <= 6 * per_image  # a window, and the survivors before it
    assert_same(ours, postprocess(*predictions, *limits))


@pytest.mark.parametrize("shape", [(0, 100), (2, 0)])
def test_nothing_in_nothing_out(shape):
    predictions = torch.zeros(*shape, 4), torch.zeros(*shape, 4), torch.zeros(shape[1], 4), LITE
    boxes, scores, labels = fast.postprocess(*predictions)
    assert len(boxes) == len(scores) == len(labels) == shape[0]
    assert not labels.any()


def test_boxes_that_are_surely_background_are_dropped():
    logits = torch.zeros(2, 100, 4)
    logits[:, :, 0] = 20
    logits[0, [7, 3, 50], 2] = 19
    boxes = torch.arange(800.0).view(2, 100, 4)
    few, theirs = drop_sure_background(logits, boxes, 0.01)
    assert few.shape == (2, 3, 4)
    assert torch.equal(theirs[0], boxes[0, [3, 7, 50]])

"""Appendix F: post-processing that looks at fewer candidates, against the plain one."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssd_lite import fast
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.fast import candidates
from ssd_lite.fast.candidates import drop_sure_background
from ssd_lite.nms import nms_parallel
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


class Pairs(TorchDispatchMode):
    """Notes the most boxes that are compared pair by pair inside a ``with``."""

    def __init__(self):
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dim() == 3:
            self.most = max(self.most, min(result.shape[1:]))
        return result


@pytest.mark.parametrize("iou_threshold", [0.0, 0.2, 0.45])
def test_however_many_candidates_a_gpu_compares_few_at_once(iou_threshold, monkeypatch):
    """Its memory grows with their square. At an IoU of 0 it must look at all 2,000."""
    monkeypatch.setattr(candidates, "batched_nms", nms_parallel)
    predictions, limits = inputs(0), (0.01, iou_threshold, 400, 50)
    with Pairs() as pairs:
        ours = fast.postprocess(*predictions, *limits)
    assert 250 <= pairs.most <= 300  # a window, and the survivors before it
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

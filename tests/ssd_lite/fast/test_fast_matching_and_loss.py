"""Appendix F: matching in few rounds and a softmax by rows, against the plain ones."""

import pytest
import torch

from ssd_lite import fast, loss, matching
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.fast.loss import MANY, cross_entropy
from ssd_lite.fast.matching import bipartite
from ssd_lite.mining import hard_negatives
from ssd_lite.spec import LITE
from tests.helpers import oracles


@pytest.mark.parametrize("objects", [0, 1, 2, 5, 12])
def test_many_pairs_in_one_round_are_the_pairs_of_the_greedy_loop(objects):
    """On grids, where ties are real ties, with padding and exact duplicates."""
    generator = torch.Generator().manual_seed(objects)
    for _ in range(40):
        defaults, boxes, labels = oracles.grid_scenes(generator, 3, objects, 20)
        ours, plain = fast.match(defaults, boxes, labels), matching.match(defaults, boxes, labels)
        torch.testing.assert_close(ours, plain, rtol=0, atol=0)


def test_an_overlap_at_or_below_1e_6_does_not_count_here_either():
    overlap = torch.tensor([[[1e-6, 0.0], [0.0, 2e-6]]])
    assert bipartite(overlap).tolist() == matching.bipartite(overlap).tolist() == [[-1, 1]]


def test_more_objects_than_boxes():
    overlap = torch.rand(4, 9, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bipartite(overlap), matching.bipartite(overlap))


def test_on_real_default_boxes():
    generator = torch.Generator().manual_seed(0)
    low, side = torch.rand(6, 40, 2, generator=generator), torch.rand(6, 40, 2, generator=generator)
    boxes = torch.cat([low * 0.7, low * 0.7 + 0.02 + side * 0.28], dim=2)
    labels = torch.randint(0, 6, (6, 40), generator=generator)
    defaults = make_default_boxes(LITE)
    ours, plain = fast.match(defaults, boxes, labels), matching.match(defaults, boxes, labels)
    torch.testing.assert_close(ours, plain, rtol=0, atol=0)


@pytest.mark.parametrize("classes", [2, MANY - 1, MANY, 91])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_softmax_by_rows_is_the_softmax(classes, dtype):
    torch.manual_seed(classes)
    logits = (3 * torch.randn(2, 50, classes)).to(dtype).requires_grad_()
    labels = torch.randint(0, classes, (2, 50))
    ours, plain = cross_entropy(logits, labels), loss.cross_entropy(logits, labels)
    torch.testing.assert_close(ours, plain)
    for mine, theirs in zip(*(torch.autograd.grad(x.sum(), logits) for x in (ours, plain))):
        torch.testing.assert_close(mine, theirs)


def test_the_loss_with_it_is_the_loss():
    torch.manual_seed(0)
    inputs = torch.randn(2, 60, 30), torch.randn(2, 60, 4), torch.randint(0, 30, (2, 60))
    inputs += (torch.randn(2, 60, 4), hard_negatives)
    for mine, theirs in zip(fast.multibox_loss(*inputs), loss.multibox_loss(*inputs), strict=True):
        torch.testing.assert_close(mine, theirs)

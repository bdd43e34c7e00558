"""Chapter 6: which background boxes take part, against a plain loop."""

import pytest
import torch

from ssd_lite.mining import all_negatives, hard_negatives
from tests.helpers import oracles


def random_batch(generator, images=8, boxes=20):
    """Losses with many ties, and between no and very many positives."""
    losses = torch.randint(0, 6, (images, boxes), generator=generator).float()
    share = torch.rand(images, 1, generator=generator) * torch.randint(
        0, 2, (images, 1), generator=generator
    )
    return losses, torch.rand(images, boxes, generator=generator) < share


@pytest.mark.parametrize("ratio", [0, 1, 3])
def test_mining_equals_the_plain_loop_on_1000_images(ratio):
    generator = torch.Generator().manual_seed(ratio)
    for _ in range(125):
        losses, positive = random_batch(generator)
        expected = [
            oracles.hard_negatives(x, p, ratio) for x, p in zip(losses.tolist(), positive.tolist())
        ]
        assert hard_negatives(losses, positive, ratio).tolist() == expected


def test_the_hardest_three_for_one_positive():
    losses = torch.tensor([[9.0, 1, 5, 2, 4, 3]])
    positive = torch.tensor([[True, False, False, False, False, False]])
    assert hard_negatives(losses, positive).tolist() == [[False, False, True, False, True, True]]


def test_an_easy_image_does_not_lend_its_quota_to_a_hard_one():
    losses = torch.tensor([[0.1] * 6, [9.0] * 6])
    positive = torch.tensor([[True] + [False] * 5, [False] * 6])
    assert hard_negatives(losses, positive).sum(dim=1).tolist() == [3, 0]


def test_overflow_takes_every_negative_and_no_positive():
    """Where 3 · positives exceeds the negatives; torchvision then counts positives twice."""
    positive = torch.tensor([[True, True, True, False, False]])
    losses = torch.tensor([[9.0, 8, 7, 0, 0]])
    assert torch.equal(hard_negatives(losses, positive), ~positive)


def test_an_image_of_positives_only_has_no_negatives():
    assert not hard_negatives(torch.rand(1, 4), torch.ones(1, 4, dtype=torch.bool)).any()


@pytest.mark.parametrize("ratio, chosen", [(0.9, 0), (1.5, 1), (2.99, 2)])
def test_a_fraction_of_a_box_counts_as_none(ratio, chosen):
    """As the authors' ``static_cast<int>``."""
    positive = torch.tensor([[True, False, False, False, False]])
    assert hard_negatives(torch.rand(1, 5), positive, ratio).sum() == chosen


def test_ratio_0_chooses_nothing():
    losses, positive = random_batch(torch.Generator().manual_seed(9))
    assert positive.any()
    assert not hard_negatives(losses, positive, 0).any()


def test_without_mining_every_background_box_takes_part():
    losses, positive = random_batch(torch.Generator().manual_seed(9))
    assert torch.equal(all_negatives(losses, positive), ~positive)


def test_bug_mask_of_the_wrong_shape_amdegroot_173():
    """The mask was [32, 8732], the losses [279424, 1].

    Here both are (B, A), and the mask indexes the losses.
    """
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(32, 8732, generator=generator)
    positive = torch.rand(32, 8732, generator=generator) < 0.01
    chosen = hard_negatives(losses, positive)
    assert chosen.shape == (32, 8732)
    assert chosen.dtype == torch.bool
    assert torch.equal(chosen.sum(dim=1), 3 * positive.sum(dim=1))
    assert losses[chosen].mean() > 0.95

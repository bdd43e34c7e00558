"""Chapter 5: the MultiBox loss, against plain loops."""

from functools import partial

import pytest
import torch

from ssd_lite.encoding import encode
from ssd_lite.loss import check_targets, multibox_loss
from ssd_lite.matching import match
from ssd_lite.mining import all_negatives, hard_negatives
from tests.helpers import oracles


def random_case(generator, images=8, boxes=10, classes=4, share=0.3):
    """Logits, offsets, target labels (most of them background), target offsets."""
    labels = torch.randint(1, classes, (images, boxes), generator=generator)
    positive = torch.rand(images, boxes, generator=generator) < share
    offsets, target_offsets = torch.randn(2, images, boxes, 4, generator=generator)
    return (
        torch.randn(images, boxes, classes, generator=generator) * 3,
        offsets,
        torch.where(positive, labels, 0),
        target_offsets,
    )


def seeded_case(seed=0, **sizes):
    return random_case(torch.Generator().manual_seed(seed), **sizes)


@pytest.mark.parametrize("ratio", [0, 1, 3])
def test_loss_equals_the_plain_loop_on_1000_images(ratio):
    generator = torch.Generator().manual_seed(ratio)
    for i in range(125):
        case = random_case(generator, share=(0, 0.1, 0.4, 0.9)[i % 4])
        loss = multibox_loss(*case, partial(hard_negatives, ratio=ratio))
        classification, localization = oracles.multibox_loss(*(x.tolist() for x in case), ratio)
        assert loss.classification.item() == pytest.approx(classification, rel=1e-4, abs=1e-6)
        assert loss.localization.item() == pytest.approx(localization, rel=1e-4, abs=1e-6)


def test_matching_encoding_mining_and_loss_together_equal_the_plain_loops():
    generator = torch.Generator().manual_seed(7)
    for i in range(50):
        defaults, boxes, labels = oracles.grid_scenes(
            generator, images=4, objects=i % 5, default_boxes=12
        )
        target_labels, target_boxes = match(defaults, boxes, labels)
        logits = torch.randn(4, 12, 4, generator=generator)
        offsets = torch.randn(4, 12, 4, generator=generator)
        loss = multibox_loss(
            logits, offsets, target_labels, encode(target_boxes, defaults), hard_negatives
        )

        matched = [
            oracles.match(defaults.tolist(), b, c) for b, c in zip(boxes.tolist(), labels.tolist())
        ]
        expected_labels, expected_boxes = zip(*matched)
        expected_offsets = encode(torch.tensor(expected_boxes), defaults)
        classification, localization = oracles.multibox_loss(
            logits.tolist(), offsets.tolist(), expected_labels, expected_offsets.tolist()
        )
        assert loss.total.item() == pytest.approx(classification + localization, rel=1e-4, abs=1e-6)


def test_the_total_is_the_sum_of_its_parts_and_the_counts_are_counts():
    case = seeded_case()
    loss = multibox_loss(*case, hard_negatives)
    assert loss.total == loss.classification + loss.localization
    assert loss.positives == (case[2] > 0).sum()
    assert loss.negatives == hard_negatives(torch.rand(8, 10), case[2] > 0).sum()
    assert loss.positives > 0
    assert loss.negatives > 0


def test_without_mining_every_box_is_classified():
    logits, offsets, labels, target_offsets = seeded_case()
    loss = multibox_loss(logits, offsets, labels, target_offsets, all_negatives)
    everything = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="sum"
    )
    torch.testing.assert_close(loss.classification, everything / loss.positives)


def test_the_miner_sees_each_boxs_loss_and_cannot_change_the_gradient():
    case = seeded_case()
    case[0].requires_grad_()
    seen = []

    def miner(losses, positive):
        seen.append((losses, positive, torch.is_grad_enabled()))
        return hard_negatives(losses, positive)

    multibox_loss(*case, miner)
    losses, positive, grad_enabled = seen[0]
    expected = torch.nn.functional.cross_entropy(case[0].transpose(1, 2), case[2], reduction="none")
    torch.testing.assert_close(losses, expected)
    assert torch.equal(positive, case[2] > 0)
    assert not grad_enabled


def test_background_boxes_send_exactly_nothing_to_localization():
    logits, offsets, labels, target_offsets = seeded_case()
    offsets.requires_grad_()
    multibox_loss(logits, offsets, labels, target_offsets, hard_negatives).total.backward()
    assert (offsets.grad[labels == 0] == 0).all()
    assert (offsets.grad[labels > 0] != 0).all()


@pytest.mark.parametrize("rubbish", [-69.0, -float("inf"), float("nan")])
def test_target_offsets_are_read_only_where_there_is_an_object(rubbish):
    logits, offsets, labels, target_offsets = seeded_case()
    offsets.requires_grad_()
    clean = multibox_loss(logits, offsets, labels, target_offsets, hard_negatives)
    target_offsets[labels == 0] = rubbish
    loss = multibox_loss(logits, offsets, labels, target_offsets, hard_negatives)
    assert loss.total == clean.total
    loss.total.backward()
    assert (offsets.grad[labels == 0] == 0).all()


def test_only_positives_and_chosen_negatives_send_a_gradient_to_the_logits():
    logits, offsets, labels, target_offsets = seeded_case()
    logits.requires_grad_()
    chosen = torch.zeros(8, 10, dtype=torch.bool)
    chosen[0] = labels[0] == 0
    multibox_loss(
        logits, offsets, labels, target_offsets, lambda losses, positive: chosen
    ).total.backward()
    assert torch.equal((logits.grad != 0).any(dim=2), chosen | (labels > 0))


def test_bug_no_positive_in_the_batch_divides_0_by_0_torchcv_35():
    case = seeded_case(share=0)
    for tensor in case[:2]:
        tensor.requires_grad_()
    loss = multibox_loss(*case, hard_negatives)
    loss.total.backward()
    assert loss.total == 0
    assert all((tensor.grad == 0).all() for tensor in case[:2])


def test_bug_log_sum_exp_with_one_global_maximum_amdegroot_483():
    """Rows far below the largest logit of the batch became log(0)."""
    logits = torch.tensor(
        [[[1e4, 0.0], [-1e4, -1e4 - 1]], [[-1e4, 1e4], [0.0, 0.0]]], requires_grad=True
    )
    labels = torch.tensor([[1, 0], [1, 0]])
    loss = multibox_loss(logits, torch.zeros(2, 2, 4), labels, torch.zeros(2, 2, 4), all_negatives)
    softplus_1, log_2 = 0.3132617, 0.6931472
    assert loss.total.item() == pytest.approx((1e4 + softplus_1 + 0 + log_2) / 2, rel=1e-6)
    loss.total.backward()
    assert logits.grad.isfinite().all()


def test_bug_integer_count_divided_in_place_amdegroot_173():
    """The count of positives is an integer, the loss is not; each call gives the same."""
    case = seeded_case()
    first, second = (multibox_loss(*case, hard_negatives) for _ in range(2))
    assert first.positives.dtype == first.negatives.dtype == torch.int64
    assert (
        first.total.dtype == first.classification.dtype == first.localization.dtype == torch.float32
    )
    assert first.total == second.total


def test_bfloat16_predictions_are_summed_in_float32():
    logits, offsets, labels, target_offsets = seeded_case(boxes=500)
    logits, offsets = logits.bfloat16(), offsets.bfloat16()
    loss = multibox_loss(logits, offsets, labels, target_offsets, hard_negatives)
    assert loss.total.dtype == torch.float32
    assert (
        loss.total
        == multibox_loss(
            logits.float(), offsets.float(), labels, target_offsets, hard_negatives
        ).total
    )


def test_a_normalizer_of_ones_own():
    """For several machines: each divides by the positives of all."""
    case = seeded_case()
    usual = multibox_loss(*case, hard_negatives)
    halved = multibox_loss(*case, hard_negatives, normalizer=2.0 * usual.positives)
    torch.testing.assert_close(halved.total, usual.total / 2)


def test_batches_with_a_common_normalizer_add_up():
    case = seeded_case()
    whole = multibox_loss(*case, hard_negatives)
    count = whole.positives.float()
    parts = [
        multibox_loss(*(x[half] for x in case), hard_negatives, count)
        for half in (slice(0, 3), slice(3, 8))
    ]
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)


GOOD = {
    "logits": torch.rand(2, 5, 3),
    "offsets": torch.rand(2, 5, 4),
    "target_labels": torch.ones(2, 5).long(),
    "target_offsets": torch.rand(2, 5, 4),
}


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("logits", torch.rand(2, 6, 3)),
        ("logits", torch.rand(10, 3)),
        ("logits", torch.rand(2, 5)),
        ("offsets", torch.rand(2, 5, 5)),
        ("offsets", torch.rand(3, 5, 4)),
        ("offsets", torch.rand(2, 5, 4, 1)),
        ("target_labels", torch.rand(2, 5)),
        ("target_labels", torch.ones(2, 5).int()),
        ("target_labels", torch.ones(10).long()),
        ("target_offsets", torch.rand(2, 4, 4)),
        ("target_offsets", torch.rand(2, 5)),
    ],
)
def test_check_targets_names_what_has_the_wrong_shape_or_type(name, wrong):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        check_targets(**{**GOOD, name: wrong})


@pytest.mark.parametrize("name", ["logits", "offsets", "target_offsets"])
def test_check_targets_names_what_is_on_another_device(name):
    with pytest.raises(ValueError, match=f"^{name} is on meta, target_labels on cpu"):
        check_targets(**{**GOOD, name: GOOD[name].to("meta")})


def test_few_classes_and_many_go_different_ways_to_the_same_loss():
    """A class that is never likely changes nothing, but makes them many."""
    labels = torch.randint(0, 15, (4, 50), generator=torch.Generator().manual_seed(0))
    few = torch.randn(4, 50, 15, generator=torch.Generator().manual_seed(1), requires_grad=True)
    many = torch.nn.functional.pad(few, (0, 1), value=-1e9)
    offsets = torch.zeros(4, 50, 4)
    losses = [
        multibox_loss(logits, offsets, labels, offsets, hard_negatives) for logits in (few, many)
    ]
    torch.testing.assert_close(losses[0], losses[1])
    gradients = [torch.autograd.grad(loss.total, few, retain_graph=True)[0] for loss in losses]
    torch.testing.assert_close(*gradients)

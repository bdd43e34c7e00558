"""Chapter 3: matching, against plain loops."""

import pytest
import torch

from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.encoding import encode
from ssd_lite.matching import assign, bipartite, check_ground_truth, match
from ssd_lite.spec import SSD300_VOC
from tests.helpers import oracles


def random_scenes(count, images=8, seed=0):
    """``count`` batches of ``images`` images.

    There are few default boxes, for which objects fight, or enough of them.
    """
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        yield oracles.grid_scenes(
            generator, images, objects=i % 7, default_boxes=(2, 4, 8, 20)[i % 4]
        )


def one_image(default_boxes, boxes, labels):
    """Batch of one, from plain lists; default boxes as xyxy, for they are easier to read."""
    defaults = torch.tensor(default_boxes)
    low, high = defaults.split(2, dim=1)
    return (
        torch.cat([(low + high) / 2, high - low], dim=1),
        torch.tensor([boxes]),
        torch.tensor([labels]),
    )


def test_matching_equals_the_plain_loop_on_1000_scenes():
    for defaults, boxes, labels in random_scenes(125):
        target_labels, target_boxes = match(defaults, boxes, labels)
        for i in range(len(boxes)):
            expected = oracles.match(defaults.tolist(), boxes[i].tolist(), labels[i].tolist())
            assert (target_labels[i].tolist(), target_boxes[i].tolist()) == expected


def test_matching_equals_the_plain_loop_off_the_grid():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        low, size = torch.rand(2, 8, 4, 2, generator=generator, dtype=torch.float64)
        boxes, labels = (
            torch.cat([low, low + size], dim=2),
            torch.randint(0, 4, (8, 4), generator=generator),
        )
        defaults = torch.rand(12, 4, generator=generator, dtype=torch.float64)
        target_labels, target_boxes = match(defaults, boxes, labels, threshold=0.4)
        for i in range(len(boxes)):
            expected = oracles.match(defaults.tolist(), boxes[i].tolist(), labels[i].tolist(), 0.4)
            assert (target_labels[i].tolist(), target_boxes[i].tolist()) == expected


def test_bipartite_equals_the_greedy_loop_on_1000_overlap_matrices():
    generator = torch.Generator().manual_seed(2)
    for i in range(125):
        overlap = (
            torch.randint(-1, 6, (8, 1 + i % 6, 1 + i % 5), generator=generator) / 5
        )  # many ties
        assert bipartite(overlap).tolist() == [
            oracles.bipartite(image) for image in overlap.tolist()
        ]


def authors_pairs(overlap):
    """The authors' greedy loop: default boxes outside, objects inside, and only more is better."""
    own = [-1] * len(overlap)
    while True:
        best, pair = 1e-6, None
        for a in range(len(overlap[0])):
            for g in range(len(overlap)):
                if own[g] < 0 and a not in own and overlap[g][a] > best:
                    best, pair = overlap[g][a], (g, a)
        if pair is None:
            return own
        own[pair[0]] = pair[1]


def test_ties_come_out_as_in_the_authors_loop_though_it_asks_boxes_before_objects():
    """A pair is joined unless an earlier box of its object, or object of its box, is: both ways."""
    generator = torch.Generator().manual_seed(7)
    for i in range(125):
        overlap = torch.randint(-1, 3, (8, 1 + i % 6, 1 + i % 5), generator=generator) / 2
        assert bipartite(overlap).tolist() == [authors_pairs(image) for image in overlap.tolist()]


def test_bipartite_resolves_a_chain_in_which_every_object_wants_its_neighbors_box():
    """One pair is settled in each round: the slowest case."""
    n = 8
    overlap = torch.zeros(1, n, n)
    for g in range(n):
        overlap[0, g, g] = 0.5 + g / 100
        if g > 0:
            overlap[0, g - 1, g] = (
                0.5 + (g - 0.5) / 100
            )  # object g - 1 prefers box g, which object g wins
    assert bipartite(overlap).tolist() == [list(range(n))]


def test_an_overlap_at_or_below_1e_6_does_not_count():
    assert bipartite(torch.tensor([[[1e-6, 0.0]], [[0.0, 2e-6]]])).tolist() == [[-1], [1]]


def test_an_object_goes_without_only_if_every_box_it_overlaps_is_anothers_own():
    for defaults, boxes, labels in random_scenes(50, seed=3):
        overlap = iou(boxes, cxcywh_to_xyxy(defaults).expand(len(boxes), -1, -1))
        assigned = assign(defaults, boxes, labels)
        for i, g in (labels > 0).nonzero().tolist():
            if g not in assigned[i]:
                touched = overlap[i, g] > 1e-6
                assert (
                    len(assigned[i, touched].unique()) == touched.sum()
                )  # each has an object of its own
                assert (assigned[i, touched] >= 0).all()


def test_every_object_gets_a_box_of_the_real_ssd300_though_some_are_tiny_or_identical():
    generator = torch.Generator().manual_seed(4)
    center = torch.rand(4, 30, 2, generator=generator)
    size = torch.rand(4, 30, 2, generator=generator) * 0.3 + 0.005
    boxes = torch.cat([center - size / 2, center + size / 2], dim=2)
    boxes[:, 1], boxes[:, 2] = boxes[:, 0], boxes[:, 0]
    assigned = assign(make_default_boxes(SSD300_VOC), boxes, torch.ones(4, 30, dtype=torch.int64))
    assert all(set(range(30)) <= set(image) for image in assigned.tolist())


def test_bug_two_objects_share_a_best_default_box_amdegroot_354():
    """The second overwrote the first.

    Both objects overlap only the first default box with an IoU of one half or more.
    """
    defaults, boxes, labels = one_image(
        [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.125, 0.125]],
        [[0.0, 0.0, 0.5, 0.4375], [0.0, 0.0, 0.5, 0.46875]],
        [1, 2],
    )
    assert match(defaults, boxes, labels)[0].tolist() == [[2, 1]]


def test_exact_duplicates_each_get_a_box():
    same = [0.0, 0.0, 0.5, 0.5]
    defaults, boxes, labels = one_image(
        [same, [0.0, 0.0, 0.5, 0.25], [0.0, 0.0, 0.25, 0.25]], [same] * 3, [1, 2, 3]
    )
    assert match(defaults, boxes, labels)[0].tolist() == [[1, 2, 3]]


def test_more_objects_than_default_boxes():
    same = [0.0, 0.0, 0.5, 0.5]
    defaults, boxes, labels = one_image([same, same], [same] * 5, [1, 2, 3, 4, 5])
    assert match(defaults, boxes, labels)[0].tolist() == [[1, 2]]


def test_an_objects_own_box_is_not_taken_by_one_that_overlaps_it_more():
    """Object 1 covers both default boxes better, but takes the first.

    Object 2 keeps what is left.
    """
    defaults, boxes, labels = one_image(
        [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4375]],
        [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.125, 0.125]],
        [1, 2],
    )
    assert match(defaults, boxes, labels)[0].tolist() == [[1, 2]]


@pytest.mark.parametrize("threshold, expected", [(0.5, [1, 1]), (0.501, [1, 0])])
def test_a_box_that_just_reaches_the_threshold_answers(threshold, expected):
    defaults, boxes, labels = one_image(
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.5]], [[0.0, 0.0, 1.0, 1.0]], [1]
    )
    assert match(defaults, boxes, labels, threshold)[0].tolist() == [expected]


def test_bug_a_padded_box_takes_part_in_matching_d2l():
    """Padding claimed a default box from a real object, with offset targets near -69."""
    object_ = [0.0, 0.0, 0.5, 0.5]
    defaults, boxes, labels = one_image(
        [object_, [0.5, 0.5, 1.0, 1.0]], [[0.0] * 4, object_, object_], [0, 1, 0]
    )
    target_labels, target_boxes = match(defaults, boxes, labels)
    assert target_labels.tolist() == [[1, 0]]
    assert torch.equal(encode(target_boxes, defaults), torch.zeros(1, 2, 4))


def test_padding_changes_nothing_wherever_it_stands():
    for defaults, boxes, labels in random_scenes(30, seed=5):
        target_labels, target_boxes = match(defaults, boxes, labels)
        for i in range(len(boxes)):
            real = labels[i] > 0
            alone = match(defaults, boxes[i : i + 1, real], labels[i : i + 1, real])
            assert torch.equal(alone[0][0], target_labels[i])
            assert torch.equal(alone[1][0], target_boxes[i])


def test_a_batch_may_be_permuted():
    permutation = torch.tensor([3, 1, 7, 0, 6, 2, 5, 4])
    for defaults, boxes, labels in random_scenes(30, seed=6):
        for whole, permuted in zip(
            match(defaults, boxes, labels), match(defaults, boxes[permutation], labels[permutation])
        ):
            assert torch.equal(whole[permutation], permuted)


@pytest.mark.parametrize("objects", [0, 3])
def test_an_image_without_objects_is_all_background_with_offsets_0(objects):
    defaults = make_default_boxes(SSD300_VOC)
    boxes, labels = torch.zeros(2, objects, 4), torch.zeros(2, objects, dtype=torch.int64)
    assert (assign(defaults, boxes, labels) == -1).all()
    target_labels, target_boxes = match(defaults, boxes, labels)
    assert target_labels.shape == (2, 8732)
    assert target_labels.dtype == torch.int64
    assert (target_labels == 0).all()
    torch.testing.assert_close(
        encode(target_boxes, defaults), torch.zeros(2, 8732, 4), rtol=0, atol=1e-4
    )


GOOD = {
    "default_boxes": torch.rand(5, 4),
    "boxes": torch.rand(2, 3, 4),
    "labels": torch.ones(2, 3).long(),
}


@pytest.mark.parametrize(
    "name, wrong",
    [
        ("boxes", torch.rand(3, 4)),
        ("boxes", torch.rand(2, 3, 5)),
        ("boxes", torch.ones(2, 3, 4).long()),
        ("labels", torch.ones(2, 4).long()),
        ("labels", torch.ones(3).long()),
        ("labels", torch.ones(2, 3)),
        ("labels", torch.ones(2, 3).int()),
        ("default_boxes", torch.rand(1, 5, 4)),
        ("default_boxes", torch.rand(5, 5)),
    ],
)
def test_check_objects_names_what_has_the_wrong_shape_or_type(name, wrong):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        check_ground_truth(**{**GOOD, name: wrong})


@pytest.mark.parametrize("name", GOOD)
def test_check_objects_names_the_devices(name):
    with pytest.raises(ValueError, match="must be on one device, got .*meta"):
        check_ground_truth(**{**GOOD, name: GOOD[name].to("meta")})

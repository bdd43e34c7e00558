"""Chapter 8: suppression against torchvision and a plain loop; detection from end to end."""

import math
from dataclasses import replace

import pytest
import torch
import torchvision

from ssd_lite.boxes import iou
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.detection import detect
from ssd_lite.encoding import encode
from ssd_lite.model import SSD
from ssd_lite.nms import batched_nms, nms_parallel, nms_sequential
from ssd_lite.postprocessing import postprocess
from ssd_lite.spec import LITE, SSD300_VOC
from tests.helpers import oracles

METHODS = [nms_parallel, nms_sequential]


def random_sets(batches, images=4, boxes=24, seed=0):
    """Boxes on a grid, best first, of three classes, then padding.

    Their scores have ties that fit the order.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(batches):
        labels = torch.randint(1, 4, (images, boxes), generator=generator)
        labels[
            torch.arange(boxes) >= torch.randint(0, boxes + 1, (images, 1), generator=generator)
        ] = 0
        scores = (
            torch.randint(1, 10, (images, boxes), generator=generator)
            .sort(dim=1, descending=True)
            .values
            / 10
        )
        yield oracles.grid_boxes(generator, images, boxes), labels, scores


@pytest.mark.parametrize("method", METHODS)
def test_suppression_equals_the_plain_greedy_loop_on_1000_images(method):
    for boxes, labels, _ in random_sets(250):
        keep = method(boxes, labels, 0.25)
        for i in range(len(boxes)):
            assert keep[i].nonzero()[:, 0].tolist() == oracles.suppress(
                boxes[i].tolist(), labels[i].tolist(), 0.25
            )


@pytest.mark.parametrize("method", METHODS)
def test_suppression_equals_torchvisions_on_1000_images_score_ties_included(method):
    for boxes, labels, scores in random_sets(250, seed=1):
        keep = method(boxes, labels, 0.45)
        for i in range(len(boxes)):
            real = (labels[i] > 0).nonzero()[:, 0]
            kept = torchvision.ops.batched_nms(
                boxes[i, real].double(), scores[i, real].double(), labels[i, real], 0.45
            )
            assert set(keep[i].nonzero()[:, 0].tolist()) == set(real[kept].tolist())


def test_both_methods_agree_on_many_boxes_of_real_numbers():
    generator = torch.Generator().manual_seed(2)
    for threshold in (0.1, 0.3, 0.45, 0.7):
        low, size = torch.rand(2, 3, 400, 2, generator=generator)
        boxes = torch.cat([low, low + size * 0.3], dim=2)
        labels = torch.randint(1, 3, (3, 400), generator=generator)
        labels[1, 300:] = 0
        assert torch.equal(
            nms_parallel(boxes, labels, threshold), nms_sequential(boxes, labels, threshold)
        )


@pytest.mark.parametrize("method", METHODS)
def test_a_suppressed_box_suppresses_nobody(method):
    """A chain of 40, each overlapping only its neighbors: every second one stays.

    All at once, that takes 40 rounds.
    """
    left = torch.arange(40.0) * 3
    boxes = torch.stack([left, torch.zeros(40), left + 8, torch.ones(40)], dim=1)
    overlap = iou(boxes, boxes)
    assert overlap[0, 1] > 0.45 > overlap[0, 2]
    assert method(boxes[None], torch.ones(1, 40).long())[0].tolist() == [True, False] * 20


@pytest.mark.parametrize("method", METHODS)
def test_only_boxes_of_one_class_compete_and_padding_does_not(method):
    boxes = torch.tensor([[[0.0, 0, 1, 1]] * 5])
    assert method(boxes, torch.tensor([[1, 2, 1, 0, 0]])).tolist() == [
        [True, True, False, False, False]
    ]


@pytest.mark.parametrize("method", METHODS)
def test_an_overlap_at_the_threshold_is_not_above_it(method):
    boxes = torch.tensor([[[0.0, 0, 1, 1], [0.0, 0, 1, 0.5]]])
    labels = torch.ones(1, 2).long()
    assert method(boxes, labels, 0.5).tolist() == [[True, True]]
    assert method(boxes, labels, 0.49).tolist() == [[True, False]]


@pytest.mark.parametrize("size", [1e3, 1e12, 1e18, math.inf])
@pytest.mark.parametrize("method", METHODS)
def test_one_wild_box_does_not_change_what_happens_to_the_others(method, size):
    twins = [[0.1, 0.1, 0.3, 0.3], [0.1, 0.1, 0.3, 0.29]]
    wild = [[-size, -size, size, size], [0.5, 0.5, 0.6, 0.6]]
    keep = method(torch.tensor([wild, twins, wild]), torch.tensor([[1, 1], [1, 1], [2, 1]]))
    assert keep[1].tolist() == [True, False]


@pytest.mark.parametrize("method", [nms_parallel, nms_sequential])
def test_a_nan_box_changes_nothing_for_the_others_of_its_batch(method):
    twins = [[0, 0, 1, 1], [0, 0, 1, 0.95]]
    for broken in ([torch.nan] * 4, [0, torch.nan, 1, 1]):
        boxes = torch.tensor([[*twins, broken], [*twins, [2, 2, 3, 3]]])
        labels = torch.ones(2, 3, dtype=torch.int64)
        assert method(boxes, labels).tolist() == [[True, False, True]] * 2


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (2, 3)])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_in_nothing_out(method, shape):
    keep = method(torch.rand(*shape, 4), torch.zeros(shape).long())
    assert keep.shape == shape
    assert keep.dtype == torch.bool
    assert not keep.any()


def test_suppress_is_one_of_the_two():
    for boxes, labels, _ in random_sets(5, seed=3):
        assert torch.equal(batched_nms(boxes, labels, 0.45), nms_parallel(boxes, labels, 0.45))


# From raw predictions to detections. --------------------------------------------------------------


def predictions(images=2, boxes=80, classes=3, seed=0):
    """Logits, offsets and default boxes as a network with an opinion would make them."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, boxes, classes + 1, generator=generator) * 2
    defaults = torch.rand(boxes, 4, generator=generator) * 0.5 + 0.25
    return logits, torch.randn(images, boxes, 4, generator=generator), defaults


def as_logits(probabilities):
    """Logits (A, C + 1) whose softmax gives these probabilities (A, C).

    The rest goes to background.
    """
    return torch.cat([1 - probabilities.sum(dim=1, keepdim=True), probabilities], dim=1).log()


def postprocess_oracle(
    logits, offsets, defaults, score_threshold, iou_threshold, per_class, per_image
):
    """Of one image, with numbers in lists: a list of (score, label, box), best first."""
    boxes = [
        oracles.corners(
            [cx + 0.1 * dx * w, cy + 0.1 * dy * h, w * math.exp(0.2 * dw), h * math.exp(0.2 * dh)]
        )
        for (dx, dy, dw, dh), (cx, cy, w, h) in zip(offsets, defaults)
    ]
    found = []
    for label in range(1, len(logits[0])):
        scores = [math.exp(-oracles.cross_entropy(z, label)) for z in logits]
        best = sorted(
            (a for a, s in enumerate(scores) if s > score_threshold), key=lambda a: -scores[a]
        )[:per_class]
        kept = oracles.suppress([boxes[a] for a in best], [label] * len(best), iou_threshold)
        found += [(scores[best[i]], label, boxes[best[i]]) for i in kept]
    return sorted(found, key=lambda f: -f[0])[:per_image]


def check_against_oracle(
    logits,
    offsets,
    defaults,
    score_threshold=0.01,
    iou_threshold=0.45,
    per_class=400,
    per_image=200,
):
    options = (score_threshold, iou_threshold, per_class, per_image)
    boxes, scores, labels = postprocess(logits, offsets, defaults, LITE, *options)
    for i in range(len(logits)):
        expected = postprocess_oracle(
            logits[i].tolist(), offsets[i].tolist(), defaults.tolist(), *options
        )
        n = int((labels[i] > 0).sum())
        assert labels[i].tolist() == [label for _, label, _ in expected] + [0] * (
            labels.shape[1] - n
        )
        torch.testing.assert_close(scores[i, :n], torch.tensor([s for s, _, _ in expected]))
        torch.testing.assert_close(
            boxes[i, :n], torch.tensor([b for _, _, b in expected]).view(-1, 4)
        )
        assert (scores[i, n:] == 0).all()
    return labels


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"score_threshold": 0.3},
        {"iou_threshold": 0.1},
        {"iou_threshold": 0.9, "per_class": 7},
        {"iou_threshold": 0.2, "per_image": 3},  # looks at 15 candidates, then at more
        {"per_class": 1, "per_image": 1},
    ],
    ids=str,
)
def test_postprocess_equals_the_plain_loop(options):
    for seed in range(10):
        check_against_oracle(*predictions(seed=seed), **options)


def test_postprocess_looks_further_when_the_best_candidates_are_all_the_same():
    """1,200 copies of one place come before 300 boxes far apart.

    A look at the first 1,000 would miss those.

    In a second image of the batch the boxes far apart come first, and the first look is enough.
    """
    copies, apart = 400, 300
    generator = torch.Generator().manual_seed(0)
    jitter = torch.rand(copies, 4, generator=generator) * 0.01
    crowd = torch.tensor([0.5, 0.5, 0.4, 0.4]) + jitter
    column, row = torch.arange(apart) % 20, torch.arange(apart) // 20
    lonely = torch.stack(
        [column / 20, row / 20, torch.full((apart,), 0.02), torch.full((apart,), 0.02)], dim=1
    )
    probabilities = torch.full((copies + apart, 4), 0.001)
    for label in range(3):  # classes 1 to 3 see the crowd
        probabilities[:copies, label] = (
            0.2 + (torch.randperm(copies, generator=generator) + label / 4) / 4000
        )
    probabilities[copies:, 3] = (
        0.05 + torch.randperm(apart, generator=generator) / 4000
    )  # class 4 the others, less surely
    surer = probabilities.clone()
    surer[copies:, 3] += 0.5
    logits = torch.stack([as_logits(probabilities), as_logits(surer)])
    labels = check_against_oracle(
        logits, torch.zeros(2, copies + apart, 4), torch.cat([crowd, lonely])
    )
    assert sorted(labels[0, :3].tolist()) == [1, 2, 3]
    assert labels[0, 3:].tolist() == [4] * 197
    assert labels[1].tolist() == [4] * 200


def test_images_with_many_with_few_and_with_no_detections_share_a_batch():
    logits, offsets, defaults = predictions(images=3, seed=5)
    offsets[1], logits[1] = (
        encode(torch.tensor([0.4, 0.4, 0.6, 0.6]).expand(80, 4), defaults),
        logits[1] * 0.1,
    )
    logits[2, :, 0] = 50
    labels = check_against_oracle(logits, offsets, defaults, per_image=10)
    assert (labels > 0).sum(dim=1).tolist() == [10, 3, 0]


def test_nothing_above_the_threshold_gives_nothing():
    logits, offsets, defaults = predictions()
    logits[:, :, 0] = 50
    boxes, scores, labels = postprocess(logits, offsets, defaults, LITE)
    assert not labels.any()
    assert not scores.any()
    assert boxes.shape == (*labels.shape, 4)


def test_bug_the_final_top_k_writes_to_a_copy_amdegroot_168():
    """The limit per image had no effect."""
    logits, offsets, defaults = predictions(images=1)
    all_labels = postprocess(logits, offsets, defaults, LITE)[2]
    boxes, scores, labels = postprocess(logits, offsets, defaults, LITE, per_image=5)
    assert (all_labels > 0).sum() > 5
    assert boxes.shape == (1, 5, 4)
    assert (labels > 0).sum() == 5


def test_detections_come_best_first():
    scores = postprocess(*predictions(), LITE)[1]
    assert (scores.diff(dim=1) <= 0).all()


def test_scores_are_probabilities_that_share_1_with_background():
    probabilities = torch.tensor([[0.2, 0.5]])
    logits, defaults = as_logits(probabilities)[None], torch.tensor([[0.5, 0.5, 0.2, 0.2]])
    _, scores, labels = postprocess(logits, torch.zeros(1, 1, 4), defaults, LITE)
    torch.testing.assert_close(scores, torch.tensor([[0.5, 0.2]]))
    assert labels.tolist() == [[2, 1]]


def test_boxes_are_cut_at_the_edge_before_nms_only_if_the_spec_says_so():
    """Two boxes that differ only outside the image."""
    corners = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.5, 0.5, 3.0, 3.0]])
    defaults = torch.tensor([[0.75, 0.75, 0.5, 0.5]]).expand(2, 4)
    logits, offsets = as_logits(torch.tensor([[0.9], [0.8]]))[None], encode(corners, defaults)[None]
    boxes, _, labels = postprocess(logits, offsets, defaults, LITE)
    assert labels.tolist() == [[1, 1]]
    torch.testing.assert_close(boxes[0], corners)
    boxes, _, labels = postprocess(logits, offsets, defaults, replace(LITE, clip_detections=True))
    assert labels.tolist() == [[1, 0]]
    torch.testing.assert_close(boxes[0, 0], corners[0])


def test_growth_is_capped_if_the_spec_says_so():
    logits, defaults = (
        as_logits(torch.tensor([[0.9]]))[None],
        torch.tensor([[0.5, 0.5, 0.01, 0.01]]),
    )
    offsets = torch.tensor([[[0.0, 0, 25, 25]]])  # e⁵ ≈ 148 times as large
    for spec, growth in ((LITE, math.exp(5)), (replace(LITE, max_log_size=math.log(2)), 2)):
        box = postprocess(logits, offsets, defaults, spec)[0][0, 0]
        assert (box[2] - box[0]).item() == pytest.approx(0.01 * growth, rel=1e-4)


def test_bfloat16_predictions_are_decoded_in_float32():
    logits, offsets, defaults = predictions()
    logits, offsets = logits.bfloat16(), offsets.bfloat16()
    boxes, scores, _ = postprocess(logits, offsets, defaults, LITE)
    assert boxes.dtype == scores.dtype == torch.float32
    assert torch.equal(boxes, postprocess(logits.float(), offsets.float(), defaults, LITE)[0])


# Detection. ---------------------------------------------------------------------------------------


def lite():
    torch.manual_seed(0)
    return SSD(LITE, ["disc", "square"])


def pictures(*sizes):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes
    ]


def sees(model, label, place):
    """Make the network certain of one default box's label, and silent everywhere else."""
    shape = (1, len(model.default_boxes))
    logits = torch.zeros(*shape, len(model.classes) + 1)
    logits[..., 0] = 50
    logits[0, place, label] = 90
    model.forward = lambda images: (
        logits.expand(len(images), -1, -1),
        torch.zeros(len(images), *shape[1:], 4),
    )
    return model


def test_boxes_are_in_pixels_of_the_picture_that_came_in():
    model = sees(lite(), label=2, place=100)
    cx, cy, w, h = model.default_boxes[100].tolist()
    for found, (height, width) in zip(
        detect(model, pictures((60, 200), (300, 128))), [(60, 200), (300, 128)]
    ):
        expected = [
            (cx - w / 2) * width,
            (cy - h / 2) * height,
            (cx + w / 2) * width,
            (cy + h / 2) * height,
        ]
        assert found.boxes[0].tolist() == pytest.approx(expected, abs=1e-3)
        assert found.labels.tolist() == [2]
        assert found.scores[0].item() == pytest.approx(1)


@pytest.mark.parametrize("spec", [LITE, SSD300_VOC], ids=lambda spec: spec.name)
def test_detections_are_the_authors_decoded_suppressed_then_cut_at_the_edge(spec):
    """Against a plain loop. Boxes are whole in suppression, and cut afterwards."""
    torch.manual_seed(3)
    defaults = make_default_boxes(spec)
    model = lite()
    model.spec, model.default_boxes = spec, defaults
    chosen = torch.randperm(len(defaults))[:60].sort().values
    logits = torch.zeros(1, len(defaults), 3)
    logits[..., 0] = 50
    logits[0, chosen] = 2 * torch.randn(60, 3)
    offsets = 3 * torch.randn(1, len(defaults), 4)
    model.forward = lambda images: (logits, offsets)
    (found,) = detect(model, pictures((50, 80)))

    scores = logits[0, chosen].softmax(dim=1).tolist()
    boxes = [
        oracles.decode(t, d, spec.variances)
        for t, d in zip(offsets[0, chosen].tolist(), defaults[chosen].tolist())
    ]
    kept = []
    for label in (1, 2):
        order = sorted(range(60), key=lambda a: -scores[a][label])
        survivors = []
        for a in order:
            if scores[a][label] > 0.01 and all(
                oracles.iou(boxes[a], boxes[b]) <= 0.45 for b in survivors
            ):
                survivors.append(a)
        kept += [(scores[a][label], label, oracles.cut(boxes[a])) for a in survivors]
    kept.sort(key=lambda entry: -entry[0])
    assert len(found.scores) == len(kept)
    assert found.labels.tolist() == [label for _, label, _ in kept]
    expected = torch.tensor([box for _, _, box in kept]) * torch.tensor([80, 50, 80, 50])
    torch.testing.assert_close(found.boxes, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.scores, torch.tensor([score for score, _, _ in kept]))
    whole = torch.tensor(boxes)
    assert ((whole < 0) | (whole > 1)).any(dim=1).sum() > 20  # there was something to cut


def test_pictures_of_different_sizes_are_found_as_if_alone():
    model, images = lite(), pictures((128, 128), (50, 90), (300, 40))
    together = detect(model, images, score_threshold=0.3)
    assert len(together) == 3
    for image, found in zip(images, together):
        (alone,) = detect(model, [image], score_threshold=0.3)
        assert len(found.boxes) == len(found.scores) == len(found.labels) > 0
        torch.testing.assert_close(found.scores, alone.scores, rtol=1e-4, atol=1e-5)


def test_no_padding_is_handed_out():
    for found in detect(lite(), pictures((60, 60), (80, 40)), score_threshold=0.4):
        assert (found.labels >= 1).all()
        assert (found.scores > 0.4).all()


def test_a_picture_with_nothing_on_it_gives_no_boxes():
    (found,) = detect(sees(lite(), label=0, place=0), pictures((60, 60)))
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


def test_no_pictures_give_no_detections():
    assert detect(lite(), []) == []


@pytest.mark.parametrize("training", [True, False])
def test_the_training_mode_is_as_before(training):
    model = lite().train(training)
    detect(model, pictures((60, 60)))
    assert model.training is training


def test_the_training_mode_is_as_before_even_after_an_error():
    def out_of_memory(images):
        raise RuntimeError("out of memory")

    model = lite().train()
    model.base.forward = out_of_memory
    with pytest.raises(RuntimeError, match="out of memory"):
        detect(model, pictures((60, 60)))
    assert model.training


def test_detection_leaves_no_gradient():
    (found,) = detect(lite(), pictures((60, 60)))
    assert not found.scores.requires_grad


@pytest.mark.parametrize("head", ["logits", "offsets"])
@pytest.mark.parametrize("damage", [math.nan, math.inf])
def test_a_damaged_network_is_an_error_not_an_empty_list(head, damage):
    model = lite()
    getattr(model, head)[0].bias.data[1] = damage
    with pytest.raises(ValueError, match="NaN or infinity"):
        detect(model, pictures((60, 60)))


def test_offsets_so_large_that_the_box_is_infinite_are_an_error_too():
    model = sees(lite(), label=1, place=0)
    logits, offsets = model.forward(torch.zeros(1, 3, LITE.image_size, LITE.image_size))
    offsets[:] = 1000
    model.forward = lambda images: (logits, offsets)
    with pytest.raises(ValueError, match="NaN or infinity"):
        detect(model, pictures((60, 60)))

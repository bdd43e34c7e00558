"""The toy scene's numbers, as counted on paper: every chapter builds on them."""

import math
from fractions import Fraction
from functools import partial

import pytest
import torch

from book.toy import toy
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.detection import Detections
from ssd_lite.encoding import decode, encode
from ssd_lite.evaluation import evaluate
from ssd_lite.loss import multibox_loss
from ssd_lite.matching import assign, match
from ssd_lite.metrics import GroundTruth
from ssd_lite.mining import all_negatives, hard_negatives
from ssd_lite.nms import batched_nms
from ssd_lite.postprocessing import postprocess

HOUSE, CAR = 0, 1
TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT, SQUARE, WIDE, TALL, WHOLE = range(8)
# Counted on paper: shared squares over squares of both.
ON_PAPER = {
    HOUSE: ["8/104", "8/104", "16/96", "16/96", "48/64", "32/80", "24/88", "48/256"],
    CAR: ["0", "0", "16/88", "24/80", "32/72", "20/84", "16/88", "40/256"],
}


@pytest.fixture
def overlap():
    return iou(toy.boxes, cxcywh_to_xyxy(toy.default_boxes))  # (G, A)


def test_eight_default_boxes_on_whole_squares():
    squares = toy.squares(cxcywh_to_xyxy(toy.default_boxes))
    assert squares.tolist() == [
        [0, 0, 8, 8],
        [8, 0, 16, 8],
        [0, 8, 8, 16],
        [8, 8, 16, 16],
        [4, 4, 12, 12],
        [0, 6, 16, 10],
        [6, 0, 10, 16],
        [0, 0, 16, 16],
    ]
    assert len(toy.names) == 8


def test_overlaps_are_those_counted_on_paper(overlap):
    for object_, fractions in ON_PAPER.items():
        torch.testing.assert_close(
            overlap[object_], torch.tensor([float(Fraction(f)) for f in fractions])
        )


def test_both_objects_want_the_same_box_and_only_one_by_half(overlap):
    assert overlap.argmax(dim=1).tolist() == [SQUARE, SQUARE]
    assert (overlap >= 0.5).nonzero().tolist() == [[HOUSE, SQUARE]]


def test_matching_keeps_both():
    assigned = assign(toy.default_boxes, toy.boxes[None], toy.labels[None])[0]
    assert assigned.tolist() == [-1, -1, -1, CAR, HOUSE, -1, -1, -1]


def test_the_network_answers_what_its_raw_outputs_say():
    torch.testing.assert_close(toy.probabilities.sum(dim=1), torch.ones(8))
    torch.testing.assert_close(toy.logits.softmax(dim=1), toy.probabilities)
    torch.testing.assert_close(decode(toy.offsets, toy.default_boxes), toy.predicted_boxes)


def test_the_hardest_negatives_are_the_cloud_and_the_second_house():
    labels, _ = match(toy.default_boxes, toy.boxes[None], toy.labels[None])
    losses = -toy.logits.log_softmax(dim=1).gather(1, labels[0, :, None])[None, :, 0]  # (1, A)
    assert hard_negatives(losses, labels > 0, ratio=1).nonzero()[:, 1].tolist() == [TOP_RIGHT, WIDE]


def test_nms_drops_the_second_house_and_would_lose_the_car_if_it_were_blind_to_classes():
    box, label = torch.tensor([SQUARE, TOP_RIGHT, BOTTOM_RIGHT, WIDE]), torch.tensor([1, 2, 2, 1])
    scores = toy.probabilities[box, label]
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)[:3] + [scores[3].item()]
    keep = batched_nms(toy.predicted_boxes[box][None], label[None])[0]
    assert keep.tolist() == [True, True, True, False]
    blind = batched_nms(toy.predicted_boxes[box][None], torch.ones(1, 4, dtype=torch.int64))[0]
    assert blind.tolist() == [True, True, False, False]


def test_what_is_left_finds_both_objects_and_takes_the_cloud_for_a_car():
    overlap = iou(toy.predicted_boxes[[SQUARE, TOP_RIGHT, BOTTOM_RIGHT]], toy.boxes)
    torch.testing.assert_close(overlap[0, HOUSE], torch.tensor(6 / 7))
    assert overlap[1].tolist() == [0, 0]
    torch.testing.assert_close(overlap[2, CAR], torch.tensor(9 / 10))


def test_the_scene_through_all_chapters():
    """From overlaps to average precision, with the numbers of the pages.

    Each step works on what the last one gave.
    """
    labels, boxes = match(toy.default_boxes, toy.boxes[None], toy.labels[None])  # chapter 3
    assert labels.tolist() == [[0, 0, 0, 2, 1, 0, 0, 0]]

    wanted = encode(boxes, toy.default_boxes, toy.spec.variances)  # chapter 4
    assert wanted[0, SQUARE].tolist() == pytest.approx([0, 1.25, 0, 5 * math.log(6 / 8)], abs=1e-5)
    assert wanted[0, BOTTOM_RIGHT].tolist() == pytest.approx(
        [-3.75, -2.5, 5 * math.log(10 / 8), 5 * math.log(4 / 8)], abs=1e-5
    )
    background = [n for n in range(8) if n not in (SQUARE, BOTTOM_RIGHT)]
    assert (wanted[0, background] == 0).all()

    answers = toy.logits[None], toy.offsets[None], labels, wanted  # chapter 5
    everything = multibox_loss(*answers, choose_negatives=all_negatives)
    right = 0.9 * 0.25 * 0.8 * 0.5 * 0.8 * 0.3 * 0.9 * 0.7
    assert everything.classification.item() == pytest.approx(-math.log(right) / 2, abs=1e-5)
    off = [
        -0.625,
        5 * math.log(9 / 10),
        0.625,
        5 * math.log(7 / 6),
    ]  # all below 1: half their squares
    assert everything.localization.item() == pytest.approx(
        sum(d * d / 2 for d in off) / 2, abs=1e-5
    )
    assert everything.total.item() == pytest.approx(2.562, abs=5e-4)

    mined = multibox_loss(*answers, choose_negatives=partial(hard_negatives, ratio=1))  # chapter 6
    assert mined.negatives == 2
    assert mined.classification.item() == pytest.approx(
        -math.log(0.25 * 0.3 * 0.5 * 0.8) / 2, abs=1e-5
    )
    assert mined.localization == everything.localization

    # Chapter 8. Of the answers above 0.3 the second house goes; the cloud stays.
    found = postprocess(
        toy.logits[None], toy.offsets[None], toy.default_boxes, toy.spec, score_threshold=0.3
    )
    kept = found[2][0] > 0
    boxes, scores, names = (x[0, kept] for x in found)
    assert names.tolist() == [HOUSE + 1, CAR + 1, CAR + 1]
    assert scores.tolist() == pytest.approx([0.8, 0.65, 0.5])

    # Chapter 10. The house is found, and the cloud stands above the car.
    real = GroundTruth(toy.squares(toy.boxes), toy.labels, torch.zeros(2, dtype=torch.bool))
    score = evaluate([Detections(toy.squares(boxes), scores, names)], [real], toy.classes)
    assert score.per_class == pytest.approx({"house": 1, "car": 1 / 2})


def test_the_picture_is_square():
    assert toy.image.shape == (3, 320, 320)
    assert toy.image.dtype == torch.uint8

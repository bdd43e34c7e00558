"""The toy scene's numbers, as counted on paper: every chapter builds on them."""

from fractions import Fraction

import pytest
import torch

from chapters.toy import toy
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.encoding import decode
from ssd_lite.matching import assign, match
from ssd_lite.mining import hard_negatives
from ssd_lite.nms import suppress

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
        torch.testing.assert_close(overlap[object_], torch.tensor([float(Fraction(f)) for f in fractions]))


def test_both_objects_want_the_same_box_and_only_one_by_half(overlap):
    assert overlap.argmax(dim=1).tolist() == [SQUARE, SQUARE]
    assert (overlap >= 0.5).nonzero().tolist() == [[HOUSE, SQUARE]]


def test_matching_keeps_both():
    owner = assign(toy.default_boxes, toy.boxes[None], toy.labels[None])[0]
    assert owner.tolist() == [-1, -1, -1, CAR, HOUSE, -1, -1, -1]


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
    keep = suppress(toy.predicted_boxes[box][None], label[None])[0]
    assert keep.tolist() == [True, True, True, False]
    blind = suppress(toy.predicted_boxes[box][None], torch.ones(1, 4, dtype=torch.int64))[0]
    assert blind.tolist() == [True, True, False, False]


def test_what_is_left_finds_both_objects_and_takes_the_cloud_for_a_car():
    overlap = iou(toy.predicted_boxes[[SQUARE, TOP_RIGHT, BOTTOM_RIGHT]], toy.boxes)
    torch.testing.assert_close(overlap[0, HOUSE], torch.tensor(6 / 7))
    assert overlap[1].tolist() == [0, 0]
    torch.testing.assert_close(overlap[2, CAR], torch.tensor(9 / 10))


def test_the_picture_is_square():
    assert toy.image.shape == (3, 320, 320)
    assert toy.image.dtype == torch.uint8

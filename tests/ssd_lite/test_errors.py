"""Which errors: against plain loops, on hand-made cases, and numbers that add up."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_lite.detection import Detections
from ssd_lite.errors import find_errors, reliability
from ssd_lite.metrics import GroundTruth, match_coco
from ssd_lite.verdicts import KINDS, MISSED, MISTAKES, UNCOUNTED, assign, confusion, judge
from tests.helpers import oracles

CLASSES = ("disc", "square", "ring", "never there")
BOX = (0, 0, 10, 10)


def detections(boxes=(), scores=None, labels=None):
    n = len(boxes)
    scores = [0.9 - 0.01 * k for k in range(n)] if scores is None else scores
    return Detections(
        torch.tensor(boxes).view(-1, 4).float(),
        torch.tensor(scores).view(-1).float(),
        torch.tensor([1] * n if labels is None else labels, dtype=torch.int64),
    )


def objects(boxes=(), labels=None, ignored=None):
    n = len(boxes)
    return GroundTruth(
        torch.tensor(boxes).view(-1, 4).float(),
        torch.tensor([1] * n if labels is None else labels, dtype=torch.int64),
        torch.tensor([False] * n if ignored is None else ignored, dtype=torch.bool),
    )


def crowded(seed, images=4):
    """Pictures on a coarse grid, with many equal scores and overlaps, and some of nothing."""
    generator = np.random.default_rng(seed)
    found, real = [], []
    for _ in range(images):
        boxes = []
        for number in (generator.integers(0, 9), generator.integers(0, 6)):
            corners = generator.integers(0, 6, (number, 2))
            boxes.append(
                np.concatenate([corners, corners + generator.integers(1, 6, corners.shape)], 1)
            )
        scores = generator.integers(0, 11, len(boxes[0])) / 10
        found.append(detections(boxes[0], scores, generator.integers(1, 5, len(scores))))
        count = len(boxes[1])
        real.append(
            objects(boxes[1], generator.integers(1, 4, count), generator.random(count) < 0.25)
        )
    return found, real


def plain(found, real):
    """One image as lists, the detections best first."""
    rows = sorted(
        zip(found.scores.tolist(), found.boxes.tolist(), found.labels.tolist()), key=lambda r: -r[0]
    )
    return rows, list(zip(*(x.tolist() for x in real)))


def covered(box, by):
    """Share of a box that another covers."""
    width = max(0, min(box[2], by[2]) - max(box[0], by[0]))
    height = max(0, min(box[3], by[3]) - max(box[1], by[1]))
    return width * height / ((box[2] - box[0]) * (box[3] - box[1]))


def slow_verdicts(found, real, bar):
    """The rules of ``judge``, one detection after another."""
    rows, things = plain(found, real)
    kinds, finders = [], [-1] * len(things)
    for d, (_, box, label) in enumerate(rows):
        same = {
            g: oracles.iou(box, b) for g, (b, c, off) in enumerate(things) if c == label and not off
        }
        other = {
            g: oracles.iou(box, b) for g, (b, c, off) in enumerate(things) if c != label and not off
        }
        free = [g for g in same if finders[g] < 0 and same[g] >= bar]
        if free:
            finders[max(free, key=lambda g: same[g])] = d
            kinds.append("hit")
        elif any(off and c == label and covered(box, b) >= bar for b, c, off in things):
            kinds.append("not counted")
        elif max(same.values(), default=0) >= bar:
            kinds.append("double")
        elif max(other.values(), default=0) >= bar:
            kinds.append("wrong class")
        elif max(same.values(), default=0) >= 0.1:
            kinds.append("badly placed")
        elif max(other.values(), default=0) >= 0.1:
            kinds.append("both")
        else:
            kinds.append("background")
    return kinds, finders


def slow_confusion(found, real, classes, bar):
    rows, things = plain(found, real)
    matrix, free = [[0] * (classes + 1) for _ in range(classes + 1)], set(range(len(things)))
    for _, box, label in rows:
        near = {g: oracles.iou(box, things[g][0]) for g in sorted(free) if not things[g][2]}
        best = max(near, key=lambda g: near[g], default=None)
        if best is not None and near[best] >= bar:
            matrix[things[best][1]][label] += 1
            free.remove(best)
        elif not any(off and covered(box, b) >= bar for b, _, off in things):
            matrix[0][label] += 1
    for g in free:
        if not things[g][2]:
            matrix[things[g][1]][0] += 1
    return matrix


# One image. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bar", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("seed", range(25))
def test_verdicts_and_confusion_equal_the_plain_loops(seed, bar):
    for found, real in zip(*crowded(seed)):
        verdict = judge(found, real, bar)
        kinds, finders = slow_verdicts(found, real, bar)
        assert verdict.kinds.tolist() == kinds
        assert verdict.finders.tolist() == finders
        assert confusion(found, real, 4, bar).tolist() == slow_confusion(found, real, 4, bar)


@pytest.mark.parametrize("seed", range(10))
def test_hits_are_those_of_cocos_rule(seed):
    """``match_coco`` is held against pycocotools. Without ties, for it takes the last of equals."""
    generator = torch.Generator().manual_seed(seed)
    names = {"hit": 1, "not counted": -1}
    for found, real in zip(*crowded(seed, images=8)):
        found, real = (
            x._replace(
                boxes=x.boxes + 0.01 * torch.rand(x.boxes.shape, generator=generator),
                labels=torch.ones_like(x.labels),
            )
            for x in (found, real)
        )
        verdict = judge(found, real)
        ours = [names.get(kind, 0) for kind in verdict.kinds]
        assert ours == match_coco(verdict.detections, real)[0].tolist()


@pytest.mark.parametrize(
    "boxes, labels, kinds",
    [
        ([BOX], [1], ["hit"]),
        ([BOX, BOX], [1, 1], ["hit", "double"]),
        ([BOX], [2], ["wrong class"]),
        ([BOX, BOX], [1, 2], ["hit", "wrong class"]),
        ([(0, 0, 10, 5)], [1], ["hit"]),
        ([(0, 0, 10, 4.9)], [1], ["badly placed"]),
        ([(0, 0, 10, 4.9)], [2], ["both"]),
        ([(0, 0, 10, 1)], [1], ["badly placed"]),
        ([(0, 0, 10, 0.9)], [1], ["background"]),
        ([(50, 50, 60, 60)], [1], ["background"]),
    ],
)
def test_each_kind_by_hand(boxes, labels, kinds):
    assert judge(detections(boxes, labels=labels), objects([BOX])).kinds.tolist() == kinds


def test_what_fits_better_comes_first():
    """On a star, and touching a cross: a cross in the wrong place, or a star by another name?"""
    real = objects([BOX, (0, 8, 10, 18)], labels=[1, 2])
    verdict = judge(detections([BOX], labels=[2]), real)
    assert (verdict.kinds.tolist(), verdict.objects.tolist()) == (["wrong class"], [0])


def test_an_ignored_object_is_neither_found_nor_missed_and_excuses_its_own_class_alone():
    real = objects([BOX], ignored=[True])
    found = detections([BOX, BOX, (2, 2, 5, 5)], labels=[1, 2, 1])
    verdict = judge(found, real)
    assert verdict.kinds.tolist() == ["not counted", "background", "not counted"]
    assert not verdict.missed(0.5).any()
    assert confusion(found, real, 2).sum() == 0


def test_the_order_of_the_detections_does_not_matter():
    found = detections([(0, 0, 10, 6), BOX], [0.3, 0.8])
    verdict = judge(found, objects([BOX]))
    assert verdict.detections.scores.tolist() == pytest.approx([0.8, 0.3])
    assert verdict.kinds.tolist() == ["hit", "double"]


def test_assign_takes_each_column_once():
    assert assign(np.array([[0.6, 0.9], [0.7, 0.8], [0.5, 0.5]])).tolist() == [1, 0, -1]
    assert assign(np.zeros((2, 0))).tolist() == [-1, -1]
    assert assign(np.zeros((0, 3))).tolist() == []


# A data set. --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    st.sampled_from([0.2, 0.5, 0.9]),
)
def test_numbers_add_up(seed, threshold, bar):
    found, real = crowded(seed)
    errors = find_errors(found, real, CLASSES, threshold, bar)
    counts = dict(zip(KINDS, errors.counts().sum(axis=0).tolist()))
    said = sum(int((d.scores >= threshold).sum()) for d in found)
    there = sum(int((~t.ignored).sum()) for t in real)
    assert sum(counts.values()) - counts[MISSED] == said
    assert counts["hit"] + counts[MISSED] == there
    assert errors.confusion[1:].sum() == there
    assert errors.confusion[0, 0] == 0
    assert errors.confusion.sum() <= said + errors.confusion[:, 0].sum()
    assert sum(len(errors.worst(kind)) for kind in MISTAKES) == sum(counts[k] for k in MISTAKES)
    assert len(errors.worst(MISSED)) == counts[MISSED]
    assert errors.reliability.counts.sum() == sum(
        (v.kinds != UNCOUNTED).sum() for v in errors.verdicts
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 0.5, 0.8]))
def test_what_scores_less_changes_no_verdict(seed, threshold):
    found, real = crowded(seed)
    sure = [Detections(*(x[d.scores >= threshold] for x in d)) for d in found]
    for whole, part, truth in zip(found, sure, real):
        one, other = judge(whole, truth), judge(part, truth)
        assert one.kinds[: len(other.kinds)].tolist() == other.kinds.tolist()
        assert one.missed(threshold).tolist() == other.missed(0).tolist()
    a, b = (find_errors(d, real, CLASSES, threshold) for d in (found, sure))
    assert (a.counts() == b.counts()).all() and (a.confusion == b.confusion).all()


def test_a_perfect_detector_makes_no_error():
    _, real = crowded(3)
    real = [t._replace(ignored=torch.zeros_like(t.ignored)) for t in real]
    found = [Detections(t.boxes, torch.ones(len(t.boxes)), t.labels) for t in real]
    errors = find_errors(found, real, CLASSES)
    kinds = dict(zip(KINDS, errors.counts().sum(axis=0)))
    assert kinds == {kind: kinds["hit"] if kind == "hit" else 0 for kind in KINDS}
    assert errors.reliability.error() == 0
    assert errors.confused() == []


@pytest.mark.parametrize(
    "found, real",
    [
        ([], []),
        ([detections()], [objects()]),
        ([detections([BOX])], [objects()]),
        ([detections()], [objects([BOX])]),
    ],
    ids=["no picture", "nothing at all", "no object", "no detection"],
)
def test_nothing_is_no_accident(found, real):
    errors = find_errors(found, real, CLASSES)
    counts = dict(zip(KINDS, errors.counts().sum(axis=0).tolist()))
    assert counts["background"] == sum(len(d.scores) for d in found)
    assert counts[MISSED] == sum(len(t.labels) for t in real)
    assert len(errors.table().splitlines()) == len(CLASSES) + 2


def test_worst_comes_first():
    real = [objects([BOX]), objects([BOX, (20, 20, 60, 60)])]
    found = [detections([(50, 50, 60, 60)], [0.7]), detections([(80, 80, 90, 90)] * 2, [0.6, 0.9])]
    errors = find_errors(found, real, CLASSES)
    assert errors.worst("background") == [(1, 0), (0, 0), (1, 1)]
    assert errors.worst(MISSED) == [(1, 1), (0, 0), (1, 0)]


def test_confused_pairs_and_the_table_by_hand():
    real = [objects([BOX] * 1, labels=[1])] * 3 + [objects([BOX], labels=[3])]
    found = [detections([BOX], labels=[label]) for label in (2, 2, 1, 1)]
    errors = find_errors(found, real, CLASSES)
    assert errors.confused() == [("disc", "square", 2), ("ring", "disc", 1)]
    assert errors.table().splitlines()[0].split() == [
        *("hit", "wrong", "class", "badly", "placed", "both", "double", "background", "missed")
    ]
    rows = [line.rsplit(maxsplit=7) for line in errors.table().splitlines()[1:]]
    assert rows[0] == ["disc", "1", "1", "0", "0", "0", "0", "2"]
    assert rows[3] == ["never there", *"0000000"]
    assert rows[-1] == ["all", "1", "3", "0", "0", "0", "0", "3"]


@pytest.mark.parametrize("seed", range(5))
def test_reliability_equals_a_plain_loop(seed):
    generator = np.random.default_rng(seed)
    scores = np.concatenate([generator.random(200), np.arange(11) / 10])
    hits = generator.random(len(scores)) < scores
    curve, error = reliability(scores, hits, bins=8), 0.0
    for k, (low, high) in enumerate(zip(curve.edges, curve.edges[1:])):
        inside = [(s, h) for s, h in zip(scores, hits) if low <= s < high or (k == 7 and s == 1)]
        assert curve.counts[k] == len(inside) > 0
        said, true = (sum(x) / len(inside) for x in zip(*inside))
        assert (curve.scores[k], curve.hits[k]) == (pytest.approx(said), pytest.approx(true))
        error += abs(said - true) * len(inside) / len(scores)
    assert curve.error() == pytest.approx(error)


def test_calibration_by_hand():
    curve = reliability(np.array([0.05] * 8 + [0.95] * 2), np.array([False] * 8 + [True, False]))
    assert curve.error() == pytest.approx(0.8 * 0.05 + 0.2 * 0.45)
    assert curve.error(least=0.5) == pytest.approx(0.45)
    assert math.isnan(curve.error(least=0.96)) and math.isnan(curve.scores[5])
    assert math.isnan(reliability(np.zeros(0), np.zeros(0, dtype=bool)).error())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"score_threshold": 1.5}, "score_threshold: expected 0 to 1, got 1.5"),
        ({"score_threshold": math.nan}, "score_threshold: expected 0 to 1, got nan"),
        ({"iou_threshold": 0.1}, "iou_threshold: expected more than 0.1, at most 1, got 0.1"),
    ],
)
def test_thresholds_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        find_errors([], [], CLASSES, **options)


def test_labels_of_another_list_are_named():
    with pytest.raises(ValueError, match=r"detections\[0\].labels: expected 1..4"):
        find_errors([detections([BOX], labels=[5])], [objects()], CLASSES)

"""The precision-recall explorer counts what ssd_lite.metrics counts."""

import math

import numpy as np
import pytest
import torch

from book.explorers import PrecisionRecallExplorer
from ssd_lite.detection import Detections
from ssd_lite.evaluation import evaluate
from ssd_lite.metrics import GroundTruth, average_precision, precision_recall
from tests.helpers.examples import EXAMPLES, PICTURE
from tests.helpers.javascript import call

CLASSES = ("a", "b", "c", "d")
IMAGES = [PICTURE, PICTURE[:, :, :48], PICTURE]


def scenes(seed=0, ties=False):
    """Three pictures with objects of classes 1 to 3, some of them to be ignored.

    Most detections lie near an object.
    """
    random = np.random.default_rng(seed)
    found, real = [], []
    for _ in IMAGES:
        corners = torch.from_numpy(random.uniform(0, 30, (6, 2)))
        boxes = torch.cat([corners, corners + 15], dim=1).float()  # (6, 4)
        labels = torch.from_numpy(random.integers(1, 4, 6))
        real.append(GroundTruth(boxes, labels, torch.from_numpy(random.random(6) < 0.2)))
        near = boxes.repeat(4, 1) + torch.from_numpy(random.uniform(-5, 5, (24, 4))).float()
        scores = torch.from_numpy(random.uniform(0, 1, 24)).float()
        named = torch.where(torch.from_numpy(random.random(24) < 0.8), labels.repeat(4), 4)
        found.append(Detections(near, scores.round(decimals=1) if ties else scores, named))
    return found, real


def made(seed=0, ties=False, **knobs):
    return PrecisionRecallExplorer(IMAGES, *scenes(seed, ties), CLASSES, **knobs)


@pytest.mark.parametrize("ties", [False, True], ids=["all scores differ", "equal scores"])
@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_the_evaluation(seed, ties):
    explorer, wanted = made(seed, ties), evaluate(*scenes(seed, ties), CLASSES).per_class
    for label, name in enumerate(CLASSES, start=1):
        explorer.label = label
        assert explorer.average_precision == pytest.approx(wanted[name], nan_ok=True)


@pytest.mark.parametrize("ties", [False, True], ids=["all scores differ", "equal scores"])
def test_the_page_counts_as_python_does(ties):
    explorer = made(ties=ties)
    own = call(
        explorer._esm,
        [("ofClass", [explorer.detections, explorer.objects, k]) for k in (1, 2, 3, 4)],
    )
    for label, kind in enumerate(own, start=1):
        explorer.label = label
        thresholds = np.linspace(0, 1, 41).tolist()
        counts = call(explorer._esm, [("countAt", [kind, threshold]) for threshold in thresholds])
        for threshold, count in zip(thresholds, counts):
            explorer.threshold = threshold
            assert (
                count["shown"]
                == (explorer.scores > threshold).sum()
                == count["hits"] + count["alarms"]
            )
            assert len(count["missed"]) == explorer.total - count["hits"]
            assert explorer.recall == pytest.approx(count["hits"] / max(explorer.total, 1))
            if count["shown"]:
                assert explorer.precision == pytest.approx(count["hits"] / count["shown"])
            else:
                assert math.isnan(explorer.precision)


def test_every_stop_shows_one_score_more_and_the_last_shows_all():
    for scores in ([0.9, 0.7, 0.7, 0.2], [1.0, 0.5], [0.3], []):
        [stops] = call(made()._esm, [("stopsBetween", [scores])])
        lines = [{"score": score} for score in scores]
        places = call(made()._esm, [("stopOf", [lines, stop]) for stop in stops])
        assert places == list(range(len(set(scores)) + 1))
        assert sum(score > stops[0] for score in scores) == 0
        assert sum(score > stops[-1] for score in scores) == len(scores)


@pytest.mark.parametrize("seed", range(5))
def test_the_shaded_area_is_the_average_precision(seed):
    random = np.random.default_rng(seed)
    hits, objects = random.random(20) < 0.5, 15
    precision, recall = precision_recall(hits, objects)
    curve = np.stack([precision, recall], axis=1).tolist()
    corners = np.array(
        call(made()._esm, [("envelopeOf", [curve])])[0]
    )  # (2 hits, 2): recall, precision
    outline = np.concatenate([[[0, 0]], corners, [[corners[-1, 0], 0]]])
    x, y = outline.T
    assert abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 == pytest.approx(
        average_precision(precision, recall)
    )
    assert (np.diff(corners[:, 1]) <= 0).all()


def test_a_detection_finds_an_object_of_its_own_class_and_picture():
    explorer = made()
    found = [line[4] for line in explorer.detections if line[4] >= 0]
    assert found
    assert len(found) == len(set(found))
    for label, picture, _, _, index in explorer.detections:
        assert index < 0 or explorer.objects[index][:2] == [label, picture]
    scores = [line[3] for line in explorer.detections]
    assert scores == sorted(scores, reverse=True)


def test_what_is_wrong_is_named():
    found, real = scenes()
    with pytest.raises(ValueError, match="images: expected one for each entry of real, 3, got 2"):
        PrecisionRecallExplorer(IMAGES[:2], found, real, CLASSES)
    with pytest.raises(ValueError, match="found and real: expected one entry for each image"):
        PrecisionRecallExplorer(IMAGES, found[:2], real, CLASSES)
    with pytest.raises(ValueError, match=r"label: expected 1\.\.4 for 4 classes, got 5"):
        made(label=5)


def test_the_example_has_hits_false_alarms_and_missed_objects():
    explorer = EXAMPLES["PrecisionRecallExplorer"]()
    assert 0 < explorer.precision < 1
    assert 0 < explorer.recall < 1

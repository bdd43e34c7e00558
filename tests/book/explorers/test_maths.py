"""The explorers' box math is the package's, to a millionth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from book import explorers
from book.explorers.explorer import layout
from ssd_lite import boxes, default_boxes, encoding, matching, metrics, mining
from ssd_lite.nms import batched_nms
from ssd_lite.spec import LITE, SSD300_TORCHVISION, SSD300_VOC, SSD512_COCO
from tests.helpers.javascript import call

MATHS = (Path(explorers.__file__).parent / "maths.js").read_text(encoding="utf-8")
SPECS = [
    SSD300_VOC,
    SSD512_COCO,
    SSD300_TORCHVISION,
    LITE,
    replace(LITE, name="squares", extra_square=False, ratios=((), (), (), (), (), ())),
]


def in_javascript(name, cases):
    return call(MATHS, [(name, list(case)) for case in cases])


def random_boxes(count, seed=0):
    """xyxy; among them some without area, and some that are equal."""
    generator = torch.Generator().manual_seed(seed)
    corners = (
        torch.rand(count, 2, 2, dtype=torch.float64, generator=generator).sort(dim=1).values
    )  # (count, 2, 2)
    found = corners.view(count, 4)
    found[0, 2] = found[0, 0]
    found[1] = found[2]
    return found


def same(found, wanted):
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64), wanted.double(), rtol=1e-6, atol=1e-6
    )


def test_iou_and_its_parts():
    a, b = random_boxes(200), random_boxes(200, seed=1)
    b[50:100] = a[50:100] + 0.02
    pairs = list(zip(a.tolist(), b.tolist()))
    same(in_javascript("iou", pairs), boxes.paired_iou(a, b))
    same(in_javascript("intersection", pairs), boxes.intersection(a[:, None], b[:, None])[:, 0, 0])
    backwards = a[:, [2, 1, 0, 3]]
    same(
        in_javascript("area", [(box,) for box in [*a.tolist(), *backwards.tolist()]]),
        boxes.area(torch.cat([a, backwards])),
    )


def test_box_formats():
    given = random_boxes(50)
    same(in_javascript("toCenter", [(box,) for box in given.tolist()]), boxes.xyxy_to_cxcywh(given))
    same(
        in_javascript("toCorners", [(box,) for box in given.tolist()]), boxes.cxcywh_to_xyxy(given)
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_default_boxes(spec):
    wanted = default_boxes.make_default_boxes(spec)
    [found] = in_javascript("makeDefaultBoxes", [(layout(spec),)])
    [count] = in_javascript("countBoxes", [(layout(spec),)])
    same(found, wanted)
    assert count == len(wanted)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_nearest_center_holds_the_best_box_of_a_shape(spec):
    """Objects of all sizes, many at corners and edges, against every default box there is."""
    objects = random_boxes(300, seed=2)
    objects[:40] = (objects[:40] * 0.1).clamp(max=1)
    objects[40:80] = 1 - objects[40:80, [2, 3, 0, 1]] * 0.1
    corners = boxes.cxcywh_to_xyxy(default_boxes.make_default_boxes(spec)).double()
    wanted = boxes.iou(objects, corners).amax(dim=1)
    same(in_javascript("bestIou", [(layout(spec), box) for box in objects.tolist()]), wanted)


def test_scales_by_the_paper_s_equation():
    for levels, low, high in ((6, 0.2, 0.9), (5, 0.1, 1.0), (1, 0.3, 0.8)):
        [found] = in_javascript("scalesByEquation", [(low, high, levels)])
        wanted = [
            low + (high - low) / max(levels - 1, 1) * k * (levels > 1) for k in range(levels + 1)
        ]
        assert found == pytest.approx(wanted)
        assert found[levels - 1] == pytest.approx(high if levels > 1 else low)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_matching(threshold):
    spec = replace(LITE, maps=(6, 3), steps=(16, 32), sizes=(30, 60, 90), ratios=((2,), (2, 3)))
    given = default_boxes.make_default_boxes(spec)
    scenes = [random_boxes(5, seed=k)[3 - k % 4 :].clone() for k in range(30)]
    scenes += [scenes[3][[0, 0]], torch.zeros(0, 4)]  # an object twice; none
    found = in_javascript(
        "assign", [(given.tolist(), objects.tolist(), threshold) for objects in scenes]
    )
    for answer, objects in zip(found, scenes):
        labels = torch.ones(1, len(objects), dtype=torch.int64)
        wanted = matching.assign(given.double(), objects.double()[None], labels, threshold)
        assert answer == wanted[0].tolist()


def test_a_box_that_just_reaches_the_threshold_answers():
    defaults, objects = [[0.5, 0.5, 1, 1], [0.5, 0.25, 1, 0.5]], [[0, 0, 1, 1]]
    assert in_javascript("assign", [(defaults, objects, 0.5)]) == [[0, 0]]


def test_matching_without_forcing_and_with_overwriting():
    boxes_, objects = [[0.5, 0.5, 1, 1]], [[0, 0, 0.9, 0.9], [0, 0, 0.4, 0.4]]
    calls = [(boxes_, objects, 0.5, forced) for forced in ("bipartite", "none", "overwrite")]
    assert in_javascript("assign", calls) == [[0], [0], [1]]
    assert in_javascript("assign", [(boxes_, objects[1:], 0.5, "none")]) == [[-1]]


@pytest.mark.parametrize("variances", [(0.1, 0.2), (1.0, 1.0), (0.05, 0.4)])
def test_encoding_there_and_back(variances):
    corners = random_boxes(100)[3:]
    defaults = boxes.xyxy_to_cxcywh(random_boxes(100, seed=1)[3:])
    offsets = encoding.encode(corners, defaults, variances)
    pairs = list(zip(corners.tolist(), defaults.tolist()))
    same(in_javascript("encode", [(*pair, variances) for pair in pairs]), offsets)
    back = in_javascript(
        "decode", [(o, d, variances) for o, d in zip(offsets.tolist(), defaults.tolist())]
    )
    same(back, encoding.decode(offsets, defaults, variances))


@pytest.mark.parametrize("ratio", [0, 0.5, 1, 3, 1000])
def test_mining(ratio):
    generator = torch.Generator().manual_seed(0)
    losses = (5 * torch.rand(20, 60, generator=generator)).round(decimals=1)  # with ties
    positive = torch.rand(20, 60, generator=generator) < 0.1
    positive[0], positive[1] = False, True
    found = in_javascript(
        "hardNegatives",
        [(row, mask, ratio) for row, mask in zip(losses.tolist(), positive.tolist())],
    )
    assert found == mining.hard_negatives(losses, positive, ratio).tolist()


@pytest.mark.parametrize("per_class", [True, False])
def test_nms(per_class):
    given = torch.stack([random_boxes(40, seed=k) for k in range(10)])
    labels = torch.randint(1, 4, (10, 40), generator=torch.Generator().manual_seed(0))
    cases = [(b, row, 0.3, per_class) for b, row in zip(given.tolist(), labels.tolist())]
    found = torch.tensor(in_javascript("suppressors", cases))
    kept = batched_nms(given, labels if per_class else torch.ones_like(labels), 0.3)
    assert torch.equal(found < 0, kept)
    for row, by in enumerate(found.tolist()):
        for i, j in enumerate(by):
            assert j < 0 or (
                kept[row, j] and boxes.iou(given[row, j : j + 1], given[row, i : i + 1]) > 0.3
            )


def test_precision_recall_and_their_area():
    random = np.random.default_rng(0)
    for length, objects in ((0, 3), (1, 1), (30, 12), (200, 150), (5, 0)):
        hits = random.random(length) < 0.6
        precision, recall = metrics.precision_recall(hits, objects)
        [curve] = in_javascript("precisionRecall", [(hits.tolist(), objects)])
        assert np.array(curve).reshape(-1, 2) == pytest.approx(
            np.stack([precision, recall], axis=1)
        )
        [area] = in_javascript("averagePrecision", [(curve,)])
        assert area == pytest.approx(metrics.average_precision(precision, recall))

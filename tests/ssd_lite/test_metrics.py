"""Chapter 10: average precision against hand calculation, a plain loop, and pycocotools."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ssd_lite.data import Sample
from ssd_lite.detection import Detections, detect
from ssd_lite.evaluation import (
    check_evaluation,
    coco_metrics,
    evaluate,
    evaluate_model,
    ground_truth,
)
from ssd_lite.metrics import GroundTruth, average_precision, match_coco, match_voc, precision_recall
from ssd_lite.model import SSD
from ssd_lite.spec import LITE
from tests.helpers import oracles

CLASSES = ("disc", "square", "ring", "never there")


def detections(boxes=(), scores=(), labels=None):
    labels = torch.tensor([1] * len(boxes) if labels is None else labels, dtype=torch.int64)
    return Detections(
        torch.tensor(boxes).view(-1, 4).float(), torch.tensor(scores).view(-1).float(), labels
    )


def objects(boxes=(), labels=None, ignored=None):
    labels = torch.tensor([1] * len(boxes) if labels is None else labels, dtype=torch.int64)
    ignored = torch.tensor([False] * len(boxes) if ignored is None else ignored, dtype=torch.bool)
    return GroundTruth(torch.tensor(boxes).view(-1, 4).float(), labels, ignored)


def random_images(seed, images=8, integers=True, ties=False, most=8, largest=200):
    """Objects of classes 1 to 3, and detections.

    Some detections are the objects, shifted a little, and some are nothing.
    """
    generator = np.random.default_rng(seed)
    found, real = [], []
    for _ in range(images):
        count = generator.integers(0, most)
        size = largest ** generator.uniform(0.3, 1, (count, 2))
        corner = generator.uniform(0, largest, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        labels = generator.integers(1, 4, count)

        copied = generator.integers(
            0, max(count, 1), generator.integers(0, 3 * most) if count else 0
        )
        shifted = boxes[copied] + generator.normal(0, 0.08, (len(copied), 4)) * np.tile(
            size[copied], 2
        )
        low, high = (
            np.minimum(shifted[:, :2], shifted[:, 2:]),
            np.maximum(shifted[:, :2], shifted[:, 2:]) + 1,
        )
        shifted = np.concatenate([low, high], axis=1)
        relabeled = np.where(
            generator.random(len(copied)) < 0.8,
            labels[copied],
            generator.integers(1, 5, len(copied)),
        )
        scores = generator.random(len(copied))
        if integers:
            boxes[:, :2], boxes[:, 2:] = np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])
            shifted = np.round(shifted)
        if ties:
            scores = np.round(scores, 1)
        found.append(detections(shifted, scores, relabeled))
        real.append(objects(boxes, labels, generator.random(count) < 0.2))
    return found, real


# Precision, recall, and the area between. ---------------------------------------------------------


def test_precision_and_recall_by_hand():
    precision, recall = precision_recall(np.array([True, False, True]), 4)
    assert precision.tolist() == [1, 1 / 2, 2 / 3]
    assert recall.tolist() == [1 / 4, 1 / 4, 2 / 4]


def test_average_precision_by_hand():
    """Precision 1, .5, .67, .75, .6 becomes 1, .75, .75, .75, .6; recall ends at .75."""
    curve = precision_recall(np.array([True, False, True, True, False]), 4)
    assert average_precision(*curve, "area") == pytest.approx(0.25 * 1 + 0.5 * 0.75)
    assert average_precision(*curve, "11-point") == pytest.approx((3 * 1 + 5 * 0.75) / 11)
    assert average_precision(*curve, "coco") == pytest.approx((26 * 1 + 50 * 0.75) / 101)


@pytest.mark.parametrize("method", ["area", "11-point", "coco"])
def test_all_found_is_1_and_nothing_found_is_0(method):
    assert average_precision(*precision_recall(np.array([True] * 3), 3), method) == 1
    assert average_precision(*precision_recall(np.array([False] * 3), 3), method) == 0
    assert average_precision(*precision_recall(np.array([], dtype=bool), 3), method) == 0


@pytest.mark.parametrize("found", range(11))
def test_eleven_points_count_a_recall_of_exactly_3_of_10(found):
    """0.1 + 0.1 + 0.1 > 0.3 in floating point."""
    curve = precision_recall(np.array([True] * found, dtype=bool), 10)
    assert average_precision(*curve, "11-point") == pytest.approx((found + 1) / 11 if found else 0)


def test_an_unknown_method_is_an_error():
    with pytest.raises(
        ValueError, match="method: expected 'area', '11-point' or 'coco', got '11 point'"
    ):
        average_precision(np.ones(1), np.ones(1), "11 point")


# VOC. ---------------------------------------------------------------------------------------------


def voc_oracle(found, real, label, method):
    """The rule of VOC's development kit.

    One detection after another, best first, over all images.
    """
    queue, used, total = [], set(), 0
    for i, (f, r) in enumerate(zip(found, real)):
        queue += [
            (-s, i, b)
            for b, s, c in zip(f.boxes.tolist(), f.scores.tolist(), f.labels.tolist())
            if c == label
        ]
        total += sum(
            c == label and not ignored for c, ignored in zip(r.labels.tolist(), r.ignored.tolist())
        )
    if total == 0:
        return math.nan
    hits, misses, curve = 0, 0, []
    for _, i, box in sorted(queue, key=lambda q: q[0]):
        best, best_overlap = None, -1
        for g, candidate in enumerate(real[i].boxes.tolist()):
            if real[i].labels[g] == label and oracles.iou(box, candidate) > best_overlap:
                best, best_overlap = g, oracles.iou(box, candidate)
        if best_overlap < 0.5:
            misses += 1
        elif real[i].ignored[best]:
            continue
        elif (i, best) in used:
            misses += 1
        else:
            hits += 1
            used.add((i, best))
        curve.append((hits, hits / (hits + misses)))
    if method == "11-point":
        return (
            sum(max([p for h, p in curve if 10 * h >= k * total], default=0) for k in range(11))
            / 11
        )
    return sum(max([p for h, p in curve if h >= n], default=0) for n in range(1, total + 1)) / total


@pytest.mark.parametrize("method", ["area", "11-point"])
@pytest.mark.parametrize("seed", range(10))
def test_evaluate_equals_the_plain_loop_of_vocs_rule(method, seed):
    found, real = random_images(seed, largest=20, ties=seed % 2)
    evaluation = evaluate(found, real, CLASSES, method)
    expected = [voc_oracle(found, real, label, method) for label in range(1, 5)]
    assert list(evaluation.per_class.values()) == pytest.approx(expected, nan_ok=True)
    assert evaluation.map50 == pytest.approx(np.nanmean(expected))


def test_an_object_is_found_once():
    box = [0, 0, 10, 10]
    assert match_voc(detections([box] * 3, [0.9, 0.8, 0.7]), objects([box])).tolist() == [1, 0, 0]


def test_a_detection_does_not_fall_back_on_its_second_best_object_in_voc_but_does_in_coco():
    twins = objects([[0, 0, 10, 10], [0, 0, 10, 9]])
    found = detections([[0, 0, 10, 10]] * 2, [0.9, 0.8])
    assert match_voc(found, twins).tolist() == [1, 0]
    assert match_coco(found, twins)[0].tolist() == [1, 1]


def test_a_difficult_object_counts_neither_found_nor_missed():
    easy, difficult = [0, 0, 10, 10], [50, 50, 60, 60]
    real = [objects([easy, difficult], ignored=[False, True])]
    assert match_voc(detections([difficult, difficult], [0.9, 0.8]), real[0]).tolist() == [-1, -1]
    for found in ([easy], [difficult, easy]):
        assert evaluate([detections(found, [0.9, 0.8][: len(found)])], real, ["disc"]).map50 == 1


@pytest.mark.parametrize("width, hit", [(5, 1), (4.9, 0)])
def test_an_overlap_of_exactly_a_half_is_a_hit(width, hit):
    assert match_voc(
        detections([[0, 0, width, 10]], [0.9]), objects([[0, 0, 10, 10]])
    ).tolist() == [hit]


def test_the_order_of_detections_and_images_does_not_matter():
    found, real = random_images(seed=3)
    turned = [Detections(*(x.flip(0) for x in f)) for f in found]
    assert evaluate(turned[::-1], real[::-1], CLASSES).per_class == pytest.approx(
        evaluate(found, real, CLASSES).per_class, nan_ok=True
    )


# COCO. --------------------------------------------------------------------------------------------


def pycocotools_metrics(found, real, classes):
    """The first six figures of pycocotools' summary."""
    data = {
        "images": [{"id": i} for i in range(len(real))],
        "categories": [{"id": c} for c in range(1, classes + 1)],
        "annotations": [],
    }
    for i, r in enumerate(real):
        for box, label, crowd in zip(r.boxes.tolist(), r.labels.tolist(), r.ignored.tolist()):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            annotation = {
                "bbox": [x, y, w, h],
                "area": w * h,
                "category_id": label,
                "iscrowd": int(crowd),
            }
            data["annotations"].append(
                {**annotation, "image_id": i, "id": len(data["annotations"]) + 1}
            )
    results = [
        {
            "image_id": i,
            "category_id": c,
            "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
            "score": s,
        }
        for i, f in enumerate(found)
        for b, s, c in zip(f.boxes.tolist(), f.scores.tolist(), f.labels.tolist())
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = data
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(
        zip(
            ("AP", "AP50", "AP75", "APs", "APm", "APl"),
            np.where(evaluation.stats < 0, np.nan, evaluation.stats),
        )
    )


def check_against_pycocotools(found, real, classes=4):
    ours = coco_metrics(found, real, classes)
    assert ours == pytest.approx(pycocotools_metrics(found, real, classes), abs=1e-6, nan_ok=True)
    return ours


@pytest.mark.parametrize("seed", range(20))
def test_all_six_figures_equal_pycocotools(seed):
    found, real = random_images(seed, integers=seed % 2, ties=seed % 4 >= 2)
    ours = check_against_pycocotools(found, real)
    assert any(r.ignored.any() for r in real)
    assert 0 < ours["AP"] < ours["AP50"] < 1


def test_more_than_100_detections_of_one_class_in_one_image_equal_pycocotools():
    found, real = random_images(seed=1, images=3, most=300)
    assert max((f.labels == 1).sum() for f in found) > 100
    check_against_pycocotools(found, real)


def test_objects_at_the_very_bounds_of_small_medium_and_large_equal_pycocotools():
    sides = [31, 32, 33, 95, 96, 97]
    boxes = [[200.0 * i, 0, 200.0 * i + s, s] for i, s in enumerate(sides)]
    found = [
        detections(
            [[x0, y0, x1 + 1, y1] for x0, y0, x1, y1 in boxes], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
        )
    ]
    check_against_pycocotools(found, [objects(boxes)], classes=1)


def test_an_object_larger_than_small_by_less_than_float32_can_say_equals_pycocotools():
    just_above = float(np.nextafter(np.float32(32), np.float32(64)))
    just_below = float(np.nextafter(np.float32(32), np.float32(0)))
    box = [0, 0, just_above, just_below]  # 1024.00006 pixels²; in float32, 1024
    check_against_pycocotools([detections([box], [0.9])], [objects([box])], classes=1)


def test_of_two_objects_overlapped_alike_the_last_is_taken_as_in_pycocotools():
    """The first detection may take either; the second fits only the first object."""
    real = [objects([[0, 0, 10, 9], [0, 1, 10, 10]])]
    check_against_pycocotools(
        [detections([[0, 0, 10, 10], [0, 0, 10, 8]], [0.9, 0.8])], real, classes=1
    )


def test_several_detections_may_lie_in_one_crowd():
    crowd = objects([[0, 0, 100, 100]], ignored=[True])
    found = detections([[0, 0, 10, 10], [50, 50, 60, 60], [95, 95, 150, 150]], [0.9, 0.8, 0.7])
    assert match_coco(found, crowd)[0].tolist() == [-1, -1, 0]


def test_a_data_set_without_objects_or_without_detections():
    assert all(
        math.isnan(v)
        for v in coco_metrics([detections([[0, 0, 5, 5]], [0.9])], [objects()], 1).values()
    )
    ours = coco_metrics([detections()], [objects([[0, 0, 5, 5]])], 1)
    assert (ours["AP"], ours["APs"]) == (0, 0)
    assert math.isnan(ours["APl"])


# The whole. ---------------------------------------------------------------------------------------


def test_bug_absent_classes_counted_as_ap_0_sgrvinod_55():
    box = [0, 0, 10, 10]
    found = [
        detections([box, [20, 20, 30, 30]], [0.9, 0.8], [1, 4])
    ]  # even if the absent one was "detected"
    evaluation = evaluate(found, [objects([box], [1])], CLASSES, coco=True)
    assert evaluation.per_class["disc"] == 1
    assert all(math.isnan(evaluation.per_class[name]) for name in CLASSES[1:])
    assert evaluation.map50 == evaluation.coco["AP"] == 1


def test_a_class_whose_objects_are_all_difficult_is_absent():
    box = [0, 0, 10, 10]
    evaluation = evaluate([detections([box], [0.9])], [objects([box], ignored=[True])], ["disc"])
    assert math.isnan(evaluation.per_class["disc"])
    assert math.isnan(evaluation.map50)
    assert (evaluation.images, evaluation.objects) == (1, 0)


def test_a_class_that_occurs_but_is_never_detected_has_ap_0():
    box = [0, 0, 10, 10]
    evaluation = evaluate(
        [detections([box], [0.9], [1])], [objects([box, box], [1, 2])], ["disc", "square"]
    )
    assert evaluation.per_class == {"disc": 1, "square": 0}
    assert evaluation.map50 == 0.5


def test_coco_figures_only_if_asked_for():
    found, real = random_images(seed=0)
    assert evaluate(found, real, CLASSES).coco == {}
    assert evaluate(found, real, CLASSES, coco=True).coco == pytest.approx(
        coco_metrics(found, real, 4), nan_ok=True
    )


def test_the_table_has_a_line_for_each_class_and_mean():
    found, real = random_images(seed=0)
    evaluation = evaluate(found, real, CLASSES, coco=True)
    lines = evaluation.table().splitlines()
    assert [line.rsplit(maxsplit=1)[0].strip() for line in lines] == [
        *CLASSES,
        "mAP@0.5",
        *evaluation.coco,
    ]
    assert lines[0].endswith(f"{evaluation.per_class['disc']:.4f}")
    assert lines[3].endswith("absent")


class Noise(torch.utils.data.Dataset):
    """Pictures of noise, wider than high, each with one easy and one difficult object."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        image = torch.randint(0, 256, (3, 50, 100), dtype=torch.uint8, generator=generator)
        boxes = torch.tensor([[0.1, 0.2, 0.5, 0.7], [0.4, 0.4, 0.9, 0.9]])
        return Sample(image, boxes, torch.tensor([1, 2]), torch.tensor([False, True]), str(i))


def test_a_samples_objects_are_in_pixels_and_the_difficult_ones_ignored():
    real = ground_truth(Noise()[0])
    torch.testing.assert_close(real.boxes, torch.tensor([[10.0, 10, 50, 35], [40, 20, 90, 45]]))
    assert real.labels.tolist() == [1, 2]
    assert real.ignored.tolist() == [False, True]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_measure_is_detect_and_evaluate_whatever_the_batch_size(batch_size):
    torch.manual_seed(0)
    model, data = SSD(LITE, ["disc", "square"]), Noise()
    found = [detect(model, [data[i].image])[0] for i in range(len(data))]
    expected = evaluate(found, [ground_truth(data[i]) for i in range(len(data))], model.classes)
    measured = evaluate_model(model, data, batch_size)
    assert measured.per_class == pytest.approx(expected.per_class, nan_ok=True, abs=1e-6)
    assert (measured.images, measured.objects) == (5, 5)


GOOD = {
    "detections": [detections([[0, 0, 1, 1]], [0.5])],
    "ground_truths": [objects([[0, 0, 1, 1]])],
    "classes": ["disc"],
}


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"detections": []},
            "detections and ground_truths: expected one entry for each image in both, got 0 and 1",
        ),
        (
            {"detections": [detections([[0, 0, 1, 1]], [0.5], [0])]},
            r"detections\[0\].labels: expected 1..1 .* got 0..0",
        ),
        (
            {"detections": [detections([[0, 0, 1, 1]], [0.5], [2])]},
            r"detections\[0\].labels: expected 1..1 .* got 2..2",
        ),
        (
            {"ground_truths": [objects([[0, 0, 1, 1]], [2])]},
            r"ground_truths\[0\].labels: expected 1..1 for 1 classes .* got 2..2",
        ),
        (
            {"ground_truths": [objects([[0, 0, 1, 1]], [0])]},
            r"ground_truths\[0\].labels: .* \(0 is background\)",
        ),
        (
            {"ground_truths": [objects([[0, 0, 0, 1]])]},
            r"ground_truths\[0\].boxes: 1 of 1 boxes have no area",
        ),
        (
            {"detections": [detections([[0, 0, 1, 1]], [math.nan])]},
            r"detections\[0\]: boxes and scores must be finite",
        ),
        (
            {"detections": [detections([[0, 0, 1, math.inf]], [0.5])]},
            r"detections\[0\]: boxes and scores must be finite",
        ),
    ],
)
def test_check_evaluation_names_what_is_wrong(change, message):
    check_evaluation(**GOOD)
    with pytest.raises(ValueError, match=message):
        check_evaluation(**{**GOOD, **change})

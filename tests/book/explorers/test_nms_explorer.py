"""The NMS explorer: its steps are the loop's, and it keeps what the package keeps."""

import pytest
import torch

from book.explorers import NMSExplorer
from ssd_lite.boxes import iou
from ssd_lite.nms import batched_nms
from tests.helpers.javascript import call

CLASSES = ("one", "two", "three")
PICTURE = torch.zeros(3, 96, 96, dtype=torch.uint8)


def made(count=30, seed=0, **knobs):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values  # (K, 2, 2)
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    labels = torch.randint(1, 4, (count,), generator=generator)
    return NMSExplorer(PICTURE, corners.view(count, 4), scores, labels, CLASSES, **knobs)


def loop(explorer):
    """Greedy NMS as it is told: take the best that is left, strike out its rivals."""
    overlap = iou(torch.tensor(explorer.boxes).double(), torch.tensor(explorer.boxes).double())
    left, steps = list(range(len(explorer.boxes))), []
    while left:
        box, *others = left
        same = [
            i
            for i in others
            if not explorer.per_class or explorer.labels[i] == explorer.labels[box]
        ]
        struck = [i for i in same if overlap[box, i] > explorer.iou_threshold]
        steps.append({"box": box, "struck": struck})
        left = [i for i in others if i not in struck]
    return steps


@pytest.mark.parametrize("per_class", [True, False])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.45, 0.95])
def test_the_page_takes_the_loop_s_steps_and_python_keeps_the_same(threshold, per_class):
    for seed in range(3):
        explorer = made(seed=seed)
        explorer.iou_threshold, explorer.per_class = threshold, per_class
        given = [explorer.boxes, explorer.labels, threshold, per_class]
        [steps] = call(explorer._esm, [("greedySteps", given)])
        assert steps == loop(explorer)
        assert [step["box"] for step in steps] == explorer.kept.nonzero()[:, 0].tolist()
        boxes, labels = torch.tensor([explorer.boxes]), torch.tensor([explorer.labels])
        wanted = batched_nms(boxes, labels if per_class else torch.ones_like(labels), threshold)[0]
        assert torch.equal(explorer.kept, wanted)


def test_a_step_decides_over_one_box_and_its_rivals():
    steps = [{"box": 0, "struck": [2, 3]}, {"box": 1, "struck": []}, {"box": 4, "struck": [5]}]
    before, middle, end = call(made()._esm, [("fates", [steps, done, 6]) for done in (0, 2, 3)])
    assert [one["fate"] for one in before] == ["waits"] * 6
    assert [one["fate"] for one in middle] == ["kept", "kept", "out", "out", "waits", "waits"]
    assert [one["fate"] for one in end] == ["kept", "kept", "out", "out", "kept", "out"]
    assert [one["by"] for one in end] == [-1, -1, 0, 0, -1, 4]


def test_no_candidates():
    explorer = NMSExplorer(
        PICTURE, torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), CLASSES
    )
    assert explorer.kept.tolist() == []
    assert call(explorer._esm, [("greedySteps", [[], [], 0.45, True])]) == [[]]


def test_candidates_that_do_not_fit_together_are_refused():
    boxes, scores, labels = torch.rand(3, 4), torch.tensor([0.9, 0.5, 0.5]), torch.tensor([1, 2, 3])
    NMSExplorer(PICTURE, boxes, scores, labels, CLASSES)  # equal scores are in order
    with pytest.raises(ValueError, match="scores: they must descend"):
        NMSExplorer(PICTURE, boxes, scores.flip(0), labels, CLASSES)
    with pytest.raises(ValueError, match=r"labels: expected 1\.\.2"):
        NMSExplorer(PICTURE, boxes, scores, labels, CLASSES[:2])
    with pytest.raises(ValueError, match=r"labels: expected 1\.\.3.*got \[0, 1, 2\]"):
        NMSExplorer(PICTURE, boxes, scores, labels - 1, CLASSES)

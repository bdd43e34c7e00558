"""Page zero builds the detector once more, plainly; piece by piece it equals the package.

Its definitions are executed and nothing is trained. Cells that draw figures are not looked at.
"""

import ast
import re
from types import SimpleNamespace

import nbformat
import pytest
import torch
import torchvision

from book.sync import ROOT
from ssd_lite import boxes, encoding
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.loss import multibox_loss
from ssd_lite.matching import match
from ssd_lite.mining import hard_negatives
from ssd_lite.model import flatten_head
from ssd_lite.postprocessing import postprocess
from ssd_lite.spec import SSDSpec
from tests.helpers import oracles
from tests.helpers.prose import words

CELLS = nbformat.read(ROOT / "chapters" / "00_ssd_on_one_page.ipynb", as_version=4).cells
PROSE = [cell.source for cell in CELLS if cell.cell_type == "markdown"]
FIGURES = [c.source for c in CELLS if c.cell_type == "code" and "plt." in c.source]
CODE = [c for c in CELLS if c.cell_type == "code" and c.source not in FIGURES]
DEFINITIONS = [c.source for c in CODE if "runs" not in c.metadata.get("tags", [])]


def executed():
    """The names that page zero defines."""
    names = {}
    for source in DEFINITIONS:
        exec(source, names)
    return SimpleNamespace(**names)


page = executed()
SPEC = SSDSpec(
    name="page zero",
    image_size=96,
    base="lite",
    maps=page.MAPS,
    steps=tuple(96 / cells for cells in page.MAPS),
    sizes=tuple(96 * size for size in (*page.SIZES, 1)),
    ratios=((2,),) * len(page.MAPS),
    extras=(),
    extra_square=False,
)


def generators(count=50):
    return (torch.Generator().manual_seed(seed) for seed in range(count))


def random_boxes(generator, count):
    """xyxy with an area, off any grid: no two IoUs are equal."""
    low, size = torch.rand(2, count, 2, generator=generator)
    return torch.cat([low, low + size + 0.01], dim=1)


def lines(sources):
    return [line for source in sources for line in source.splitlines() if line.strip()]


def test_boxes_and_iou():
    for generator in generators():
        a, b = oracles.grid_boxes(generator, 6), oracles.grid_boxes(generator, 9)
        torch.testing.assert_close(page.iou(a, b), boxes.iou(a, b))
        centered = page.xyxy_to_cxcywh(a)
        assert torch.equal(centered, boxes.xyxy_to_cxcywh(a))
        assert torch.equal(page.cxcywh_to_xyxy(centered), boxes.cxcywh_to_xyxy(centered))


def test_default_boxes():
    assert page.default_boxes.shape == (2268, 4)  # as the page says
    torch.testing.assert_close(page.default_boxes, make_default_boxes(SPEC))


def test_matching():
    for generator in generators():
        count, objects = torch.randint(1, 12, (2,), generator=generator).tolist()
        default_boxes = boxes.xyxy_to_cxcywh(random_boxes(generator, count))
        truth = random_boxes(generator, objects)
        labels = torch.randint(1, 4, (objects,), generator=generator)
        by_package = match(default_boxes, truth[None], labels[None])
        for mine, right in zip(page.match(default_boxes, truth, labels), by_package):
            assert torch.equal(mine, right[0])


def test_matching_of_its_own_scenes():
    torch.manual_seed(0)
    positives = []
    for _ in range(50):
        image, truth, labels = page.draw_scene()
        assert image.shape == (3, 96, 96) and image.min() >= 0 and image.max() <= 1
        assert 1 <= len(truth) <= 6 and truth.min() >= 0 and truth.max() <= 1
        target_labels, target_boxes = page.match(page.default_boxes, truth, labels)
        by_package = match(page.default_boxes, truth[None], labels[None])
        assert torch.equal(target_labels, by_package[0][0])
        assert torch.equal(target_boxes, by_package[1][0])
        positives.append((target_labels > 0).sum().item())
    assert 15 < sum(positives) / len(positives) < 25  # "only about twenty are positive"


def test_a_box_is_that_of_its_object():
    ticks = (torch.arange(96) + 0.5) / 96
    v, u = torch.meshgrid(2 * ticks - 1, 2 * ticks - 1, indexing="ij")
    for label in (1, 2, 3):
        rows, columns = page.inside(label, u, v).nonzero().unbind(dim=1)
        assert rows.min() <= 1 and rows.max() == 95  # a triangle begins with a point
        assert columns.min() == 0 and columns.max() == 95


def test_encoding():
    for generator in generators():
        truth = random_boxes(generator, 20)
        default_boxes = boxes.xyxy_to_cxcywh(random_boxes(generator, 20))
        offsets = page.encode(truth, default_boxes)
        assert torch.equal(offsets, encoding.encode(truth, default_boxes))
        assert torch.equal(
            page.decode(offsets, default_boxes), encoding.decode(offsets, default_boxes)
        )
        torch.testing.assert_close(page.decode(offsets, default_boxes), truth, atol=1e-5, rtol=1e-5)


def test_mining_and_loss():
    for generator in generators():
        logits = 3 * torch.randn(3, 40, 4, generator=generator)
        offsets, target_offsets = 2 * torch.randn(2, 3, 40, 4, generator=generator)
        share = torch.tensor([[0.0], [0.1], [0.4]])  # none, some, too many for three each
        positive = torch.rand(3, 40, generator=generator) < share
        target_labels = torch.where(
            positive, torch.randint(1, 4, positive.shape, generator=generator), 0
        )
        losses = torch.rand(3, 40, generator=generator)
        assert torch.equal(page.hard_negatives(losses, positive), hard_negatives(losses, positive))
        arguments = logits, offsets, target_labels, target_offsets
        torch.testing.assert_close(
            page.multibox_loss(*arguments), multibox_loss(*arguments, hard_negatives).total
        )


def test_the_loss_of_empty_scenes():
    zeros = torch.zeros(2, 40, 4)
    assert page.multibox_loss(zeros, zeros, torch.zeros(2, 40, dtype=torch.int64), zeros) == 0


class Says(torch.nn.Module):
    """A head that gives every cell the numbers meant for its default boxes."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers  # (1, K · values, H, W)

    def forward(self, x):
        assert x.shape[-2:] == self.answers.shape[-2:]
        return self.answers


def test_answers_come_in_the_order_of_the_default_boxes():
    model, levels = page.SSD().eval(), page.default_boxes.split(SPEC.boxes_per_level)
    for i, (cells, level) in enumerate(zip(page.MAPS, levels)):
        assert model.logits[i].out_channels == 3 * 4 and model.offsets[i].out_channels == 3 * 4
        marker = level.view(1, cells, cells, 3 * 4).permute(0, 3, 1, 2)
        model.offsets[i], model.logits[i] = Says(marker), Says(-marker)
    logits, offsets = model(torch.zeros(1, 3, 96, 96))
    assert torch.equal(offsets[0], page.default_boxes)
    assert torch.equal(logits[0], -page.default_boxes)


def test_a_flattened_head():
    x = torch.randn(2, 15, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(page.flatten_head(x, 5), flatten_head(x, 5))


def test_nms():
    for generator in generators():
        candidates, scores = random_boxes(generator, 30), torch.rand(30, generator=generator)
        right = torchvision.ops.nms(candidates, scores, 0.45)
        assert page.nms(candidates, scores) == right.tolist()
        assert page.nms(candidates[:0], scores[:0]) == []


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_detection(threshold):
    for generator in generators():
        default_boxes = page.default_boxes[::8]
        count = len(default_boxes)
        logits = torch.randn(count, 4, generator=generator)
        offsets = torch.randn(count, 4, generator=generator)
        found = page.postprocess(logits, offsets, default_boxes, threshold)
        limits = threshold, 0.45, count, 3 * count
        by_package = postprocess(logits[None], offsets[None], default_boxes, SPEC, *limits)
        right = [
            (label.item(), score.item(), *box.tolist())
            for box, score, label in zip(*(x[0] for x in by_package))
            if label > 0
        ]
        mine = [(label, score.item(), *box.tolist()) for box, score, label in found]
        torch.testing.assert_close(torch.tensor(sorted(mine)), torch.tensor(sorted(right)))


def test_detection_of_a_picture():
    torch.manual_seed(0)
    model, (image, _, _) = page.SSD(), page.draw_scene()
    found = page.detect(model, image)
    logits, offsets = model(image[None])
    assert found == [] or found[0][0].shape == (4,)
    assert not model.training and logits.shape == offsets.shape == (1, len(page.default_boxes), 4)


def test_it_stands_on_pytorch_alone():
    modules = set()
    for source in [cell.source for cell in CODE]:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                modules |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
    assert modules == {"torch"}
    assert "ssd_lite" not in "".join(FIGURES)
    assert set(re.findall(r"\bplot\.\w+", "".join(FIGURES))) == {"plot.style"}


def test_it_is_one_page():
    sources = [cell.source for cell in CODE]
    assert len(lines(sources)) < 200  # as the page says
    assert len(lines(FIGURES)) < 40
    assert max(len(source.splitlines()) for source in sources) <= 30
    assert max(map(len, lines(sources + FIGURES))) <= 80
    assert 600 <= words(CELLS) <= 900


def test_it_leads_to_every_chapter():
    linked = re.findall(r"\[chapter (\d+)\]\((\d\d)_\w+\.ipynb\)", "".join(PROSE), re.IGNORECASE)
    assert all(int(number) == int(name) for number, name in linked)
    assert {int(number) for number, _ in linked} == set(range(1, 12))

"""Try it: what Python gives to it, and the shapes that are drawn."""

import pytest
import torch

from book.explorers.explorer import sources
from book.explorers.try_it import TryIt
from ssd_lite.drawing import PALETTE
from ssd_lite.model import SSD
from ssd_lite.shapes import OUTLINES, Shapes
from ssd_lite.spec import LITE
from tests.helpers.javascript import call


@pytest.fixture(scope="module")
def explorer(tmp_path_factory):
    from ssd_lite.checkpoint import save_checkpoint

    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    save_checkpoint(path, SSD(LITE, Shapes.classes))
    return TryIt({"mine": ("my own", path)}, {"empty": None, "scene": Shapes(1)[0].image})


def test_both_modules_bring_all_that_they_need(explorer):
    for module in (explorer._esm, explorer.engine):
        assert "\nimport" not in module
    assert "export " not in explorer.engine  # a worker that is no module
    assert explorer._esm.count("export default") == 1
    assert call(explorer._esm, []) == []
    assert "innerHTML" not in explorer._esm  # names of classes are words and never markup


def test_no_name_is_used_twice_in_what_is_one_module(explorer):
    assert call(explorer.engine.partition("self.onmessage")[0], []) == []


def test_what_it_holds(explorer):
    assert explorer.detectors == [{"name": "mine", "title": "my own", "megabytes": 1.1}]
    assert [example["name"] for example in explorer.examples] == ["empty", "scene"]
    assert explorer.examples[0]["picture"] is None
    assert explorer.examples[1]["picture"].startswith("data:image/png")  # no gray level is lost
    assert [color for color, _ in explorer.palette] == list(PALETTE)
    explorer.score_threshold, explorer.left_out = 0.2, [0]
    explorer.reset()
    assert (explorer.score_threshold, explorer.left_out) == (0.5, [])


def test_in_jupyterlab_weights_come_from_python_when_asked_for(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(TryIt, "send", lambda _, *what: sent.append(what))
    explorer._handle_custom_msg({"weights": "mine"}, [])
    assert sent == [({"weights": "mine"}, [explorer.weights["mine"]])]


SKETCH = "".join(sources("sketch.js").values())


def corners_of(path):
    pairs = [pair.split() for pair in path.strip("MZ").split("L")]
    return torch.tensor([[float(v) for v in pair] for pair in pairs])


@pytest.mark.parametrize("name", OUTLINES)
def test_shapes_are_those_of_the_drawn_scenes(name):
    box = torch.tensor([40.0, 100.0, 240.0, 180.0])
    [path] = call(SKETCH, [("shapePath", [name, box.tolist()])])
    ours = torch.from_numpy(OUTLINES[name]).float()
    low, high = ours.amin(dim=0), ours.amax(dim=0)
    ours = box[:2] + (ours - low) / (high - low) * (box[2:] - box[:2])
    distance = torch.cdist(ours, corners_of(path))
    assert distance.amin(dim=1).max() < 0.1 and distance.amin(dim=0).max() < 0.1


def test_a_click_sets_a_shape_down_and_a_drag_draws_one():
    click = ("boxFrom", [[100, 50], [103, 51], 40])
    drag = ("boxFrom", [[100, 50], [30, 90], 40])
    assert call(SKETCH, [click, drag]) == [[80, 30, 120, 70], [30, 50, 100, 90]]

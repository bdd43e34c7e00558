"""The explorers' Python side: their knobs, and the module that is sent to the page."""

import pytest
import torch

from book import explorers
from book.explorers.default_boxes import SPECS
from book.explorers.explorer import bundle, layout
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.model import SSD
from ssd_lite.spec import LITE, SSD300_VOC, SSD512_VOC
from tests.helpers.examples import EXAMPLES, OBJECTS, PICTURE
from tests.helpers.javascript import call


def test_every_explorer_is_made_here():
    assert set(EXAMPLES) == set(explorers.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_explorer_brings_all_that_it_needs(name):
    """Its module imports nothing, because no file lies beside it, and Node can read it."""
    explorer = EXAMPLES[name]()
    assert "\nimport" not in explorer._esm
    assert explorer._esm.count("export default") == 1
    assert call(explorer._esm, []) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_knobs_are_synced_and_go_back_on_reset(name):
    explorer = EXAMPLES[name]()
    assert explorer.knobs
    assert all(explorer.trait_metadata(knob, "sync") for knob in explorer.knobs)
    first = explorer.state()
    assert explorer.start == first
    for knob, value in first.items():
        if isinstance(value, bool):
            setattr(explorer, knob, not value)
    explorer.reset()
    assert explorer.state() == first
    assert repr(explorer).startswith(f"{name}({explorer.knobs[0]}=")


def test_the_bundle_keeps_what_a_module_exports_of_its_own():
    source = bundle("default_boxes.js")
    assert "export function recallByBand" in source
    assert "export function iou" not in source


# ---- default boxes


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_untouched_knobs_say_the_spec_they_began_with(spec):
    explorer = explorers.DefaultBoxExplorer(spec, PICTURE, OBJECTS)
    torch.testing.assert_close(make_default_boxes(explorer.spec), make_default_boxes(spec))


def recall_in_torch(spec, objects):
    best = iou(objects, cxcywh_to_xyxy(make_default_boxes(spec))).amax(dim=1)
    return int((best >= 0.5).sum())


def test_python_and_the_page_reach_the_same_objects():
    explorer = explorers.DefaultBoxExplorer(SSD300_VOC, PICTURE, OBJECTS)
    settings = [
        {},
        {"scales": [0.05, *explorer.scales[1:]]},
        {"maps": 4, "extra_square": False},
        {"ratios": [[]] * 6, "clip_sizes": True},
        {"base": "LITE", **explorers.default_boxes.knobs_of(LITE)},
        {"base": "SSD512_VOC", **explorers.default_boxes.knobs_of(SSD512_VOC)},
    ]
    for knobs in settings:
        explorer.reset()
        for knob, value in knobs.items():
            setattr(explorer, knob, value)
        [bands] = call(explorer._esm, [("recallByBand", [layout(explorer.spec), OBJECTS.tolist()])])
        assert bands[-1]["count"] == len(OBJECTS) == sum(band["count"] for band in bands[:-1])
        assert bands[-1]["reached"] == recall_in_torch(explorer.spec, OBJECTS) > 0


def test_a_dialed_spec_is_a_network_that_can_be_trained():
    explorer = explorers.DefaultBoxExplorer(LITE, PICTURE, OBJECTS)
    explorer.scales = [0.1, *explorer.scales[1:]]
    explorer.maps = 4
    model = SSD(explorer.spec, ["a"]).eval()
    with torch.no_grad():
        logits, offsets = model(torch.zeros(1, 3, 96, 96))
    assert logits.shape[1] == offsets.shape[1] == len(make_default_boxes(explorer.spec))


def test_a_spec_that_is_not_the_package_s_is_refused():
    with pytest.raises(ValueError, match="spec: expected one of SSD300_VOC"):
        explorers.DefaultBoxExplorer(EXAMPLES["DefaultBoxExplorer"]().spec, PICTURE, OBJECTS)

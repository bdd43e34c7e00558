"""Diagrams: they hold what the pieces and the specs say, and they are sound SVG."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from wcag import contrast

from ssd_lite import default_boxes
from ssd_lite.default_boxes import LITE, SSD300_VOC, SSD512_VOC, SSDSpec
from ssd_lite.diagram import DARK, LIGHT, PIECES, architecture, layers, map_names, pipeline_map
from ssd_lite.model import SSD

SVG = "{http://www.w3.org/2000/svg}"
SPECS = [spec for spec in vars(default_boxes).values() if isinstance(spec, SSDSpec)]


def words(diagram):
    """Every text of a diagram, with its attributes."""
    return [(text.text, text.attrib) for text in ET.fromstring(diagram).iter(f"{SVG}text")]


@pytest.mark.parametrize("lit", [None, *PIECES])
def test_the_map_has_every_piece_with_its_chapter_and_lights_one(lit):
    found = words(pipeline_map(lit))
    for *_, chapter, word in PIECES.values():
        assert word in [text for text, _ in found]
        assert str(chapter) in [text for text, _ in found]
    assert [text for text, looks in found if "font-weight" in looks] == ([PIECES[lit][-1]] if lit else [])


def test_the_map_refuses_an_unknown_piece():
    with pytest.raises(ValueError, match="lit: expected one of data, heads"):
        pipeline_map("anchors")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_an_architecture_counts_what_its_spec_says(spec):
    text = "\n".join(text for text, _ in words(architecture(spec)))
    for n, shapes in zip(spec.maps, spec.boxes_per_cell):
        assert f"{n} × {n} cells" in text
        assert f"{shapes} boxes a cell: {n * n * shapes}\n" in text
    assert f"{len(default_boxes.make_default_boxes(spec))} default boxes" in text


def test_ssd300_s_maps_have_the_papers_names_and_channels():
    text = [text for text, _ in words(architecture(SSD300_VOC))]
    names = ["conv4_3", "fc7", "conv8_2", "conv9_2", "conv10_2", "conv11_2"]
    assert [text[text.index(name) + 1] for name in names] == [
        "38 × 38 cells, 512 channels",
        "19 × 19 cells, 1024 channels",
        "10 × 10 cells, 512 channels",
        "5 × 5 cells, 256 channels",
        "3 × 3 cells, 256 channels",
        "1 × 1 cells, 256 channels",
    ]


def test_layers_are_counted_from_the_network_itself():
    model = SSD(LITE, ["a"])
    assert layers(model)[:3] == ["3 convolutions", "2 convolutions", "2 convolutions"]
    assert layers(SSD(SSD512_VOC, ["a"]))[:2] == ["10 convolutions, 3 poolings", "5 convolutions, 2 poolings"]
    assert layers(SSD(SSD512_VOC, ["a"]))[-1] == "1 × 1 to 128, then 4 × 4 to 256"
    assert len(layers(model)) == len(map_names(model)) == len(LITE.maps)


def test_the_boxes_drawn_are_the_specs():
    few = replace(LITE, ratios=((),) * 6, extra_square=False)
    drawn = [len(re.findall(r'<polygon[^>]*fill="none"', architecture(spec))) for spec in (LITE, few)]
    assert drawn == [sum(LITE.boxes_per_cell), 6]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read_in_both_themes(theme):
    for ink in ("ink", "grey", "box"):
        assert contrast(theme[ink], theme["paper"]) >= 4.5
        assert contrast(theme[ink], theme["card"]) >= 4.5
    assert contrast(theme["on lit"], theme["lit"]) >= 4.5


def test_a_notebook_shows_it_as_a_picture():
    assert pipeline_map("boxes")._repr_svg_().startswith("<svg")

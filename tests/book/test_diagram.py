"""Diagrams: they hold what the pieces and the specs say, and they are sound SVG."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from book.diagram import (
    DARK,
    LIGHT,
    MAP_STYLE,
    PIECES,
    architecture,
    layers,
    map_names,
    pipeline_map,
)
from ssd_lite import default_boxes
from ssd_lite import spec as spec_module
from ssd_lite.model import SSD
from ssd_lite.spec import LITE, SSD300_VOC, SSD512_VOC, SSDSpec
from tests.helpers.wcag import contrast

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
SPECS = [spec for spec in vars(spec_module).values() if isinstance(spec, SSDSpec)]


def words(diagram):
    """Every text of a diagram, with its attributes."""
    return [(text.text, text.attrib) for text in ET.fromstring(diagram).iter(f"{SVG}text")]


def links(piece_map):
    """Every piece on a map: where it leads, and its attributes."""
    return {a.get("href"): a.attrib for a in ET.fromstring(piece_map).iter("a")}


def map_svg(piece_map):
    return ET.fromstring(piece_map).find(f"div/{SVG}svg")


@pytest.mark.parametrize("lit", [None, *PIECES])
def test_the_map_has_every_piece_with_its_chapter_and_lights_one(lit):
    found = links(pipeline_map(lit))
    assert len(found) == len(PIECES)
    written = [text.text for text in map_svg(pipeline_map(lit)).iter(f"{SVG}text")]
    for *_, page, word in PIECES.values():
        assert found[f"{page}.ipynb"]["aria-label"] == f"Chapter {int(page[:2])}: {word}"
        assert written[written.index(word) + 1] == str(int(page[:2]))
    here = [page for page, looks in found.items() if looks.get("aria-current") == "page"]
    assert here == ([f"{PIECES[lit][3]}.ipynb"] if lit else [])
    bold = [
        text.text
        for text in map_svg(pipeline_map(lit)).iter(f"{SVG}text")
        if "font-weight" in text.attrib
    ]
    assert bold == ([PIECES[lit][-1]] if lit else [])


def test_every_piece_leads_to_a_chapter_that_is_there():
    for page in links(pipeline_map(folder="chapters/")):
        assert (ROOT / page).is_file()


def test_each_link_lies_over_its_piece():
    piece_map = pipeline_map()
    svg, pieces = map_svg(piece_map), {word for *_, word in PIECES.values()}
    wide, high = (float(svg.get(side)) for side in ("width", "height"))
    boxes = [dict(r.attrib) for r in svg.iter(f"{SVG}rect") if r.get("stroke") != "none"]
    places = [re.findall(r"([\d.]+)%", looks["style"]) for looks in links(piece_map).values()]
    assert len(boxes) == len(places) == len(pieces)
    for box, place in zip(boxes, places):
        found = [float(number) / 100 for number in place]
        sides = zip(("x", "y", "width", "height"), (wide, high, wide, high))
        assert found == pytest.approx([float(box[side]) / whole for side, whole in sides], abs=1e-4)


def test_the_map_takes_its_colors_from_the_page():
    assert not re.search(r'(fill|stroke)="#', pipeline_map("loss"))
    assert set(re.findall(r'(?:fill|stroke)="var\(([\w-]+)\)"', pipeline_map("loss"))) <= set(
        re.findall(r"(--[\w-]+): #", MAP_STYLE)
    )


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
    assert layers(SSD(SSD512_VOC, ["a"]))[:2] == [
        "10 convolutions, 3 poolings",
        "5 convolutions, 2 poolings",
    ]
    assert layers(SSD(SSD512_VOC, ["a"]))[-1] == "1 × 1 to 128, then 4 × 4 to 256"
    assert len(layers(model)) == len(map_names(model)) == len(LITE.maps)


def test_the_boxes_drawn_are_the_specs():
    few = replace(LITE, ratios=((),) * 6, extra_square=False)
    drawn = [
        len(re.findall(r'<polygon[^>]*fill="none"', architecture(spec))) for spec in (LITE, few)
    ]
    assert drawn == [sum(LITE.boxes_per_cell), 6]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read_in_both_themes(theme):
    for ink in ("ink", "gray", "box"):
        assert contrast(theme[ink], theme["paper"]) >= 4.5
        assert contrast(theme[ink], theme["card"]) >= 4.5
    assert contrast(theme["on lit"], theme["lit"]) >= 4.5


def test_a_notebook_shows_an_architecture_as_a_picture_and_the_map_as_a_part_of_the_page():
    assert architecture(LITE)._repr_svg_().startswith("<svg")
    assert pipeline_map("boxes")._repr_html_().startswith("<nav")

"""The encoding explorer keeps offsets; its box is what the package decodes from them."""

import re

import pytest
import torch

from book import explorers
from ssd_lite.boxes import xyxy_to_cxcywh
from ssd_lite.encoding import decode, encode
from tests.helpers.examples import PICTURE
from tests.helpers.javascript import call

CAR = (0.25, 0.5, 0.875, 0.75)


def toy_car():
    """The toy scene's default box 3, and its car."""
    return explorers.EncodingExplorer(PICTURE, (0.75, 0.75, 0.5, 0.5), CAR, "car")


def test_it_begins_with_the_offsets_that_say_the_object():
    explorer = toy_car()
    assert [round(t, 2) for t in explorer.offsets] == [
        -3.75,
        -2.5,
        1.12,
        -3.47,
    ]  # as chapter 4 does it with a pencil
    torch.testing.assert_close(explorer.box, torch.tensor(CAR, dtype=torch.float64))


def test_a_variance_or_another_default_box_changes_the_box_and_not_the_offsets():
    explorer = toy_car()
    said = list(explorer.offsets)
    for knob, value in (("variances", [1.0, 1.0]), ("default_box", [0.5, 0.4, 0.2, 0.6])):
        setattr(explorer, knob, value)
        assert explorer.offsets == said
        offsets, default_box = (
            torch.tensor([numbers]) for numbers in (explorer.offsets, explorer.default_box)
        )
        wanted = decode(offsets, default_box, tuple(explorer.variances))[0]
        torch.testing.assert_close(explorer.box.float(), wanted)
        torch.testing.assert_close(
            encode(wanted[None], default_box, tuple(explorer.variances)), offsets
        )


def number(text):
    return float(text.replace("−", "-"))


def test_the_arithmetic_on_the_page_is_right():
    explorer = toy_car()
    states = [
        (explorer.offsets, explorer.variances, explorer.default_box),
        ([2.0, -1.5, -3.25, 4.0], [0.05, 1.0], [0.5, 0.25, 0.25, 0.125]),
        ([0.0, 0.0, 0.0, 0.0], [0.1, 0.2], [0.5, 0.5, 0.3, 0.7]),
    ]
    pages = call(explorer._esm, [("decodingInWords", [*state, 16]) for state in states])
    for (explorer.offsets, explorer.variances, explorer.default_box), lines in zip(states, pages):
        wanted = (16 * xyxy_to_cxcywh(explorer.box)).tolist()
        assert [number(line.split(" = ")[1]) for line in lines] == pytest.approx(wanted, abs=0.0051)
        for line, result in zip(
            lines, wanted
        ):  # and who types it into a calculator finds the same, but for rounding
            sum_ = re.sub(r"−", "-", line.split(": ")[1].split(" = ")[0]).replace("·", "*")
            assert eval(sum_, {"exp": lambda v: torch.tensor(v).exp().item()}) == pytest.approx(
                result, rel=0.02
            )
    assert pages[0][0] == "center x: 12 + 0.1 · (−3.75) · 8 = 9"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"default_box": (0.5, 0.5, 0.0, 0.5)}, "default_box: 1 of 1 boxes have no area"),
        ({"object_box": (0.5, 0.5, 0.4, 0.7)}, "object_box: 1 of 1 boxes have no area"),
        ({"variances": (0.1, 0.0)}, r"variances: got \(0.1, 0.0\); expected two"),
        ({"variances": (0.1,)}, r"variances: got \(0.1,\)"),
    ],
)
def test_bad_arguments_are_named(change, words):
    given = {"default_box": (0.75, 0.75, 0.5, 0.5), "object_box": CAR} | change
    with pytest.raises(ValueError, match=words):
        explorers.EncodingExplorer(PICTURE, **given)

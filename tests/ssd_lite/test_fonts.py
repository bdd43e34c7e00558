"""Names in any alphabet: letters where a font has them, else the class's number and a warning."""

import warnings

import pytest
import torch
from PIL import ImageFont

from ssd_lite import draw, fonts
from ssd_lite.detection import Detections
from ssd_lite.fonts import font_file, missing_letters, name_and_font

CYRILLIC, NOBODYS = "собака", "\U000f0000\U000f0001"  # of the area for private use


@pytest.fixture(autouse=True)
def nothing_remembered():
    for function in (fonts.font_file, fonts._open, fonts._warn):
        function.cache_clear()


def has(file):
    try:
        ImageFont.truetype(file, 16)
    except OSError:
        return False
    return True


def test_english_is_written_in_pillows_own_font():
    assert font_file("red blood cell, 2") == ""
    assert missing_letters(CYRILLIC, "") == set(CYRILLIC)


@pytest.mark.skipif(not has("DejaVuSans.ttf"), reason="DejaVu Sans is not installed")
def test_another_alphabet_is_written_in_a_font_that_has_it():
    name, font = name_and_font(CYRILLIC, 1, 16)
    assert name == CYRILLIC
    assert font.getname()[0] == "DejaVu Sans"
    assert not missing_letters(CYRILLIC, "DejaVuSans.ttf")


def test_a_name_that_no_font_has_becomes_its_number_with_one_warning():
    with pytest.warns(UserWarning, match=r"class 3, .*no font on this computer.*drawings say #3"):
        name, font = name_and_font(NOBODYS, 3, 16)
    assert name == "#3"
    assert font.getbbox("#3")
    with warnings.catch_warnings(action="error"):
        assert name_and_font(NOBODYS, 3, 16)[0] == "#3"


def test_a_font_that_is_not_here_has_no_letters():
    assert missing_letters("a b", "no such font.ttf") == {"a", "b"}


def test_a_drawing_says_the_number_rather_than_boxes():
    image = torch.full((3, 200, 300), 200, dtype=torch.uint8)
    found = Detections(
        torch.tensor([[20.0, 60.0, 120.0, 150.0]]), torch.ones(1), torch.ones(1, dtype=torch.int64)
    )
    with pytest.warns(UserWarning, match="no font"):
        fallback = draw(image, found, [NOBODYS])
    assert fallback.tobytes() == draw(image, found, ["#1"]).tobytes()

"""Plots have a dark form, which differs from the light one in its colors alone."""

import io
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from book import plot
from tests.helpers.wcag import contrast

sys.path.insert(0, str(Path(__file__).parents[2] / "book" / "site" / "_ext"))

from dark_plots import IN_THE_DARK, INK, PAPER, WORDS_IN_THE_DARK, in_the_dark  # noqa: E402


def drawn(draw):
    """A plot in the book's style, as SVG."""
    with plt.rc_context():
        plot.style()
        figure, ax = plt.subplots()
        draw(ax)
        file = io.StringIO()
        figure.savefig(file, format="svg")
        plt.close(figure)
    return file.getvalue()


def test_the_dark_form_has_light_ink_on_dark_paper_and_the_same_lines():
    light = drawn(lambda ax: (ax.plot([1, 3, 2]), ax.set(xlabel="step"), ax.grid()))
    dark = in_the_dark(light)
    assert not any(color in dark for color in (plot.INK, plot.PAPER, plot.PALE))
    assert INK in dark and PAPER in dark and plot.PALETTE[0].lower() in dark
    numbers = [re.findall(r' d="([^"]*)"', svg) for svg in (light, dark)]
    assert numbers[0] == numbers[1]


def test_words_can_be_read_on_dark_paper():
    assert contrast(INK, PAPER) >= 7
    for color in WORDS_IN_THE_DARK.values():
        assert contrast(color, PAPER) >= 4.5
    for color in plot.PALETTE:
        assert contrast(WORDS_IN_THE_DARK.get(color.lower(), color), PAPER) >= 4.5
    assert contrast("#000000", IN_THE_DARK[plot.PALE]) >= 4.5  # words on pale bars are black


def test_words_in_a_color_of_the_data_become_lighter():
    svg = in_the_dark(drawn(lambda ax: ax.text(0.5, 0.5, "mine", color=plot.PALETTE[0])))
    assert WORDS_IN_THE_DARK[plot.PALETTE[0].lower()] in svg


@pytest.mark.parametrize("svg", ["<svg><rect/></svg>", "<svg><!-- matplotlib --><image/></svg>"])
def test_other_drawings_and_pictures_stay_as_they_are(svg):
    assert in_the_dark(svg) is None


def test_a_dark_form_has_none():
    assert in_the_dark(in_the_dark(drawn(lambda ax: ax.plot([1, 2])))) is None


def test_each_theme_shows_its_form(look):
    for scheme, other in (("light", "dark"), ("dark", "light")):
        with look("chapters/11_training", scheme) as page:
            shown = "images => images.map((image) => getComputedStyle(image).display !== 'none')"
            plots = [
                page.locator(f".cell_output img.only-{theme}").evaluate_all(shown)
                for theme in (scheme, other)
            ]
            assert plots[0] and all(plots[0])
            assert len(plots[1]) == len(plots[0]) and not any(plots[1])

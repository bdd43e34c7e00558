"""Plots have a dark form, which differs from the light one in its colors alone."""

import io
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from book import plot
from book.diagram import architecture
from ssd_lite.spec import LITE
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
    numbers = [[d.split() for d in re.findall(r' d="([^"]*)"', svg)] for svg in (light, dark)]
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


def colors_of(words, svg):
    """The colors in which these words are written, wherever they are."""
    group = re.compile(rf"<!-- {words} -->\s*<g style=\"fill: (#\w{{6}})")
    return group.findall(svg)


def test_words_on_a_picture_keep_their_color_and_words_beside_it_become_light():
    def scene(ax):
        plot.show_boxes(
            ax,
            torch.tensor([[0.2, 0.4, 0.6, 0.9]]),
            torch.full((3, 8, 8), 200, dtype=torch.uint8),
            labels=["label"],
        )
        ax.text(0.5, 0.5, "within", color=plot.INK)
        ax.set_title("title")

    light = drawn(scene)
    dark = in_the_dark(light)
    for words in ("label", "within"):
        [color] = colors_of(words, light)
        assert f'<g style="fill: {color}' in dark
    changed = len(re.findall(plot.INK, light)) - len(re.findall(plot.INK, dark))
    assert colors_of("title", light) == [plot.INK]
    assert changed == 1 and len(re.findall(INK, dark)) == 1, "only the title"
    grounds = [len(re.findall(f"fill: {plot.PAPER}", svg)) for svg in (light, dark)]
    assert grounds == [2, 1], "the figure's becomes dark, and not what lies under the picture"


def test_white_words_on_a_bar_stay_white():
    light = drawn(lambda ax: (ax.bar([0], [1]), ax.text(0, 0.5, "bar", color="white")))
    assert colors_of("bar", light) == ["#ffffff"]
    assert in_the_dark(light).count('g style="fill: #ffffff"') == 1


def test_a_drawing_that_goes_on_beyond_its_picture_has_no_dark_form():
    def scene(ax):
        ax.imshow(np.full((8, 8), 0.5))
        ax.set(xlim=(-4, 12))

    assert in_the_dark(drawn(scene)) is None


def test_a_diagram_becomes_its_own_dark_form():
    assert in_the_dark(str(architecture(LITE))) == str(architecture(LITE, dark=True))
    assert in_the_dark(str(architecture(LITE, dark=True))) is None


def test_other_drawings_stay_as_they_are():
    assert in_the_dark("<svg><rect/></svg>") is None


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

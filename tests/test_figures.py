"""The drawn figures are what their script draws from the specs, light and dark."""

from pathlib import Path

import pytest

from figures.draw import FOLDER, diagrams

FILES = diagrams()


@pytest.mark.parametrize("name", FILES)
def test_a_drawn_figure_is_what_its_script_draws(name):
    assert (FOLDER / name).read_text(encoding="utf-8") == FILES[name], "run 'make figures'"


def test_no_figure_is_left_over():
    assert {path.name for path in Path(FOLDER).glob("*.svg")} == set(FILES)


def test_light_and_dark_differ_in_colors_alone():
    for name in FILES:
        if "light" in name:
            assert len(FILES[name]) == len(FILES[name.replace("light", "dark")])
            assert FILES[name] != FILES[name.replace("light", "dark")]

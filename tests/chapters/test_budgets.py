"""A chapter is one sitting: how much a page may hold that has a hands-on page beside it."""

import re

import nbformat
import pytest

from book.sync import ROOT
from tests.helpers.prose import words

WAYS = [
    path
    for path in sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
    if path.with_stem(f"{path.stem}_hands_on").exists()
]
pytestmark = pytest.mark.parametrize("path", WAYS, ids=[path.stem for path in WAYS])
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def tags(cell):
    return set(cell.metadata.get("tags", ()))


def lines_in_view(cells):
    """Lines of code that nobody has to unfold."""
    shown = [c.source for c in cells if c.cell_type == "code" and not FOLDED & tags(c)]
    return sum(bool(line.strip()) for source in shown for line in source.splitlines())


def test_a_way_through_is_one_sitting(path):
    cells = nbformat.read(path, as_version=4).cells
    captions = sum(c.source.startswith("(fig-") for c in cells)
    guards = sum("remove-cell" in tags(c) for c in cells)
    assert words(cells) <= 2800
    assert lines_in_view(cells) <= 220
    assert len(cells) - captions - guards <= 48


def test_it_says_how_long_it_takes_and_leads_to_its_hands_on_page(path):
    first, *_, last = nbformat.read(path, as_version=4).cells
    assert 25 <= int(re.search(r"about (\d+) minutes", first.source)[1]) <= 35
    assert f"({path.stem}_hands_on.ipynb)" in last.source


def test_it_asks_before_it_answers(path):
    """Two to four questions whose answers are hidden, and five to be answered from memory."""
    cells = nbformat.read(path, as_version=4).cells
    asked = [c.source for c in cells if "question" in tags(c)]
    assert all({"remove-input", "question"} <= tags(c) for c in cells if "question" in tags(c))
    assert 2 <= sum("ask(" in source for source in asked) <= 4
    [remembered] = [source for source in asked if "recall(" in source]
    assert len(re.findall(r"^    \($", remembered, re.M)) == 5
    assert "recall(" in asked[-1]


def test_the_hands_on_page_begins_with_its_imports(path):
    cells = nbformat.read(path.with_stem(f"{path.stem}_hands_on"), as_version=4).cells
    first = next(c for c in cells if c.cell_type == "code")
    assert first.source.startswith(("import ", "from "))
    assert f"({path.name})" in cells[0].source

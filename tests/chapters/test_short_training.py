"""The short form in which `make test` runs chapter 11 differs in the lines that it names alone."""

import nbformat
import pytest

from book.sync import ROOT
from tests.helpers.short_training import NOTEBOOK, SHORTER, shortened


def test_every_line_that_is_replaced_is_there_once_and_no_other_changes():
    found, changed = [], []
    for cell in nbformat.read(ROOT / "chapters" / NOTEBOOK, as_version=4).cells:
        before, after = cell.source.splitlines(), shortened(cell.source, found).splitlines()
        changed += [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert sorted(found) == sorted(SHORTER)
    assert len(changed) == len(SHORTER)
    for old, new in changed:
        assert [new] == [SHORTER[beginning] for beginning in SHORTER if old.startswith(beginning)]


@pytest.mark.parametrize(
    "source", ["", "x = 1\n\ny = 2", "print(recipe)\nfor name in recipe:\n    assert half[name]"]
)
def test_another_cell_stays_as_it_is(source):
    assert shortened(source, []) == source

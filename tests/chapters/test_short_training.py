"""The short form in which `make test` trains differs in the lines that it names alone."""

import nbformat
import pytest

from book.sync import ROOT
from tests.helpers.short_training import SHORTER, shortened


@pytest.mark.parametrize("notebook", SHORTER)
def test_every_line_that_is_replaced_is_there_once_and_no_other_changes(notebook):
    found, changed = [], []
    for cell in nbformat.read(ROOT / "chapters" / notebook, as_version=4).cells:
        before = cell.source.splitlines()
        after = shortened(cell.source, notebook, found).splitlines()
        changed += [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    lines = SHORTER[notebook]
    assert sorted(found) == sorted(lines)
    assert len(changed) == len(lines)
    for old, new in changed:
        assert [new] == [lines[beginning] for beginning in lines if old.startswith(beginning)]


@pytest.mark.parametrize(
    "source", ["", "x = 1\n\ny = 2", "print(recipe)\nfor name in recipe:\n    assert half[name]"]
)
@pytest.mark.parametrize("notebook", SHORTER)
def test_another_cell_stays_as_it_is(source, notebook):
    assert shortened(source, notebook, []) == source

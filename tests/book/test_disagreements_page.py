"""Appendix D: every row of its tables names a test, and no such test is left out."""

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "chapters" / "d_disagreements.ipynb"
TESTS = {
    path.stem: [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if hasattr(node, "name")
    ]
    for path in sorted((ROOT / "tests" / "ssd_lite").glob("test_*.py"))
}


def tables():
    """The page's tables: heading cells, and the cells of each row."""
    cells = json.loads(PAGE.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        yield lines[0], lines[2:]


TABLES = list(tables())
ROWS = [row for _, rows in TABLES for row in rows]


def named(row):
    """(file, function) of the tests in a row's last cell."""
    return re.findall(r"`(\w+)::(\w+)`", row[-1])


def test_the_page_has_a_table_for_every_piece_and_each_says_what_holds_it():
    assert len(TABLES) >= 11
    assert len(ROWS) >= 60
    assert {heading[-1] for heading, _ in TABLES} == {"held by"}


@pytest.mark.parametrize("row", ROWS, ids=[" ".join(row[:3])[:60] for row in ROWS])
def test_every_row_names_a_test_that_exists(row):
    assert named(row)
    for file, function in named(row):
        assert function in TESTS[file]


def test_every_test_written_for_the_page_is_on_it():
    on_it = {
        function for row in ROWS for file, function in named(row) if file == "test_disagreements"
    }
    assert on_it == {name for name in TESTS["test_disagreements"] if name.startswith("test_")}


def test_every_bug_with_a_regression_test_is_on_it_with_its_chapter():
    heading, bugs = TABLES[-1]
    assert heading[0] == "bug"
    assert {function for row in bugs for _, function in named(row)} == {
        name for names in TESTS.values() for name in names if name.startswith("test_bug_")
    }
    for row in bugs:
        chapters = re.findall(r"\[chapter (\d+)\]\((\w+)\.ipynb\)", row[1])
        assert chapters
        for number, name in chapters:
            assert name.startswith(f"{int(number):02}_")
            assert (ROOT / "chapters" / f"{name}.ipynb").exists()

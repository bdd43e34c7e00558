"""The reference pages: what they name exists, and nothing that belongs there is missing."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = {path.stem: path for path in sorted((ROOT / "chapters").glob("*.ipynb"))}
PAPER, QUESTIONS = (ROOT / "book" / "reference" / name for name in ("paper.md", "questions.md"))


def prose(path):
    """The markdown cells of a chapter."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


PROSE = {name: prose(path) for name, path in CHAPTERS.items()}
ROWS = [
    line.strip("| \n").split(" | ")
    for line in PAPER.read_text(encoding="utf-8").splitlines()
    if "`test_" in line
]


def code(cell):
    return re.findall(r"`([\w.:]+)`", cell)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_row_from_paper_to_code_names_what_is_there(row):
    _, place, functions, tests = row
    for name in code(functions):
        module, *attributes = name.split(".")
        thing = importlib.import_module(f"ssd_lite.{module}")
        for attribute in attributes:
            thing = getattr(thing, attribute)
    assert code(functions) and code(tests)
    for name in code(tests):
        file, test = name.split("::")
        tree = ast.parse((ROOT / "tests/ssd_lite" / f"{file}.py").read_text(encoding="utf-8"))
        assert test in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if chapter := re.search(r"chapter (\d+)", place):
        assert any(name.startswith(f"{int(chapter[1]):02}_") for name in CHAPTERS)


def test_every_equation_of_the_paper_has_a_row():
    assert {int(n) for row in ROWS for n in re.findall(r"eq\. (\d)", row[0])} == {1, 2, 3, 4}


def test_every_question_answered_in_a_chapter_is_in_the_list():
    answered = [
        label for text in PROSE.values() for label in re.findall(r"^\((q-[\w-]+)\)=$", text, re.M)
    ]
    listed = re.findall(r"\{ref\}`[^`<]+<(q-[\w-]+)>`", QUESTIONS.read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(answered)
    assert len(set(answered)) == len(answered), "two answers with one label"


def test_every_numbered_equation_has_a_label_of_its_own():
    labels = [
        label for text in PROSE.values() for label in re.findall(r"^\$\$ \(([\w-]+)\)", text, re.M)
    ]
    assert labels and len(set(labels)) == len(labels)

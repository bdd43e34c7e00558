"""The notebooks use only markup that both Jupyter Book and JupyterLab understand.

JupyterLab has jupyterlab-myst for it. What a reader sees there, tests/book/test_lab_markup.py looks
at with a browser; here the sources are searched.
"""

import json
import re

import pytest

from book.sync import ROOT

NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
CODE = re.compile(r"^```\w*\n.*?^```$|(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL | re.MULTILINE)


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def prose(path):
    """The source of every markdown cell."""
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown"]


def labels(path):
    text = "\n\n".join(prose(path))
    return re.findall(r"^\(([\w-]+)\)=$|^\$\$ \(([\w-]+)\)$", text, re.MULTILINE)


def test_only_roles_that_work_in_both(path):
    roles = {role for text in prose(path) for role in re.findall(r"\{([\w:+-]+)\}`", text)}
    assert roles <= {"eq"}, "write a link with words: see the other chapters"


def test_only_directives_that_work_in_both(path):
    used = {
        name
        for text in prose(path)
        for name in re.findall(r"^[:`]{3,}\{([\w:-]+)\}", text, re.MULTILINE)
    }
    assert used <= {"admonition", "dropdown"}


def test_no_html(path):
    """Formulas and links inside HTML are left as they are in JupyterLab."""
    assert [
        tag for text in prose(path) for tag in re.findall(r"</?[a-z]+[^>]*>", CODE.sub("", text))
    ] == []


def test_formulas_are_referred_to_in_their_own_notebook(path):
    here = {label for pair in labels(path) for label in pair}
    wanted = {label for text in prose(path) for label in re.findall(r"\{eq\}`([\w-]+)`", text)}
    assert wanted - here == set(), (
        "in another notebook JupyterLab does not find it: link to the notebook"
    )


def test_captions_stand_below_their_pictures(path):
    before = {"cell_type": None}
    for cell in cells(path):
        source = "".join(cell["source"])
        assert "figure" not in cell["metadata"].get("mystnb", {}), (
            "JupyterLab shows no captions from metadata"
        )
        figures = re.findall(r"^\((fig-[\w-]+)\)=$", source, re.MULTILINE)
        if figures and cell["cell_type"] == "markdown":
            assert re.fullmatch(r"\(fig-[\w-]+\)=\n\*[^\n].*[^\n]\*", source, re.DOTALL), figures
            assert before["cell_type"] == "code", f"{figures[0]} follows the cell that draws it"
        before = cell


def test_pictures_have_captions(path):
    found = cells(path)
    bare = [
        cell["id"]
        for cell, after in zip(found, found[1:])
        if "image" in cell["metadata"].get("mystnb", {})
        and not "".join(after["source"]).startswith("(fig-")
    ]
    assert bare == [], "a label (fig-...)= and the caption in italics, in a cell below the picture"


def test_links_lead_to_files_that_exist(path):
    links = {
        link for text in prose(path) for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    }
    assert [link for link in sorted(links) if not (path.parent / link).is_file()] == []

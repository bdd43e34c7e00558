"""One source of truth: a chapter shows what the package runs, and every piece once."""

import ast
import json
import shutil
from collections import Counter

import pytest

from book.sync import ROOT, code_cells, names_of, shown_in, source_of, sync, synced

# How the name of the notebook begins that teaches a module. All its definitions are shown, once.
CHAPTER = {
    "boxes": "01",
    "spec": "02",
    "default_boxes": "02",
    "matching": "03",
    "encoding": "04",
    "loss": "05",
    "mining": "06",
    "bases": "07",
    "model": "07",
    "nms": "08",
    "postprocessing": "08",
    "detection": "08",
    "photometric": "09",
    "windows": "09",
    "augment": "09",
    "metrics": "10",
    "evaluation": "10",
    "fast/augment": "f",
    "fast/loss": "f",
    "fast/matching": "f",
    "fast/candidates": "f",
    "fast/memory": "f",
    "fast/winograd": "f",
}

MODULE = '''\
"""A module."""

import math

# How round things are.
TAU = 2 * math.pi
HALF, QUARTER = TAU / 2, TAU / 4  # of a turn


@property
# between
def late(self):
    """Says
    # something."""
    return self


class Wheel:
    spokes: int = 8


LAST: float = 1
'''


@pytest.fixture
def house(tmp_path):
    """A house with one module and one chapter, given as the sources of its code cells."""

    def build(*cells):
        for folder in ("ssd_lite", "chapters"):
            (tmp_path / folder).mkdir()
        (tmp_path / "ssd_lite/wheel.py").write_text(MODULE)
        cells = [
            {"cell_type": "code", "metadata": {}, "outputs": [], "source": source}
            for source in cells
        ]
        notebook = {"cells": cells, "metadata": {"é": 1}, "nbformat": 4, "nbformat_minor": 5}
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        (tmp_path / "chapters/01_wheel.ipynb").write_text(text, encoding="utf-8")
        return tmp_path

    return build


def shown():
    """How often each definition of each module is shown, over all chapters."""
    count = Counter()
    for path in (ROOT / "chapters").glob("*.ipynb"):
        for _, cell in code_cells(json.loads(path.read_text(encoding="utf-8"))):
            module, names = shown_in("".join(cell["source"])) or (None, [])
            count.update((module, name) for name in names)
    return count


def public(module):
    """Names that a module defines at its top level and that do not begin with an underscore."""
    body = ast.parse((ROOT / f"ssd_lite/{module}.py").read_text(encoding="utf-8")).body
    return [name for node in body for name in names_of(node) if not name.startswith("_")]


def test_chapters_show_the_packages_own_source():
    assert sync(check=True) == []


@pytest.mark.parametrize("module", CHAPTER)
def test_every_definition_is_shown_once(module):
    count = shown()
    times = {name: count[f"ssd_lite/{module}", name] for name in public(module)}
    assert {name: n for name, n in times.items() if n > 1} == {}, "shown twice"
    assert list((ROOT / "chapters").glob(f"{CHAPTER[module]}_*.ipynb"))
    assert [name for name, n in times.items() if n == 0] == [], "shown nowhere"


def test_a_changed_package_is_noticed_and_mended(tmp_path):
    for folder in ("ssd_lite", "book/slow", "chapters"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    stub = {
        "cell_type": "code",
        "metadata": {},
        "outputs": [],
        "source": "# ssd_lite/boxes.py\ndef iou(): ...",
    }
    notebook = {"cells": [stub], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "chapters/99_copy.ipynb").write_text(json.dumps(notebook))
    assert sync(tmp_path) == []
    assert sync(tmp_path, check=True) == []

    module = tmp_path / "ssd_lite/boxes.py"
    module.write_text(
        module.read_text(encoding="utf-8").replace("union > 0", "union > 0.5"), encoding="utf-8"
    )
    assert "99_copy.ipynb, cell 0: differs from ssd_lite/boxes.py; run 'make sync'" in sync(
        tmp_path, check=True
    )
    assert sync(tmp_path) == []
    assert sync(tmp_path, check=True) == []
    assert "union > 0.5" in (tmp_path / "chapters/99_copy.ipynb").read_text()


def test_a_stub_becomes_the_source():
    assert source_of(["Wheel"], MODULE) == "class Wheel:\n    spokes: int = 8"


def test_decorators_and_the_comment_above_belong_to_a_definition():
    assert source_of(["late"], MODULE).startswith("@property\n# between\ndef late")
    assert source_of(["TAU"], MODULE) == "# How round things are.\nTAU = 2 * math.pi"


def test_neighbors_stay_as_they_are_and_others_are_set_apart():
    assert (
        source_of(["TAU", "HALF", "QUARTER"], MODULE) + "\n"
        == MODULE.split("\n\n")[2].rstrip() + "\n"
    )
    assert (
        source_of(["TAU", "HALF", "QUARTER", "late", "Wheel", "LAST"], MODULE) + "\n"
        == MODULE.split("math\n\n")[1]
    )
    assert source_of(["TAU", "LAST"], MODULE).endswith("math.pi\nLAST: float = 1")
    assert source_of(["Wheel", "TAU"], MODULE).split("\n")[2:5] == [
        "",
        "",
        "# How round things are.",
    ]


def test_an_ordinary_cell_is_left_alone():
    for cell in ("", "x = 1", "# ssd_lite/boxes.py is the module\nx = 1", "%matplotlib inline"):
        assert synced(cell) == cell


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ("# ssd_lite/cog.py\nA = 1", "there is no ssd_lite/cog.py"),
        ("# ssd_lite/wheel.py\ndef cog(): ...", "ssd_lite/wheel.py does not define 'cog'"),
        ("# ssd_lite/wheel.py\ndef (:", "the cell does not parse"),
        (
            "# ssd_lite/wheel.py\nTAU = 1\nprint(TAU)",
            "only definitions can stand in such a cell, not 'print(TAU)'",
        ),
        (
            "# ssd_lite/wheel.py\nimport math\nTAU = 1",
            "only definitions can stand in such a cell, not 'import math'",
        ),
        ("# ssd_lite/wheel.py", "the cell names nothing"),
    ],
)
def test_a_wrong_cell_is_named(house, cell, complaint):
    (problem,) = sync(house("x = 1", cell), check=True)
    assert problem.startswith(f"01_wheel.ipynb, cell 1: {complaint}")


def test_only_what_differs_is_written(house):
    root = house("x = 'é'", "# ssd_lite/wheel.py\nclass Wheel: ...")
    path = root / "chapters/01_wheel.ipynb"
    before = path.read_text(encoding="utf-8")
    assert len(sync(root, check=True)) == 1 and path.read_text(encoding="utf-8") == before
    sync(root)
    after = path.read_text(encoding="utf-8")
    assert json.loads(after)["cells"][1]["source"] == [
        "# ssd_lite/wheel.py\n",
        "class Wheel:\n",
        "    spokes: int = 8",
    ]
    assert set(before.splitlines()) - set(after.splitlines()) == {
        '   "source": "# ssd_lite/wheel.py\\nclass Wheel: ..."'
    }
    written = path.stat().st_mtime_ns
    sync(root)
    assert path.stat().st_mtime_ns == written

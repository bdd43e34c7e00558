"""The order of the house: what may import what, and what it needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ssd_lite

HOUSE = Path(ssd_lite.__file__).parent
CHAPTERS = [
    "boxes",
    "default_boxes",
    "matching",
    "encoding",
    "loss",
    "mining",
    "model",
    "winograd",
    "nms",
    "data",
    "augment",
]
CHAPTERS += ["metrics", "checkpoint", "train"]
ON_TOP = ["plot", "diagram", "replay", "widgets", "cli", "__main__"]
ORDER = CHAPTERS + ON_TOP
MODULES = sorted({path.stem for path in HOUSE.iterdir() if path.suffix == ".py" or path.is_dir()} - {"__init__"})
MODULES = [name for name in MODULES if name != "__pycache__"]
READERS_TOOLS = ["matplotlib", "IPython", "jupyter", "notebook", "ipykernel", "ipywidgets", "anywidget"]


def sources(module):
    """Syntax trees of a module, or of every file of a package in the package."""
    path = HOUSE / module
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [ast.parse(file.read_text()) for file in files]


def imported(module):
    """Modules of ssd_lite that a module imports, at the top or inside a function."""
    names = []
    for tree in sources(module):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
                assert node.level == 0, f"{module}: write imports in full, as a reader would"
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "ssd_lite" and len(part) > 1}


def public_names(module):
    """Functions, classes and constants that a module defines."""
    names = set()
    for node in [node for tree in sources(module) for node in tree.body]:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_every_module_has_its_place_in_the_order():
    assert set(MODULES) <= set(ORDER)
    assert {"boxes", "nms", "metrics"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way_in_chapter_order(module):
    earlier = ORDER[: ORDER.index(module)]
    assert imported(module) <= {*earlier, *({module} if (HOUSE / module).is_dir() else ())}


@pytest.mark.parametrize("module", [name for name in MODULES if name not in ("cli", "__main__")])  # none imports those
def test_no_public_name_shadows_a_module(module):
    assert not public_names(module) & set(ORDER)


def test_the_package_needs_no_notebook_and_no_plotting():
    """Every chapter's module is imported by a Python in which those libraries cannot be."""
    program = f"""
import importlib, sys
for name in {READERS_TOOLS}:
    sys.modules[name] = None  # import of it now fails, as if not installed
for name in {[name for name in CHAPTERS if name in MODULES]}:
    importlib.import_module("ssd_lite." + name)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=HOUSE.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

"""The layers: what may import what, how long a file may be, what the package needs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import book
import ssd_lite

PACKAGE, BOOK = Path(ssd_lite.__file__).parent, Path(book.__file__).parent
# In the order in which they are taught. A module may import those before it, and no other.
ORDER = [
    *("boxes", "spec", "default_boxes", "matching", "encoding", "loss", "mining", "bases", "model"),
    "design",
    *("nms", "postprocessing", "photometric", "windows", "augment", "fast"),
    *("precision", "data", "inputs", "detection"),
    *("shapes", "downloads", "layout", "annotations", "formats", "folders", "voc"),
    *("datasets", "metrics", "evaluation", "verdicts", "errors", "labels"),
    *("torchvision_weights", "checkpoint", "recipe", "distributed", "runs", "run_folder"),
    *("train", "transfer", "fonts", "drawing", "check", "choices", "commands", "export", "video"),
    *(
        "picture_files",
        "error_pictures",
        "error_report",
        "measure",
        "help_texts",
        "cli",
        "__main__",
    ),
]
MODULES = {
    "/".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != PACKAGE / "__init__.py"
}
MAY_USE_FAST = {"detection", "train", "commands"}
TAUGHT_ON_EVERY_DEVICE = ORDER[: ORDER.index("augment") + 1]
READERS_TOOLS = [
    "matplotlib",
    "IPython",
    "jupyter",
    "notebook",
    "ipykernel",
    "ipywidgets",
    "anywidget",
]


def imported(path):
    """Full names of all that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full, as a reader would"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_modules(path):
    """Modules of ssd_lite that a file imports, ``fast`` as one."""
    parts = [name.split(".") for name in imported(path)]
    return {part[1] for part in parts if part[0] == "ssd_lite" and len(part) > 1}


def public_names(path):
    """Functions, classes and constants that a module defines."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_every_module_has_its_place_in_the_order():
    assert {name.split("/")[0] for name in MODULES} == set(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way_in_chapter_order(module):
    place, *inside = module.split("/")
    earlier = {*ORDER[: ORDER.index(place)], *({place} if inside else ())}
    assert own_modules(MODULES[module]) <= earlier


@pytest.mark.parametrize(
    "module", [name for name in MODULES if "/" not in name and name not in MAY_USE_FAST]
)
def test_a_taught_function_knows_nothing_of_the_engine_room(module):
    assert "fast" not in own_modules(MODULES[module])


def test_the_package_never_imports_the_book():
    for path in MODULES.values():
        assert not [
            name for name in imported(path) if name.split(".")[0] in ("book", "chapters")
        ], path


def test_nobody_imports_main():
    for folder in (
        PACKAGE,
        BOOK,
        *(PACKAGE.parent / name for name in ("figures", "benchmarks", "tests")),
    ):
        for path in folder.rglob("*.py"):
            assert not [name for name in imported(path) if name.endswith("__main__")], path


def test_a_taught_function_asks_for_no_device():
    """It has one path. Only chapter 8 teaches two forms of NMS, and where each belongs."""
    asks = re.compile(r"\.type\s*[!=]=|is_cuda|is_available|device\.type")
    found = {
        module: asks.findall(MODULES[module].read_text(encoding="utf-8"))
        for module in TAUGHT_ON_EVERY_DEVICE
    }
    assert {module: len(places) for module, places in found.items() if places} == {"nms": 1}


@pytest.mark.parametrize(
    "path", [*MODULES.values(), *BOOK.rglob("*.py")], ids=lambda path: path.stem
)
def test_no_file_is_longer_than_one_reads_in_one_go(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 260


@pytest.mark.parametrize(
    "module", [name for name in MODULES if name not in ("commands", "cli", "__main__")]
)
def test_no_public_name_shadows_a_module(module):
    assert not public_names(MODULES[module]) & set(ORDER)


def test_the_package_needs_no_notebook_and_no_plotting():
    """Every module is imported by a Python in which those libraries cannot be."""
    modules = [
        module.replace("/", ".").removesuffix(".__init__")
        for module in MODULES
        if module != "__main__"
    ]
    program = f"""
import importlib, sys
for name in {READERS_TOOLS}:
    sys.modules[name] = None  # import of it now fails, as if not installed
for name in {modules}:
    importlib.import_module("ssd_lite." + name)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr

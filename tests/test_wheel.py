"""What pip installs: the detector and nothing else, working with nothing but what it declares."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[1]
NOT_SOURCE = shutil.ignore_patterns(".*", "_build", "build", "data", "node_modules", "runs")
ALLOWED = {"LICENSE", "METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt"}

# Two drawn scenes: what a reader's own pictures look like to the command line.
ANNOTATION = """<annotation><object><name>{name}</name><bndbox>
<xmin>20</xmin><ymin>30</ymin><xmax>70</xmax><ymax>80</ymax></bndbox></object></annotation>"""

# Runs in a Python that sees the standard library, the unpacked wheel and what the wheel declares.
ALONE = """
import json, sys
from importlib.machinery import PathFinder

wheel, sites, declared = json.loads(sys.stdin.read())
standard_library = list(sys.path)
sys.path[:] = [wheel, *standard_library, *sites]

class Declared(PathFinder):
    "Finds no module of an undeclared distribution, as if that were not installed."

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if path is None:
            path = sys.path if name in declared else standard_library
        return super().find_spec(name, path, target)

sys.meta_path = [Declared if finder is PathFinder else finder for finder in sys.meta_path]

import importlib, pkgutil
import ssd_lite

assert ssd_lite.__file__.startswith(wheel), ssd_lite.__file__
for module in pkgutil.walk_packages(ssd_lite.__path__, "ssd_lite."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

from ssd_lite.cli import main

main("train --data scenes --steps 2 --batch-size 1 --device cpu --out run".split())
main("detect scenes/JPEGImages/1.jpg --weights run --device cpu --out found".split())
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built without a network from a copy: a build leaves its traces in the tree."""
    copy = tmp_path_factory.mktemp("wheel") / "source"
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    result = subprocess.run(
        [sys.executable, "-c", build, ".."], cwd=copy, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    [path] = copy.parent.glob("*.whl")
    return path


@pytest.fixture
def unpacked(wheel, tmp_path):
    """The wheel as pip would lay it out, and its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    [info] = (tmp_path / "site").glob("*.dist-info")
    return tmp_path / "site", metadata.Distribution.at(info)


def declared_by(distribution):
    """Names of the distributions that one needs, directly or through another, without extras."""
    names, todo = set(), [(distribution, "")]
    while todo:
        here, extra = todo.pop()
        for wanted in map(Requirement, here.requires or []):
            name = canonicalize_name(wanted.name)
            if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
                continue
            todo += [(metadata.distribution(name), more) for more in wanted.extras]
            if name not in names:
                names.add(name)
                todo.append((metadata.distribution(name), ""))
    return names


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    of_package = {name for name in names if name.startswith("ssd_lite/")}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ssd_lite").rglob("*.py")}
    assert of_package == sources | {"ssd_lite/py.typed"}
    others = {Path(name) for name in set(names) - of_package}
    assert {path.parts[0].rpartition(".")[2] for path in others} == {"dist-info"}
    assert {path.name for path in others} <= ALLOWED


def test_the_package_trains_and_detects_with_nothing_but_what_it_declares(unpacked, tmp_path):
    site, distribution = unpacked
    scenes = tmp_path / "scenes"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (scenes / part).mkdir(parents=True)
    for name, color in (("1", "orange"), ("2", "teal")):
        picture = Image.new("RGB", (128, 96), "white")
        ImageDraw.Draw(picture).rectangle((20, 30, 69, 79), fill=color)
        picture.save(scenes / "JPEGImages" / f"{name}.jpg")
        (scenes / "Annotations" / f"{name}.xml").write_text(ANNOTATION.format(name=color))
    for part, name in (("trainval", "1"), ("test", "2")):
        (scenes / "ImageSets/Main" / f"{part}.txt").write_text(f"{name}\n")

    names = declared_by(distribution)
    owners = metadata.packages_distributions()
    modules = [module for module, of in owners.items() if names & set(map(canonicalize_name, of))]
    assert "torch" in modules
    assert not {"matplotlib", "IPython", "ipywidgets", "anywidget"} & set(modules)
    sites = sorted({str(metadata.distribution(name).locate_file("")) for name in names})
    task = json.dumps([str(site), sites, [*modules, "ssd_lite"]])
    # -I and -S: no current folder, no PYTHONPATH, no site-packages, where this clone is installed
    command = [sys.executable, "-I", "-S", "-c", ALONE]
    result = subprocess.run(command, input=task, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "last.safetensors").exists()
    assert json.loads((tmp_path / "found" / "detections.json").read_text())


def test_the_program_that_pip_installs_is_the_command_line(unpacked):
    [program] = [entry for entry in unpacked[1].entry_points if entry.group == "console_scripts"]
    assert (program.name, program.value) == ("ssd-lite", "ssd_lite.cli:main")

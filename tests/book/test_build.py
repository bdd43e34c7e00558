"""The book builds from a clean start: every notebook runs, every page is there, and Sphinx has nothing to warn of."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OPTIONS = ["-W", "-n", "--keep-going"]  # a failing cell and a broken link are warnings; warnings are errors


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The folder of pages, and what the build printed."""
    out = tmp_path_factory.mktemp("book")
    program = shutil.which("jupyter-book", path=Path(sys.executable).parent)
    # What the chapters execute does not count as tested.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [program, "build", *OPTIONS, "--path-output", str(out), str(ROOT)]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    assert result.returncode == 0, result.stdout
    return out / "_build/html", result.stdout


def test_make_book_builds_with_the_same_options():
    assert f"jupyter-book build {' '.join(OPTIONS)} ." in (ROOT / "Makefile").read_text()


def test_nothing_is_warned_of(build):
    _, log = build
    assert "build succeeded." in log  # with warnings it says how many


def test_every_entry_of_the_contents_has_a_page(build):
    pages, _ = build
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = toc.get("parts", [toc])
    entries = [toc["root"]] + [chapter["file"] for part in parts for chapter in part["chapters"]]
    assert [entry for entry in entries if not (pages / f"{entry}.html").is_file()] == []


def test_every_chapter_is_in_the_contents():
    toc = (ROOT / "_toc.yml").read_text()
    chapters = [f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")]
    assert [chapter for chapter in chapters if f"file: {chapter}\n" not in toc] == []

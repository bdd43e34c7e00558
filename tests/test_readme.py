"""What the README and CONTRIBUTING.md promise is there: figures, names, commands, files."""

import ast
import json
import re
import shlex
from pathlib import Path

import pytest

import ssd_lite
from ssd_lite import cli

ROOT = Path(__file__).parents[1]
NAMES = ("README.md", "CONTRIBUTING.md")
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
README = PAGES["README.md"]


def blocks(language):
    """The README's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.mark.parametrize("name", ["shapes_lite_cpu", "bccd_lite_cpu"])
def test_figures_are_those_of_the_record(name):
    record = json.loads((ROOT / "figures" / "records" / f"{name}.json").read_text())
    readme = " ".join(README.split())
    assert f"{record['seconds'] / 60:.1f} minutes on {record['device'].removesuffix('s')}" in readme
    assert f"{record['map50']:.3f}" in readme


def test_the_example_imports_what_the_package_offers():
    [example] = blocks("python")
    [imports] = [node for node in ast.parse(example).body if isinstance(node, ast.ImportFrom)]
    assert {alias.name for alias in imports.names} <= set(ssd_lite.__all__)


def test_the_command_line_understands_every_command_shown():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("ssd-lite ")]
    assert len(commands) >= 7
    for _, *arguments in commands:
        cli.make_parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_every_target_named_is_in_the_makefile(page):
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = re.findall(r"(?:^|`)make ([a-z]+)", PAGES[page], re.M)
    assert named and set(named) <= set(targets)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_named_is_there(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[page])
    words = re.findall(r"`(\.?[\w/]+(?:/|\.(?:py|md|toml|lock|yml)))`", PAGES[page])
    assert links and words
    made = ("_build/", "runs/")  # by the commands that the pages describe
    named = [name for name in links + words if not name.startswith(made)]
    assert [name for name in named if not (ROOT / name).exists()] == []

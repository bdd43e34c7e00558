"""What is said in two places agrees: the pins and the ranges, .ci/run and the README."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def requirements(path):
    """Requirements in a file by name, without comments and without our own packages."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("-e ")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def test_the_lock_pins_what_is_required():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {**requirements(ROOT / "requirements.txt")}
    for requirement in map(Requirement, project["dependencies"]):
        wanted.setdefault(canonicalize_name(requirement.name), requirement)
    lock = requirements(ROOT / "requirements.lock")
    pins = {name: re.fullmatch(r"==([\w.]+)", str(pin.specifier)) for name, pin in lock.items()}
    assert [name for name, pin in pins.items() if not pin] == [], "not pinned"
    unmet = [
        name
        for name, wish in wanted.items()
        if name not in pins or pins[name][1] not in wish.specifier
    ]
    assert unmet == [], "run 'make lock'"


@pytest.mark.parametrize("path", ["requirements.txt", "requirements.lock"])
def test_our_own_packages_are_installed_too(path):
    assert re.findall(r"^-e (\S+)", (ROOT / path).read_text(encoding="utf-8"), re.M) == [
        ".",
        "./book",
    ]


def test_ci_runs_the_readmes_own_test_command():
    assert "```sh\nmake test\n```" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")

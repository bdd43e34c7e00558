"""What is said in two places agrees: the pins and the ranges, .ci/run and the README."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OURS = {"requirements.txt": [".[dev]", "./book"], "requirements.lock": [".", "./book"]}


def requirements(path):
    """Requirements in a file by name, without comments and without our own packages."""
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("-e ")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def declared():
    """Requirements of our own packages and their extras, file by file."""
    for path in (ROOT / "pyproject.toml", ROOT / "book/pyproject.toml"):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {}).values()
        for line in sum(extras, project["dependencies"]):
            yield Requirement(line)


def test_the_lock_pins_what_is_required():
    lock = requirements(ROOT / "requirements.lock")
    pins = {name: re.fullmatch(r"==([\w.]+)", str(line.specifier)) for name, line in lock.items()}
    assert [name for name, pin in pins.items() if not pin] == [], "not pinned"
    wanted = [*declared(), *requirements(ROOT / "requirements.txt").values()]
    unmet = []
    for wish in wanted:
        pin = pins.get(canonicalize_name(wish.name))
        if wish.name != "ssd_lite" and not (pin and pin[1] in wish.specifier):
            unmet.append(str(wish))
    assert unmet == [], "run 'make lock'"


def test_our_own_packages_are_installed_too():
    for path, ours in OURS.items():
        assert re.findall(r"^-e (\S+)", (ROOT / path).read_text(encoding="utf-8"), re.M) == ours


def test_no_range_is_written_twice():
    names = [canonicalize_name(wish.name) for wish in declared() if wish.name != "ssd_lite"]
    assert len(set(names)) == len(names)
    # Of torch and torchvision, the package says from which version on, this file up to which.
    pair = requirements(ROOT / "requirements.txt")
    assert set(pair) == {"torch", "torchvision"}
    assert all({part.operator for part in line.specifier} == {"<="} for line in pair.values())


def test_ci_runs_the_test_command_that_the_pages_name():
    assert "\nmake test\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    for page in ("README.md", "CONTRIBUTING.md"):
        assert "make test" in (ROOT / page).read_text(encoding="utf-8")

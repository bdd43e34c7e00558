"""The version is written once, in ssd_lite/__init__.py; what tells of a release agrees with it."""

import re
from pathlib import Path

import pytest

import ssd_lite

ROOT = Path(__file__).parents[1]


@pytest.fixture
def newest():
    """Version and date of the changelog's newest entry."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.search(r"^## \[([\d.]+)\] - ([\d-]+)$", changelog, re.M).groups()


def test_the_changelog_begins_with_this_version(newest):
    assert newest[0] == ssd_lite.__version__


def test_the_citation_is_of_this_version(newest):
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    said = re.findall(r"^(?:version|date-released): (.+)$", citation, re.M)
    assert tuple(said) == newest

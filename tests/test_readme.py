"""The README's figures are those of the records."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["shapes_lite_cpu", "bccd_lite_cpu"])
def test_figures_are_those_of_the_record(name):
    record = json.loads((ROOT / "figures" / "records" / f"{name}.json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert f"{record['seconds'] / 60:.1f} minutes on {record['device'].removesuffix('s')}" in readme
    assert f"{record['map50']:.3f}" in readme

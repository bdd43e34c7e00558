"""What tests share: the photographs, skipping what is not there, and the option --book."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT / os.environ.get("SSD_LITE_DATA", "data")
BCCD = DATA / "bccd"


def pytest_addoption(parser):
    parser.addoption(
        "--book",
        type=Path,
        metavar="DIR",
        help="test these built pages (_build/html) and build none",
    )


@pytest.fixture(scope="session")
def do_without():
    """Skip a test for want of something, and say how to get it; in CI nothing may be wanting."""

    def skip(how):
        assert os.environ.get("CI") != "true", how
        pytest.skip(how)

    return skip


@pytest.fixture(scope="session")
def bccd_folder(do_without):
    """The folder of BCCD's 364 photographs, in data/ or where SSD_LITE_DATA says."""
    if not (BCCD / "ImageSets").is_dir():
        do_without(
            f"BCCD is not in {BCCD}; get it with: python -m ssd_lite train --data bccd --steps 1, "
            "or name the folder that holds it: SSD_LITE_DATA=/path/to/data"
        )
    return BCCD

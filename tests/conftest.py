"""What tests of real photographs share: where the photographs are."""

import os
from pathlib import Path

import pytest

BCCD = Path(__file__).parents[2] / "shared" / "data" / "bccd"


@pytest.fixture(scope="session")
def bccd_folder():
    """The folder of BCCD's 364 photographs, beside the repository."""
    if not (BCCD / "ImageSets").is_dir():
        how = f"BCCD is not in {BCCD}; get it with: python -m ssd_lite train --data bccd --steps 1, then copy data/bccd"
        assert os.environ.get("CI") != "true", how
        pytest.skip(how)
    return BCCD

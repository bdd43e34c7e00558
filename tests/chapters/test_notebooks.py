"""The chapters as files.

That they run is checked by nbval (`make test`) and by the book's build.
"""

import re
import subprocess
import sys

import nbformat
import pytest

from book.sync import ROOT

NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@each_notebook
def test_is_a_valid_notebook(path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3", "a kernel that only its author has"


def test_all_are_committed_without_outputs():
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", *map(str, NOTEBOOKS)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, (
        f"run 'make sync': it strips the outputs\n{result.stdout}{result.stderr}"
    )


@each_notebook
def test_is_numbered_and_opens_with_a_title(path):
    # Chapters are numbered, appendices lettered.
    assert re.fullmatch(r"(\d\d|[a-g])_[a-z0-9_]+|afterword|cards|try_it", path.stem)
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown" and re.match("# ", first.source)

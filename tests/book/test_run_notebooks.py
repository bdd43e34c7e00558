"""Notebooks run once, and again when what they import or read has changed; a failure is loud."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "site" / "_ext"))

from run_notebooks import AT_ONCE, CACHES, LONGEST, fingerprint  # noqa: E402

NOTEBOOK = """---
file_format: mystnb
kernelspec: {name: python3}
---
# A page

```{code-cell} python
from ssd_lite import answer

print("On page NAME it is", answer)
```
"""
COMMAND = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-b", "text"]
COMMAND += ["-C", "-D", "extensions=myst_nb,run_notebooks", "-D", "exclude_patterns=_build"]
COMMAND += ["-D", "nb_execution_mode=cache"]


@pytest.fixture
def book(tmp_path):
    """A book of two notebooks that import the same package, and a page without code."""
    for folder in ("ssd_lite", "chapters", "figures"):
        (tmp_path / folder).mkdir()
    (tmp_path / "ssd_lite" / "__init__.py").write_text("answer = 41\n")
    (tmp_path / "index.md").write_text(
        NOTEBOOK.replace("NAME", "0") + "\n```{toctree}\nchapters/one\nplain\n```\n"
    )
    (tmp_path / "chapters" / "one.md").write_text(NOTEBOOK.replace("NAME", "1"))
    (tmp_path / "plain.md").write_text("# No code\n")
    return tmp_path


def build(book):
    """Whether a build succeeds, what it prints, and what its pages say."""
    paths = os.pathsep.join([str(ROOT / "book" / "site" / "_ext"), str(book)])
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    env |= {
        "PYTHONPATH": paths,
        "PYTHONDONTWRITEBYTECODE": "1",
    }  # a byte code's age is counted in seconds
    command = [*COMMAND, str(book), str(book / "_build" / "text")]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    pages = "".join(path.read_text() for path in sorted((book / "_build" / "text").rglob("*.txt")))
    return result.returncode == 0, result.stdout, pages


def ran(said):
    """The notebooks that a build says it has run, by either way."""
    assert "Executing notebook" not in said, "MyST-NB runs a notebook by itself"
    return sorted(line.split()[0] for line in said.splitlines() if " ran after " in line)


def test_a_notebook_runs_once_and_again_when_the_package_changes(book):
    good, said, pages = build(book)
    assert good, said
    assert ran(said) == ["chapters/one", "index"]
    assert "On page 0 it is 41" in pages and "On page 1 it is 41" in pages

    page = book / "chapters" / "one.md"
    page.write_text(page.read_text() + "\nA word more.\n")
    good, said, pages = build(book)
    assert good, said
    assert ran(said) == [], "other words have no other results"
    assert "On page 1 it is 41" in pages and "A word more." in pages

    (book / "ssd_lite" / "__init__.py").write_text("answer = 42\n")
    good, said, pages = build(book)
    assert good and ran(said) == ["chapters/one", "index"]
    assert "On page 0 it is 42" in pages and "On page 1 it is 42" in pages
    assert len(list((book / CACHES).iterdir())) == 1, "older results are void"


def test_a_failure_is_printed_and_ends_the_build_and_what_ran_is_kept(book):
    page = book / "chapters" / "one.md"
    whole = page.read_text()
    page.write_text(whole.replace("answer)", "answer / 0)"))
    good, said, _ = build(book)
    assert not good
    assert "A notebook failed" in said and "chapters/one" in said and "ZeroDivisionError" in said
    assert ran(said) == ["index"]

    page.write_text(whole)
    good, said, pages = build(book)
    assert good and ran(said) == ["chapters/one"]
    assert "On page 0 it is 41" in pages and "On page 1 it is 41" in pages


@pytest.mark.parametrize(
    "name",
    [
        *("ssd_lite/fast/new.py", "book/toy.py", "book/slow/new.py", "book/explorers/new.js"),
        *("figures/records/run.json", "requirements.lock"),
    ],
)
def test_the_fingerprint_is_of_all_that_a_notebook_imports_or_reads(tmp_path, name):
    seen = [fingerprint(tmp_path)]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    for content in ("one", "two"):
        (tmp_path / name).write_text(content)
        seen.append(fingerprint(tmp_path))
    (tmp_path / name).rename((tmp_path / name).with_stem("other"))
    seen.append(fingerprint(tmp_path))
    assert len(set(seen)) == (3 if name == "requirements.lock" else 4)


def test_the_fingerprint_is_not_of_byte_code_nor_of_pages(tmp_path):
    before = fingerprint(tmp_path)
    for name in ("ssd_lite/__pycache__/model.pyc", "chapters/01_one.ipynb", "glossary.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert fingerprint(tmp_path) == before


def test_the_longest_notebook_is_there():
    assert (ROOT / f"{LONGEST}.ipynb").is_file() and AT_ONCE > 1

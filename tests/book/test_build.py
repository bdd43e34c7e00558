"""The book builds from a clean start, every notebook runs, and Sphinx warns of nothing.

And words and numbers are held together: what a page says in figures, a cell or a record has said
before.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "site" / "_ext"))

from run_notebooks import CACHES, fingerprint  # noqa: E402

from tests.helpers import contents  # noqa: E402

RECORDS = sorted((ROOT / "figures" / "records").glob("*.json"))
PAGES = [*sorted((ROOT / "chapters").glob("*.ipynb")), ROOT / "index.md"]
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|\{[\w:]+\}`[^`]*`|<[^>]*>", re.DOTALL
)
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w.]*\d)")
# Somebody else's figures, which nothing here computes. Each stands beside a citation.
PUBLISHED = {
    *(
        "74.3",
        "76.8",
        "77.2",
        "79.8",
    ),  # the paper's mAP on VOC07: SSD300 and SSD512, then with expansion
    *("65.5", "8.8", "0.6", "2.1", "74.6", "62.4"),  # its tables 2 and 3
    *("0.0005", "0.001"),  # its recipe
}
# Examples that the prose poses, and numbers of the toy scene, which its code has as fractions.
POSED = {
    "02_default_boxes_hands_on": {"99.5"},
    "03_matching_hands_on": {"0.52", "0.55", "0.65"},
    "06_hard_negative_mining": {"99.9"},
    "b_real_data": {"2.7"},  # steps to a box's side: chapter 2 computes it
}


def test_make_book_builds_with_the_same_options(build_options):
    assert f"jupyter-book build {' '.join(build_options)} ." in (ROOT / "Makefile").read_text()


def test_nothing_is_warned_of(build):
    _, log = build
    assert "build succeeded." in log  # with warnings it says how many


def test_formulas_are_set_and_their_fonts_are_there(build, do_without):
    pages, log = build
    if "Formulas: " in log:
        do_without(log[log.index("Formulas: ") :].splitlines()[0] + "; install Node.js and npm")
    page = (pages / "chapters" / "05_multibox_loss.html").read_text(encoding="utf-8")
    assert "<mjx-math" in page and "<mfrac>" in page  # the second is MathML, for screen readers
    assert "../_static/mathjax/MathJax_Main-Regular.woff" in page
    assert (pages / "_static" / "mathjax" / "MathJax_Main-Regular.woff").is_file()


def test_every_entry_of_the_contents_has_a_page(build):
    pages, _ = build
    assert [entry for entry in contents.PAGES if not (pages / f"{entry}.html").is_file()] == []


def test_every_notebook_is_in_the_contents():
    notebooks = {f"chapters/{path.stem}" for path in (ROOT / "chapters").glob("*.ipynb")}
    assert notebooks - set(contents.PAGES) == set()


def executed(path):
    """A notebook with the outputs that the build took from the cache."""
    cache = get_cache(ROOT / CACHES / fingerprint(ROOT))
    return cache.merge_match_into_notebook(nbformat.read(path, as_version=4))[1]


def outputs(cell):
    """What a cell printed, as text; pictures are not read."""
    text = ""
    for output in cell["outputs"]:
        data = output.get("data", {})
        text += "".join(output.get("text", ""))
        text += "".join(
            "".join(data.get(kind, "")) for kind in ("text/plain", "text/markdown", "text/html")
        )
    return text


def numbers(text):
    return {
        float(word.replace(",", ""))
        for word in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text)
        if word[-1] != ","
    }


@pytest.mark.parametrize("path", PAGES[:-1], ids=lambda path: path.stem)
def test_every_decimal_in_prose_was_computed_on_its_page(build, path):
    cells = executed(path).cells
    said = {
        x
        for cell in cells
        if cell["cell_type"] == "code"
        for x in numbers("".join(cell["source"]) + outputs(cell))
    }
    strangers = []
    for cell in cells:
        if cell["cell_type"] != "markdown":
            continue
        prose = re.sub(
            r"[Ss]ections? [\d., and]*\d", "", NOT_PROSE.sub(" ", "".join(cell["source"]))
        )
        for word in NUMBER.findall(prose):
            _, point, decimals = word.partition(".")
            known = {
                round(y, len(decimals)) for x in said for y in (x, 100 * x)
            }  # a share may be said in percent
            if (
                point
                and word not in PUBLISHED | POSED.get(path.stem, set())
                and float(word) not in known
            ):
                strangers.append(word)
    assert strangers == [], (
        "write an f-string around what a cell computes, or print it beside the sentence"
    )


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_no_page_holds_a_figure_of_a_record_by_heart(path):
    """So that with another record the page says something else."""
    record = json.loads(path.read_text())
    runs = record if isinstance(record, list) else [record]
    figures = {f"{run['map50']:.3f}" for run in runs if run.get("map50")}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert [
            figure for figure in figures if re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", text)
        ] == [], page.name


def test_the_training_page_says_what_the_record_says(build):
    record = json.loads((ROOT / "figures" / "records" / "shapes_lite_cpu.json").read_text())
    page = (build[0] / "chapters" / "11_training.html").read_text(encoding="utf-8")
    assert f"{record['map50']:.3f}" in page
    assert f"{record['seconds'] / 60:.1f} minutes" in page

"""Formulas are set when the book is made; without npm it is made all the same."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SITE = Path(__file__).parents[2] / "book" / "site"
sys.path.insert(0, str(SITE / "_ext"))

import formulas  # noqa: E402

PAGE = """<html><head>
    <script>window.MathJax = {"options": {}}</script>
    <script defer="defer" src="https://cdn.example/npm/mathjax@3/es5/tex-mml-chtml.js"></script>
  </head><body>
<p>If <span class="math notranslate nohighlight">\\(a &lt; b\\)</span>, then \\(this\\) is none.</p>
<div class="math notranslate nohighlight" id="equation-one">
<span class="eqno">(1)<a href="#equation-one">#</a></span>\\[\\frac{a}{b}\\]</div>
</body></html>
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of one page, and what its build said."""
    said = []
    monkeypatch.setattr(formulas.logger, "info", lambda line, *words: said.append(line % words))
    (tmp_path / "html").mkdir()
    page = tmp_path / "html" / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SITE / name, tmp_path)
    monkeypatch.setattr(formulas, "SITE", tmp_path)
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path / "html")
    return SimpleNamespace(app=app, page=page, said=said, folder=tmp_path)


def test_formulas_of_a_page_are_found_as_they_were_written():
    assert formulas.formulas_of(PAGE) == [("a < b", False), ("\\frac{a}{b}", True)]


def test_a_page_gets_its_formulas_and_loses_the_scripts():
    page = formulas.with_formulas(PAGE, ["<mjx-one/>", "<mjx-two/>"], "mjx {  }")
    assert "<script" not in page and "<style>mjx { }</style>" in page
    assert '<span class="math notranslate nohighlight"><mjx-one/></span>' in page
    assert "#</a></span><mjx-two/></div>" in page
    assert "then \\(this\\) is none" in page
    assert formulas.formulas_of(page) == [], (
        "there is nothing left to do when it is not written anew"
    )


def no_program(name):
    return None


def npm_alone(name):
    return f"/bin/{name}" if name == "npm" else None


def refuse(*args, **options):
    raise subprocess.CalledProcessError(
        1, "npm", stderr="npm error network\nnpm error getaddrinfo ENOTFOUND\n"
    )


def dawdle(*args, **options):
    raise subprocess.TimeoutExpired("npm", options["timeout"])


@pytest.mark.parametrize(
    "find, run, reason",
    [
        (no_program, None, "npm is not installed"),
        (npm_alone, refuse, "ENOTFOUND"),
        (npm_alone, dawdle, "did not answer"),
    ],
)
def test_without_npm_the_page_stays_as_it_is_and_the_build_says_why(
    book, monkeypatch, find, run, reason
):
    monkeypatch.setattr(formulas.shutil, "which", find)
    monkeypatch.setattr(formulas.subprocess, "run", run)
    formulas.set_formulas(book.app, None)
    assert book.page.read_text(encoding="utf-8") == PAGE
    [line] = book.said
    assert reason in line and "\n" not in line


def test_npm_is_called_once_and_again_only_for_a_newer_lock(book, monkeypatch):
    mark, calls = book.folder / "node_modules" / ".package-lock.json", []

    def install(command, cwd, **options):
        calls.append(command[1])
        mark.parent.mkdir(exist_ok=True)
        mark.write_text("{}")

    monkeypatch.setattr(formulas.shutil, "which", npm_alone)
    monkeypatch.setattr(formulas.subprocess, "run", install)
    for _ in range(2):
        assert formulas.node_modules(book.folder) == book.folder / "node_modules"
    assert calls == ["ci"]
    later = mark.stat().st_mtime + 10
    formulas.os.utime(book.folder / "package-lock.json", (later, later))
    formulas.node_modules(book.folder)
    assert calls == ["ci", "ci"]


def test_what_npm_brings_is_pinned_and_no_registry_is_named():
    lock = json.loads((SITE / "package-lock.json").read_text(encoding="utf-8"))
    wanted = json.loads((SITE / "package.json").read_text(encoding="utf-8"))
    packages = {
        name.removeprefix("node_modules/"): about
        for name, about in lock["packages"].items()
        if name
    }
    assert {*wanted["dependencies"], *wanted["devDependencies"]} <= set(packages)
    assert all("integrity" in about and "resolved" not in about for about in packages.values())

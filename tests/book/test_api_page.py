"""Appendix H says of the package what its source says: all of it, once, and nothing else."""

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import ssd_lite
from ssd_lite.cli import make_parser

ROOT = Path(__file__).parents[2]
SITE = ROOT / "book" / "site"
PACKAGE = Path(ssd_lite.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
}
SOURCES = {
    name: path.read_text(encoding="utf-8")
    for name, path in FILES.items()
    if not name.endswith("__")
}
TREES = {name: ast.parse(SOURCES[name]) for name in sorted(SOURCES)}
WORDS = {
    name: " ".join(ast.get_docstring(tree).split("\n\n")[0].split()) for name, tree in TREES.items()
}
CHAPTERS = sorted(
    path.stem
    for path in (ROOT / "chapters").glob("[0-9]*.ipynb")
    if not path.stem.endswith("_hands_on")
)
COMMANDS = list(next(action for action in make_parser()._actions if action.choices).choices)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The appendix as Sphinx understands it, with the book's own settings.

    A warning is an error.
    """
    folder = tmp_path_factory.mktemp("api")
    (folder / "chapters").mkdir()
    for chapter in CHAPTERS:
        (folder / "chapters" / f"{chapter}.md").write_text(f"# {chapter}\n")
    for name in ("_config.yml", "book/reference/api.md", "book/reference/references.bib"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(SITE, folder / "book/site", ignore=shutil.ignore_patterns("node_modules"))
    entries = [f"  - file: chapters/{chapter}\n" for chapter in CHAPTERS]
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: book/reference/api\nchapters:\n" + "".join(entries)
    )
    program = shutil.which("jupyter-book", path=Path(sys.executable).parent)
    options = ["-W", "-n", "--keep-going", "--builder", "custom", "--custom-builder", "xml"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [program, "build", *options, str(folder)]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    assert result.returncode == 0, result.stdout
    return ElementTree.parse(folder / "_build/xml/book/reference/api.xml").getroot()


@pytest.fixture(scope="module")
def signatures(page):
    """Every signature, by the full name that it defines."""
    return [
        (name, signature)
        for signature in page.iter("desc_signature")
        for name in signature.get("ids").split()
    ]


def text(element):
    return "".join(element.itertext())


def names_of(node):
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return [
        part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)
    ]


def chapter_of(module):
    """The number that a module's docstring begins with; infinity for what stands on top."""
    found = re.match(r"Chapter (\d+)", WORDS[module])
    return int(found[1]) if found else float("inf")


def test_every_module_is_listed_in_reading_order():
    listed = re.findall(
        r"^\.\. automodule:: ssd_lite\.([\w.]+)$",
        (ROOT / "book/reference/api.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert sorted(listed) == list(TREES), (
        "each module needs a section in api.md, with its automodule"
    )
    taught = [
        module for module in listed if not WORDS[module].startswith("Appendix")
    ]  # that stands before its use
    order = [("." in module, chapter_of(module)) for module in taught]  # explorers stand on top
    assert order == sorted(order)


@pytest.mark.parametrize("module", TREES)
def test_every_public_definition_is_there_once(signatures, module):
    public = [
        name for node in TREES[module].body for name in names_of(node) if not name.startswith("_")
    ]
    shown = [
        name.split(".")[-1]
        for name, _ in signatures
        if re.fullmatch(rf"ssd_lite\.{re.escape(module)}\.\w+", name)
    ]
    assert public and sorted(shown) == sorted(public)


@pytest.mark.parametrize("module", TREES)
def test_every_module_says_what_it_is_and_leads_to_its_chapter(page, module):
    [section] = [
        section for section in page.iter("section") if text(section.find("title")) == module
    ]
    first = next(section.iter("paragraph"))
    as_shown = re.sub(
        r":\w+:`~?[\w.]*?(\w+)`|``", r"\1", WORDS[module]
    )  # :class:`Replay` is shown as Replay
    assert re.findall(r"\w+", text(first)) == re.findall(r"\w+", as_shown)
    pages = [
        f"../../chapters/{chapter}"
        for chapter in CHAPTERS
        if int(chapter[:2]) == chapter_of(module)
    ]
    assert [
        link.get("refuri") for link in first.iter("reference") if "#" not in link.get("refuri", "#")
    ] == pages


@pytest.mark.parametrize("module", TREES)
def test_signatures_are_those_of_the_source(signatures, module):
    """Shapes are shown as shapes and defaults as defaults, not as what Python makes of them."""

    def plain(words):
        return re.sub(r"[\s'\"]", "", words)

    found = dict(signatures)
    for node in [node for node in TREES[module].body if isinstance(node, ast.FunctionDef)]:
        if not node.name.startswith("_"):
            signature = found[f"ssd_lite.{module}.{node.name}"]
            shown = ", ".join(text(parameter) for parameter in signature.iter("desc_parameter"))
            [function] = ast.parse(f"def f({shown}): ...").body
            assert plain(ast.unparse(function.args)) == plain(ast.unparse(node.args))
            shown = [plain(text(result)) for result in signature.iter("desc_returns")]
            assert shown == ([plain(ast.unparse(node.returns))] if node.returns else [])


@pytest.mark.parametrize("module", TREES)
def test_every_comment_behind_a_field_is_there(page, module):
    lines, said = SOURCES[module].splitlines(), text(page).replace("'", '"')
    for record in [node for node in TREES[module].body if isinstance(node, ast.ClassDef)]:
        for field in [node for node in record.body if isinstance(node, ast.AnnAssign)]:
            _, _, comment = lines[field.end_lineno - 1].partition("  # ")
            first = (
                f"{ast.unparse(field.value)}, " if comment.startswith("or ") else ""
            )  # the default: "sgd", or ...
            assert not comment or f"{field.target.id} – {first}{comment}".replace("'", '"') in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_shown_is_the_parsers(page, command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit):
        make_parser().parse_args([command, "--help"])
    assert capsys.readouterr().out.strip() in [text(block) for block in page.iter("literal_block")]

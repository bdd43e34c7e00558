"""Formulas are set by MathJax when the book is made.

A page then needs neither a network nor a script to show them.

MathJax comes from npm, in the version that package-lock.json pins. Where that cannot be had, the
build says so in a line, and the pages stay as Sphinx makes them: the reader's browser then fetches
MathJax from its usual address.
"""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

from sphinx.util import logging

logger = logging.getLogger(__name__)
SOON = 120  # seconds: npm needs a few, but without a network it may try for very long
INSTALL = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
FONTS = "es5/output/chtml/fonts/woff-v2"
SETTER = Path(__file__).with_name("typeset.js")
SITE = Path(__file__).parents[1]

MATH = re.compile(r'<(div|span) class="(?:amsmath )?math[^>]*>.*?\\[\])]</\1>', re.DOTALL)
FORMULA = re.compile(r"\\\((.*?)\\\)|\\\[(.*?)\\\]", re.DOTALL)
SCRIPTS = re.compile(
    r'\s*<script>window\.MathJax = .*?</script>|\s*<script[^>]*src="[^"]*mathjax[^"]*"></script>'
)


class Missing(Exception):
    """Why formulas cannot be set here, in words for the reader of the build's output."""


def node_modules(site):
    """The folder of what package-lock.json pins; npm brings it up to date where it is not."""
    lock, folder = site / "package-lock.json", site / "node_modules"
    mark = folder / ".package-lock.json"  # npm writes it last
    if mark.is_file() and mark.stat().st_mtime >= lock.stat().st_mtime:
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("npm is not installed")
    try:
        subprocess.run(
            [npm, *INSTALL], cwd=site, check=True, capture_output=True, text=True, timeout=SOON
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"npm did not answer within {SOON} seconds") from None
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise Missing(f"npm could not fetch it ({said[-1]})") from error
    return folder


def typeset(formulas, mathjax):
    """For each page's list of formulas, their HTML and their style sheet.

    The style sheet has FONTS for the folder of fonts.
    """
    node = shutil.which("node")
    if node is None:
        raise Missing("node is not installed")
    command = [node, str(SETTER), str(mathjax)]
    result = subprocess.run(
        command, input=json.dumps(formulas), capture_output=True, encoding="utf-8"
    )
    if result.returncode:
        raise Missing(f"node failed ({result.stderr.strip().splitlines()[0]})")
    return json.loads(result.stdout)


def formulas_of(page):
    """(TeX, whether it is displayed) of every formula on a page."""
    return [
        (unescape(inline or displayed), bool(displayed))
        for element in MATH.finditer(page)
        for inline, displayed in FORMULA.findall(element[0])
    ]


def with_formulas(page, html, css):
    """A page with its formulas set, the style that they need, and without MathJax's scripts."""
    ready = iter(html)
    page = MATH.sub(lambda element: FORMULA.sub(lambda _: next(ready), element[0]), page)
    style = re.sub(r"\s+", " ", css)
    return SCRIPTS.sub("", page).replace("</head>", f"<style>{style}</style>\n  </head>", 1)


def set_formulas(app, exception):
    if exception or app.builder.format != "html":
        return
    pages = {path: path.read_text(encoding="utf-8") for path in Path(app.outdir).rglob("*.html")}
    formulas = {path: formulas_of(page) for path, page in pages.items() if SCRIPTS.search(page)}
    if not formulas:
        return
    try:
        mathjax = node_modules(SITE) / "mathjax"
        made = typeset(list(formulas.values()), mathjax)
    except Missing as reason:
        logger.info(
            "Formulas: %s, so the pages will fetch MathJax from the network when they are read",
            reason,
        )
        return
    fonts = Path(app.outdir) / "_static" / "mathjax"
    shutil.copytree(mathjax / FONTS, fonts, dirs_exist_ok=True)
    shutil.copy(mathjax / "LICENSE", fonts)
    for path, ready in zip(formulas, made):
        to_fonts = Path(os.path.relpath(fonts, path.parent)).as_posix()
        page = with_formulas(pages[path], ready["html"], ready["css"].replace("FONTS", to_fonts))
        path.write_text(page, encoding="utf-8", newline="\n")


def setup(app):
    app.connect("build-finished", set_formulas)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

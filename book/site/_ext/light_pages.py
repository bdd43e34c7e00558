"""The last touches to the pages: a browser has little to fetch, and the map leads on.

Sphinx's pages carry much that this book does not use, and plots carry their pictures as PNG. What
can be left out without a trace is left out when all is written; where a new version of the theme
no longer looks as expected, its pages stay as they are, only heavier, and tests/book/test_pages.py
notices.
"""

import re
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from PIL import Image

# The theme draws a dozen icons, which its font has too, while its script has thousands.
# Search has a page of its own.
ICON_SCRIPT = re.compile(r'\s*<script[^>]* src="[^"]*/fontawesome\.js[^"]*"></script>')
SEARCH_SCRIPTS = re.compile(
    r'\s*<script src="[^"]*\b(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
EXPLORER = '<script type="application/vnd.jupyter.widget-view+json">'
NO_SCRIPTS = (
    "<noscript><p>Here is a drawing with knobs. It needs JavaScript, which is off.</p></noscript>"
)
# Each output of book/questions.py brings the script and the style that a page has already.
QUESTIONS = re.compile(r"<style data-questions>.*?</script>", re.DOTALL)
PIECE = re.compile(r'(<a href="[\w/]+)\.ipynb(" aria-label="Chapter)')
PARAMETERS = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*</dd>\n)+)</dl>')
# In the contents, what unfolds the pages of a chapter.
UNFOLD = '<summary><span class="toctree-toggle" role="presentation">'
EMPTY_HEADING = re.compile(r"<th(?: class=\"[^\"]*\")?>\s*(?:<p>\s*</p>)?\s*</th>")
ICON_RULE = re.compile(r'((?:\.fa-[\w-]+:{1,2}before,?)+)\{content:"\\([0-9a-f]+)"\}')
ICON_FONT = re.compile(r'url\([^)]*fa-solid-900\.woff2\) format\("woff2"\),')
PNG = re.compile(r"data:image/png;base64,([^\"']+)")


def mend(app, pagename, templatename, context, doctree):
    """Load pictures late, make the map's pieces links, and name what screen readers need."""
    if app.builder.format == "html" and "body" in context:
        body = context["body"].replace("<img ", '<img loading="lazy" ')
        body = PIECE.sub(r"\1.html\2", body).replace(EXPLORER, NO_SCRIPTS + EXPLORER)
        body = QUESTIONS.sub("", body)
        body = EMPTY_HEADING.sub("<td></td>", body).replace(
            'role="doc-biblioentry"', 'role="listitem"'
        )
        context["body"] = PARAMETERS.sub(as_spans, body)


def as_spans(parameters):
    return re.sub(r"<(/?)dd>", r"<\1span>", f'<span class="sig-params">\n{parameters[1]}</span>')


def rewrite(path, change):
    before = path.read_text(encoding="utf-8")
    after = change(before)
    if after != before:
        path.write_text(after, encoding="utf-8", newline="\n")


def smaller_picture(png):
    """The same picture as WebP, without a visible loss.

    It has no loss at all if it has few colors.
    """
    picture, webp = Image.open(BytesIO(b64decode(png[1]))), BytesIO()
    few = picture.getcolors(256) is not None
    picture.save(webp, "WEBP", lossless=few, quality=90, use_sharp_yuv=True)
    return (
        f"data:image/webp;base64,{b64encode(webp.getvalue()).decode()}"
        if webp.tell() < len(png[1])
        else png[0]
    )


def fewer_icons(static, pages):
    """Leave in the theme's font and style sheet those icons that a page or a style names."""
    sheet, font = (
        static / "styles" / "pydata-sphinx-theme.css",
        static / "vendor/fontawesome/webfonts/fa-solid-900.ttf",
    )
    if not (sheet.is_file() and font.is_file()):
        return
    users = [*pages, *static.rglob("*.js")]
    used = {
        name
        for path in users
        for name in re.findall(r"\bfa-[a-z-]+", path.read_text(encoding="utf-8"))
    }

    def keep(rule):
        return rule[0] if used & set(re.findall(r"fa-[\w-]+", rule[1])) else ""

    rewrite(sheet, lambda css: ICON_FONT.sub("", ICON_RULE.sub(keep, css)))
    styles = "".join(path.read_text(encoding="utf-8") for path in static.rglob("*.css"))
    letters = {int(code, 16) for code in re.findall(r"\\([0-9a-f]{4})\b", styles)} | {
        *map(ord, styles)
    }
    with TTFont(font) as letters_of:
        subsetter = Subsetter(Options(hinting=False))
        subsetter.populate(unicodes=letters)
        subsetter.subset(letters_of)
        letters_of.save(font)


def lighten(app, exception):
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    pages = [path for path in out.rglob("*.html") if "_static" not in path.parts]
    fewer_icons(out / "_static", pages)
    for path in pages:
        search = path.stem == "search"
        rewrite(
            path,
            lambda page, search=search: ICON_SCRIPT.sub(
                "", page if search else SEARCH_SCRIPTS.sub("", page)
            ).replace(UNFOLD, UNFOLD.replace(">", ' aria-label="Its pages">', 1)),
        )
    for path in (out / "_images").glob("*.svg"):
        rewrite(path, lambda svg: PNG.sub(smaller_picture, svg))


def setup(app):
    app.connect("html-page-context", mend)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

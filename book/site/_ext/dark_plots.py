"""Plots have a dark form: the same drawing in light ink on dark paper.

Plots that hold a picture stay as they are, for words that lie on a picture could not be told from
words beside it; book.css dims them.
"""

import re
from pathlib import Path

from light_pages import rewrite

INK, PAPER = "#e6ebf0", "#14181e"
# What book/plot.py draws with, and how it looks on dark paper. Colors of data stay.
IN_THE_DARK = {
    "#24323f": INK,
    "#fcfcfa": PAPER,
    "#c3ccd4": "#7d8b98",
    "#e6e9ec": "#2a323b",
    "#dfe3e6": "#3a444e",
    "stroke: #000000": f"stroke: {INK}",
}
LIGHT_COLORS = re.compile("|".join(IN_THE_DARK))
# Words in a color of the data need more contrast than its lines do.
WORDS_IN_THE_DARK = {
    "#0072b2": "#56b4e9",
    "#d55e00": "#ff9d5c",
    "#009e73": "#33c79b",
    "#7a3e9d": "#c79be0",
    "#8c6d31": "#d3b06a",
}
WORDS = re.compile(r'(<g id="text_\d+">\s*<!--.*?-->\s*<g style="fill: )(#\w{6})', re.DOTALL)
WHITE_GROUND = re.compile(r'(<path d="[^"]*"[^>]*style="fill: )#ffffff')
PLOT = re.compile(r'<img [^>]*src="([^"]*\b_images/([^"/]+))\.svg"[^>]*>')
DARK = "-dark"  # ends the names of the dark forms


def in_the_dark(svg: str) -> str | None:
    """A plot's dark form; None if it is dark already, no plot of ours, or holds a picture."""
    if "matplotlib" not in svg[:2000] or "<image" in svg or PAPER in svg:
        return None
    svg = WORDS.sub(lambda found: found[1] + WORDS_IN_THE_DARK.get(found[2], found[2]), svg)
    svg = WHITE_GROUND.sub(rf"\g<1>{PAPER}", svg)
    return LIGHT_COLORS.sub(lambda found: IN_THE_DARK[found[0]], svg)


def draw_dark(app, exception):
    """Write the dark forms beside the plots, and let each page show the one that fits its theme."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    dark = set()
    for path in (out / "_images").glob("*.svg"):
        if svg := in_the_dark(path.read_text(encoding="utf-8")):
            path.with_stem(f"{path.stem}{DARK}").write_text(svg, encoding="utf-8", newline="\n")
            dark.add(path.stem)

    def both(found):
        image, address, stem = found[0], found[1], found[2]
        if stem not in dark or 'class="only-' in image:  # by an earlier build
            return image
        other = image.replace(address, f"{address}{DARK}")
        light, other = (
            form.replace("<img", f'<img class="only-{theme}"', 1)
            for form, theme in ((image, "light"), (other, "dark"))
        )
        return light + other

    for page in out.rglob("*.html"):
        rewrite(page, lambda html: PLOT.sub(both, html))


def setup(app):
    app.connect("build-finished", draw_dark)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Plots and diagrams have a dark form: the same drawing in light ink on dark paper.

What lies on a picture keeps its colors, for they were chosen to be seen there. Where a drawing
goes on beyond its picture, one color would have to serve on both: such a plot has no dark form,
and book.css dims it.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

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
GROUND = {"fill: #ffffff": f"fill: {PAPER}"}  # white words stand on a color, and stay white
# Words in a color of the data need more contrast than its lines do.
WORDS_IN_THE_DARK = {
    "#0072b2": "#56b4e9",
    "#d55e00": "#ff9d5c",
    "#009e73": "#33c79b",
    "#7a3e9d": "#c79be0",
    "#8c6d31": "#d3b06a",
}
# What book/diagram.py draws with, in its two themes.
DIAGRAM_IN_THE_DARK = IN_THE_DARK | {
    "#5f6d79": "#a4b1bd",
    "#c3ccd4": "#55626e",
    "#ffffff": "#1f262e",
    "#0072B2": "#56B4E9",
    "#B84A00": "#FF9D5C",
}
ON_LIT = re.compile('(<text [^>]*fill=")#ffffff')
SVG = "{http://www.w3.org/2000/svg}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
START = re.compile(r"(?:translate\(|M )(-?[\d.]+) (-?[\d.]+)")
PLOT = re.compile(r'<img [^>]*src="([^"]*\b_images/([^"/]+))\.svg"[^>]*>')
DARK = "-dark"  # ends the names of the dark forms


def in_the_dark(svg: str) -> str | None:
    """A plot's dark form; None if it is dark already, no plot of ours, or beyond its picture."""
    if '<marker id="tip"' in svg and PAPER not in svg:
        svg = ON_LIT.sub(r"\g<1>#10202c", svg)
        return replaced(svg, DIAGRAM_IN_THE_DARK)
    if "matplotlib" not in svg[:2000] or PAPER in svg:
        return None
    root = ElementTree.fromstring(svg)
    frames = {f"url(#{clip.get('id')})": clip[0] for clip in root.iter(f"{SVG}clipPath")}
    for group in root.iter(f"{SVG}g"):
        frame = frames.get(group.get("clip-path"))
        for picture in group.findall(f"{SVG}image") if frame is not None else ():
            if any(abs(a - b) > 2 for a, b in zip(rectangle(frame), rectangle(picture))):  # points
                return None
    darken(root, ())
    return ElementTree.tostring(root, encoding="unicode")


def rectangle(part):
    """Left, top, right and bottom of a frame or of a picture, as Matplotlib writes them."""
    left, top, width, height = (float(part.get(key, 0)) for key in ("x", "y", "width", "height"))
    turn, *numbers = re.split(r"[ (,)]+", part.get("transform", "none"))
    if turn == "scale":  # upside down
        top = -top
    elif turn == "matrix":
        x_scale, _, _, y_scale, left, top = map(float, numbers[:6])
        width, height = x_scale * width, y_scale * height
    return left, top, left + width, top + height


def darken(part, pictures):
    """Change the colors of what lies on paper, and not on one of the pictures in these axes."""
    name = part.get("id", "")
    if name.startswith("axes_"):
        pictures = [rectangle(image) for image in part.iter(f"{SVG}image")]
    if pictures and ("clip-path" in part.attrib or lies_on(part, pictures)):
        return
    if name.startswith("text_"):
        for inner in part.iter():
            recolor(inner, IN_THE_DARK | WORDS_IN_THE_DARK)
    else:
        recolor(part, IN_THE_DARK)
        ground = name.startswith("axes_") and bool(pictures)  # a pale picture lets it shine through
        for inner in part[ground:]:
            darken(inner, pictures)


def lies_on(part, pictures):
    """Whether words, an arrow or a legend begin on a picture; axes' own lines run round it."""
    if not re.match("text_|patch_|legend_|line2d_", part.get("id", "")):
        return False
    written = "".join(inner.get("transform", "") + inner.get("d", "") for inner in part.iter())
    if not (start := START.search(written)):
        return False
    x, y = map(float, start.groups())
    return any(
        left + 1 < x < right - 1 and top + 1 < y < bottom - 1
        for left, top, right, bottom in pictures
    )


def recolor(part, colors):
    if part.tag == f"{SVG}path":
        colors = colors | GROUND
    if style := part.get("style"):
        part.set("style", replaced(style, colors))


def replaced(text, colors):
    return re.sub("|".join(colors), lambda found: colors[found[0]], text)


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

"""The strokes of the book's drawings: lines, rectangles and words, as SVG."""

from html import escape


class Diagram(str):
    """SVG source, which a notebook shows as a picture."""

    def _repr_svg_(self) -> str:
        return str(self)


def arrow(points: list[tuple[float, float]], theme: dict[str, str], tip: bool = True) -> str:
    """A line through points, with a tip at its end."""
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    end = ' marker-end="url(#tip)"' if tip else ""
    return (
        f'<polyline points="{way}" fill="none" stroke="{theme["gray"]}" stroke-width="1.5"{end}/>'
    )


def rectangle(
    x: float, y: float, wide: float, high: float, fill: str, edge: str = "none", radius: float = 0
) -> str:
    """A rectangle, with round corners."""
    place = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" rx="{radius}"'
    return f'<rect {place} fill="{fill}" stroke="{edge}" stroke-width="1.4"/>'


def label(
    x: float,
    y: float,
    words: str,
    ink: str,
    size: float,
    anchor: str = "start",
    bold: bool = False,
    halo: str = "",
) -> str:
    """Words with their base line at (x, y); a halo sets them off from lines behind them."""
    weight = ' font-weight="bold"' if bold else ""
    around = f' paint-order="stroke" stroke="{halo}" stroke-width="5"' if halo else ""
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="{ink}"{weight}{around}>{escape(words)}</text>'


def picture(
    wide: float, high: float, parts: list[str], theme: dict[str, str], title: str = ""
) -> Diagram:
    """Parts on the theme's ground, as a whole SVG file. One with a title is a single picture."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" '
        f'viewBox="0 0 {wide} {high}"'
    )
    tip = f'<path d="M0,0 L9,4.5 L0,9 Z" fill="{theme["gray"]}"/>'
    marker = (
        '<marker id="tip" markerWidth="9" markerHeight="9" refX="8" refY="4.5" '
        f'orient="auto">{tip}</marker>'
    )
    font = "font-family=\"'DejaVu Sans', Verdana, 'Segoe UI', Helvetica, Arial, sans-serif\""
    lines = [
        f'{head} {font} role="img">\n<title>{escape(title)}</title>'
        if title
        else f"{head} {font}>",
        f"<defs>{marker}</defs>",
        rectangle(0, 0, wide, high, theme["paper"], radius=6),
        *parts,
        "</svg>",
    ]
    return Diagram("\n".join(lines) + "\n")

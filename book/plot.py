"""Boxes in a plot, and the look of all the book's plots: matplotlib's side of drawing."""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Tensor

from ssd_lite.drawing import PALETTE, color, draw, ink_on

# A page draws with one module: what the package draws with is here too.
__all__ = ["INK", "PALE", "PALETTE", "PAPER", "color", "draw", "ink_on", "show_boxes", "style"]

INK, PALE, PAPER = "#24323f", "#c3ccd4", "#fcfcfa"


def style() -> None:
    """Let every later plot look like the book's: light ground, plain axes, sharp lines."""
    import matplotlib
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg")
    plain = dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK
    )
    hidden = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    ground = {
        "figure.facecolor": PAPER,
        "axes.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "grid.color": "#e6e9ec",
    }
    colors = {"axes.prop_cycle": matplotlib.cycler(color=PALETTE), "image.cmap": "cividis"}
    size = {
        "font.size": 11,
        "axes.titlesize": 11,
        "figure.figsize": (7.2, 3.4),
        "figure.constrained_layout.use": True,
    }
    matplotlib.rcParams.update(plain | hidden | ground | colors | size)


def show_boxes(
    ax,
    boxes: Float[Tensor, "N 4"],
    image: UInt8[Tensor, "3 H W"] | None = None,
    unit: float = 1,
    color: str | Sequence[str] = PALETTE[0],
    labels: Sequence[str] = (),
    **line,
):
    """Draw boxes, and the picture under them, into matplotlib axes. Returns the axes.

    Args:
        ax: the axes.
        boxes: xyxy, in fractions of the image.
        image: the picture, or None to leave what is there.
        unit: how wide the image is in the axes' units; 300 makes them pixels of an SSD300.
        color: of the lines; one for all boxes, or one for each.
        labels: words at the boxes' top left corners.
        line: passed on to the rectangles, such as ``linewidth``.
    """
    from matplotlib.patches import Rectangle

    if image is not None:
        ax.imshow(image.permute(1, 2, 0).cpu(), extent=(0, unit, unit, 0), interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    colors = [color] * len(boxes) if isinstance(color, str) else color
    corners = (boxes * unit).tolist()
    for (left, top, right, bottom), c in zip(corners, colors):
        looks = {"fill": False, "edgecolor": c, "linewidth": 2} | line
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, **looks))
    for (left, top, _, _), c, word in zip(corners, colors, labels):
        patch = {"facecolor": c, "edgecolor": "none", "boxstyle": "square,pad=0.15"}
        ax.text(left, top, word, color=ink_on(c), fontsize=9, va="bottom", bbox=patch, clip_on=True)
    return ax

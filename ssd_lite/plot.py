"""Drawing: detections on a picture, and boxes in a plot.

:func:`draw` needs nothing but pillow and torchvision. The others draw with matplotlib, which is imported when they are
called: the package does without it.
"""

from collections.abc import Sequence

import torchvision
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from ssd_lite.nms import Detections

# Colours that differ for every kind of eye, after Okabe and Ito; label 1 has the first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A3E9D", "#8C6D31")
INK, PALE, PAPER = "#24323f", "#c3ccd4", "#fcfcfa"


def colour(label: int) -> str:
    """Colour of a class: label 1 has the first of the palette, and after the last it begins again."""
    return PALETTE[(int(label) - 1) % len(PALETTE)]


def ink_on(ground: str) -> str:
    """Black or white, whichever stands out more from a colour (relative luminance, as WCAG has it)."""
    red, green, blue = ((c / 255) ** 2.2 for c in ImageColor.getrgb(ground))
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else "black"


def draw(
    image: UInt8[Tensor, "3 H W"], detections: Detections, classes: Sequence[str], threshold: float = 0.5
) -> Image.Image:
    """A picture with its detections drawn in, each with its class and score. Small pictures come back enlarged.

    Args:
        image: the picture that was looked at.
        detections: from :func:`ssd_lite.nms.detect`, boxes in pixels of ``image``.
        classes: names; label i + 1 means ``classes[i]``.
        threshold: detections that score less are left out.
    """
    chosen = detections.scores >= threshold
    boxes, scores, labels = (x[chosen].cpu() for x in detections)
    zoom = max(1, 400 // max(image.shape[1:]))  # so that there is room for words
    image, boxes = image.cpu().repeat_interleave(zoom, dim=1).repeat_interleave(zoom, dim=2), boxes * zoom
    unit = max(image.shape[1:]) / 400  # lines and letters grow with the picture
    width, colours = max(1, round(2 * unit)), [colour(label) for label in labels.tolist()]
    if len(boxes):
        image = torchvision.utils.draw_bounding_boxes(image, boxes, colors=colours, width=width)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(max(10, 13 * unit))
    lines = list(zip(boxes.tolist(), scores.tolist(), labels.tolist(), colours))
    for (left, top, _, bottom), score, label, ground in reversed(lines):  # the best on top
        text = f" {classes[label - 1]} {score:.2f} "
        _, _, wide, high = font.getbbox(text, anchor="lt")
        high += 4 * width
        x = min(max(left, 0), max(picture.width - wide, 0))
        y = top - high if top >= high else min(max(bottom, 0), picture.height - high)  # above the box, or below
        pen.rectangle((x, y, x + wide, y + high), fill=ground)
        pen.text((x, y + 2 * width), text, fill=ink_on(ground), font=font, anchor="lt")
    return picture


def style() -> None:
    """Let every plot after this call look like the book's: light ground, plain axes, sharp on any screen."""
    import matplotlib
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg")
    plain = dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK)
    hidden = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
    ground = {"figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER, "grid.color": "#e6e9ec"}
    colours = {"axes.prop_cycle": matplotlib.cycler(color=PALETTE), "image.cmap": "cividis"}
    size = {"font.size": 11, "axes.titlesize": 11, "figure.figsize": (7.2, 3.4), "figure.constrained_layout.use": True}
    matplotlib.rcParams.update(plain | hidden | ground | colours | size)


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
    colours = [color] * len(boxes) if isinstance(color, str) else color
    corners = (boxes * unit).tolist()
    for (left, top, right, bottom), c in zip(corners, colours):
        looks = {"fill": False, "edgecolor": c, "linewidth": 2} | line
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, **looks))
    for (left, top, _, _), c, word in zip(corners, colours, labels):
        patch = {"facecolor": c, "edgecolor": "none", "boxstyle": "square,pad=0.15"}
        ax.text(left, top, word, color=ink_on(c), fontsize=9, va="bottom", bbox=patch, clip_on=True)
    return ax

"""Detections drawn on a picture, with nothing but pillow and torchvision, or as plain data."""

import math
from collections.abc import Sequence

import torchvision
from jaxtyping import UInt8
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from ssd_lite.detection import Detections
from ssd_lite.fonts import name_and_font

# Colors that differ for every kind of eye, after Okabe and Ito; label 1 has the first.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A3E9D", "#8C6D31")


def plain_detections(
    detections: Detections, classes: Sequence[str], threshold: float = 0.5
) -> list[dict]:
    """Detections as plain data: label, score and box (xyxy, pixels), best first."""
    return [
        {"label": classes[label - 1], "score": round(score, 4), "box": [round(x, 2) for x in box]}
        for box, score, label in zip(*(x.tolist() for x in detections))
        if score >= threshold
    ]


def color(label: int) -> str:
    """Color of a class: label 1 has the palette's first, and after its last it starts over."""
    return PALETTE[(int(label) - 1) % len(PALETTE)]


def ink_on(ground: str) -> str:
    """Black or white, whichever stands out more from a color.

    By relative luminance, as WCAG defines it.
    """
    red, green, blue = ((c / 255) ** 2.2 for c in ImageColor.getrgb(ground))
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else "black"


def draw(
    image: UInt8[Tensor, "3 H W"],
    detections: Detections,
    classes: Sequence[str],
    threshold: float = 0.5,
) -> Image.Image:
    """A picture with its detections drawn in, each with its class and score.

    Small pictures come back enlarged.

    Args:
        image: the picture in which the objects were found.
        detections: from :func:`ssd_lite.detection.detect`, boxes in pixels of ``image``. Infinite
            scores, for ground truth, are not written.
        classes: names; label i + 1 means ``classes[i]``.
        threshold: detections that score less are left out.
    """
    chosen = detections.scores >= threshold
    boxes, scores, labels = (x[chosen].cpu() for x in detections)
    zoom = max(1, 400 // max(image.shape[1:]))  # so that there is room for words
    image, boxes = (
        image.cpu().repeat_interleave(zoom, dim=1).repeat_interleave(zoom, dim=2),
        boxes * zoom,
    )
    unit = max(image.shape[1:]) / 400  # lines and letters grow with the picture
    width, colors = max(1, round(2 * unit)), [color(label) for label in labels.tolist()]
    if len(boxes):
        image = torchvision.utils.draw_bounding_boxes(image, boxes, colors=colors, width=width)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    pen, size = ImageDraw.Draw(picture), max(10, 13 * unit)
    lines = list(zip(boxes.tolist(), scores.tolist(), labels.tolist(), colors))
    for (left, top, _, bottom), score, label, ground in reversed(lines):  # the best on top
        name, font = name_and_font(classes[label - 1], label, size)
        text = f" {name} {score:.2f} " if math.isfinite(score) else f" {name} "
        _, _, wide, high = font.getbbox(text, anchor="lt")
        high += 4 * width
        x = min(max(left, 0), max(picture.width - wide, 0))
        above, below = top - high, min(max(bottom, 0), picture.height - high)
        y = above if above >= 0 else below
        pen.rectangle((x, y, x + wide, y + high), fill=ground)
        pen.text((x, y + 2 * width), text, fill=ink_on(ground), font=font, anchor="lt")
    return picture

"""The toy scene: a picture, two objects, eight default boxes, and a network's answers.

Every chapter imports the same ``toy`` and works its own step out on it, by hand. The picture is a
sheet of graph paper, 16 squares wide and high; all boxes have whole numbers of squares, so that
every overlap is a fraction one can count.

The objects were placed with care: both overlap default box 4 most, and only the house by half or
more. So a matcher that only looks at the threshold loses the car, and one that lets the car
overwrite the house loses the house.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.encoding import encode
from ssd_lite.spec import SSDSpec

SQUARES = 16  # width and height of the picture
SPEC = SSDSpec(
    name="TOY",
    image_size=SQUARES,
    base="lite",
    maps=(2, 1, 1),
    steps=(8, 16, 16),
    sizes=(8, 8, 16, 16),
    ratios=((), (4,), ()),
    extras=(),
    extra_square=False,
)


@dataclass(frozen=True)
class Toy:
    """The scene, with boxes in fractions of the picture.

    :meth:`squares` counts them in squares.
    """

    image: UInt8[Tensor, "3 H W"]
    classes: tuple[str, ...]  # label i + 1 means classes[i]
    boxes: Float[Tensor, "G 4"]  # the objects, xyxy
    labels: Int[Tensor, " G"]
    spec: SSDSpec
    default_boxes: Float[Tensor, "A 4"]  # cxcywh
    names: tuple[str, ...]  # of the default boxes
    probabilities: Float[Tensor, "A classes"]  # what a network answers: background, house, car
    predicted_boxes: Float[Tensor, "A 4"]  # where it says that they are, xyxy
    logits: Float[
        Tensor, "A classes"
    ]  # the same two answers as the network gives them: the softmax of these are
    offsets: Float[Tensor, "A 4"]  # the probabilities, and decoding these gives the predicted boxes

    @staticmethod
    def squares(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 4"]:
        """Boxes in fractions of the picture, counted in squares of the paper."""
        return boxes * SQUARES


def draw_scene(pixels: int = 20) -> UInt8[Tensor, "3 H W"]:
    """The picture: a house, a car parked in front of it, and a cloud that resembles a car."""
    scale = 4 * pixels  # drawn four times too large, then shrunk, so that edges are smooth
    picture = Image.new("RGB", (SQUARES * scale, SQUARES * scale), "#cfe3f1")
    pen = ImageDraw.Draw(picture)

    def at(*numbers: float) -> list[float]:
        return [number * scale for number in numbers]

    pen.rectangle(at(0, 11.5, 16, 16), fill="#c5d8b4")  # meadow
    pen.rectangle(at(0, 12.2, 16, 14), fill="#b9b5ae")  # road
    for x, y, r in ((10.3, 4, 0.9), (11.7, 3.2, 1.3), (13.2, 3.7, 1.1)):  # cloud
        pen.ellipse(at(x - r, y - r, x + r, y + r), fill="#f7fafc")
    pen.rounded_rectangle(at(9.4, 3.9, 14.3, 4.9), radius=0.5 * scale, fill="#f7fafc")
    pen.polygon(at(4, 8.5, 8, 6, 12, 8.5), fill="#a6503f")  # roof
    pen.rectangle(at(4.5, 8.5, 11.5, 12), fill="#ead9b8")  # wall
    for x in (5.2, 9.2):
        pen.rectangle(at(x, 9, x + 1.4, 10.2), fill="#6f8fa8")
    pen.rounded_rectangle(at(4, 9.7, 14, 11.5), radius=0.6 * scale, fill="#2f6f9f")  # car
    pen.polygon(at(5.6, 9.8, 6.7, 8, 11.2, 8, 12.6, 9.8), fill="#2f6f9f")
    pen.polygon(at(6.4, 9.6, 7.1, 8.4, 8.7, 8.4, 8.7, 9.6), fill="#d8e8f2")
    pen.polygon(at(9.1, 9.6, 9.1, 8.4, 10.9, 8.4, 11.8, 9.6), fill="#d8e8f2")
    for x in (6.3, 11.7):
        pen.ellipse(at(x - 0.9, 10.2, x + 0.9, 12), fill="#333333")
        pen.ellipse(at(x - 0.4, 10.7, x + 0.4, 11.5), fill="#cccccc")
    small = picture.reduce(4)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()


def make_toy() -> Toy:
    """Put the scene together."""
    default_boxes = make_default_boxes(SPEC)
    probabilities = torch.tensor(
        [
            [0.90, 0.05, 0.05],  # 0, top left
            [0.25, 0.10, 0.65],  # 1, top right: takes the cloud for a car
            [0.80, 0.10, 0.10],  # 2, bottom left
            [0.40, 0.10, 0.50],  # 3, bottom right: the car, without much confidence
            [0.10, 0.80, 0.10],  # 4, square: the house
            [0.30, 0.50, 0.20],  # 5, wide: the house once more
            [0.90, 0.05, 0.05],  # 6, tall
            [0.70, 0.15, 0.15],  # 7, whole
        ]
    )
    predicted_boxes = (
        torch.tensor(
            [
                [0, 0, 8, 8],
                [9, 2, 15, 5],
                [0, 8, 8, 16],
                [4, 8, 13, 12],
                [4, 6, 12, 13],
                [4, 5, 12, 12],
                [6, 0, 10, 16],
                [0, 0, 16, 16],
            ]
        )
        / SQUARES
    )
    return Toy(
        image=draw_scene(),
        classes=("house", "car"),
        boxes=torch.tensor([[4, 6, 12, 12], [4, 8, 14, 12]]) / SQUARES,
        labels=torch.tensor([1, 2]),
        spec=SPEC,
        default_boxes=default_boxes,
        names=(
            "top left",
            "top right",
            "bottom left",
            "bottom right",
            "square",
            "wide",
            "tall",
            "whole",
        ),
        probabilities=probabilities,
        predicted_boxes=predicted_boxes,
        logits=probabilities.log(),
        offsets=encode(predicted_boxes, default_boxes, SPEC.variances),
    )


toy = make_toy()

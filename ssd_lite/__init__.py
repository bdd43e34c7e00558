"""The Single Shot MultiBox Detector, made of the pieces that the book teaches.

Three lines find the objects in a picture: load a model, detect, draw::

    from ssd_lite import detect, draw, load_model, read_image

    model, image = load_model("runs/shapes-lite"), read_image("street.jpg")
    [found] = detect(model, [image])
    draw(image, found, model.classes).save("found.png")
"""

from ssd_lite.checkpoint import load_model
from ssd_lite.data import read_image
from ssd_lite.detection import detect
from ssd_lite.drawing import draw

__all__ = ["detect", "draw", "load_model", "read_image"]

__version__ = "0.2.0"

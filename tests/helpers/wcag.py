"""The Web Content Accessibility Guidelines: contrast of two colors, and where axe-core lies."""

from pathlib import Path

import numpy as np
from PIL import ImageColor

# The build brings it.
AXE = Path(__file__).parents[2] / "book" / "site" / "node_modules" / "axe-core" / "axe.min.js"


def luminance(color):
    channels = np.array(ImageColor.getrgb(color)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(a, b):
    """From 1, none at all, to 21, black on white."""
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)

"""Chapter 9. Drawn scenes: endless, deterministic, nothing to download."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.data import Dataset

from ssd_lite.data import Sample


def _ring(points: int, radii: Sequence[float], turn: float = 0) -> np.ndarray:
    """Corners on circles of alternating radii around the origin: (points, 2)."""
    angle = turn + np.arange(points) * 2 * math.pi / points
    radius = np.resize(radii, points)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_CROSS = np.array(
    [
        (1, 3),
        (1, 1),
        (3, 1),
        (3, -1),
        (1, -1),
        (1, -3),
        (-1, -3),
        (-1, -1),
        (-3, -1),
        (-3, 1),
        (-1, 1),
        (-1, 3),
    ]
)
OUTLINES = {
    "ellipse": _ring(32, [1]),
    "rectangle": _ring(4, [1], math.pi / 4),
    "triangle": _ring(3, [1], -math.pi / 2),
    "star": _ring(10, [1, 0.42], -math.pi / 2),
    "cross": _CROSS / 3.0,
}


class Shapes(Dataset):
    """Drawn scenes, endless and always the same.

    Scene ``i`` of a seed depends on ``(seed, i)`` alone. Each has 0 to 6 objects of five classes,
    turned and stretched, from 5% to 90% of the image, on textured or shaded ground, with noise,
    some partly hidden by a later one. A box is that of the whole object, hidden part included.

    Args:
        count: what ``len`` returns; the scenes themselves do not depend on it.
        seed: another seed, other scenes; hold out a data set by giving it another seed.
        size: height and width in pixels.
    """

    classes = tuple(OUTLINES)

    def __init__(self, count: int, seed: int = 0, size: int = 96):
        self.count, self.seed, self.size = count, seed, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index}: there are {self.count}, counted from 0")
        rng = np.random.default_rng([self.seed, index])
        canvas = _background(rng, self.size)
        boxes: list[np.ndarray] = []
        labels: list[int] = []
        wanted = 0 if rng.random() < 0.06 else int(rng.integers(1, 7))
        for _ in range(5 * wanted):
            if len(boxes) == wanted:
                break
            label = int(rng.integers(len(OUTLINES)))
            corners = _place(rng, OUTLINES[self.classes[label]])
            box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
            if box.min() < 0 or box.max() > 1 or _hides(box, boxes):
                continue
            _paint(rng, canvas, corners * self.size)
            boxes.append(box)
            labels.append(label + 1)
        noise = rng.standard_normal((self.size, self.size, 3), dtype=np.float32)
        pixels = np.asarray(canvas, dtype=np.float32) + np.float32(rng.uniform(0, 6)) * noise
        return Sample(
            image=torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
            .permute(2, 0, 1)
            .contiguous(),
            boxes=torch.tensor(np.array(boxes), dtype=torch.float32).view(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            difficult=torch.zeros(len(boxes), dtype=torch.bool),
            name=f"scene {index} of seed {self.seed}",
        )


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Shaded ground, half of the time with stripes, checks or blotches on it."""
    coarse = rng.integers(30, 226, (1, 1, 3)) + rng.integers(
        -30, 31, (int(rng.integers(2, 5)), 2, 3)
    )
    ground = np.asarray(
        Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize(
            (size, size), Image.Resampling.BICUBIC
        ),
        np.float32,
    )
    kind = rng.integers(6)
    if kind > 2:
        return Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    if kind == 2:
        blotches = rng.integers(0, 256, (12, 12)).astype(np.uint8)
        texture = (
            np.asarray(Image.fromarray(blotches).resize((size, size), Image.Resampling.BICUBIC))
            / 128.0
            - 1
        )
    else:
        ticks = np.arange(size, dtype=np.float32) / size
        angle, frequency = rng.uniform(0, math.pi), rng.uniform(4, 16) * math.pi
        u = ticks * math.cos(angle) + ticks[:, None] * math.sin(angle)
        v = ticks[:, None] * math.cos(angle) - ticks * math.sin(angle)
        stripes = np.sin(frequency * u)
        texture = stripes if kind == 0 else np.sign(stripes * np.sin(frequency * v))
    ground = ground + texture[..., None] * (rng.uniform(6, 20) * rng.uniform(-1, 1, 3)).astype(
        np.float32
    )
    return Image.fromarray(ground.clip(0, 255).astype(np.uint8))


def _place(rng: np.random.Generator, outline: np.ndarray) -> np.ndarray:
    """An outline stretched, turned, scaled and moved: (points, 2) in fractions of the image."""
    stretch = math.exp(rng.uniform(-1, 1) * math.log(1.45))  # aspect ratios up to 1.45² : 1
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    corners = (outline * (stretch, 1 / stretch)) @ turn.T
    corners -= (corners.min(axis=0) + corners.max(axis=0)) / 2
    # The box's longer side; what does not fit is drawn anew.
    longer = 0.05 + 0.85 * rng.beta(1.8, 1.8)
    corners *= longer / np.ptp(corners, axis=0).max()
    reach = np.ptp(corners, axis=0) / 2
    return corners + rng.uniform(reach, 1 - reach)


def _hides(box: np.ndarray, others: list[np.ndarray]) -> bool:
    """Whether a new box would hide another, or be hidden, by more than 30%."""
    for other in others:
        side = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        shared = side.clip(min=0).prod()
        if shared > 0.3 * min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod()):
            return True
    return False


def _paint(rng: np.random.Generator, canvas: Image.Image, corners: np.ndarray) -> None:
    """Fill an outline with a color that stands out, shaded from one side to the other."""
    size = canvas.width
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    right, bottom = min(right, size), min(bottom, size)
    ground = np.asarray(canvas.crop((left, top, right, bottom)), np.float32).mean(axis=(0, 1))
    color = rng.integers(0, 256, 3)
    while np.abs(color - ground).sum() < 240:
        color = rng.integers(0, 256, 3)
    mask = Image.new("L", (4 * (right - left), 4 * (bottom - top)))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (corners - (left, top)) * 4], fill=255)
    shade = np.linspace(-1, 1, right - left) * rng.uniform(-25, 25)
    fill = np.broadcast_to((color + shade[:, None])[None], (bottom - top, right - left, 3))
    canvas.paste(
        Image.fromarray(fill.clip(0, 255).astype(np.uint8)), (int(left), int(top)), mask.reduce(4)
    )

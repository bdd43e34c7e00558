"""Chapter 8, last part. Pictures as people have them in hand, as tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from ssd_lite.data import read_image

# What detect takes for a picture.
Picture = UInt8[Tensor, "3 _ _"] | UInt8[np.ndarray, "_ _ 3"] | Image.Image | str | Path
TAKEN = (
    "a path, a PIL image, a uint8 array of (height, width, 3) or a uint8 tensor of "
    "(3, height, width), in RGB, or a list of such pictures"
)


def as_tensors(
    images: Picture | UInt8[Tensor, "B 3 _ _"] | Sequence[Picture],
) -> list[UInt8[Tensor, "3 _ _"]]:
    """One picture or many, of any kind that :func:`~ssd_lite.detection.detect` takes, as tensors.

    A file is turned upright as EXIF says. A PIL image is taken as it stands, because boxes are in
    its own pixels: ``PIL.ImageOps.exif_transpose`` turns it beforehand.

    Raises:
        ValueError: something else; the message says what it is, and what is taken.
    """
    several = isinstance(images, Sequence) and not isinstance(images, str)
    if isinstance(images, Tensor | np.ndarray):
        several = images.ndim == 4
    if not several:
        return [_as_tensor(images, "images")]
    return [_as_tensor(image, f"images[{i}]") for i, image in enumerate(images)]  # type: ignore[arg-type]


def _as_tensor(image: Any, name: str) -> UInt8[Tensor, "3 H W"]:
    """One picture as a tensor; ``name`` is what to call it in a message."""
    if isinstance(image, Tensor):
        if image.dtype == torch.uint8 and image.dim() == 3 and len(image) == 3:
            return image
        raise ValueError(f"{name}: {_hint(str(image.dtype), tuple(image.shape))}")
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        if image.mode[0] in "IF":  # I, I;16, F
            raise ValueError(
                f"{name}: a PIL image of mode {image.mode} has more than 8 bits; pass the path "
                "of its file, or scale it to 0..255 and convert it to RGB"
            )
        image = np.asarray(image.convert("RGB"))
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
            return torch.tensor(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous()
        raise ValueError(f"{name}: {_hint(str(image.dtype), image.shape)}")
    raise ValueError(f"{name}: expected {TAKEN}, got {type(image).__name__}")


def _hint(kind: str, shape: tuple[int, ...]) -> str:
    """Why numbers of this kind and shape are no picture, and what makes them one."""
    kind = kind.removeprefix("torch.")
    remedy = ""
    if "uint8" not in kind:
        remedy = "; scale it to 0..255 and convert it to uint8"
    elif len(shape) == 2:
        remedy = "; repeat its gray levels three times, one for each of R, G and B"
    elif len(shape) == 3:
        remedy = "; tensors have their channels first and arrays have them last, and three of them"
    return f"expected {TAKEN}, got {kind} of {shape}{remedy}; read_image() reads a file"

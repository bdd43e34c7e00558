"""Chapter 9. Samples, and batches made of them."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from ssd_lite.boxes import check_boxes
from ssd_lite.model import resize

VIDEOS = frozenset((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"))
# What pillow raises for a file that is no whole picture.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Sample(NamedTuple):
    """One picture and what is in it."""

    image: UInt8[Tensor, "3 H W"]
    boxes: Float[Tensor, "G 4"]  # xyxy, in fractions of the image
    labels: Int[Tensor, " G"]  # 1..C
    difficult: Bool[Tensor, " G"]  # to be trained on, but not to be counted
    name: str  # what to call it in a message


@runtime_checkable
class Samples(Protocol):
    """What a data set must offer: how many samples there are, and each of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class Batch(NamedTuple):
    """Samples, stacked: lists of objects padded with label 0, pictures at the right and below."""

    images: UInt8[Tensor, "B 3 H W"]
    boxes: Float[Tensor, "B G 4"]  # in fractions of each picture, without its padding
    labels: Int[Tensor, "B G"]
    sizes: Int[Tensor, "B 2"]  # height and width of each picture, without its padding

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device; on a GPU, from pinned memory, without synchronizing."""
        on_gpu = device.type == "cuda"  # elsewhere memory could be reused before it has been read
        return Batch(*(x.to(device, non_blocking=on_gpu) for x in self))


def collate(samples: Sequence[Sample], classes: int | None = None) -> Batch:
    """Stack samples; pad their objects and their pictures.

    Looks at every box: a bad one is named here, not found later as NaN. With ``classes``, the
    number of classes that the network knows, labels beyond it are named too.
    """
    check_samples(samples, classes)
    longest = max([1, *(len(sample.boxes) for sample in samples)])  # G >= 1, even without objects
    boxes = torch.zeros(len(samples), longest, 4)
    labels = torch.zeros(len(samples), longest, dtype=torch.int64)
    sizes = torch.tensor([sample.image.shape[1:] for sample in samples])  # (B, 2)
    images = torch.zeros(len(samples), 3, *sizes.amax(dim=0).tolist(), dtype=torch.uint8)
    for row, sample in enumerate(samples):
        images[row, :, : sizes[row, 0], : sizes[row, 1]] = sample.image
        boxes[row, : len(sample.boxes)] = sample.boxes
        labels[row, : len(sample.labels)] = sample.labels
    return Batch(images, boxes, labels, sizes)


def check_samples(samples: Sequence[Sample], classes: int | None = None) -> None:
    """:func:`check_sample` for all together, and one by one only to find whose fault it is."""
    boxes, labels = [sample.boxes for sample in samples], [sample.labels for sample in samples]
    fit = [b.shape == (*k.shape, 4) and b.is_floating_point() for b, k in zip(boxes, labels)]
    together = samples
    if all(fit) and {k.dim() for k in labels} == {1}:
        together = [samples[0]._replace(boxes=torch.cat(boxes), labels=torch.cat(labels))]
    try:
        for sample in together:
            check_sample(sample, classes)
    except ValueError:
        for sample in samples:
            check_sample(sample, classes)
        raise


def check_sample(sample: Sample, classes: int | None = None) -> None:
    """Raise ``ValueError`` unless a sample's boxes are fractions with area, each with a label."""
    boxes, labels = sample.boxes, sample.labels
    check_boxes(boxes, f"{sample.name}: boxes")
    if boxes.numel() and (boxes.min() < 0 or boxes.max() > 1):
        raise ValueError(
            f"{sample.name}: boxes: expected fractions of the picture, 0 to 1, got "
            f"{boxes.min():g} to {boxes.max():g}; divide pixels by the picture's width and height"
        )
    if labels.shape != boxes.shape[:1] or (labels < 1).any():
        raise ValueError(
            f"{sample.name}: labels: expected {len(boxes)} numbers from 1 on (0 is background), "
            f"got {labels}"
        )
    if classes is not None and (labels > classes).any():
        raise ValueError(
            f"{sample.name}: labels: the network knows {classes} classes, 1..{classes}, "
            f"got {labels.max()}; give the model the data set's own classes"
        )


class Resized(Dataset):
    """A data set whose pictures are warped to one size; with ``keep`` each is read only once.

    With ``at_most``, sides that are not longer than ``size`` stay as they are.
    """

    def __init__(
        self,
        data: Samples,
        size: int,
        antialias: bool,
        keep: bool = False,
        at_most: bool = False,
    ):
        self.data, self.size, self.antialias, self.at_most = data, size, antialias, at_most
        self.kept: dict[int, Sample] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        sample = self.data[index]
        height, width = sample.image.shape[1:]
        size = (self.size, self.size)
        if self.at_most:
            size = (min(height, self.size), min(width, self.size))
        if size != (height, width):
            image = resize(sample.image[None].float(), size, self.antialias)[0]
            sample = sample._replace(image=image.round().clamp(0, 255).to(torch.uint8))
        if self.kept is not None:
            self.kept[index] = sample
        return sample


def batches(
    samples: int, batch_size: int, seed: int, start: int = 0, steps: int | None = None
) -> Iterator[list[int]]:
    """Indices of every batch from step ``start`` on, in a new order each epoch.

    An incomplete last batch is left out. The order depends on ``seed`` and the epoch alone, so
    that a resumed run sees what the interrupted one would have.
    """
    per_epoch = samples // batch_size
    if per_epoch == 0:
        raise ValueError(
            f"batch_size: {batch_size} is more than the {samples} pictures there are; make it "
            "smaller"
        )
    epoch = None
    for step in itertools.count(start) if steps is None else range(start, steps):
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = np.random.default_rng([seed, epoch]).permutation(samples)
        k = step % per_epoch
        yield order[k * batch_size : (k + 1) * batch_size].tolist()


def read_image(path: str | Path) -> UInt8[Tensor, "3 H W"]:
    """A picture from a file, upright and in RGB.

    More than 8 bits of gray (16-bit, float) are scaled: the darkest pixel to 0, the brightest to
    255.

    Raises:
        ValueError: the file is missing, or not a whole picture; the message names it.
    """
    with _opened(path) as picture:
        picture = ImageOps.exif_transpose(picture)
        if picture.mode[0] in "IF":  # I, I;16, F
            levels = np.nan_to_num(np.asarray(picture, dtype=np.float64))
            low, high = levels.min(), levels.max()
            levels = (levels - low) * (255 / (high - low) if high > low else 0)
            picture = Image.fromarray(levels.round().astype(np.uint8))
        pixels = np.asarray(picture.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


def picture_size(path: str | Path) -> tuple[int, int, int]:
    """Width and height of a picture turned upright, and its EXIF orientation, 1 to 8.

    Reads only the file's header. Errors as in :func:`read_image`.
    """
    with _opened(path) as picture:
        turn = picture.getexif().get(ExifTags.Base.Orientation, 1)
        turn = turn if turn in range(1, 9) else 1
        width, height = picture.size
    return (height, width, turn) if turn >= 5 else (width, height, turn)


@cache
def picture_kinds() -> frozenset[str]:
    """Endings, in lower case, of the names of pictures that Pillow reads."""
    Image.init()
    kinds = {ending for ending, form in Image.registered_extensions().items() if form in Image.OPEN}
    # Documents and videos, and what Pillow knows by name only.
    others = {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".bufr", ".grib", ".h5", ".hdf"}
    return frozenset(kinds - others)


@cache
def unreadable_kinds() -> dict[str, str]:
    """Endings of pictures that cameras write and Pillow cannot read here, and what to do."""
    photographs = "Pillow cannot read such pictures here; convert them to JPEG"
    videos = "a video, not a picture; save single frames of it as pictures"
    kinds = {
        **dict.fromkeys((".heic", ".heif", ".cr2", ".nef", ".dng"), photographs),
        **dict.fromkeys(VIDEOS, videos),
    }
    return {ending: remedy for ending, remedy in kinds.items() if ending not in picture_kinds()}


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """A picture file; whatever goes wrong with it becomes one clear ``ValueError``."""
    try:
        with Image.open(path) as picture:
            yield picture
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: a folder, not a picture; name the pictures in it") from None
    except UNREADABLE as error:
        remedy = unreadable_kinds().get(Path(path).suffix.lower())
        damaged = f"not a picture that can be read ({error}); replace or remove the file"
        raise ValueError(f"{path}: {remedy or damaged}") from None

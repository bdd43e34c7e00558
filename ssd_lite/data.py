"""Chapter 9, first half. Data: drawn scenes, any folder in VOC's layout, and batches made of either."""

import hashlib
import io
import math
import re
import shutil
import urllib.request
import warnings
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from ssd_lite.boxes import check_boxes
from ssd_lite.model import resize

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
BCCD_CLASSES = ("RBC", "WBC", "Platelets")
BCCD_URL = "https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip"
BCCD_SHA256 = "e83ea26203ae41a514a6957d95b09a3d89fcf9068ba7433d600a573628e1329a"


class Sample(NamedTuple):
    """One picture and what is in it."""

    image: UInt8[Tensor, "3 H W"]
    boxes: Float[Tensor, "G 4"]  # xyxy, in fractions of the image
    labels: Int[Tensor, " G"]  # 1..C
    difficult: Bool[Tensor, " G"]  # to be trained on, but not to be counted
    name: str  # what to call it in a message


class Batch(NamedTuple):
    """Samples of one size, stacked; objects padded to the longest list with label 0."""

    images: UInt8[Tensor, "B 3 S S"]
    boxes: Float[Tensor, "B G 4"]
    labels: Int[Tensor, "B G"]

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device, without making the host wait."""
        return Batch(*(x.to(device, non_blocking=True) for x in self))


def collate(samples: Sequence[Sample], classes: int | None = None) -> Batch:
    """Stack samples and pad their objects. Looks at every box: a bad one is named here, not
    found later as NaN.

    With ``classes``, the number of classes that the network knows, labels beyond it are named
    too.
    """
    for sample in samples:
        check_sample(sample, classes)
    most = max([1, *(len(sample.boxes) for sample in samples)])  # G >= 1, also when nobody has an object
    boxes = torch.zeros(len(samples), most, 4)
    labels = torch.zeros(len(samples), most, dtype=torch.int64)
    for row, sample in enumerate(samples):
        boxes[row, : len(sample.boxes)] = sample.boxes
        labels[row, : len(sample.labels)] = sample.labels
    return Batch(torch.stack([sample.image for sample in samples]), boxes, labels)


def check_sample(sample: Sample, classes: int | None = None) -> None:
    """Raise ``ValueError`` that names the sample unless its boxes are fractions with area, and
    each has a label."""
    boxes, labels = sample.boxes, sample.labels
    check_boxes(boxes, f"{sample.name}: boxes")
    if boxes.numel() and (boxes.min() < 0 or boxes.max() > 1):
        raise ValueError(
            f"{sample.name}: boxes: expected fractions of the picture, 0 to 1, got {boxes.min():g} to {boxes.max():g}; "
            "divide pixels by the picture's width and height"
        )
    if labels.shape != boxes.shape[:1] or (labels < 1).any():
        raise ValueError(
            f"{sample.name}: labels: expected {len(boxes)} numbers from 1 on (0 is background), got {labels}"
        )
    if classes is not None and (labels > classes).any():
        raise ValueError(
            f"{sample.name}: labels: the network knows {classes} classes, 1..{classes}, got {labels.max()}; give the "
            "model the data set's own classes"
        )


class Resized(Dataset):
    """A data set whose pictures are warped to one size, and kept in memory once read
    (``keep``)."""

    def __init__(self, data: Dataset, size: int, antialias: bool, keep: bool = False):
        self.data, self.size, self.antialias = data, size, antialias
        self.kept: dict[int, Sample] | None = {} if keep else None

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        sample = self.data[index]
        if sample.image.shape[1:] != (self.size, self.size):
            image = resize(sample.image[None].float(), self.size, self.antialias)[0]
            sample = sample._replace(image=image.round().clamp(0, 255).to(torch.uint8))
        if self.kept is not None:
            self.kept[index] = sample
        return sample


def batches(samples: int, batch_size: int, seed: int, start: int = 0, steps: int | None = None) -> Iterator[list[int]]:
    """Indices of every batch from step ``start`` on: each epoch a new order, an incomplete last
    batch left out.

    The order depends on ``seed`` and the epoch alone, so that a resumed run sees what the
    interrupted one would have.
    """
    per_epoch = samples // batch_size
    if per_epoch == 0:
        raise ValueError(f"batch_size: {batch_size} is more than the {samples} samples there are; make it smaller")
    step = start
    while steps is None or step < steps:
        order = np.random.default_rng([seed, step // per_epoch]).permutation(samples)
        for k in range(
            step % per_epoch, per_epoch if steps is None else min(per_epoch, steps - step + step % per_epoch)
        ):
            yield order[k * batch_size : (k + 1) * batch_size].tolist()
            step += 1


# --- drawn scenes ---------------------------------------------------------------------------------------------------


def _ring(points: int, radii: Sequence[float], turn: float = 0) -> np.ndarray:
    """Corners on circles of alternating radii around the origin: (points, 2)."""
    angle = turn + np.arange(points) * 2 * math.pi / points
    radius = np.resize(radii, points)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


_CROSS = np.array(
    [(1, 3), (1, 1), (3, 1), (3, -1), (1, -1), (1, -3), (-1, -3), (-1, -1), (-3, -1), (-3, 1), (-1, 1), (-1, 3)]
)
OUTLINES = {
    "ellipse": _ring(32, [1]),
    "rectangle": _ring(4, [1], math.pi / 4),
    "triangle": _ring(3, [1], -math.pi / 2),
    "star": _ring(10, [1, 0.42], -math.pi / 2),
    "cross": _CROSS / 3.0,
}


class Shapes(Dataset):
    """Drawn scenes, endless and always the same: scene ``i`` of a seed depends on ``(seed, i)`` alone.

    Each has 0 to 6 objects of five classes, turned and stretched, from 5 % to 90 % of the image, on textured or shaded
    ground, with noise, some partly hidden by a later one. A box is that of the whole object, also of its hidden part.

    Args:
        count: how many scenes ``len`` speaks of; the scenes themselves do not depend on it.
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
        boxes, labels = [], []
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
            image=torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous(),
            boxes=torch.tensor(np.array(boxes), dtype=torch.float32).view(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            difficult=torch.zeros(len(boxes), dtype=torch.bool),
            name=f"scene {index} of seed {self.seed}",
        )


def _background(rng: np.random.Generator, size: int) -> Image.Image:
    """Shaded ground, half of the time with stripes, checks or blotches on it."""
    coarse = rng.integers(30, 226, (1, 1, 3)) + rng.integers(-30, 31, (int(rng.integers(2, 5)), 2, 3))
    ground = np.asarray(
        Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC), np.float32
    )
    kind = rng.integers(6)
    if kind > 2:
        return Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    if kind == 2:
        blotches = rng.integers(0, 256, (12, 12)).astype(np.uint8)
        texture = np.asarray(Image.fromarray(blotches).resize((size, size), Image.Resampling.BICUBIC)) / 128.0 - 1
    else:
        ticks = np.arange(size, dtype=np.float32) / size
        angle, frequency = rng.uniform(0, math.pi), rng.uniform(4, 16) * math.pi
        u = ticks * math.cos(angle) + ticks[:, None] * math.sin(angle)
        v = ticks[:, None] * math.cos(angle) - ticks * math.sin(angle)
        stripes = np.sin(frequency * u)
        texture = stripes if kind == 0 else np.sign(stripes * np.sin(frequency * v))
    ground = ground + texture[..., None] * (rng.uniform(6, 20) * rng.uniform(-1, 1, 3)).astype(np.float32)
    return Image.fromarray(ground.clip(0, 255).astype(np.uint8))


def _place(rng: np.random.Generator, outline: np.ndarray) -> np.ndarray:
    """An outline stretched, turned, scaled and moved: (points, 2) in fractions of the image."""
    stretch = math.exp(rng.uniform(-1, 1) * math.log(1.45))  # aspect ratios up to 1.45² : 1
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    corners = (outline * (stretch, 1 / stretch)) @ turn.T
    corners -= (corners.min(axis=0) + corners.max(axis=0)) / 2
    longer = 0.05 + 0.85 * rng.beta(1.8, 1.8)  # the box's longer side; what does not fit is drawn anew
    corners *= longer / np.ptp(corners, axis=0).max()
    reach = np.ptp(corners, axis=0) / 2
    return corners + rng.uniform(reach, 1 - reach)


def _hides(box: np.ndarray, others: list[np.ndarray]) -> bool:
    """Whether a new box would cover more than 30 % of another, or lie more than 30 % on one that is larger."""
    for other in others:
        side = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        shared = side.clip(min=0).prod()
        if shared > 0.3 * min((box[2:] - box[:2]).prod(), (other[2:] - other[:2]).prod()):
            return True
    return False


def _paint(rng: np.random.Generator, canvas: Image.Image, corners: np.ndarray) -> None:
    """Fill an outline with a colour that stands out, shaded from one side to the other."""
    size = canvas.width
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 1
    right, bottom = min(right, size), min(bottom, size)
    ground = np.asarray(canvas.crop((left, top, right, bottom)), np.float32).mean(axis=(0, 1))
    colour = rng.integers(0, 256, 3)
    while np.abs(colour - ground).sum() < 240:
        colour = rng.integers(0, 256, 3)
    mask = Image.new("L", (4 * (right - left), 4 * (bottom - top)))
    ImageDraw.Draw(mask).polygon([tuple(p) for p in (corners - (left, top)) * 4], fill=255)
    shade = np.linspace(-1, 1, right - left) * rng.uniform(-25, 25)
    fill = np.broadcast_to((colour + shade[:, None])[None], (bottom - top, right - left, 3))
    canvas.paste(Image.fromarray(fill.clip(0, 255).astype(np.uint8)), (int(left), int(top)), mask.reduce(4))


# --- real pictures --------------------------------------------------------------------------------------------------

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what pillow raises for a bad file


def read_image(path: str | Path) -> UInt8[Tensor, "3 H W"]:
    """A picture from a file, upright and in RGB. Raises ``ValueError`` that names a file that is no whole picture."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: a folder, not a picture; name the pictures in it") from None
    except UNREADABLE as error:
        raise ValueError(f"{path}: not a picture that can be read ({error}); replace or remove the file") from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous()


class Annotation(NamedTuple):
    """One VOC annotation file: boxes in pixels as written, class names, and VOC's "difficult" marks."""

    boxes: Float[np.ndarray, "G 4"]
    names: list[str]
    difficult: list[bool]


def read_annotation(path: Path) -> Annotation:
    """Read a VOC annotation. Raises ``ValueError`` that names the file and says what is wrong with it."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file, but the image set names it; restore it or take its name out") from None
    if re.search(rb"<!DOCTYPE|<!ENTITY", text.replace(b"\0", b"")):  # without zeros, so that UTF-16 hides nothing
        raise ValueError(f"{path}: declares a document type or entities, which annotations never need; refused")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not well-formed XML ({error}); mend or replace the file") from None
    boxes, names, difficult = [], [], []
    for number, item in enumerate(root.iter("object"), start=1):
        try:
            names.append(item.findtext("name").strip())
            boxes.append([float(item.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")])
            difficult.append(int(item.findtext("difficult", "0")) == 1)
        except (AttributeError, TypeError, ValueError):
            raise ValueError(
                f"{path}: object {number} lacks a name or a bndbox with the numbers xmin, ymin, xmax and ymax"
            ) from None
        x0, y0, x1, y1 = boxes[-1]
        if not all(map(math.isfinite, boxes[-1])):
            raise ValueError(f"{path}: object {number} has the box {boxes[-1]}; its corners must be finite numbers")
        if x1 < x0 or y1 < y0:
            raise ValueError(f"{path}: object {number} has the box {boxes[-1]}, corners reversed; swap min and max")
    return Annotation(np.array(boxes).reshape(-1, 4), names, difficult)


class VOCFolder(Dataset):
    """A folder in PASCAL VOC's layout: ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/<image_set>.txt``.

    All annotations and picture headers are read at once, so that a broken file shows before training, not during it.
    Boxes without area are dropped with a warning that names their files. Coordinates are taken as they are written, as
    the paper's code does.

    Args:
        root: the folder.
        image_set: which list of names to use, "trainval" for example.
        classes: names of the classes; label i + 1 means ``classes[i]``. By default all that occur, sorted.
        difficult: keep objects marked so. The paper trains on them; evaluation ignores them in any case.

    Raises:
        ValueError: a missing or broken file, an unknown class, a box outside its picture; the message names the file.
    """

    def __init__(self, root: str | Path, image_set: str, classes: Sequence[str] | None = None, difficult: bool = True):
        self.root = Path(root)
        names_file = self.root / "ImageSets" / "Main" / f"{image_set}.txt"
        if not names_file.is_file():
            raise ValueError(
                f"{names_file}: no such file; a folder in VOC layout has JPEGImages/, Annotations/ and ImageSets/Main/ "
                "with one name a line"
            )
        names = [line.split()[0] for line in names_file.read_text().splitlines() if line.strip()]
        if not names:
            raise ValueError(f"{names_file}: empty; write the names of the pictures into it, one a line")
        annotations = [read_annotation(self.root / "Annotations" / f"{name}.xml") for name in names]
        self.classes = tuple(classes or sorted({name for a in annotations for name in a.names}))
        flat = []
        self.items = []
        for name, annotation in zip(names, annotations):
            path = self.root / "JPEGImages" / f"{name}.jpg"
            real = self._check(name, path, annotation)
            if not real.all():
                flat.append(f"{name}.xml")
            keep = [i for i in np.flatnonzero(real) if difficult or not annotation.difficult[i]]
            labels = [self.classes.index(annotation.names[i]) + 1 for i in keep]
            self.items.append((path, annotation.boxes[keep], labels, [annotation.difficult[i] for i in keep]))
        if flat:
            warnings.warn(f"{self.root}: dropped boxes without area in {', '.join(flat)}", stacklevel=2)

    def _check(self, name: str, path: Path, annotation: Annotation) -> Bool[np.ndarray, " G"]:
        """Which objects have an area inside their picture; raises for what cannot be."""
        unknown = sorted(set(annotation.names) - set(self.classes))
        if unknown:
            raise ValueError(
                f"{self.root / 'Annotations' / name}.xml: unknown class {unknown[0]!r}; the classes are "
                f"{', '.join(self.classes)}"
            )
        try:
            with Image.open(path) as picture:
                width, height = ImageOps.exif_transpose(picture).size if picture.getexif().get(0x0112) else picture.size
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file, but the image set names it") from None
        except UNREADABLE as error:
            raise ValueError(f"{path}: not a picture that can be read ({error}); replace or remove the file") from None
        limits = np.array([width, height, width, height])
        for box in annotation.boxes:  # VOC counts pixels from 1, so that a box may end on the width itself
            if box.min() < 0 or (box > limits + 1).any():
                raise ValueError(
                    f"{self.root / 'Annotations' / name}.xml: the box {box.tolist()} reaches outside the picture of "
                    f"{width} × {height} pixels; mend the box, or the picture is not the annotated one"
                )
        boxes = np.minimum(annotation.boxes, limits)
        return (boxes[:, 2:] > boxes[:, :2]).all(axis=1)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        path, boxes, labels, difficult = self.items[index]
        image = read_image(path)
        size = np.array([image.shape[2], image.shape[1]] * 2)
        return Sample(
            image=image,
            boxes=torch.tensor((boxes / size).clip(0, 1), dtype=torch.float32).view(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            difficult=torch.tensor(difficult, dtype=torch.bool),
            name=str(path),
        )


def voc(root: str | Path, image_set: str, year: str = "2007", download: bool = False, difficult: bool = True):
    """PASCAL VOC through :class:`torchvision.datasets.VOCDetection`, which can also download it (both years: 3 GB)."""
    from torchvision.datasets import VOCDetection

    try:
        VOCDetection(str(root), year, image_set, download=download)
    except RuntimeError as error:
        raise ValueError(f"{root}: no PASCAL VOC {year} {image_set} here ({error})") from None
    return VOCFolder(Path(root) / "VOCdevkit" / f"VOC{year}", image_set, VOC_CLASSES, difficult)


def bccd(root: str | Path, image_set: str, download: bool = True) -> VOCFolder:
    """BCCD, 364 photographs of blood cells (MIT licence), downloaded at need (9 MB), the download verified."""
    root = Path(root)
    if not (root / "ImageSets").is_dir():
        if not download:
            raise ValueError(f"{root}: no BCCD here; allow the download, or put the data set there")
        download_bccd(root)
    return VOCFolder(root, image_set, BCCD_CLASSES)


def download_bccd(root: Path, fetch: Callable[[str], bytes] | None = None) -> None:
    """Download BCCD into ``root``, which appears only once its content is verified."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(fetch(BCCD_URL) if fetch else urllib.request.urlopen(BCCD_URL).read()))
        contents = {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    except (OSError, HTTPException, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{BCCD_URL}: cannot be downloaded ({error}); try again, or put BCCD into {root}") from None
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in contents.items():
        parts = Path(name).parts
        if "BCCD" in parts and ".." not in parts:
            target = partial.joinpath(*parts[parts.index("BCCD") + 1 :])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    found = content_sha256(partial)
    if found != BCCD_SHA256:
        raise ValueError(f"{partial}: content is not BCCD's as published (sha256 {found}, expected {BCCD_SHA256})")
    partial.rename(root)


def content_sha256(root: Path) -> str:
    """One fingerprint of all pictures and annotations below a folder, names included."""
    digest = hashlib.sha256()
    for path in sorted([*root.glob("Annotations/*.xml"), *root.glob("JPEGImages/*.jpg")]):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()

"""Chapter 9. Photographs in PASCAL VOC's layout: any folder, VOC itself, and BCCD."""

import math
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageOps
from torch.utils.data import Dataset

from ssd_lite.data import UNREADABLE, Sample, read_image
from ssd_lite.downloads import download_bccd

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)
BCCD_CLASSES = ("RBC", "WBC", "Platelets")


class Annotation(NamedTuple):
    """One VOC annotation file, as written: boxes in pixels, class names, "difficult" marks."""

    boxes: Float[np.ndarray, "G 4"]
    names: list[str]
    difficult: list[bool]


def read_annotation(path: Path) -> Annotation:
    """Read a VOC annotation.

    Raises ``ValueError`` that names the file and says what is wrong with it.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file, but the image set names it; restore it or take its name out"
        ) from None
    if re.search(
        rb"<!DOCTYPE|<!ENTITY", text.replace(b"\0", b"")
    ):  # without zeros, so that UTF-16 hides nothing
        raise ValueError(
            f"{path}: declares a document type or entities, which annotations never need; refused"
        )
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(
            f"{path}: not well-formed XML ({error}); mend or replace the file"
        ) from None
    boxes, names, difficult = [], [], []
    for number, item in enumerate(root.iter("object"), start=1):
        try:
            names.append(item.findtext("name").strip())
            boxes.append(
                [
                    float(item.findtext(f"bndbox/{side}"))
                    for side in ("xmin", "ymin", "xmax", "ymax")
                ]
            )
            difficult.append(int(item.findtext("difficult", "0")) == 1)
        except (AttributeError, TypeError, ValueError):
            raise ValueError(
                f"{path}: object {number} lacks a name or a bndbox with the numbers xmin, ymin, "
                "xmax and ymax"
            ) from None
        x0, y0, x1, y1 = boxes[-1]
        if not all(map(math.isfinite, boxes[-1])):
            raise ValueError(
                f"{path}: object {number} has the box {boxes[-1]}; its corners must be finite "
                "numbers"
            )
        if x1 < x0 or y1 < y0:
            raise ValueError(
                f"{path}: object {number} has the box {boxes[-1]}, corners reversed; swap min and "
                "max"
            )
    return Annotation(np.array(boxes).reshape(-1, 4), names, difficult)


class VOCFolder(Dataset):
    """A folder in PASCAL VOC's layout.

    That is ``JPEGImages``, ``Annotations`` and ``ImageSets/Main/<image_set>.txt``. All annotations
    and picture headers are read at once, so that a broken file shows before training, not during
    it. Boxes without area are dropped with a warning that names their files. Coordinates are taken
    as they are written, as the paper's code does.

    Args:
        root: the folder.
        image_set: which list of names to use, "trainval" for example.
        classes: names of the classes; label i + 1 means ``classes[i]``. By default all that occur,
            sorted.
        difficult: keep objects marked so. The paper trains on them; evaluation ignores them in any
            case.

    Raises:
        ValueError: a missing or broken file, an unknown class, a box outside its picture; the
            message names the file.
    """

    def __init__(
        self,
        root: str | Path,
        image_set: str,
        classes: Sequence[str] | None = None,
        difficult: bool = True,
    ):
        self.root = Path(root)
        names_file = self.root / "ImageSets" / "Main" / f"{image_set}.txt"
        if not names_file.is_file():
            raise ValueError(
                f"{names_file}: no such file; a folder in VOC layout has JPEGImages/, Annotations/ "
                "and ImageSets/Main/ "
                "with one name a line"
            )
        names = [line.split()[0] for line in names_file.read_text().splitlines() if line.strip()]
        if not names:
            raise ValueError(
                f"{names_file}: empty; write the names of the pictures into it, one a line"
            )
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
            self.items.append(
                (path, annotation.boxes[keep], labels, [annotation.difficult[i] for i in keep])
            )
        if flat:
            warnings.warn(
                f"{self.root}: dropped boxes without area in {', '.join(flat)}", stacklevel=2
            )

    def _check(self, name: str, path: Path, annotation: Annotation) -> Bool[np.ndarray, " G"]:
        """Which objects have an area inside their picture; raises for what cannot be."""
        unknown = sorted(set(annotation.names) - set(self.classes))
        if unknown:
            raise ValueError(
                f"{self.root / 'Annotations' / name}.xml: unknown class {unknown[0]!r}; the "
                "classes are "
                f"{', '.join(self.classes)}"
            )
        try:
            with Image.open(path) as picture:
                width, height = (
                    ImageOps.exif_transpose(picture).size
                    if picture.getexif().get(0x0112)
                    else picture.size
                )
        except FileNotFoundError:
            raise ValueError(f"{path}: no such file, but the image set names it") from None
        except UNREADABLE as error:
            raise ValueError(
                f"{path}: not a picture that can be read ({error}); replace or remove the file"
            ) from None
        limits = np.array([width, height, width, height])
        for box in (
            annotation.boxes
        ):  # VOC counts pixels from 1, so that a box may end on the width itself
            if box.min() < 0 or (box > limits + 1).any():
                raise ValueError(
                    f"{self.root / 'Annotations' / name}.xml: the box {box.tolist()} reaches "
                    "outside the picture of "
                    f"{width} × {height} pixels; mend the box, or the picture is not the annotated "
                    "one"
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


def pascal_voc(
    root: str | Path,
    image_set: str,
    year: str = "2007",
    download: bool = False,
    difficult: bool = True,
):
    """PASCAL VOC through torchvision, which can also download it (both years: 3 GB)."""
    from torchvision.datasets import VOCDetection

    try:
        VOCDetection(str(root), year, image_set, download=download)
    except RuntimeError as error:
        raise ValueError(f"{root}: no PASCAL VOC {year} {image_set} here ({error})") from None
    return VOCFolder(Path(root) / "VOCdevkit" / f"VOC{year}", image_set, VOC_CLASSES, difficult)


def bccd(root: str | Path, image_set: str, download: bool = True) -> VOCFolder:
    """BCCD, 364 photographs of blood cells (MIT license), 9 MB, downloaded at need.

    The download is verified.
    """
    root = Path(root)
    if not (root / "ImageSets").is_dir():
        if not download:
            raise ValueError(f"{root}: no BCCD here; allow the download, or put the data set there")
        download_bccd(root)
    return VOCFolder(root, image_set, BCCD_CLASSES)

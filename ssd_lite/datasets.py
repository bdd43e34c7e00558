"""Chapter 9. Data sets by the names that the command line gives them."""

import os
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import ConcatDataset, Dataset

from ssd_lite.shapes import Shapes
from ssd_lite.voc import VOCFolder, bccd, pascal_voc


def data_root() -> Path:
    """The folder of downloaded data sets: ``data``, or what ``SSD_LITE_DATA`` names."""
    return Path(os.environ.get("SSD_LITE_DATA", "data"))


class Data(NamedTuple):
    """The two halves of a data set."""

    train: Dataset
    test: Dataset
    classes: tuple[str, ...]


def open_data(name: str, root: Path, size: int, download: bool) -> Data:
    """Both halves of a data set, by the name that the command line gives it."""
    if name == "shapes":
        return Data(Shapes(8000, seed=0, size=size), Shapes(500, seed=1, size=size), Shapes.classes)
    if name == "bccd":
        train, test = (bccd(root / "bccd", image_set) for image_set in ("trainval", "test"))
    elif name == "voc":
        parts = [pascal_voc(root, "trainval", year, download) for year in ("2007", "2012")]
        test = pascal_voc(root, "test", "2007", download)
        return Data(ConcatDataset(parts), test, test.classes)
    else:
        folder = Path(name)
        if not folder.is_dir():
            raise ValueError(f"--data {name}: neither shapes, bccd or voc, nor a folder")
        lists = folder / "ImageSets" / "Main"
        train = VOCFolder(folder, "trainval" if (lists / "trainval.txt").exists() else "train")
        test = VOCFolder(folder, "test" if (lists / "test.txt").exists() else "val", train.classes)
    return Data(train, test, train.classes)

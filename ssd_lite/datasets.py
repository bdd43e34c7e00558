"""Chapter 9. Data sets by the names that the command line gives them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch.utils.data import ConcatDataset

from ssd_lite.data import Samples
from ssd_lite.downloads import BCCD, CARDS, download_data
from ssd_lite.folders import Survey, open_folder
from ssd_lite.shapes import Shapes
from ssd_lite.voc import bccd, pascal_voc

NAMES = ("shapes", "bccd", "cards", "voc")  # what is not a folder


def data_root() -> Path:
    """The folder of downloaded data sets: ``data``, or what ``SSD_LITE_DATA`` names."""
    return Path(os.environ.get("SSD_LITE_DATA", "data"))


class Data(NamedTuple):
    """The two halves of a data set."""

    train: Samples
    test: Samples
    classes: tuple[str, ...]
    survey: Survey | None = None  # of a folder


def open_data(
    name: str, root: Path, size: int, download: bool, classes: Sequence[str] | None = None
) -> Data:
    """Both halves of a data set, by the name that the command line gives it.

    ``classes`` chooses some of the classes of a folder, of bccd or of cards.
    """
    if classes and name in ("shapes", "voc"):
        raise ValueError(f"--classes: for folders, bccd and cards, not for {name}")
    if name == "shapes":
        return Data(Shapes(8000, seed=0, size=size), Shapes(500, seed=1, size=size), Shapes.classes)
    if name == "voc":
        parts = [pascal_voc(root, "trainval", year, download) for year in ("2007", "2012")]
        test = pascal_voc(root, "test", "2007", download)
        return Data(ConcatDataset(parts), test, test.classes)
    if name == "bccd" and not classes:
        train, test = (bccd(root / "bccd", image_set) for image_set in ("trainval", "test"))
        return Data(train, test, train.classes)
    published = {"bccd": BCCD, "cards": CARDS}.get(name)
    folder = root / name if published else Path(name)
    if published and not folder.exists():
        download_data(published, folder)
    if not folder.exists():
        raise ValueError(f"--data {name}: neither shapes, bccd, cards or voc, nor a folder")
    survey = open_folder(folder, classes)
    return Data(survey.train, survey.test, survey.train.classes, survey)

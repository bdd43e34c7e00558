"""Chapter 9. Data sets from where they are published, accepted only if they are unchanged."""

import hashlib
import io
import shutil
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models import WeightsEnum


class Published(NamedTuple):
    """A data set that somebody has published as a zip file."""

    name: str
    url: str
    folder: str  # of the archive, in which the data are
    patterns: tuple[str, ...]  # its files that count
    sha256: str  # of their names and contents


BCCD = Published(
    "BCCD",
    "https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip",
    "BCCD",
    ("Annotations/*.xml", "JPEGImages/*.jpg"),
    "e83ea26203ae41a514a6957d95b09a3d89fcf9068ba7433d600a573628e1329a",
)
CARDS = Published(
    "playing cards",
    "https://github.com/EdjeElectronics/TensorFlow-Object-Detection-API-Tutorial-Train-Multiple-"
    "Objects-Windows-10/archive/refs/heads/master.zip",
    "images",
    ("t*/*.xml", "t*/*.[jJ][pP][gG]"),
    "4e70272604b25c7910537c830d751cbbbc00b95a7a42c846c0a49aaf9570882b",
)


def download_data(data: Published, root: Path, fetch: Callable[[str], bytes] | None = None) -> None:
    """Download a data set into ``root``, which appears only once its content is verified."""
    try:
        archive = zipfile.ZipFile(
            io.BytesIO(fetch(data.url) if fetch else urllib.request.urlopen(data.url).read())
        )
        contents = {
            entry.filename: archive.read(entry)
            for entry in archive.infolist()
            if not entry.is_dir()
        }
    except (OSError, HTTPException, zipfile.BadZipFile, zlib.error) as error:
        place = f"unpack what lies in its folder {data.folder} into {root}"
        raise ValueError(by_hand(data.url, place, error)) from None
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in contents.items():
        parts = Path(name).parts
        if data.folder in parts and ".." not in parts:
            target = partial.joinpath(*parts[parts.index(data.folder) + 1 :])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    found = content_sha256(partial, data.patterns)
    if found != data.sha256:
        raise ValueError(
            f"{partial}: content is not that of {data.name} as published (sha256 {found}, expected "
            f"{data.sha256})"
        )
    partial.rename(root)


def by_hand(address: str, place: str, error: Exception) -> str:
    """What to say when a download fails: the address, the reason, and where the file belongs."""
    reason = getattr(error, "reason", error)  # a URLError says <urlopen error ...>
    return (
        f"{address}: cannot be downloaded ({reason}); try again where there is a network, or bring "
        f"the file from elsewhere and {place}"
    )


def download_weights(weights: WeightsEnum) -> dict[str, Tensor]:
    """A state dict of torchvision's, downloaded if needed and verified.

    Raises:
        ValueError: it cannot be downloaded; the message says where to put the file.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    try:
        return weights.get_state_dict(check_hash=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise ValueError(by_hand(weights.url, f"save it as {path}", error)) from None


def download_voc(root: Path, image_set: str, year: str) -> None:
    """Download a part of PASCAL VOC into ``root`` through torchvision, unless its archive is there.

    Raises:
        ValueError: it cannot be downloaded; the message says where to put the archive.
    """
    from torchvision.datasets import VOCDetection
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    about = DATASET_YEAR_DICT[f"{year}-test" if image_set == "test" else year]
    try:
        root.mkdir(parents=True, exist_ok=True)
        VOCDetection(str(root), year, image_set, download=True)
    except (OSError, HTTPException, RuntimeError) as error:
        place = f"save it as {root / about['filename']}, then say --download again"
        raise ValueError(by_hand(about["url"], place, error)) from None


def content_sha256(root: Path, patterns: Iterable[str]) -> str:
    """One fingerprint of a folder's files that the patterns mean, names included."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern)}):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()

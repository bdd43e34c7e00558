"""Chapter 9. BCCD from where it is published, accepted only if it is unchanged."""

import hashlib
import io
import shutil
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import WeightsEnum

BCCD_URL = "https://github.com/Shenggan/BCCD_Dataset/archive/refs/heads/master.zip"
BCCD_SHA256 = "e83ea26203ae41a514a6957d95b09a3d89fcf9068ba7433d600a573628e1329a"


def download_bccd(root: Path, fetch: Callable[[str], bytes] | None = None) -> None:
    """Download BCCD into ``root``, which appears only once its content is verified."""
    try:
        archive = zipfile.ZipFile(
            io.BytesIO(fetch(BCCD_URL) if fetch else urllib.request.urlopen(BCCD_URL).read())
        )
        contents = {
            entry.filename: archive.read(entry)
            for entry in archive.infolist()
            if not entry.is_dir()
        }
    except (OSError, HTTPException, zipfile.BadZipFile, zlib.error) as error:
        place = f"unpack what lies in its folder BCCD into {root}"
        raise ValueError(by_hand(BCCD_URL, place, error)) from None
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
        raise ValueError(
            f"{partial}: content is not BCCD's as published (sha256 {found}, expected "
            f"{BCCD_SHA256})"
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


def content_sha256(root: Path) -> str:
    """One fingerprint of all pictures and annotations below a folder, names included."""
    digest = hashlib.sha256()
    for path in sorted([*root.glob("Annotations/*.xml"), *root.glob("JPEGImages/*.jpg")]):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()

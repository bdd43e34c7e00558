"""Chapter 9. BCCD from where it is published, accepted only if it is what it was."""

import hashlib
import io
import shutil
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

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
        raise ValueError(
            f"{BCCD_URL}: cannot be downloaded ({error}); try again, or put BCCD into {root}"
        ) from None
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


def content_sha256(root: Path) -> str:
    """One fingerprint of all pictures and annotations below a folder, names included."""
    digest = hashlib.sha256()
    for path in sorted([*root.glob("Annotations/*.xml"), *root.glob("JPEGImages/*.jpg")]):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()

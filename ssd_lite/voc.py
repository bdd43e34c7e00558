"""Chapter 9. Photographs in PASCAL VOC's layout: any folder, VOC itself, and BCCD."""

from collections.abc import Sequence
from pathlib import Path

from ssd_lite.annotations import Annotation, examine, read_annotation
from ssd_lite.downloads import BCCD, download_data, download_voc
from ssd_lite.folders import Pictures, report
from ssd_lite.layout import Files, read_names

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


class VOCFolder(Pictures):
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
        ValueError: missing or broken files, unknown classes, boxes outside their pictures; all of
            them, each with its file.
    """

    def __init__(
        self,
        root: str | Path,
        image_set: str,
        classes: Sequence[str] | None = None,
        difficult: bool = True,
    ):
        # 1. Which pictures.
        self.root = Path(root)
        names_file = self.root / "ImageSets" / "Main" / f"{image_set}.txt"
        if not names_file.is_file():
            raise ValueError(
                f"{names_file}: no such file; a folder in VOC layout has JPEGImages/, Annotations/ "
                "and ImageSets/Main/ with one name a line"
            )
        files = Files(self.root)
        names = list(dict.fromkeys(read_names(names_file, files)))
        if not names:
            raise ValueError(
                f"{names_file}: empty; write the names of the pictures into it, one a line"
            )

        # 2. What is on them; all problems at once.
        found: dict[Path, Annotation] = {}
        problems, repairs = [], []
        for name in names:
            source = self.root / "Annotations" / f"{name}.xml"
            try:
                picture = files.picture(name, near=source)
                if picture is None:
                    raise ValueError(
                        f"{self.root / 'JPEGImages' / name}.jpg: no such file, but the image set "
                        "names it; restore it or take its name out"
                    )
                annotation, done = examine(read_annotation(source), picture, source)
                if unknown := sorted(set(annotation.names) - set(classes or annotation.names)):
                    raise ValueError(
                        f"{source}: unknown class {unknown[0]!r}; the classes are "
                        f"{', '.join(classes or ())}"
                    )
            except ValueError as error:
                problems.append(str(error))
                continue
            found[picture] = annotation
            repairs += [f"{source}: {what}" for what in done]
        report(self.root, problems, repairs)

        # 3. The samples.
        super().__init__(classes or sorted({n for a in found.values() for n in a.names}))
        for picture, annotation in found.items():
            self.add(picture, annotation, difficult)


def pascal_voc(
    root: str | Path,
    image_set: str,
    year: str = "2007",
    download: bool = False,
    difficult: bool = True,
) -> VOCFolder:
    """PASCAL VOC through torchvision, which can also download it (both years: 3 GB)."""
    from torchvision.datasets import VOCDetection

    if download:
        download_voc(Path(root), image_set, year)
    try:
        VOCDetection(str(root), year, image_set)
    except RuntimeError as error:
        raise ValueError(f"{root}: no PASCAL VOC {year} {image_set} here ({error})") from None
    return VOCFolder(Path(root) / "VOCdevkit" / f"VOC{year}", image_set, VOC_CLASSES, difficult)


def bccd(root: str | Path, image_set: str, download: bool = True) -> VOCFolder:
    """BCCD, 364 photographs of blood cells (MIT license), 9 MB, downloaded if needed.

    The download is verified.
    """
    root = Path(root)
    if not (root / "ImageSets").is_dir():
        if not download:
            raise ValueError(f"{root}: no BCCD here; allow the download, or put the data set there")
        download_data(BCCD, root)
    return VOCFolder(root, image_set, BCCD_CLASSES)

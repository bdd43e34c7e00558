"""Chapter 9. A folder in PASCAL VOC's layout, written file by file."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ssd_lite.data import Sample


def write_folder(
    root: Path, samples: Sequence[Sample], classes: Sequence[str], image_set: str
) -> None:
    """Square pictures, their boxes in whole pixels, their classes by name."""
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True, exist_ok=True)
    names = [f"{image_set}{i:03}" for i in range(len(samples))]
    for name, sample in zip(names, samples):
        pixels = sample.image.permute(1, 2, 0).numpy()  # (H, W, 3)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        (root / "Annotations" / f"{name}.xml").write_text(annotation(sample, classes))
    (root / "ImageSets/Main" / f"{image_set}.txt").write_text("\n".join(names))


def annotation(sample: Sample, classes: Sequence[str]) -> str:
    lines = ["<annotation>"]
    for box, label in zip(sample.boxes * sample.image.shape[2], sample.labels):
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box.round().int().tolist())
        inner = "".join(f"<{side}>{value}</{side}>" for side, value in corners)
        word = f"<name>{classes[label - 1]}</name>"
        lines.append(f"  <object>{word}<bndbox>{inner}</bndbox></object>")
    return "\n".join([*lines, "</annotation>"])

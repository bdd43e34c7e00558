"""Draw the architectures, light and dark, from the specs themselves: ``make figures``."""

from pathlib import Path

from book.diagram import architecture
from ssd_lite.spec import LITE, SSD300_VOC

FOLDER = Path(__file__).parent


def diagrams() -> dict[str, str]:
    """What each file holds, by its name."""
    files = {}
    for theme, dark in (("light", False), ("dark", True)):
        files[f"ssd300-{theme}.svg"] = architecture(SSD300_VOC, dark)
        files[f"lite-{theme}.svg"] = architecture(LITE, dark)
    return files


if __name__ == "__main__":
    for name, svg in diagrams().items():
        (FOLDER / name).write_text(svg, encoding="utf-8", newline="\n")
        print(f"figures/{name}")

"""A font that has the letters of a class's name, in any alphabet."""

import unicodedata
import warnings
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Files that systems have, each with letters that those before it lack. Pillow looks for them where
# the system keeps its fonts.
FONT_FILES = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf", "arialuni.ttf"),
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf"),
    *("wqy-microhei.ttc", "wqy-zenhei.ttc", "msyh.ttc", "simsun.ttc", "YuGothM.ttc", "meiryo.ttc"),
    *("malgun.ttf", "NanumGothic.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc", "AppleGothic.ttf"),
    *("AppleSDGothicNeo.ttc", "NotoSansDevanagari-Regular.ttf", "Nirmala.ttf", "Nirmala.ttc"),
    *("NotoSansArabic-Regular.ttf", "NotoSansHebrew-Regular.ttf", "NotoSansThai-Regular.ttf"),
    *("LeelawUI.ttf", "Kohinoor.ttc", "FreeSans.ttf", "unifont.otf", "unifont.ttf"),
)
_MISSING = "\U0010ffff"  # a letter that no font has: it shows what a font draws instead


def name_and_font(name: str, label: int, size: float) -> tuple[str, Font]:
    """What to write for a class, and in which font.

    Where no font here has all of the name's letters, its number is written, and a warning says so
    once; empty boxes would name nothing.
    """
    file = font_file(name)
    if file is None:
        _warn(name, label)
        return f"#{label}", ImageFont.load_default(size)
    return name, ImageFont.truetype(file, size) if file else ImageFont.load_default(size)


@lru_cache(maxsize=1024)
def font_file(name: str) -> str | None:
    """The first font file with all letters of a name: "" is Pillow's own, None means none."""
    return next((file for file in ("", *FONT_FILES) if not missing_letters(name, file)), None)


def missing_letters(name: str, file: str) -> set[str]:
    """The letters of a name that a font does not have; all of them if it is not here."""
    letters = {c for c in name if not c.isspace() and unicodedata.category(c) != "Cf"}
    font = _open(file)
    if font is None:
        return letters or {name}
    instead = _picture(font, _MISSING)
    return {c for c in letters if _picture(font, c) == instead}


@lru_cache(maxsize=64)
def _open(file: str) -> Font | None:
    try:
        return ImageFont.truetype(file, 16) if file else ImageFont.load_default(16)
    except OSError:
        return None


def _picture(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=1024)
def _warn(name: str, label: int) -> None:
    """Once for each name."""
    warnings.warn(
        f"class {label}, {name!r}: no font on this computer has all its letters, so drawings say "
        f"#{label}; install one that has them, Noto Sans CJK for Chinese, Japanese and Korean",
        stacklevel=4,
    )

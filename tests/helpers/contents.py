"""The book's pages, as its table of contents has them."""

from pathlib import Path

import yaml

_TOC = yaml.safe_load((Path(__file__).parents[2] / "_toc.yml").read_text(encoding="utf-8"))
_CHAPTERS = [chapter for part in _TOC["parts"] for chapter in part["chapters"]]
# A chapter's own page, then those that belong to it.
PAGES = [
    _TOC["root"],
    *(page["file"] for chapter in _CHAPTERS for page in (chapter, *chapter.get("sections", ()))),
]

"""The weights that a page's detector asks for, each in a script of its own beside the pages.

They are made from the records of training runs when the pages are made, and a page loads one only
when its reader starts the detector: see book/explorers/try_it.py.
"""

from pathlib import Path

from book.explorers.weights import small_checkpoint, weights_script

FOLDER = "_static/detectors"
RECORDS = {"shapes": "shapes_lite_cpu", "cells": "bccd_lite_cpu"}


def write_detectors(records: Path, pages: Path) -> None:
    for name, record in RECORDS.items():
        script = weights_script(name, small_checkpoint(records / f"{record}.safetensors"))
        path = pages / FOLDER / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script, encoding="ascii", newline="\n")


def beside_pages(app, exception):
    if exception is None and app.builder.format == "html":
        write_detectors(Path(app.srcdir) / "figures" / "records", Path(app.outdir))


def setup(app):
    app.connect("build-finished", beside_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

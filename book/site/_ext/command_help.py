"""A directive for appendix H: what a command of ``ssd_lite`` prints with --help."""

import importlib
import io
import os
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

PACKAGE = "ssd_lite"


def help_of(command):
    """What ``python -m ssd_lite COMMAND --help`` prints on a screen of 80 columns."""
    make_parser = importlib.import_module(f"{PACKAGE}.cli").make_parser
    printed = io.StringIO()
    with (
        patch.dict(os.environ, COLUMNS="80", NO_COLOR="1"),
        redirect_stdout(printed),
        suppress(SystemExit),
    ):
        make_parser().parse_args([command, "--help"])
    return printed.getvalue()


class CommandHelp(SphinxDirective):
    required_arguments = 1

    def run(self):
        self.env.note_dependency(
            str(Path(importlib.import_module(PACKAGE).__file__).with_name("cli.py"))
        )
        text = help_of(self.arguments[0]).rstrip()
        return [nodes.literal_block(text, text, language="text")]


def setup(app):
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Appendix H, made from the package's source and the help of its commands.

It shows what autodoc does not see.

A signature is shown as it stands in the source, shapes and defaults included; a comment behind a
field or a parameter is its documentation; and a constant is its own source.
"""

import ast
import importlib
import re
from pathlib import Path
from types import FunctionType

from docutils import nodes
from package_source import (
    comment_above,
    comment_behind,
    find,
    function_in,
    is_record,
    names_of,
    parameters,
    parsed,
)
from sphinx import addnodes
from sphinx.ext.autodoc import DataDocumenter, FunctionDocumenter, ModuleDocumenter
from sphinx.util.rst import escape

PACKAGE = "ssd_lite"
BESIDE = 72  # characters: the value of a constant that has no more stands beside its name


class FullNames(ast.NodeTransformer):
    """Write the package's own classes with their module, for Sphinx to find.

    It shows them without.
    """

    def __init__(self, module):
        self.known = vars(importlib.import_module(module))

    def visit_Name(self, node):
        thing = self.known.get(node.id)
        own = isinstance(thing, type) and thing.__module__.startswith(f"{PACKAGE}.")
        return ast.Name(f"{thing.__module__}.{thing.__qualname__}") if own else node


def type_as_written(node, module):
    if isinstance(node, ast.Constant) and isinstance(
        node.value, str
    ):  # the name of a class that is not there yet
        node = ast.parse(node.value, mode="eval").body
    return ast.unparse(FullNames(module).visit(ast.parse(ast.unparse(node), mode="eval").body))


def signature_as_written(app, what, name, thing, options, signature, returns):
    """Show annotations and defaults as the source has them.

    By the time that autodoc sees them, Python has made objects of them; the source is clearer.
    """
    if what not in ("function", "method", "class"):
        return None
    module, node = find(name)
    if what == "class" and not is_record(thing):
        node = function_in(node, "__init__")
    if node is None:
        return "", None
    source, words = parsed(module)[0], []
    for label, annotation, default, _ in parameters(node):
        typed = f": {type_as_written(annotation, module)}" if annotation else ""
        words.append(
            label + typed + (f" = {ast.get_source_segment(source, default)}" if default else "")
        )
    gives = type_as_written(node.returns, module) if what != "class" and node.returns else None
    return f"({', '.join(words)})", gives


def more_documentation(app, what, name, thing, options, lines):
    """The comments behind a record's fields or a function's parameters.

    Of another class, what ``__init__`` says.
    """
    if what not in ("function", "method", "class"):
        return
    module, node = find(name)
    if what == "class" and not is_record(thing):
        start = function_in(node, "__init__")
        lines += ["", *(ast.get_docstring(start) or "").splitlines(), ""] if start else []
        return
    source, rows, _ = parsed(module)
    said = []
    for label, _, default, last in parameters(node):
        comment = comment_behind(last, rows)
        if default and comment.startswith("or "):  # optimizer: str = "sgd"  # or "adamw"
            comment = f"{ast.get_source_segment(source, default)}, {comment}"
        said += [f"   * **{label}** -- {escape(comment)}"] if comment else []
    if said:
        lines += ["", f":{'Fields' if what == 'class' else 'Parameters'}:", *said, ""]


def only_methods(app, what, name, thing, skip, options):
    """A class's fields stand in its signature and its list already."""
    return True if what == "class" and not isinstance(thing, FunctionType | property) else None


def chapter_as_link(app, what, name, thing, options, lines):
    """Make "Chapter 3" or "Appendix F" at the head of a module's docstring a link.

    It leads there as soon as there is such a page.
    """
    found = (
        re.match(r"Chapter (\d+)|Appendix ([A-Z])", lines[0])
        if what == "module" and lines
        else None
    )
    start = found and (found[2] or f"{int(found[1]):02}").lower()
    for chapter in sorted(Path(app.srcdir).glob(f"chapters/{start}_*")) if found else ():
        lines[0] = f":doc:`{found[0]} </chapters/{chapter.stem}>`{lines[0][found.end() :]}"
        break


def double_quotes(app, domain, objtype, content):
    """Sphinx writes strings in signatures with single quotes, the package with double ones."""
    for signature in content.parent.findall(addnodes.desc_signature):
        for text in list(signature.findall(nodes.Text)):
            if text.startswith("'") or "default_value" in text.parent.get("classes", ()):
                straight = re.sub(
                    r"'\s*([^'\"]*)'", r'"\1"', text
                )  # jaxtyping needs " D" where "D" is meant
                text.parent.replace(text, nodes.Text(straight))


class Constant(DataDocumenter):
    """A constant, as its source; several that one statement defines stand together."""

    priority = 1 + FunctionDocumenter.priority  # a partial is a constant, too

    @classmethod
    def can_document_member(cls, member, membername, isattr, parent):
        if not isinstance(parent, ModuleDocumenter) or not parent.modname.startswith(f"{PACKAGE}."):
            return False
        node = parsed(parent.modname)[2].get(membername)
        return isinstance(node, ast.Assign) and names_of(node)[0] == membername

    def check_module(self):
        return True  # defined here, though what a ``partial`` calls is not

    def written(self):
        """The statement, its module's lines, and its value if that is short enough."""
        module, node = find(self.fullname)
        source, lines, _ = parsed(module)
        value = ast.get_source_segment(source, node.value)
        alone = node.lineno == node.end_lineno and len(names_of(node)) == 1 and len(value) <= BESIDE
        return node, lines, value if alone else None

    def add_directive_header(self, sig):
        node, _, value = self.written()
        head = ".. py:data:: "
        for i, name in enumerate(names_of(node)):
            self.add_line((" " * len(head) if i else head) + name, self.get_sourcename())
        self.add_line(f"   :module: {self.modname}", self.get_sourcename())
        if value:
            self.add_line(f"   :value: {value}", self.get_sourcename())

    def get_doc(self):
        return None  # a tuple's or a number's own

    def add_content(self, more_content):
        node, lines, value = self.written()
        said = [comment_above(node, lines), comment_behind(node, lines) if value else ""]
        content = [part for words in said if words for part in (escape(words), "")]
        if not value:
            source = lines[node.lineno - 1 : node.end_lineno]
            content += [".. code-block:: python", "", *[f"   {line}" for line in source], ""]
        for line in content:
            self.add_line(line, self.get_sourcename())


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.napoleon")
    app.setup_extension("sphinx.ext.viewcode")
    app.add_autodocumenter(Constant, override=True)
    app.connect("autodoc-process-signature", signature_as_written)
    app.connect("autodoc-process-docstring", more_documentation)
    app.connect("autodoc-process-docstring", chapter_as_link)
    app.connect("autodoc-skip-member", only_methods)
    app.connect("object-description-transform", double_quotes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

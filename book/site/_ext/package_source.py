"""The package's own source, looked up by name: what appendix H is made from."""

import ast
import importlib
import inspect
import re
import sys
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path


@cache
def parsed(module):
    """A module's source, its lines, and the statement that defines each name at its top."""
    source = Path(inspect.getsourcefile(importlib.import_module(module))).read_text(
        encoding="utf-8"
    )
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= dict.fromkeys(names_of(node), node)
        elif isinstance(node, ast.AugAssign):  # belongs to the assignment: LIGHT |= {...}
            first = found[node.target.id]
            first.end_lineno, first.end_col_offset = node.end_lineno, node.end_col_offset
    return source, source.splitlines(), found


def names_of(assignment):
    return [
        part.id
        for target in assignment.targets
        for part in ast.walk(target)
        if isinstance(part, ast.Name)
    ]


def find(name):
    """The module and the statement of a full name, such as ``ssd_lite.model.SSD.forward``."""
    parts = name.split(".")
    depth = max(k for k in range(len(parts)) if ".".join(parts[:k]) in sys.modules)
    module, (top, *below) = ".".join(parts[:depth]), parts[depth:]
    node = parsed(module)[2].get(top)
    for part in below:
        node = function_in(node, part)
    return module, node


def function_in(node, name):
    return next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == name), None)


def parameters(node):
    """Name, annotation, default and last expression of each parameter or field."""
    if isinstance(node, ast.ClassDef):
        return [
            (n.target.id, n.annotation, n.value, n)
            for n in node.body
            if isinstance(n, ast.AnnAssign)
        ]
    given = node.args
    arguments = given.posonlyargs + given.args + given.kwonlyargs
    required = len(given.posonlyargs) + len(given.args) - len(given.defaults)
    defaults = [None] * required + given.defaults + given.kw_defaults
    found = [
        (a.arg, a.annotation, default, default or a) for a, default in zip(arguments, defaults)
    ]
    if star := given.vararg:
        found.insert(len(given.args), (f"*{star.arg}", star.annotation, None, star))
    elif given.kwonlyargs:
        found.insert(len(given.args), ("*", None, None, node))
    if stars := given.kwarg:
        found.append((f"**{stars.arg}", stars.annotation, None, stars))
    return found[1:] if found and found[0][0] == "self" else found


def comment_behind(node, lines):
    rest = (
        lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
    )  # ast counts in bytes
    found = re.fullmatch(r",?\s*# (.*)", rest)
    return found[1] if found else ""


def comment_above(node, lines):
    above = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.startswith("# ") or line.startswith("# ---"):
            break
        above.insert(0, line[2:])
    return " ".join(above)


def is_record(cls):
    return is_dataclass(cls) or hasattr(cls, "_fields")

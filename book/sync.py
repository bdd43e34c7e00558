"""Write the package's source into the chapters, or say where they differ (``--check``).

A code cell whose first line is ``# ssd_lite/<module>.py`` shows finished definitions, and one that
begins with ``# book/slow/<module>.py`` the slow forms, which a chapter's two pages share. To place
one, write that line and a stub for each name (``def iou(): ...`` or ``LITE = ...``) and run ``make
sync``: the module is the source.
"""

import argparse
import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSIGNMENT = ast.Assign | ast.AnnAssign
HEADER = re.compile(r"# ((?:ssd_lite/(?:fast/)?|book/slow/)\w+)\.py *$")


def names_of(node: ast.stmt) -> list[str]:
    """Names that a top-level statement defines, if it is a function, a class or an assignment."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [
                part.id
                for target in node.targets
                for part in ast.walk(target)
                if isinstance(part, ast.Name)
            ]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def span(node: ast.stmt, lines: list[str]) -> tuple[int, int]:
    """First line of a definition and the line after its last.

    Decorators and the comment right above belong to it.
    """
    start = (
        min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        - 1
    )
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return start, node.end_lineno


def source_of(names: list[str], module: str) -> str:
    """A module's definitions of ``names``, in that order, exactly as they stand in it.

    Neighbors in the module keep what is between them there; others are set apart by two blank
    lines, or, when both are assignments, by none.

    Raises:
        KeyError: with the first name that the module does not define.
    """
    lines, body = module.splitlines(), ast.parse(module).body
    place = {name: i for i, node in enumerate(body) for name in names_of(node)}
    places = list(dict.fromkeys(place[name] for name in names))
    shown = []
    for previous, i in zip([None, *places], places):
        start, end = span(body[i], lines)
        if previous is not None and i == previous + 1:
            shown += lines[span(body[previous], lines)[1] : start]
        elif previous is not None and not (
            isinstance(body[i], ASSIGNMENT) and isinstance(body[previous], ASSIGNMENT)
        ):
            shown += ["", ""]
        shown += lines[start:end]
    return "\n".join(shown)


def shown_in(cell: str) -> tuple[str, list[str]] | None:
    """Module and names that a cell shows, or None if it is an ordinary cell.

    Raises:
        ValueError: the cell does not parse, or holds something that is not a definition.
    """
    header = HEADER.match(cell.split("\n", 1)[0])
    if not header:
        return None
    try:
        body = ast.parse(cell).body
    except SyntaxError as error:
        raise ValueError(f"the cell does not parse: {error}") from None
    names = [name for node in body for name in names_of(node)]
    for node in body:
        if not names_of(node):
            raise ValueError(
                "only definitions can stand in such a cell, "
                f"not {ast.unparse(node).splitlines()[0]!r}"
            )
    if not names:
        raise ValueError(
            "the cell names nothing: add a stub for each definition, such as 'def iou(): ...'"
        )
    return header[1], names


def synced(cell: str, root: Path = ROOT) -> str:
    """What a cell should hold: itself, if it shows no definitions.

    Raises:
        ValueError: the cell, its module or one of its names is not as it should be.
    """
    if (found := shown_in(cell)) is None:
        return cell
    module, names = found
    path = root / f"{module}.py"
    if not path.exists():
        raise ValueError(f"there is no {module}.py")
    try:
        return f"# {module}.py\n{source_of(names, path.read_text(encoding='utf-8'))}"
    except KeyError as error:
        raise ValueError(f"{module}.py does not define {error}") from None


def code_cells(notebook: dict) -> list[tuple[int, dict]]:
    return [(i, cell) for i, cell in enumerate(notebook["cells"]) if cell["cell_type"] == "code"]


def sync(root: Path = ROOT, check: bool = False) -> list[str]:
    """Bring every chapter in line with the package, and print what changed.

    With ``check``, only look. Returns what is wrong, a line each.
    """
    problems = []
    for path in sorted((root / "chapters").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        changed = False
        for i, cell in code_cells(notebook):
            source = "".join(cell["source"])
            try:
                wanted = synced(source, root)
            except ValueError as error:
                problems.append(f"{path.name}, cell {i}: {error}")
                continue
            if wanted != source and check:
                problems.append(
                    f"{path.name}, cell {i}: differs from {wanted.splitlines()[0][2:]}; "
                    "run 'make sync'"
                )
            elif wanted != source:
                module, names = wanted.splitlines()[0][2:], ", ".join(shown_in(wanted)[1])
                print(f"{path.name}, cell {i}: {names} written from {module}")
                cell["source"] = wanted.splitlines(keepends=True)
                changed = True
        if changed:  # in the form that Jupyter itself writes, so that nothing else differs
            text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
            path.write_text(text, encoding="utf-8", newline="\n")
    return problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a chapter differs"
    )
    problems = sync(check=parser.parse_args().check)
    print(
        "\n".join(problems) or "The chapters show the package's own source.",
        file=sys.stderr if problems else sys.stdout,
    )
    sys.exit(bool(problems))

"""Every exercise: its solution passes, its blank fails, its mistakes are told apart.

They are read out of the notebooks by their cells' tags (see ``book/checks``), so a new exercise is
proven as soon as it is written. Of a chapter's other cells only those run that do nothing but
import.
"""

import ast
import re
from typing import NamedTuple

import nbformat
import pytest
import torch

from book.checks import BLANK, Check, same_as
from book.sync import ROOT

# A chapter in two pages has them on its hands-on page, and page zero has none.
CHAPTERS = [
    path
    for path in sorted((ROOT / "chapters").glob("[0-9][0-9]_*.ipynb"))
    if not path.name.startswith("00_") and not path.with_stem(f"{path.stem}_hands_on").exists()
]


class Exercise(NamedTuple):
    name: str
    imports: list[str]
    blank: str
    check: str
    hints: str
    solution: str
    solution_tags: list[str]


def imports_only(source: str) -> bool:
    try:
        return all(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.parse(source).body)
    except SyntaxError:  # a magic
        return False


def exercises(path) -> list[Exercise]:
    """A chapter's exercises, in order."""
    cells = nbformat.read(path, as_version=4).cells
    tags = [cell.metadata.get("tags", []) for cell in cells]
    starts = [i for i, t in enumerate(tags) if "exercise" in t]
    found = []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(cells)]), start=1):
        part = {
            tag: next((i for i in range(start, end) if tag in tags[i]), None)
            for tag in ("check", "solution")
        }
        assert None not in part.values(), (
            f"{path.name}, exercise {number}: needs a 'check' and a 'solution' cell"
        )
        check, solution = part["check"], part["solution"]
        between = cells[check + 1 : solution]
        found.append(
            Exercise(
                name=f"{path.stem[:2]}-{number}",
                imports=[
                    c.source
                    for c in cells[:start]
                    if c.cell_type == "code" and imports_only(c.source)
                ],
                blank=cells[start].source,
                check=cells[check].source,
                hints="\n".join(cell.source for cell in between if cell.cell_type == "markdown"),
                solution=cells[solution].source,
                solution_tags=tags[solution],
            )
        )
    return found


EXERCISES = [exercise for path in CHAPTERS for exercise in exercises(path)]
each_exercise = pytest.mark.parametrize(
    "exercise", EXERCISES, ids=[exercise.name for exercise in EXERCISES]
)


@pytest.fixture
def checked(exercise, monkeypatch) -> tuple[dict, Check]:
    """The names that the reader has after running the blank and its check, and the check."""
    monkeypatch.syspath_prepend(ROOT / "chapters")
    names = {}
    for source in (*exercise.imports, exercise.blank, exercise.check):
        exec(source, names)
    return names, names["check"]


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_a_chapter_has_three_exercises_or_more(path):
    assert len(exercises(path)) >= 3


@each_exercise
def test_the_blank_fails_and_says_so(exercise, checked):
    _, check = checked
    assert [verdict.right for verdict in check.verdicts] == [False], (
        "the check cell must end by calling the check"
    )
    assert check.verdicts[0].message == BLANK


@each_exercise
def test_the_solution_passes(exercise, checked):
    names, check = checked
    exec(exercise.solution, names)
    assert len(check.verdicts) == 2, "the solution cell must end by calling the check"
    assert check.verdicts[1].right, check.verdicts[1].message


@each_exercise
def test_every_mistake_is_told_what_is_wrong_with_it(exercise, checked):
    _, check = checked
    assert check.mistakes, "name at least one typical mistake"
    for words, mistake in check.mistakes.items():
        verdict = check(mistake)
        assert not verdict.right
        assert words in verdict.message


@each_exercise
def test_hints_come_in_stages_and_the_solution_is_folded(exercise):
    assert len(re.findall(r"\{dropdown\} Hint", exercise.hints)) >= 2
    assert "hide-cell" in exercise.solution_tags


def test_a_mistake_that_nobody_thought_of_is_shown_a_case():
    check = same_as(
        lambda a, b: a + b,
        cases=[(0, 0), (2, 3)],
        mistakes={"That is the product.": lambda a, b: a * b},
    )
    assert check(lambda a, b: a * b).message == "That is the product."
    assert check(lambda a, b: a - b).message == "For (`2`, `3`) it gives `-1`, and `5` is right."
    assert check(lambda a: a).message.startswith("It raises TypeError")
    assert check(lambda a, b: [a, b]).right is False
    assert check(lambda a, b: b + a).right


def test_the_right_numbers_in_a_wrong_shape_are_told_the_shape():
    check = same_as(lambda: torch.ones(2, 3), cases=[()], mistakes={})
    wanted = "a tensor of shape (2, 3) is right."
    assert check(lambda: torch.ones(3, 2)).message.endswith(
        f"it gives a tensor of shape (3, 2), and {wanted}"
    )
    assert check(lambda: 1.0).message.endswith(f"it gives a float, `1.0`, and {wanted}")


def test_a_table_is_shown_as_a_table():
    check = same_as(lambda x: x + 1, cases=[(torch.tensor([[0.12345, 1], [2, 3]]),)], mistakes={})
    assert check(lambda x: x).message.startswith(
        "For ([[0.1235, 1.0], [2.0, 3.0]]) it gives [[0.1235, 1.0]"
    )


def test_an_answer_may_change_its_arguments():
    check = same_as(
        lambda x: x + 1, cases=[(torch.zeros(2),)], mistakes={"Nothing changed.": lambda x: x}
    )
    assert check(lambda x: x.add_(1)).right
    assert check(lambda x: x.mul_(1)).message == "Nothing changed."


def test_no_answer_is_a_blank():
    check = same_as(lambda: 1, cases=[()], mistakes={})
    assert check(None).message == check(...).message == check(lambda: None).message == BLANK

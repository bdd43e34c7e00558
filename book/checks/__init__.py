"""Predictions and exercises: a wrong answer is told what is wrong with it.

An exercise is three code cells in a row, told apart by their tags, with the hints between the last
two:

``exercise``
    what the reader fills in; it runs as it is
``check``
    makes ``check``, a :class:`Check`, and ends by calling it on the reader's answer
``solution``
    a right answer, which ends by calling ``check`` again

They stand on the chapter's imports alone. ``tests/chapters/test_exercises.py`` finds them by their
tags and proves of each: the solution passes, the blank fails, and every mistake that the check
knows gets the message meant for it.
"""

import math
import textwrap
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

BLANK = "Put your answer where the `...` is, then run that cell and this one."


@dataclass(frozen=True)
class Verdict:
    """What is said about an answer. A notebook shows it as a sentence."""

    right: bool
    message: str

    def _repr_markdown_(self) -> str:
        sign = (
            "○ **Yours to do.**"
            if self.message == BLANK
            else "✓ **Right.**"
            if self.right
            else "✗ **Not yet.**"
        )
        return f"{sign} {self.message}"

    __repr__ = _repr_markdown_


@dataclass(frozen=True)
class Revealed:
    """What came of a prediction: neither good nor bad, but worth a sentence."""

    message: str

    def _repr_markdown_(self) -> str:
        return self.message

    __repr__ = _repr_markdown_


def reveal(
    guess: Any, truth: Any, because: str, tempting: dict[Any, str], tolerance: float = 0
) -> Revealed:
    """Compare a prediction with what the cell has computed.

    Args:
        guess: the reader's, or None for none.
        truth: what it is.
        because: why, for everybody.
        tempting: wrong answers that people give, and what each overlooks.
        tolerance: how far off, relative to the truth, a number still counts as right.
    """

    def near(value: Any) -> bool:
        return guess == value or (
            isinstance(guess, int | float)
            and isinstance(value, int | float)
            and abs(guess - value) <= tolerance * abs(value)
        )

    if guess is None:
        traps = "\n".join(f"- {wrong}? {why}" for wrong, why in tempting.items())
        return Revealed(f"It is **{truth}**. {because} Tempting, but wrong:\n\n{traps}")
    if near(truth):
        return Revealed(f"✓ You said {guess}, and it is **{truth}**. {because}")
    for wrong, why in tempting.items():
        if near(wrong):
            return Revealed(f"You said {guess}; it is **{truth}**. {why} {because}")
    return Revealed(f"You said {guess}; it is **{truth}**. {because}")


@contextmanager
def refused(*errors: type[Exception]):
    """Run what must be refused: print the message, and fail if nothing is raised."""
    try:
        yield
    except errors as error:
        print(textwrap.fill(str(error), 100))
    else:
        raise AssertionError("it should have been refused")


@dataclass
class Check:
    """The check of one exercise: call it on an answer for a :class:`Verdict`.

    Args:
        judge: given an answer, what is wrong with it; an empty string if nothing is.
        mistakes: typical wrong answers, each under the words that its verdict must contain.
        praise: said of a right answer.
    """

    judge: Callable[[Any], str]
    mistakes: dict[str, Any]
    praise: str = ""
    verdicts: list[Verdict] = field(default_factory=list)  # of all answers so far

    def __call__(self, answer: Any) -> Verdict:
        try:
            wrong = BLANK if answer is None or answer is ... else self.judge(answer)
        except Exception as error:  # the reader's code, whatever it does, gets an answer
            wrong = f"It raises {type(error).__name__}: {error}"
        self.verdicts.append(Verdict(not wrong, wrong or self.praise))
        return self.verdicts[-1]


def same_as(
    right: Callable,
    cases: Iterable[tuple],
    mistakes: dict[str, Callable],
    praise: str = "",
    tolerance: float = 1e-5,
) -> Check:
    """The check of a function that should return what ``right`` returns for the ``cases``.

    An answer that agrees with one of the ``mistakes`` wherever that differs from ``right`` is told
    its message.
    """
    cases = list(cases)

    def judge(answer: Callable) -> str:
        for case in cases:
            got, wanted = answer(*_copy(case)), right(*case)
            if got is None:
                return BLANK
            if not _equal(got, wanted, tolerance):
                for message, mistake in mistakes.items():
                    if all(_equal(answer(*_copy(c)), mistake(*c), tolerance) for c in cases):
                        return message
                if getattr(got, "shape", None) != getattr(wanted, "shape", None):
                    return f"For {_show(case)} it gives {_form(got)}, and {_form(wanted)} is right."
                return f"For {_show(case)} it gives {_show(got)}, and {_show(wanted)} is right."
        return ""

    return Check(judge, mistakes, praise)


def _equal(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two results hold the same numbers in the same shape."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    try:
        a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return False
    return a.shape == b.shape and torch.allclose(
        a, b, rtol=tolerance, atol=tolerance, equal_nan=True
    )


def _copy(case: tuple) -> tuple:
    """The same arguments, for an answer that may change its tensors in place."""
    return tuple(value.clone() if isinstance(value, torch.Tensor) else value for value in case)


def _form(value: Any) -> str:
    """What kind of thing a value is."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}, {_show(value)}"


def _rounded(value: Any) -> Any:
    """Numbers with four decimals, in lists of any depth."""
    return [_rounded(v) for v in value] if isinstance(value, list) else round(value, 4)


def _show(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, torch.Tensor) and value.numel() > 12:
        return (
            f"a tensor of shape {tuple(value.shape)} that begins with {_show(value.flatten()[:4])}"
        )
    if isinstance(value, torch.Tensor):
        return str(_rounded(value.tolist()))
    if isinstance(value, tuple):
        return f"({', '.join(_show(v) for v in value)})"
    return f"`{getattr(value, 'name', value)}`"

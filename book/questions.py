"""Questions on the page: the reader commits to an answer, and is told what comes of that very one.

``ask`` goes before the cells that hold the result. They are tagged ``answer``, and on the page they
appear when the question has been answered, with what stands between them; a last one that shows
nothing (``remove-input``) says where the result ends. ``recall`` goes at the end of a chapter.

A cell that asks is collapsed, for it holds the truth. Of a collapsed cell JupyterLab shows the
first line, so nothing but ``ask(`` stands there.

All texts are made here and stand in the output, so nothing is asked of a kernel. Each output brings
the script and the style as well, for JupyterLab has no other place for them; the pages load them
once from ``_static``, and ``light_pages.py`` leaves out those of the outputs. Where no script runs,
the answer is folded under its question.
"""

import html
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

_STATIC = Path(__file__).parent / "site" / "_static"
_MARKUP = re.compile(r"`(.+?)`|\*\*(?!\s)(.+?)(?<!\s)\*\*|\*(?!\s)(.+?)(?<!\s)\*")


@dataclass(frozen=True)
class OnThePage:
    """What a cell shows: HTML that comes alive where scripts run, and words where there is none."""

    markup: str
    words: str

    def _repr_html_(self) -> str:
        style, script = [
            (_STATIC / f"questions.{kind}").read_text(encoding="utf-8") for kind in ("css", "js")
        ]
        alive = f"<style data-questions>{style}</style><script data-questions>{script}</script>"
        return f"{self.markup}\n{alive}"

    def __repr__(self) -> str:
        return self.words


def ask(
    question: str,
    *,
    truth: Any,
    because: str,
    tempting: dict[Any, str] | None = None,
    choices: list | None = None,
    tolerance: float = 0,
    unit: str = "",
) -> OnThePage:
    """A question with a button for each of its ``choices``, or else with a field for a number.

    Texts may hold `code`, **bold** and *italics*. Of each choice one must be able to read "You said
    ..., but it's ...".

    Args:
        question: one or more sentences.
        truth: one of the choices, or a number.
        because: why, for everybody.
        tempting: wrong answers that people give, and what each overlooks.
        choices: what the reader can say; None for a number.
        tolerance: how far off, relative to the truth, a number still counts as right.
        unit: of the number.
    """
    tempting = tempting or {}
    _refuse_what_is_never_seen(truth, tempting, choices, tolerance)
    answer = f"**{_shown(truth, unit)}**"

    def reply(said: str, value: Any = None) -> str:
        if value == truth:
            return inline(f"✓ Right, it's {answer}. {because}")
        if value in tempting:
            return inline(f"You said {said}. {tempting[value]} It's {answer}. {because}")
        return inline(f"You said {said}, but it's {answer}. {because}")

    data: dict[str, Any] = {"ids": [_id(question)], "shown": inline(f"It's {answer}. {because}")}
    labels = [_shown(choice, unit) for choice in choices or []]
    if choices:
        data["choices"] = [
            [inline(label), reply(f"“{label}”", choice)] for label, choice in zip(labels, choices)
        ]
    else:
        said = _shown("{said}", unit)  # the script puts there what was typed
        data |= {"unit": unit, "tolerance": tolerance, "others": reply(said)}
        data["replies"] = [[value, reply(said, value)] for value in (truth, *tempting)]
    body = f"<p>{inline(question)}</p>\n" + _list("ul", map(inline, labels))
    body += f"<details><summary>Answer</summary><p>{data['shown']}</p></details>"
    among = f" ({', '.join(labels)})" if choices else ""
    return OnThePage(_element("ssd-question", data, body), question + among)


def recall(*pairs: tuple[str, str]) -> OnThePage:
    """Questions with their answers, for the end of a chapter: who has said one opens it."""
    items = [
        f"<p>{inline(question)}</p>\n"
        f"<details><summary>Show the answer</summary><p>{inline(answer)}</p></details>"
        for question, answer in pairs
    ]
    data = {"ids": [_id(question) for question, _ in pairs]}
    words = "\n".join(f"{n}. {question}" for n, (question, _) in enumerate(pairs, 1))
    return OnThePage(_element("ssd-recall", data, _list("ol", items)), words)


def inline(text: str) -> str:
    """`code`, **bold** and *italics* as HTML; everything else is text."""

    def styled(found: re.Match) -> str:
        code, bold, italics = found.groups()
        if code:
            return f"<code>{code}</code>"
        return f"<strong>{styles(bold)}</strong>" if bold else f"<em>{styles(italics)}</em>"

    def styles(escaped: str) -> str:
        return _MARKUP.sub(styled, escaped)

    return styles(html.escape(text, quote=False))


def _refuse_what_is_never_seen(
    truth: Any, tempting: dict, choices: list | None, tolerance: float
) -> None:
    """Raise ValueError if an answer cannot be given, or if its reply is never reached."""
    if not choices:
        for value in (truth, *tempting):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"without choices an answer is a number, not {value!r}")
            if not math.isfinite(value):
                raise ValueError(f"nobody can type {value!r}")
    else:
        for value in (truth, *tempting):
            if value not in choices:
                raise ValueError(f"{value!r} is not among the choices")
        if len(set(map(str, choices))) < len(choices):
            raise ValueError("two choices are the same")
    for value in tempting:
        if value == truth or (not choices and abs(value - truth) <= tolerance * abs(truth)):
            raise ValueError(f"{value!r} counts as right, so it cannot tempt")


def _shown(value: Any, unit: str = "") -> str:
    """A value as it is read: long numbers in groups of three digits, and its unit behind it."""
    text = f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
    return text + ("" if unit in ("", "%", "°", "×") else "\N{NO-BREAK SPACE}") + unit


def _id(question: str) -> str:
    """Under what name the browser remembers the answer: it stays as long as the question does."""
    return sha256(question.encode()).hexdigest()[:8]


def _element(name: str, data: dict, body: str) -> str:
    state = html.escape(json.dumps(data, ensure_ascii=False))
    return f'<{name} data-state="{state}">\n{body}\n</{name}>'


def _list(kind: str, items: Iterable[str]) -> str:
    inside = "".join(f"<li>{item}</li>\n" for item in items)
    return f"<{kind}>\n{inside}</{kind}>\n" if inside else ""

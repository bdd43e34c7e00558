"""The reader answers on the page, gets the reply to that answer, and only then sees the result."""

import html
import json
import re
import sys
from pathlib import Path

import pytest

from book.questions import ask, inline, recall

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "book" / "site" / "_static"
sys.path.insert(0, str(ROOT / "book" / "site" / "_ext"))

import light_pages  # noqa: E402

HOW_MANY = ask(
    "How many default boxes?",
    truth=3,
    because="Without box 4.",
    tempting={4: "That one is **taken**.", 8732: "Those are SSD's."},
)
HOW_WIDE = ask("How wide is it?", truth=100, because="Six cells.", tolerance=0.05, unit="px")
WHO = ask(
    "Whose is box `4`?",
    truth="house",
    because="It's first.",
    tempting={"car": "It's second."},
    choices=["house", "car", "no `-1`"],
)
RECALL = recall(("Why pairs?", "Or one is *lost*."), ("Why first?", "Order."))


def state(shown):
    return json.loads(html.unescape(re.search(r'data-state="([^"]*)"', shown.markup)[1]))


# In Python the texts are made, and what could never be seen is refused.


def test_texts_are_escaped_and_only_three_marks_count():
    assert inline("a < b & `c*d*` **e *f* g** *h*") == (
        "a &lt; b &amp; <code>c*d*</code> <strong>e <em>f</em> g</strong> <em>h</em>"
    )
    assert inline("2 * 3 * 4, [a](b) <b>") == "2 * 3 * 4, [a](b) &lt;b&gt;"
    markup = ask('"Is <it>?"', truth=1, because='</p><script>"').markup
    assert "<it>" not in markup and "<script" not in markup


def test_each_answer_has_its_reply():
    replies = dict(state(WHO)["choices"])
    assert replies["house"] == "✓ Right, it's <strong>house</strong>. It's first."
    assert replies["car"] == (
        "You said “car”. It's second. It's <strong>house</strong>. It's first."
    )
    assert replies["no <code>-1</code>"] == (
        "You said “no <code>-1</code>”, but it's <strong>house</strong>. It's first."
    )
    assert state(WHO)["shown"] == "It's <strong>house</strong>. It's first."


def test_a_number_has_its_unit_and_a_long_one_its_commas():
    assert "<strong>24,564</strong>" in ask("?", truth=24564, because="").markup
    assert "<strong>8732</strong>" in ask("?", truth=8732, because="").markup
    assert "<strong>100\N{NO-BREAK SPACE}px</strong>" in HOW_WIDE.markup
    assert "<strong>5%</strong>" in ask("?", truth=5, because="", unit="%").markup


def test_an_id_depends_on_the_question_alone():
    assert state(HOW_MANY)["ids"] == ["30844606"]
    assert state(ask("How many default boxes?", truth=7, because=""))["ids"] == ["30844606"]
    assert len(set(state(RECALL)["ids"])) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    {
        "a truth not among the choices": ({"truth": "x", "choices": ["a", "b"]}, "'x' is not"),
        "a trap not among them": ({"truth": "a", "choices": ["a"], "tempting": {"b": ""}}, "'b'"),
        "a choice twice": ({"truth": "a", "choices": ["a", "b", "b"]}, "the same"),
        "a trap that is true": ({"truth": 3, "tempting": {3.0: ""}}, "right"),
        "a choice that is true": ({"truth": "a", "choices": ["a"], "tempting": {"a": ""}}, "right"),
        "a trap within tolerance": (
            {"truth": 100, "tempting": {104: ""}, "tolerance": 0.05},
            "right",
        ),
        "words to type": ({"truth": "three"}, "a number"),
        "a word that tempts": ({"truth": 3, "tempting": {"three": ""}}, "a number"),
        "what nobody can type": ({"truth": float("inf")}, "inf"),
        "a truth value": ({"truth": True}, "True"),
    }.values(),
)
def test_what_is_never_seen_is_refused(arguments, why):
    with pytest.raises(ValueError, match=why):
        ask("?", because="", **arguments)


def test_a_notebook_without_html_shows_the_question_and_not_the_answer():
    assert repr(WHO) == "Whose is box `4`? (house, car, no `-1`)"
    assert repr(RECALL) == "1. Why pairs?\n2. Why first?"


def test_a_page_loads_the_script_once_and_not_with_each_output():
    class Builder:
        format = "html"

    class App:
        builder = Builder

    context = {"body": WHO._repr_html_() + "<p>Between.</p>" + RECALL._repr_html_()}
    light_pages.mend(App, "page", "page.html", context, None)
    assert context["body"] == f"{WHO.markup}\n<p>Between.</p>{RECALL.markup}\n"
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    for kind in ("js", "css"):
        assert re.search(rf"html_{kind}_files:.*questions\.{kind}", config)


# In the browser, on a page as MyST-NB makes it.


def cell(content, *tags):
    classes = " ".join(["cell", *(f"tag_{tag}" for tag in tags), "docutils container"])
    return f'<div class="{classes}"><div class="cell_output">{content}</div></div>\n'


BODY = "".join(
    [
        '<p id="top">Before. <a href="#fig-result">The figure</a></p>',
        cell(HOW_MANY.markup, "question"),
        cell("<pre>three boxes</pre>", "answer"),
        "<p>between</p>",
        cell("<pre>a drawing</pre>", "answer", "hide-input"),
        '<p id="fig-result"><em>The caption.</em></p>',
        "<p>what it means</p>",
        '<div class="cell tag_remove-input tag_answer docutils container">\n</div>',  # an assertion
        "<p>after</p>",
        cell(WHO.markup, "question"),
        cell("<pre>not a result</pre>"),
        cell("<pre>no result of that question</pre>", "answer"),
        cell(HOW_WIDE.markup, "question"),
        cell("<pre>100 px</pre>", "answer"),
        cell(RECALL.markup, "question"),
    ]
)
RESULTS = ["three boxes", "between", "a drawing", "The caption.", "what it means"]


def page_of(body, head):
    return f"""<!doctype html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Matching</title>
<meta name="viewport" content="width=device-width">
<style>[hidden] {{ display: none !important }}</style>{head}</head><body>
<nav class="bd-links"><a href="#">3. Matching</a> <a href="04_encoding.html">4. Encoding</a></nav>
<main><article class="bd-article"><section><h1>Matching</h1>{body}</section></article></main>
</body></html>"""


FROM_STATIC = "".join(
    f'<link rel="stylesheet" href="{(STATIC / name).as_uri()}">'
    for name in ("book.css", "questions.css")
) + "".join(
    f'<script src="{(STATIC / name).as_uri()}"></script>' for name in ("print.js", "questions.js")
)


@pytest.fixture
def address(tmp_path):
    path = tmp_path / "03_matching.html"
    path.write_text(page_of(BODY, FROM_STATIC), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def visit(browser, address):
    """``visit(...)`` opens the page in a browser that remembers nothing.

    At the end, nothing must have gone wrong there.
    """
    contexts, trouble = [], []

    def open_page(before="", start=address, **options):
        contexts.append(
            browser.new_context(**{"viewport": {"width": 900, "height": 700}, **options})
        )
        page = contexts[-1].new_page()
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        if before:
            page.add_init_script(before)
        page.goto(start)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


@pytest.fixture
def page(visit):
    return visit()


def question(page, place=0):
    return page.locator("ssd-question").nth(place)


def press(where, name):
    where.get_by_role("button", name=name).click()


def say(page, number, place=0):
    question(page, place).locator("input").fill(number)
    page.keyboard.press("Enter")


def reply(page, place=0):
    return question(page, place).locator("[role=status]").inner_text()


def seen(page):
    """Which of the first question's results are to be seen."""
    shown = """(nodes, text) => nodes.some((node) =>
      node.textContent === text && node.checkVisibility() && node.offsetHeight > 0)"""
    found = page.locator("pre, p")
    return [text for text in RESULTS if found.evaluate_all(shown, text)]


def marks(page):
    return page.locator("nav .ssd-mark").evaluate_all("nodes => nodes.map((n) => n.ariaLabel)")


def test_a_number_is_committed_its_reply_comes_and_then_the_result(page):
    assert seen(page) == []
    note = page.get_by_text("The result appears when you have answered.")
    assert note.count() == 2
    place = question(page).bounding_box()["y"]
    question(page).locator("input").fill("4")
    press(question(page), "Commit")
    assert reply(page) == "You said 4. That one is taken. It's 3. Without box 4."
    assert seen(page) == RESULTS
    assert note.first.is_hidden() and note.last.is_visible()
    assert question(page).bounding_box()["y"] == place
    focused = "document.activeElement.getAttribute('role')"
    assert page.evaluate(focused) == "status"

    press(question(page), "Ask me again")
    assert (reply(page), seen(page)) == ("", [])
    assert question(page).locator("input").input_value() == ""
    assert question(page).locator("input").evaluate("(node) => node === document.activeElement")


def test_a_choice_is_committed_by_pointer_and_by_keyboard(page):
    press(question(page, 1), "no -1")
    assert reply(page, 1) == "You said “no -1”, but it's house. It's first."
    pressed = question(page, 1).locator("[aria-pressed=true]")
    assert pressed.all_inner_texts() == ["no -1"]
    press(question(page, 1), "Ask me again")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Space"):
        page.keyboard.press(key)
    assert reply(page, 1) == "You said “car”. It's second. It's house. It's first."
    page.keyboard.press("Tab")  # from the reply to the next button
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert reply(page, 1) == "✓ Right, it's house. It's first."


def test_who_gives_up_is_told(page):
    press(question(page), "I give up, show me")
    assert reply(page) == "It's 3. Without box 4."
    assert seen(page) == RESULTS
    assert question(page).locator("input").is_hidden()


def test_numbers_are_read_as_people_write_them(page):
    def said(place, *words):
        replies = "(node, words) => words.map((word) => node.replyTo(word))"
        return question(page, place).evaluate(replies, words)

    right = ["3", "+3", "3.0", "0.3e1", "30e-1", "3e0"]
    assert all(said.startswith("✓ Right") for said in said(0, *right))
    assert all("Those are SSD's." in said for said in said(0, "8,732", "8732", "8732."))
    assert all(", but it's" in said for said in said(0, "-3", "−3", ".5", "1e-3", "1,000,000"))
    wrong = ["?", "three", "0,5", "87,32", ",5", "1e", "e5", ".", "3px", "0x3", "1e999", "NaN"]
    assert said(0, *wrong) == [None] * len(wrong)
    assert said(2, "100 px", "105px", "95")[0].startswith("✓ Right, it's <strong>100")
    near = [text.startswith("✓") for text in said(2, "95", "105", "94.9", "105.1")]
    assert near == [True, True, False, False]


def test_what_is_no_number_gets_one_line_and_nothing_is_revealed(page):
    say(page, "three")
    assert reply(page) == "Please type a number, such as 3, 0.25 or 1,000."
    assert question(page).locator("input[aria-invalid]").input_value() == "three"
    assert (seen(page), marks(page)) == ([], [])
    say(page, "3")
    assert reply(page).startswith("✓")
    assert question(page).locator("[aria-invalid]").count() == 0


def test_answers_outlast_the_page_are_marked_in_the_contents_and_can_be_forgotten(page):
    say(page, "3")
    press(question(page, 1), "car")
    page.reload()
    assert reply(page).startswith("✓ Right, it's 3")
    assert reply(page, 1).startswith("You said “car”")
    assert seen(page) == RESULTS
    assert marks(page) == ["2 of 5 questions answered"]
    assert page.locator("nav .ssd-mark").inner_text() == "◔"

    press(question(page, 2), "I give up")
    for i, verdict in enumerate(("I knew it", "Not yet")):
        page.locator("ssd-recall summary").nth(i).click()
        press(page.locator("ssd-recall li").nth(i), verdict)
    assert page.locator("nav .ssd-mark").inner_text() == "●"
    page.reload()
    assert marks(page) == ["5 of 5 questions answered"]
    assert page.locator("ssd-recall details[open]").count() == 0
    verdicts = page.locator("ssd-recall [data-verdict]")
    assert verdicts.evaluate_all("s => s.map((n) => n.dataset.verdict)") == ["I knew it", "Not yet"]

    forget = page.get_by_role("button", name="on this page")
    forget.click()
    assert marks(page) == ["5 of 5 questions answered"]
    page.get_by_role("button", name="Click again").click()
    assert (marks(page), seen(page), reply(page)) == ([], [], "")
    page.reload()
    assert (marks(page), seen(page), reply(page)) == ([], [], "")


def test_everything_is_forgotten_and_other_pages_only_then(page):
    other = {"04_encoding": {"count": 1, "answers": {"12345678": "3"}}}
    page.evaluate("other => (localStorage['ssd-questions'] = JSON.stringify(other))", other)
    page.reload()
    say(page, "3")
    assert marks(page) == ["1 of 5 questions answered", "1 of 1 questions answered"]
    for name, left in (("on this page", ["1 of 1 questions answered"]), ("everywhere", [])):
        page.get_by_role("button", name=name).click()
        page.get_by_role("button", name="Click again").click()
        assert marks(page) == left


def test_what_a_former_edition_asked_counts_no_more(page):
    old = {"03_matching": {"count": 9, "answers": {"00000000": "3", state(WHO)["ids"][0]: "a dog"}}}
    page.evaluate("old => (localStorage['ssd-questions'] = JSON.stringify(old))", old)
    page.reload()
    assert reply(page, 1) == ""
    assert marks(page) == ["1 of 5 questions answered"]
    page.evaluate("localStorage['ssd-questions'] = '{no'")
    page.reload()
    say(page, "3")
    assert marks(page) == ["1 of 5 questions answered"]


def test_without_a_memory_it_answers_all_the_same(visit):
    page = visit(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no') } })"
    )
    say(page, "4")
    assert reply(page).startswith("You said 4. That one")
    assert seen(page) == RESULTS
    page.reload()
    assert seen(page) == []


def test_without_scripts_all_is_readable(visit):
    page = visit(java_script_enabled=False)
    for text in (*RESULTS, "house", "no -1", "Answer"):
        assert page.get_by_text(text, exact=True).first.is_visible()
    assert page.get_by_text("It's 3. Without box 4.").count() == 1
    assert page.locator("button, input").count() == 0


@pytest.mark.parametrize("way", ["address", "link"])
def test_a_link_into_what_is_hidden_opens_it(visit, address, way):
    page = visit(start=address + "#fig-result" * (way == "address"))
    if way == "link":
        page.get_by_text("The figure").click()
    page.wait_for_function("!document.querySelector('#fig-result').hidden")
    assert (seen(page), reply(page)) == (RESULTS, "")
    say(page, "3")
    press(question(page), "Ask me again")
    assert seen(page) == []
    page.get_by_text("The figure").click()
    page.wait_for_function("!document.querySelector('#fig-result').hidden")


def test_where_hidden_text_cannot_be_found_it_is_hidden_all_the_same(visit):
    page = visit("delete HTMLElement.prototype.onbeforematch")
    assert page.locator("#fig-result").get_attribute("hidden") == ""
    assert seen(page) == []
    say(page, "3")
    assert seen(page) == RESULTS


def test_who_searches_the_page_finds_what_is_hidden(page):
    hidden = page.locator("pre", has_text="a drawing").locator("xpath=ancestor::div[2]")
    assert hidden.get_attribute("hidden") == "until-found"
    hidden.dispatch_event("beforematch")
    assert seen(page) == RESULTS


def test_on_paper_the_questions_come_first_and_the_answers_at_the_end(page):
    say(page, "4")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for text in ("100 px", "Whose is box 4?", "house"):
        assert page.get_by_text(text, exact=True).first.is_visible()
    left_out = "ssd-question button, input, [role=status], summary, .ssd-forget, .ssd-note"
    assert not any(part.is_visible() for part in page.locator(left_out).all())
    answers = page.locator(".ssd-answers li")
    assert answers.evaluate_all("nodes => nodes.map((n) => n.innerText)") == [
        "How many default boxes?\n\nYou said 4. That one is taken. It's 3. Without box 4.",
        "Whose is box 4?\n\nIt's house. It's first.",
        "How wide is it?\n\nIt's 100\N{NO-BREAK SPACE}px. Six cells.",
        "Why pairs?\n\nOr one is lost.",
        "Why first?\n\nOrder.",
    ]
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator(".ssd-answers").count() == 0
    assert seen(page) == RESULTS
    assert page.locator(".ssd-note").last.is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 900), ("dark", 390)])
def test_everybody_can_answer(visit, axe, scheme, width):
    page = visit(viewport={"width": width, "height": 700}, color_scheme=scheme)
    say(page, "4")
    page.locator("ssd-recall summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    targets = page.locator("ssd-question button, input, ssd-recall summary, ssd-recall button")
    heights = [target.bounding_box()["height"] for target in targets.all() if target.is_visible()]
    assert len(heights) > 10 and min(heights) >= 44
    group = page.get_by_role("group", name="Whose is box 4?")
    assert group.get_by_role("button").count() == 4
    assert page.get_by_role("textbox", name="How wide is it?").count() == 1
    if axe.is_file():  # test_pages.py says when it is missing
        page.add_script_tag(path=axe)
        found = page.evaluate("axe.run('main', { preload: false }).then((r) => r.violations)")
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_each_output_brings_all_that_it_needs(visit, tmp_path):
    """As in JupyterLab, where there is nothing else: no contents, no article, no style."""
    alone = tmp_path / "alone.html"
    body = HOW_MANY._repr_html_() + WHO._repr_html_() + RECALL._repr_html_()
    alone.write_text(f"<!doctype html><meta charset=utf-8>{body}", encoding="utf-8")
    page = visit(start=alone.as_uri())
    say(page, "4")
    press(question(page, 1), "house")
    assert reply(page).startswith("You said 4. That one")
    assert reply(page, 1).startswith("✓ Right, it's house")
    assert page.locator(".ssd-forget, .ssd-note").count() == 0
    page.reload()
    assert reply(page, 1).startswith("✓ Right, it's house")

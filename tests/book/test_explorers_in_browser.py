"""Every explorer in a real browser: each of its controls, by keyboard and by pointer."""

from pathlib import Path

import pytest
import torch

from book import explorers
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.spec import LITE
from tests.helpers.examples import EXAMPLES, OBJECTS, PICTURE, bare_page

CONTROLS = ".explorer-live :is(input, select, button:not(.explorer-reset), [tabindex='0'])"


ROOT = Path(__file__).parents[2]
CHAPTERS = [
    path.stem
    for path in sorted((ROOT / "chapters").glob("*.ipynb"))
    if "Explorer(" in path.read_text()
]
SCREENS = {"light": (1300, "light"), "dark": (1300, "dark"), "phone": (390, "light")}


@pytest.fixture(scope="module", params=EXAMPLES)
def explorer(request):
    return EXAMPLES[request.param]()


@pytest.fixture(params=["light", "phone"])
def page(request, browser, explorer):
    """The explorer on a page of its own; at the end, nothing must have gone wrong there."""
    width, scheme = SCREENS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": 1400}, color_scheme=scheme, has_touch=width < 500
    )
    page, trouble = context.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.set_content(bare_page(explorer))
    page.wait_for_selector(".explorer-print svg", state="attached")
    yield page
    assert trouble == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


SEEN = """async () => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const inside = (part) =>
    [...document.querySelectorAll(`.explorer-live ${part}`)].map((node) => node.innerHTML).join("");
  const [drawing, words] = [".explorer-stage svg", ".explorer-readout"].map(inside);
  return { state: inside(".explorer-state"), drawing, words };
}"""


def seen_on(page):
    """What is to be seen, as soon as it has been drawn: the state, the drawings and the words."""
    return page.evaluate(SEEN)


def reset(page):
    page.locator(".explorer-live .explorer-reset").click()


def controls(page):
    return [
        node for node in page.locator(CONTROLS).all() if node.is_visible() and node.is_enabled()
    ]


def by_keyboard(page, control):
    """Turn a control as somebody does who has no pointer."""
    control.focus()
    kind = control.evaluate("(node) => node.type ?? node.tagName")
    if kind == "checkbox":
        page.keyboard.press("Space")
    elif kind in ("button", "submit"):
        page.keyboard.press("Enter")
    elif kind == "select-one":
        last = control.evaluate("(node) => node.selectedIndex === node.options.length - 1")
        page.keyboard.press("ArrowUp" if last else "ArrowDown")
    else:
        at_end = kind == "range" and control.evaluate(
            "(node) => Number(node.value) > (+node.min + +node.max) / 2"
        )
        for key in ["ArrowLeft" if at_end else "ArrowRight"] * 3 + ["ArrowUp"] * (kind != "range"):
            page.keyboard.press(key)


def by_pointer(page, control):
    """Turn a control with the mouse: click what is to be clicked, drag what is to be dragged."""
    control.scroll_into_view_if_needed()
    kind, box = control.evaluate("(node) => node.type ?? node.tagName"), control.bounding_box()
    middle = box["y"] + box["height"] / 2
    if kind in ("checkbox", "button", "submit"):
        control.click()
    elif kind == "select-one":
        count = control.evaluate("(node) => node.options.length")
        control.select_option(index=(control.evaluate("(node) => node.selectedIndex") + 1) % count)
    elif kind == "range":
        share = control.evaluate("(node) => (node.value - node.min) / (node.max - node.min)")
        page.mouse.click(box["x"] + box["width"] * (0.2 if share > 0.5 else 0.8), middle)
    else:
        across = box["x"] + box["width"] / 2
        page.mouse.move(across, middle)
        page.mouse.down()
        page.mouse.move(across + 60, middle - 40, steps=4)
        page.mouse.up()


def test_every_control_changes_what_is_seen_reset_undoes_it_and_print_shows_the_first_state(page):
    printed = page.locator(".explorer-print").inner_html()
    wrong = {turn.__name__: idle_controls(page, turn) for turn in (by_keyboard, by_pointer)}
    assert wrong == {"by_keyboard": [], "by_pointer": []}

    by_keyboard(page, controls(page)[0])
    seen_on(page)
    page.emulate_media(media="print")
    assert page.locator(".explorer-live").is_hidden()
    assert page.locator(".explorer-print svg").first.is_visible()
    assert page.locator(".explorer-print").inner_html() == printed


def idle_controls(page, turn):
    """Turn every control and reset it: what did not change what is seen, or was not undone."""
    first, changed, wrong, hands_on = seen_on(page), set(), [], controls(page)
    for control in hands_on:
        turn(page, control)
        seen = seen_on(page)
        name = control.evaluate(
            "(node) => node.closest('label')?.textContent || node.ariaLabel || node.textContent"
        )
        changes = {part for part in ("drawing", "words") if seen[part] != first[part]}
        changed |= changes
        wrong += [f"{name} does nothing"] if seen["state"] == first["state"] else []
        wrong += [] if changes else [f"{name} turns a knob, but nothing is to be seen of it"]
        reset(page)
        wrong += [f"reset does not undo {name}"] if seen_on(page)["state"] != first["state"] else []
    wrong += [] if hands_on else ["there are no controls"]
    wrong += [
        f"no control changes the {part}" for part in ("drawing", "words") if part not in changed
    ]
    return wrong + (
        [] if seen_on(page) == first else ["after all resets it looks otherwise than at first"]
    )


def test_python_may_turn_the_knobs_before_the_page_is_made(browser):
    explorer = EXAMPLES["IoUExplorer"]()
    explorer.first = [0.0, 0.0, 4.0, 4.0]
    page = browser.new_page()
    page.set_content(bare_page(explorer))
    assert "first=[0, 0, 4, 4]" in seen_on(page)["state"]
    reset(page)
    assert "first=[4, 6, 12, 12]" in seen_on(page)["state"]
    page.close()


def test_a_finger_drags_a_box(browser):
    context = browser.new_context(viewport={"width": 390, "height": 900}, has_touch=True)
    page = context.new_page()
    page.set_content(bare_page(EXAMPLES["IoUExplorer"]()))
    box = page.locator(".grip").first.bounding_box()
    finger, start = context.new_cdp_session(page), (box["x"] + 20, box["y"] + 10)
    for kind, moved in (
        ("touchStart", 0),
        ("touchMove", 15),
        ("touchMove", -60),
        ("touchEnd", None),
    ):
        points = [] if moved is None else [{"x": start[0] + moved, "y": start[1] + moved}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert "first=[4, 6, 12, 12]" not in seen_on(page)["state"]
    context.close()


def test_every_explorer_is_in_a_chapter():
    shown = "".join(
        (ROOT / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8") for name in CHAPTERS
    )
    assert [name for name in EXAMPLES if f"{name}(" not in shown] == []


@pytest.mark.parametrize("as_file", [False, True], ids=["served", "file"])
@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_in_its_chapter_an_explorer_lives_and_nothing_goes_wrong(
    look, html, served, chapter, screen, as_file
):
    width, scheme = SCREENS[screen]
    with look(f"chapters/{chapter}", scheme, width, html.as_uri() if as_file else served) as page:
        page.wait_for_selector(".explorer-print svg", state="attached")
        assert page.locator(".explorer").count() == 1
        assert (
            page.locator(".explorer-live .explorer-stage svg").first.evaluate(
                "(svg) => svg.clientWidth"
            )
            > 100
        )
        first, changed = seen_on(page), set()
        for turn in (by_keyboard, by_pointer):
            for control in controls(page)[:3]:
                turn(page, control)
                seen = seen_on(page)
                assert seen["state"] != first["state"]
                changed |= {part for part in ("drawing", "words") if seen[part] != first[part]}
                reset(page)
                assert seen_on(page) == first
            assert changed == {"drawing", "words"}
        assert page.trouble == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_page_has_words_for_whoever_reads_it_without_scripts(html, chapter):
    """In the page's source, for a Chromium that is driven shows no <noscript>."""
    source = (html / "chapters" / f"{chapter}.html").read_text(encoding="utf-8")
    assert source.count("It needs JavaScript, which is off.</p></noscript><script") == source.count(
        "widget-view+json"
    )


def test_objects_in_view_are_green_when_a_default_box_reaches_them_and_red_when_none_does(browser):
    objects = EXAMPLES["MatchingExplorer"]().scenes["crowd"]["objects"]
    spec = explorers.DefaultBoxExplorer(LITE, PICTURE, OBJECTS, in_view=torch.tensor(objects))
    best = iou(torch.tensor(objects), cxcywh_to_xyxy(make_default_boxes(LITE))).amax(dim=1)
    page = browser.new_page()
    page.set_content(bare_page(spec))
    page.wait_for_selector(".explorer-live .unreached.outline", state="attached")
    for looks, wanted in (("reached", best[best >= 0.5]), ("unreached", best[best < 0.5])):
        said = page.locator(f".explorer-live .canvas .tag.{looks}").all_text_contents()
        assert len(said) > 0 and said == [f"{value:.2f}" for value in wanted]
    lost = int((best < 0.5).sum())
    assert f"{lost} of {len(best)} out of reach" in page.locator(".explorer-live").inner_text()
    page.close()

"""In JupyterLab the explorers' knobs are Python's: the chapter's own code computes with them."""

import json
import re

import pytest

CHAPTER = "02_default_boxes.ipynb"
MINUTES = 60_000  # Playwright counts milliseconds


@pytest.fixture
def lab(start_lab, tmp_path):
    """JupyterLab's address, and its folder is tmp_path."""
    with start_lab(tmp_path) as address:
        yield address


def code_cell(page, begins):
    """The last code cell that begins with these words."""
    return page.locator(".jp-CodeCell").filter(has=page.locator(".cm-line", has_text=begins)).last


def wait_until_run(cell, count):
    """Until a cell's prompt says that it was run, as the count-th of all or later."""
    done = """([node, count]) =>
      Number(node.querySelector(".jp-InputPrompt").innerText.match(/\\d+/)) >= count"""
    cell.page.wait_for_function(done, arg=[cell.element_handle(), count], timeout=4 * MINUTES)


def run_cell(page, begins):
    """Run a cell, and return what it printed."""
    cell = code_cell(page, begins)
    prompts = " ".join(page.locator(".jp-InputPrompt").all_inner_texts())
    count = max(int(n) for n in re.findall(r"\[(\d+)\]", prompts))
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    wait_until_run(cell, count + 1)
    return "".join(cell.locator(".jp-OutputArea-output").all_inner_texts())


def words(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".explorer-live .explorer-readout").inner_text()


def test_the_recall_that_ssd_lite_computes_is_the_explorer_s(lab, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(lab.format(f"lab/tree/{CHAPTER}"))
    # The status bar says "Idle" when the kernel has started.
    ready = "document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')"
    page.wait_for_function(ready, timeout=2 * MINUTES)
    page.locator("#jp-MainMenu").get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    wait_until_run(code_cell(page, "explorer.reset()"), 1)

    at_first = words(page)
    smallest = page.locator(".explorer-live .level input[type=range]").first
    smallest.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    dialed = words(page)
    reached = re.search(r"(\d+) of \d+ objects", dialed)[0]
    assert reached not in at_first
    assert f"reached: {reached}" in run_cell(page, "best, _ = best_iou(explorer.spec")

    assert json.loads(run_cell(page, "explorer.scales"))[0] == float(smallest.input_value())
    run_cell(page, "explorer.reset()")
    assert words(page) == at_first

    state = page.locator(".explorer-live .explorer-state")
    before = state.inner_text()
    page.locator(".explorer-live .grip").hover(position={"x": 120, "y": 90})
    page.wait_for_function(
        "([node, text]) => node.innerText !== text", arg=[state.element_handle(), before]
    )

    assert page.get_by_text("Javascript Error").count() == 0  # as JupyterLab writes it
    page.locator("nav.piece-map a[aria-label*=Matching]").click()
    page.locator(".lm-TabBar-tabLabel", has_text="03_matching.ipynb").wait_for()
    page.close()


@pytest.fixture(autouse=True)
def cells_for_the_test(lab, tmp_path):
    """Two cells at the end, as a reader might type them."""
    path = tmp_path / "chapters" / CHAPTER
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for i, source in enumerate(("explorer.scales", "explorer.reset()")):
        cell = {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": source,
        }
        notebook["cells"].append(cell | {"id": f"test-{i}"})
    path.write_text(json.dumps(notebook), encoding="utf-8")


QUESTIONS = [
    "from book.questions import ask, recall",
    "ask(\n    'How many?', truth=3, because='So.', tempting={4: 'No.'}\n)",
    "ask(\n    'Whose?', truth='house', because='So.', choices=['house', 'car']\n)",
]


def test_a_question_is_answered_by_keyboard_and_the_notebook_leaves_it_the_keys(
    lab, browser, tmp_path
):
    metadata = json.loads((tmp_path / "chapters" / CHAPTER).read_text(encoding="utf-8"))["metadata"]
    cells = [
        {"cell_type": "code", "id": f"q{i}", "metadata": {}, "source": source}
        | {"outputs": [], "execution_count": None}
        for i, source in enumerate(QUESTIONS)
    ]
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "chapters" / "questions.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(lab.format("lab/tree/questions.ipynb"))
    ready = "document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')"
    page.wait_for_function(ready, timeout=2 * MINUTES)
    page.locator("#jp-MainMenu").get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.locator("ssd-question button", has_text="car").focus(timeout=MINUTES)
    page.keyboard.press("Enter")
    page.locator("ssd-question input").focus()
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    replies = page.locator("ssd-question [role=status]")
    said = ["You said 4. No. It's 3. So.", "You said “car”, but it's house. So."]
    assert replies.all_inner_texts() == said
    assert page.locator(".jp-Cell").count() == len(QUESTIONS)
    page.close()

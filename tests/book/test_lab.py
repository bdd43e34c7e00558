"""In JupyterLab the explorers' knobs are Python's: the chapter's code computes with them."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTER = "02_default_boxes.ipynb"
TOKEN = "readers"
MINUTES = 60_000  # Playwright counts milliseconds


@pytest.fixture
def lab(browser, tmp_path):
    """JupyterLab's address, with nobody's settings.

    It works on a copy of the chapters, which it saves into.
    """
    shutil.copytree(
        ROOT / "chapters", tmp_path / "chapters", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(
        '{"windowingMode": "none"}'
    )  # cells out of sight exist too
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = shutil.which("jupyter-lab", path=Path(sys.executable).parent)
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
    ]
    options += [
        f"--LabApp.user_settings_dir={settings.parents[1]}",
        f"--ServerApp.root_dir={tmp_path / 'chapters'}",
    ]
    env = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(
            [program, *options], env=env, stdout=log, stderr=subprocess.STDOUT
        ) as server,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            wait_for(f"{address}/api?token={TOKEN}", server)
            yield address
        finally:
            server.terminate()


def wait_for(address, server, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urllib.request.urlopen(address)
        except OSError:
            time.sleep(0.3)
    raise TimeoutError(f"JupyterLab did not start within {seconds} s")


def code_cell(page, begins):
    """The last code cell that begins with these words."""
    return page.locator(".jp-CodeCell").filter(has=page.locator(".cm-line", has_text=begins)).last


def wait_until_run(cell, count):
    """Until a cell's prompt says that it was run, as the count-th of all or later."""
    done = """([node, count]) => {
      const prompt = node.querySelector(".jp-InputPrompt").innerText;
      return Number(prompt.match(/\\d+/)) >= count;
    }"""
    cell.page.wait_for_function(done, arg=[cell.element_handle(), count], timeout=4 * MINUTES)


def run_cell(page, begins):
    """Run a cell, and return what it printed."""
    cell = code_cell(page, begins)
    count = max(
        int(n)
        for n in re.findall(
            r"\[(\d+)\]", " ".join(page.locator(".jp-InputPrompt").all_inner_texts())
        )
    )
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    wait_until_run(cell, count + 1)
    return "".join(cell.locator(".jp-OutputArea-output").all_inner_texts())


def words(page):
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator(".explorer-live .explorer-readout").inner_text()


def test_the_recall_that_ssd_lite_computes_is_the_explorer_s(lab, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(f"{lab}/lab/tree/{CHAPTER}?token={TOKEN}&reset")
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
    dialled = words(page)
    reached = re.search(r"(\d+) of \d+ objects", dialled)[0]
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

    page.locator("nav.piece-map a", has_text="Matching").click()
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

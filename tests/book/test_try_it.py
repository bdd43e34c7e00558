"""Try it, in a real browser: draw, open pictures and checkpoints, and turn every knob."""

import base64
import re
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from book.explorers.explorer import bundle
from book.explorers.try_it import TryIt
from ssd_lite.checkpoint import load_model, save_checkpoint
from ssd_lite.data import read_image
from ssd_lite.detection import Detections, detect
from ssd_lite.model import SSD
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE_300
from tests.helpers.examples import bare_page
from tests.helpers.page_detector import disagreements, largest_difference

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "book" / "site" / "_ext"))
from detectors import FOLDER, write_detectors  # noqa: E402

RECORDS = ROOT / "figures" / "records"
SHAPES, CELLS = RECORDS / "shapes_lite_cpu.safetensors", RECORDS / "bccd_lite_cpu.safetensors"
SCENES = Shapes(500, seed=1)


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with one page and the weights beside it."""
    folder = tmp_path_factory.mktemp("site")
    explorer = TryIt(
        {"shapes": ("drawn shapes", SHAPES)},
        {"an empty sheet": None, "a drawn scene": SCENES[0].image},
    )
    write_detectors(RECORDS, folder)  # as the book's build does
    (folder / "index.html").write_text(bare_page(explorer), encoding="utf-8")
    (folder / "favicon.ico").write_bytes(b"")  # which a browser asks a server for
    return folder


@pytest.fixture
def open_page(browser, site):
    """Open the page: ``open_page(width)``; at the end, nothing must have gone wrong there."""
    opened = []

    def open_(width=1100, start=None):
        context = browser.new_context(
            viewport={"width": width, "height": 1200},
            has_touch=width < 500,
        )
        page, trouble, asked = context.new_page(), [], []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(start or (site / "index.html").as_uri())
        page.wait_for_selector(".explorer-print svg", state="attached")
        opened.append((context, page, trouble))
        page.asked = asked
        return page

    yield open_
    for context, page, trouble in opened:
        assert trouble == []
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
        context.close()


def start(page):
    page.get_by_role("button", name="Start the detector").click()
    wait_for(page, "Found|Nothing")


def wait_for(page, words):
    """Wait until the readout says something; returns all that it says."""
    readout = page.locator(".explorer-live .explorer-readout")
    readout.filter(has_text=re.compile(words)).wait_for()
    return readout.inner_text()


def pad_of(page):
    return page.locator(".explorer-live .sketch")


def place(page, x, y):
    """Where on the screen a place of the pad is, in its own units of 400."""
    pad_of(page).scroll_into_view_if_needed()
    box = pad_of(page).bounding_box()
    return box["x"] + x * box["width"] / 400, box["y"] + y * box["width"] / 400


def use_tool(page, name):
    page.get_by_role("radio", name=name).check(force=True)


def found_boxes(page):
    return page.locator(".explorer-live .sketch-found .tag").all_text_contents()


def test_the_weights_lie_where_pages_look_for_them_and_are_light(site):
    explorer = TryIt({"shapes": ("drawn shapes", SHAPES)}, {"an empty sheet": None})
    assert explorer.folder == FOLDER
    sizes = {path.stem: path.stat().st_size for path in (site / FOLDER).iterdir()}
    assert set(sizes) == {"shapes", "cells"} and max(sizes.values()) < 2e6


@pytest.mark.parametrize("start_at", ["file", "http"])
def test_weights_come_when_asked_for_and_nothing_else_is_fetched(open_page, site, start_at):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        http = f"http://127.0.0.1:{server.server_port}/index.html"
        page = open_page(start=http if start_at == "http" else None)
        page.mouse.click(*place(page, 120, 120))
        assert "sleeps" in wait_for(page, ".")
        before = list(page.asked)
        start(page)
        assert "star" in wait_for(page, "Found")
        news = [url for url in page.asked[len(before) :] if not url.startswith("blob:")]
        assert [url.rsplit("/", 1)[1] for url in news] == ["shapes.js"]
        assert not [url for url in before if url.endswith("shapes.js")]
        server.shutdown()


def test_mouse_draws_shapes_and_lines_and_takes_them_back(open_page):
    page = open_page()
    start(page)
    page.mouse.click(*place(page, 100, 100))
    assert "star" in wait_for(page, "Found")
    use_tool(page, "rectangle")
    use_tool(page, "red")
    page.mouse.move(*place(page, 220, 200))
    page.mouse.down()
    page.mouse.move(*place(page, 360, 360), steps=5)
    page.mouse.up()
    assert "star" in wait_for(page, "rectangle")
    marks = page.locator(".explorer-live .sketch > g").nth(1).locator("path")
    assert marks.count() == 2
    use_tool(page, "brush")
    page.mouse.move(*place(page, 40, 360))
    page.mouse.down()
    page.mouse.move(*place(page, 160, 380), steps=8)
    page.mouse.up()
    assert marks.count() == 3
    assert marks.nth(2).get_attribute("d").count("L") == 8
    page.get_by_role("button", name="Undo").click()
    assert marks.count() == 2
    use_tool(page, "eraser")
    page.mouse.move(*place(page, 30, 60))
    page.mouse.down()
    for y in range(60, 180, 15):
        page.mouse.move(*place(page, 40 if y % 2 else 170, y), steps=3)
    page.mouse.up()
    page.get_by_role("button", name="Clear").click()
    wait_for(page, "Nothing")
    assert marks.count() == 0


def test_keyboard_draws(open_page):
    page = open_page()
    start(page)
    pad_of(page).focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    assert "star" in wait_for(page, "Found")
    use_tool(page, "brush")
    pad_of(page).focus()
    for key in ("Space", "ArrowDown", "ArrowDown", "Space", "ArrowRight"):
        page.keyboard.press(key)
    marks = page.locator(".explorer-live .sketch > g").nth(1).locator("path")
    assert marks.count() == 2
    assert marks.nth(1).get_attribute("d").count("L") == 2


def test_a_finger_draws_and_the_page_stays(open_page):
    page = open_page(width=390)
    start(page)
    use_tool(page, "triangle")
    finger = page.context.new_cdp_session(page)
    for kind, point in (
        ("touchStart", (90, 80)),
        ("touchMove", (200, 190)),
        ("touchMove", (260, 260)),
        ("touchEnd", None),
    ):
        points = [] if point is None else [dict(zip("xy", place(page, *point)))]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert "triangle" in wait_for(page, "Found")
    assert page.evaluate("scrollY") == 0


def test_an_example_is_found_as_the_package_finds_it_and_knobs_sift(open_page):
    page = open_page()
    start(page)
    page.get_by_label("begin with").select_option(label="a drawn scene")
    [wanted] = detect(load_model(SHAPES), [SCENES[0].image], score_threshold=0.5)
    names = [SCENES.classes[label - 1] for label in wanted.labels]
    wait_for(page, "Found")
    assert sorted(text.split()[0] for text in found_boxes(page)) == sorted(names) != []

    def seen_after(label, keys):
        control = page.get_by_label(label)
        control.focus()
        for key in keys:
            page.keyboard.press(key)
        page.wait_for_timeout(400)
        return found_boxes(page)

    usual = found_boxes(page)
    assert len(seen_after("NMS: IoU above", ["End"])) > len(usual)
    page.get_by_role("button", name="Reset").click()
    page.wait_for_timeout(400)
    assert found_boxes(page) == []  # an empty sheet
    page.get_by_label("begin with").select_option(label="a drawn scene")
    wait_for(page, "Found")
    assert len(seen_after("score above", ["Home"])) >= len(usual)
    for tick in page.locator(".explorer-live .try-maps input").all():
        tick.uncheck()
    wait_for(page, "Nothing")
    assert "left_out=[0, 1, 2, 3, 4, 5]" in page.locator(".explorer-state").inner_text()


def test_a_checkpoint_of_one_s_own_is_opened_and_a_bad_one_refused(open_page, tmp_path):
    page = open_page()
    picker = page.locator(".explorer-live input[accept='.safetensors']")
    picker.set_input_files(CELLS)  # without the book's being started
    wait_for(page, "Found|Nothing")
    assert "RBC, WBC, Platelets" in page.locator(".explorer-live .try-about").inner_text()
    assert page.get_by_role("combobox", name="detector").input_value() == "-1"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(CELLS.read_bytes()[:100_000])
    picker.set_input_files(broken)
    wait_for(page, "ends too early")
    page.get_by_label("score above").press("End")  # the other goes on
    wait_for(page, "Nothing scores above 0.95")
    page.get_by_label("score above").press("Home")
    page.mouse.click(*place(page, 100, 100))
    wait_for(page, "Found|Nothing scores above 0.05")
    page.get_by_role("combobox", name="detector").select_option(label="drawn shapes")
    assert "star" in wait_for(page, "star")


def test_one_answer_is_followed_down_to_nine_multiplications(open_page):
    page = open_page()
    start(page)
    page.get_by_label("begin with").select_option(label="a drawn scene")
    wait_for(page, "Found")
    page.locator(".explorer-live .sketch-found .tag").first.click()  # the box's name
    story = page.locator(".explorer-live .follow")
    story.wait_for()
    assert "follow=1" in page.locator(".explorer-state").inner_text()
    cells = [
        float(text.replace("\N{MINUS SIGN}", "-"))
        for text in story.locator(".follow-nine td").all_inner_texts()
    ]
    x, w, products = torch.tensor(cells[:27]).view(3, 9)
    assert (x * w - products).abs().max() < 0.01 * (1 + x.abs().max() + w.abs().max())

    nine = story.locator(".follow-nine").inner_text()
    story.get_by_role("slider").press("Home")
    assert story.locator(".follow-nine").inner_text() != nine
    assert page.locator(".explorer-live .follow-cell").count() == 1
    page.get_by_role("combobox", name="follow").select_option(index=2)
    story.get_by_text("struck out").wait_for()
    page.get_by_role("combobox", name="follow").select_option(index=0)
    story.wait_for(state="hidden")
    assert page.locator(".explorer-live .follow-cell").count() == 0


SEND = """([kind, base64, name, type]) => {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt());
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, { type }));
  const pad = document.querySelector(".explorer-live .sketch");
  const more = { bubbles: true, cancelable: true };
  const drop = () => new DragEvent("drop", { ...more, dataTransfer: carried });
  const paste = () => new ClipboardEvent("paste", { ...more, clipboardData: carried });
  kind === "drop" ? pad.dispatchEvent(drop()) : document.body.dispatchEvent(paste());
}"""


@pytest.mark.parametrize("kind", ["drop", "paste", "choose"])
def test_a_picture_comes_in(open_page, tmp_path, kind):
    path = tmp_path / "scene.png"
    Image.fromarray(SCENES[0].image.permute(1, 2, 0).numpy()).resize((192, 96)).save(path)
    page = open_page()
    start(page)
    if kind == "choose":
        page.locator(".explorer-live input[accept='image/*']").set_input_files(path)
    else:
        text = base64.b64encode(path.read_bytes()).decode()
        page.evaluate(SEND, [kind, text, "scene.png", "image/png"])
    page.locator(".explorer-live .sketch image").wait_for(state="attached")
    wait_for(page, "Found")
    assert pad_of(page).get_attribute("viewBox") == "0 0 400 200"
    assert page.get_by_label("begin with").input_value() == "-1"


def test_a_file_that_is_no_picture_is_refused(open_page):
    page = open_page()
    text = base64.b64encode(b"no picture").decode()
    page.evaluate(SEND, ["drop", text, "a.png", "image/png"])
    wait_for(page, "cannot read this file as a picture")


@pytest.mark.parametrize("width", [1100, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(open_page, width, theme, axe, do_without):
    if not axe.is_file():
        do_without("axe-core is not in book/site/node_modules: npm ci --prefix book/site")
    page = open_page(width)
    colors = "--pst-color-background: #14181e; --pst-color-text-base: #ced6dd"
    if theme == "dark":
        style = f"{colors}; background: #14181e; color: #ced6dd; --pst-color-text-muted: #9ca4af"
        page.evaluate(
            "(style) => Object.assign(document.documentElement, { style }).dataset.theme = 'dark'",
            style,
        )
    start(page)
    page.get_by_label("begin with").select_option(label="a drawn scene")
    wait_for(page, "Found")
    page.get_by_role("combobox", name="follow").select_option(index=1)
    page.locator(".explorer-live .follow").wait_for()
    page.add_script_tag(path=axe)
    found = page.evaluate("axe.run('main', { preload: false }).then((r) => r.violations)")
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found] == []


# ---- the engine alone, in the browser

ENGINE = bundle("engine.js").replace("export ", "") + bundle("sketch.js").replace("export ", "")
BEGIN = """([script, source, weights]) => {
  document.head.append(Object.assign(document.createElement("script"), { textContent: script }));
  window.engine = startEngine(source);
  window.bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt());
  return engine.open(new Blob([bytesOf(weights)]));
}"""
LOOK = """([base64, width, height]) => {
  const data = new Uint8ClampedArray(bytesOf(base64).buffer);
  return engine.look(() => ({ width, height, data }), { scoreThreshold: 0.01 });
}"""


@pytest.fixture
def engine(browser):
    """``engine(path)`` is a page whose worker has opened a checkpoint."""
    page = browser.new_page()

    def begin(path):
        page.set_content("<!doctype html><title>Engine</title>")
        weights = base64.b64encode(path.read_bytes()).decode()
        opened = page.evaluate(BEGIN, [ENGINE, bundle("worker.js"), weights])
        assert opened["classes"]
        return page

    yield begin
    page.close()


def look(page, image):
    rgba = torch.cat([image, torch.full_like(image[:1], 255)]).permute(1, 2, 0).contiguous()
    text = base64.b64encode(rgba.numpy().tobytes()).decode()
    return page.evaluate(LOOK, [text, image.shape[2], image.shape[1]])


def test_the_browser_finds_what_the_package_finds(engine):
    images = [SCENES[i].image for i in range(8)]
    page = engine(SHAPES)
    for image, wanted in zip(images, detect(load_model(SHAPES), images)):
        rows = [[*d["box"], d["score"], d["label"]] for d in look(page, image)["found"]]
        rows = torch.tensor(rows).view(-1, 6)  # (D, 6)
        found = Detections(rows[:, :4], rows[:, 4], rows[:, 5].long())
        assert disagreements(found, wanted) == 0


def test_the_page_lives_while_it_computes_and_what_is_out_of_date_is_dropped(engine, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "best.safetensors", SSD(LITE_300, ["one"]))
    page = engine(tmp_path / "best.safetensors")
    answers, frames = page.evaluate("""async () => {
      const picture = { width: 300, height: 300, data: new Uint8ClampedArray(360000) };
      let [frames, going] = [0, true];
      const count = () => going && requestAnimationFrame(count) && frames++;
      count();
      const limits = { scoreThreshold: 0.5 };
      const look = () => engine.look(() => picture, limits);
      const all = await Promise.all([look(), look(), look(), look(), look(), look()]);
      going = false;
      return [all.map(({ stopped }) => Boolean(stopped)), frames];
    }""")
    assert answers == [True] * 5 + [False]
    assert frames >= 5


def test_a_huge_file_is_refused_before_it_is_read(engine):
    answer = engine(SHAPES).evaluate("engine.open({ size: 512e6 })")  # there is nothing to read
    assert answer["refused"].startswith("This file has 512 MB.")


READ = """async ([base64, type]) => {
  const { image, width, height } = await readPicture(new Blob([bytesOf(base64)], { type }));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const surface = canvas.getContext("2d");
  surface.drawImage(image, 0, 0, width, height);
  const { data } = surface.getImageData(0, 0, width, height);
  let text = "";
  for (let i = 0; i < data.length; i += 8192)
    text += String.fromCharCode(...data.subarray(i, i + 8192));
  return [width, height, btoa(text)];
}"""


def test_a_photograph_is_decoded_to_the_same_gray_levels(engine, bccd_folder):
    path = bccd_folder / "JPEGImages" / "BloodImage_00007.jpg"
    page = engine(CELLS)
    text = base64.b64encode(path.read_bytes()).decode()
    width, height, pixels = page.evaluate(READ, [text, "image/jpeg"])
    rgba = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)
    seen = torch.from_numpy(rgba[..., :3].copy()).permute(2, 0, 1)
    model = load_model(CELLS)
    a, b = (model.preprocess([image])[0] for image in (seen, read_image(path)))
    assert largest_difference(a, b) * 255 * model.spec.std[0] <= 1

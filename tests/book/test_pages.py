"""The pages in a browser: whole without a network, light, linked, and accessible."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]
PIECES = [page for page in CHAPTERS if re.match(r"chapters/\d", page)]
MADE = ["genindex", "py-modindex", "search"]  # by Sphinx
AXE = ROOT / "book" / "site" / "node_modules" / "axe-core" / "axe.min.js"
THEMES_OWN = [
    "label-content-name-mismatch",
    "region",
]  # rules of axe that the theme breaks on every page
MEGABYTE = 1_000_000

FULL = """async () => {
  const still = "<style>* { animation: none !important }</style>"; // folds fade in
  document.head.insertAdjacentHTML("beforeend", still);
  for (const picture of document.images) picture.loading = "eager";
  for (const details of document.querySelectorAll("details")) details.open = true;
  await Promise.all([...document.images].map((picture) => picture.decode().catch(() => {})));
  await document.fonts.ready;
}"""
TOO_WIDE = """() => {
  const wide = document.documentElement.clientWidth;
  return document.documentElement.scrollWidth <= wide ? [] :
    [...document.querySelectorAll("main *")]
      .filter((element) => element.getBoundingClientRect().right > wide + 1)
      .map((element) => element.outerHTML.slice(0, 120));
}"""
# The colors of code are the same on every page, and axe would take a minute for its words.
PLAIN_CODE = (
    "document.querySelectorAll('.highlight pre').forEach((code) => "
    "(code.textContent = code.textContent))"
)
BARRIERS = """async (disabled) => {
  const rules = Object.fromEntries(disabled.map((rule) => [rule, { enabled: false }]));
  const found = (await axe.run({ rules, resultTypes: ["violations"], preload: false })).violations;
  // axe takes a heading that is a formula for empty: it reads no MathML
  const isFormula = (id, place) =>
    id === "empty-table-header" && document.querySelector(place).querySelector("math");
  return found.flatMap(({ id, nodes }) => nodes
    .filter(({ target: [place] }) => !isFormula(id, place))
    .map(({ html, failureSummary }) =>
      `${id}: ${html.slice(0, 160)} ${failureSummary.split("\\n")[1]}`));
}"""


@pytest.fixture(scope="module")
def barriers(do_without):
    """What axe-core finds on a page."""
    if not AXE.is_file():
        do_without(
            "axe-core is not in book/site/node_modules; get it with: npm ci --prefix book/site"
        )

    def find(page, of_code=False):
        if not of_code:
            page.evaluate(PLAIN_CODE)
        page.add_script_tag(path=AXE)
        return page.evaluate(BARRIERS, THEMES_OWN)

    return find


@pytest.fixture(scope="module", params=PAGES + MADE)
def page(request, look):
    """Each page on a wide screen in the light, served."""
    with look(request.param) as page:
        page.evaluate(FULL)
        yield page


@pytest.fixture(scope="module", params=PAGES + MADE)
def phone(request, look):
    """Each page on a phone in the dark, served."""
    with look(request.param, scheme="dark", width=390) as page:
        page.evaluate(FULL)
        yield page


def test_a_page_is_whole_without_a_network(page):
    assert page.trouble == []


def test_a_page_weighs_less_than_two_megabytes(page):
    """All that a browser asks for whose reader goes to the end and opens every fold."""
    sizes = {path.name: path.stat().st_size for path in page.files}
    assert sum(sizes.values()) < 2 * MEGABYTE, sorted(sizes.items(), key=lambda item: -item[1])


def test_every_formula_is_set(page):
    assert page.locator(".math").count() == page.locator(".math mjx-container mjx-math").count()
    assert page.locator("mjx-merror").count() == 0


def test_every_picture_is_there_with_words_for_it(page):
    pictures = page.evaluate("[...document.images].map((e) => [e.src, e.alt, e.naturalWidth])")
    assert [address for address, words, width in pictures if not (words.strip() and width)] == []


def test_a_page_leads_to_the_one_before_and_the_next(page, served):
    """In the order of the contents."""
    name = page.url.removeprefix(f"{served}/").removesuffix(".html")
    place = PAGES.index(name) if name in PAGES else None
    for link, step in (("a.left-prev", -1), ("a.right-next", 1)):
        near = [] if place is None or not 0 <= place + step < len(PAGES) else [PAGES[place + step]]
        assert page.locator(link).evaluate_all("a => a.map((a) => a.href)") == [
            f"{served}/{at}.html" for at in near
        ]


def test_a_page_in_the_light_has_no_barriers(page, barriers):
    assert barriers(page) == []


def test_a_page_is_whole_on_a_phone(phone):
    assert phone.trouble == []


def test_a_page_is_no_wider_than_a_phone(phone):
    assert phone.evaluate(TOO_WIDE) == []


def test_a_page_in_the_dark_on_a_phone_has_no_barriers(phone, barriers):
    assert barriers(phone) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_has_no_barriers(look, barriers, scheme):
    with look("chapters/e_beyond_one_gpu", scheme) as page:
        assert barriers(page, of_code=True) == []


@pytest.mark.parametrize("name", PAGES + MADE)
def test_a_page_opened_as_a_file_is_whole(look, html, name):
    with look(name, start=html.as_uri()) as page:
        page.evaluate(FULL)
        assert page.trouble == []


def test_the_pages_of_source_are_whole_too(look, html):
    for path in sorted((html / "_modules").rglob("*.html")):
        with look(path.relative_to(html).with_suffix("").as_posix()) as page:
            assert page.trouble == []


def test_the_longest_chapter_is_seen_at_once_and_soon_ready(look):
    """A quiet machine takes less than a second for both.

    Best of five, with room for other tests that run at the same time.
    """
    seen, ready = [], []
    for _ in range(5):
        with look("chapters/09_data_and_augmentation") as page:
            seen.append(
                page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            )
            ready.append(
                page.evaluate(
                    "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
                )
            )
    assert min(seen) < 1000  # milliseconds from the click
    assert min(ready) < 2000


@pytest.mark.parametrize("name", ["index", *PIECES])
def test_the_map_leads_to_every_chapter_and_marks_where_one_is(look, name):
    with look(name) as page:
        links = page.locator("nav.piece-map a")
        shown = links.evaluate_all(
            "links => links.map((a) => new URL(a.getAttribute('href'), location).pathname)"
        )
        assert sorted(shown) == [f"/{chapter}.html" for chapter in PIECES]
        here = [
            link.get_attribute("href")
            for link in page.locator("nav.piece-map [aria-current=page]").all()
        ]
        assert here == ([] if name == "index" else [f"{Path(name).name}.html"])


def test_the_map_is_walked_with_the_keyboard(look):
    with look("chapters/03_matching") as page:
        page.locator("nav.piece-map a").nth(5).focus()
        edge = "getComputedStyle(document.activeElement.querySelector('rect')).strokeWidth"
        page.keyboard.press("Tab")
        assert page.evaluate(edge) == "3px"
        page.keyboard.press("Enter")
        page.wait_for_url("**/04_encoding.html")


def test_the_map_follows_the_theme(look):
    colors = set()
    for scheme in ("light", "dark"):
        with look("index", scheme) as page:
            colors.add(
                page.evaluate("getComputedStyle(document.querySelector('.piece-map rect')).fill")
            )
    assert len(colors) == 2


def test_on_paper_a_page_is_light_and_nothing_is_cut_off(look):
    with look("chapters/03_matching", "dark") as page:
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("html").get_attribute("data-theme") == "light"
        assert not any(
            part.is_visible()
            for part in page.locator(".bd-sidebar, .prev-next-footer, .copybtn").all()
        )
        assert (
            page.evaluate("getComputedStyle(document.querySelector('.cell_input pre')).whiteSpace")
            == "pre-wrap"
        )
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("html").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize("as_file", [False, True], ids=["served", "file"])
def test_search_finds_the_chapter(look, html, served, as_file):
    with look("index", start=html.as_uri() if as_file else served) as page:
        page.keyboard.press("Control+k")
        page.locator("#pst-search-dialog input").fill("hard negative mining")
        page.keyboard.press("Enter")
        page.locator("#search-results a[href*='06_hard_negative_mining']").first.wait_for()
        assert [
            line for line in page.trouble if line.startswith("wants")
        ] == []  # a file's results have no excerpts

"""The pages in a browser: whole without a network, light, easy to walk, open to everybody."""

import re
from pathlib import Path

import pytest

from tests.helpers.contents import PAGES
from tests.helpers.wcag import AXE

ROOT = Path(__file__).parents[2]
PIECES = [page for page in PAGES if re.match(r"chapters/(?!00)\d.*(?<!_hands_on)$", page)]
MADE = ["genindex", "py-modindex", "search"]  # by Sphinx
# Rules of axe that the theme breaks on every page.
THEMES_OWN = ["label-content-name-mismatch", "region"]
MEGABYTE = 1_000_000

FULL = """async () => {
  const still = "<style>* { animation: none !important }</style>"; // folds fade in
  document.head.insertAdjacentHTML("beforeend", still);
  for (const details of document.querySelectorAll("details")) details.open = true;
  const shown = (picture) => getComputedStyle(picture).display !== "none"; // in this theme
  const pictures = [...document.images].filter(shown);
  for (const picture of pictures) picture.loading = "eager";
  await Promise.all(pictures.map((picture) => picture.decode().catch(() => {})));
  await document.fonts.ready;
}"""
TOO_WIDE = """() => {
  const wide = document.documentElement.clientWidth;
  return document.documentElement.scrollWidth <= wide ? [] :
    [...document.querySelectorAll("main *")]
      .filter((element) => element.getBoundingClientRect().right > wide + 1)
      .map((element) => element.outerHTML.slice(0, 120));
}"""
# The colors of code are the same on every page, and each of its thousands of words costs axe time.
PLAIN_CODE = """document.querySelectorAll('.highlight pre')
  .forEach((code) => (code.textContent = code.textContent))"""
BARRIERS = """async (disabled) => {
  const rules = Object.fromEntries(disabled.map((rule) => [rule, { enabled: false }]));
  const found = (await axe.run({ rules, resultTypes: ["violations"], preload: false })).violations;
  // axe takes a heading that is a formula for empty: it reads no MathML
  const isFormula = (id, place) =>
    id === "empty-table-header" && document.querySelector(place).querySelector("math");
  return found.flatMap(({ id, nodes }) => nodes
    .filter(({ target: [place] }) => !isFormula(id, place))
    .map(({ html, failureSummary: why }) =>
      `${id}: ${html.slice(0, 160)} ${why.split("\\n")[1]}`));
}"""


# What is looked for on a page. Each function returns what it found wrong.


def barriers(page, of_code=False):
    """What axe-core finds; nothing without it, see ``test_barriers_can_be_looked_for``."""
    if not AXE.is_file():
        return []
    if not of_code:
        page.evaluate(PLAIN_CODE)
    page.add_script_tag(path=AXE)
    return page.evaluate(BARRIERS, THEMES_OWN)


def too_heavy(page):
    """All that is asked for when a reader opens every fold to the end, if it is too much."""
    # Files that are not there are among the page's trouble.
    sizes = {path.name: path.stat().st_size for path in page.files if path.is_file()}
    heavy = sum(sizes.values()) >= 2 * MEGABYTE
    return sorted(sizes.items(), key=lambda item: -item[1]) if heavy else []


def unset_formulas(page):
    formulas, ready = (
        page.locator(".math").count(),
        page.locator(".math mjx-container mjx-math").count(),
    )
    errors = page.locator("mjx-merror").count()
    return (
        [f"{ready} of {formulas} are set, {errors} with an error"]
        if ready != formulas or errors
        else []
    )


def poor_pictures(page):
    """Pictures that are missing, or have no words."""
    pictures = page.evaluate(
        "[...document.images].filter((e) => getComputedStyle(e).display !== 'none')"
        ".map((e) => [e.src, e.alt, e.naturalWidth])"
    )
    return [address for address, words, width in pictures if not (words.strip() and width)]


def wrong_neighbors(page, name, served):
    """Links that do not lead to the page before and the next, in the order of the contents."""
    place, wrong = PAGES.index(name) if name in PAGES else None, []
    for link, step in (("a.left-prev", -1), ("a.right-next", 1)):
        near = [] if place is None or not 0 <= place + step < len(PAGES) else [PAGES[place + step]]
        leads = page.locator(link).evaluate_all("a => a.map((a) => a.href)")
        if leads != [f"{served}/{at}.html" for at in near]:
            wrong.append(f"{link} leads to {leads}")
    return wrong


def wrong_map(page, name):
    """The map must lead to every chapter and mark where one is."""
    if name not in ("index", *PIECES):
        return []
    links = page.locator("nav.piece-map a")
    shown = links.evaluate_all(
        "links => links.map((a) => new URL(a.getAttribute('href'), location).pathname)"
    )
    here = [
        link.get_attribute("href")
        for link in page.locator("nav.piece-map [aria-current=page]").all()
    ]
    wrong = (
        []
        if sorted(shown) == [f"/{chapter}.html" for chapter in PIECES]
        else [f"it leads to {shown}"]
    )
    return wrong + (
        []
        if here == ([] if name == "index" else [f"{Path(name).name}.html"])
        else [f"it marks {here}"]
    )


def wrong(**found):
    """Of what was looked for, by name, what is wrong: a test then says all of it at once."""
    return {name: trouble for name, trouble in found.items() if trouble}


# Each page is opened once on each screen, and there everything is looked for.


@pytest.mark.parametrize("name", PAGES + MADE)
def test_a_page_in_the_light(look, served, name):
    """On a wide screen, served; and nothing comes from the network."""
    with look(name) as page:
        page.evaluate(FULL)
        found = wrong(
            formulas=unset_formulas(page),
            pictures=poor_pictures(page),
            neighbors=wrong_neighbors(page, name, served),
            map=wrong_map(page, name),
            barriers=barriers(page),
            weight=too_heavy(page),
            trouble=page.trouble,
        )
        assert found == {}


@pytest.mark.parametrize("name", PAGES + MADE)
def test_a_page_in_the_dark_on_a_phone(look, name):
    with look(name, scheme="dark", width=390) as page:
        page.evaluate(FULL)
        assert (
            wrong(too_wide=page.evaluate(TOO_WIDE), barriers=barriers(page), trouble=page.trouble)
            == {}
        )


@pytest.mark.parametrize("name", PAGES + MADE)
def test_a_page_opened_as_a_file_is_whole(look, html, name):
    with look(name, start=html.as_uri()) as page:
        page.evaluate(FULL)
        assert page.trouble == []


def test_barriers_can_be_looked_for(do_without):
    if not AXE.is_file():
        do_without(
            "axe-core is not in book/site/node_modules; get it with: npm ci --prefix book/site"
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_has_no_barriers(look, scheme):
    with look("chapters/e_beyond_one_gpu", scheme) as page:
        assert barriers(page, of_code=True) == []


def test_the_pages_of_source_are_whole_too(look, html):
    for path in sorted((html / "_modules").rglob("*.html")):
        with look(path.relative_to(html).with_suffix("").as_posix()) as page:
            assert page.trouble == []


def test_the_longest_chapter_is_seen_at_once_and_soon_ready(look):
    """A quiet machine takes less than a second for both; other tests run beside this one.

    So it is the best of five, with room.
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


def test_the_map_is_walked_with_the_keyboard(look):
    with look("chapters/03_matching") as page:
        page.locator("nav.piece-map a").nth(5).focus()
        edge = "getComputedStyle(document.activeElement).outlineWidth"
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

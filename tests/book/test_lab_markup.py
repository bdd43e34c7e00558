"""In JupyterLab, too, a chapter reads as a page: no markup is seen, and no link leads nowhere."""

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path.name for path in (ROOT / "chapters").glob("*.ipynb"))
MINUTES = 60_000  # Playwright counts milliseconds

# A cell for each kind of fault, and what is said of it; then cells without any fault.
FAULTS = {
    ":::{nosuch} title\nA directive of no program.\n:::": "unknown directive",
    "A {nosuch}`role` of no program.": "unknown role",
    "See {numref}`fig-nowhere`.": "nothing to refer to",
    "As said by {cite:p}`liu2016ssd`.": "nothing to refer to",
    "By {eq}`eq-nowhere`.": "nothing to refer to",
    "By {ref}`the question <q-of-another-notebook>`.": "link to nowhere",
    "See [the section](#the-section-that-is-not).": "link to nowhere",
    "See [the chapter](99_nowhere.ipynb).": "no such file",
    "See {doc}`the chapter <03_matching>`.": "no such file",
    "$$\n\\nosuch{x}\n$$": "formula",
    "An inline $\\nosuch$.": "formula",
    "<details>\n<summary>Hint</summary>\n\nThe $x$.\n\n</details>": "formula",
    "<p>HTML hides {eq}`eq-here` from the parser.</p>": "raw markup",
    "<p>HTML hides $x_i$, too.</p>": "raw markup",
    "{.caption}\nAttributes of a paragraph.": "raw markup",
    "A space: {numref} `fig-here`.": "raw markup",
    "A label (q-inside)= in its line.": "raw markup",
    "A line of text ::: and colons.": "raw markup",
    "* [Half a link](https://example.org/": "raw markup",
}
FAULTLESS = [
    "(q-here)=\n:::{admonition} A question\n:class: note\n\nSee {eq}`eq-here`.\n:::",
    ":::{dropdown} Hint 1\nThe $x$ of [the figure above](#fig-here), `:::{code}`, `{x}`.\n:::",
    "$$\na_i = b\n$$ (eq-here)\n\n## A section\n\nSee [it](#a-section).",
    "See [another notebook](03_matching.ipynb#q-same-box).",
    "(fig-here)=\n*A caption with $x$ and _emphasis_.*",
    "As said ([Liu et al., 2016](https://arxiv.org/abs/1512.02325)).",
    "| a | b |\n|---|---|\n| $x$ | `{eq}` |\n\n```python\nshapes = {0: 1}  # :::\n```",
]

TROUBLE = """() => {
  const cells = [...document.querySelectorAll(".jp-Notebook:not(.lm-mod-hidden) .jp-MarkdownCell")];
  return cells.map((cell) => {
    const page = cell.querySelector(".myst");
    if (!page?.childElementCount) return ["not shown yet"];
    const found = [];
    const say = (what, nodes) => {
      for (const node of nodes) found.push(`${what}: ${node.title || node.innerText}`);
    };
    const all = (selector) => [...page.querySelectorAll(selector)];

    say("nothing to refer to", all("[title$='Not Found']"));
    say("formula", all(".text-red-500, .katex-error, .math-inline, .math-display"));
    say("formula", all(".text-yellow-600:not([title$='Not Found'])"));
    for (const a of all("a[href^='#']"))
      if (!document.getElementById(a.hash.slice(1))) say("link to nowhere", [a]);

    const text = page.cloneNode(true);
    for (const node of text.querySelectorAll("code, pre, .katex, .hljs, svg")) node.remove();
    if (/Unknown Directive/.test(text.textContent)) say("unknown directive", [page]);
    // An unknown role becomes a bare span. So does a formula, but what is in that was removed.
    const bare = [...text.querySelectorAll("span:not([class]):not([data-state]):not([id])")];
    say("unknown role", bare.filter((span) => span.textContent));
    const raw = text.textContent.match(
      /:::|\\{[.#]?[a-z][\\w:.-]*\\}|\\([\\w-]+\\)=|\\$[^ ]|\\\\[a-z]+|<\\/?[a-z]+>|\\]\\(/
    );
    if (raw) found.push(`raw markup: ${raw[0]}`);
    return found;
  });
}"""
LINKS = """() => [...document.querySelectorAll(".jp-Notebook:not(.lm-mod-hidden) .myst")].map(
  (page) => [...page.querySelectorAll("a[href*='/files/']")].map((a) => a.href))"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


def markdown(folder, name):
    """Leave only the markdown cells in a copied notebook: editors of code take the most time."""
    path = folder / "chapters" / name
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return notebook["cells"]


@pytest.fixture(scope="module")
def lab(start_lab, browser, folder):
    """JupyterLab in a browser."""
    with start_lab(folder) as address:
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto(address.format("lab"))
        page.wait_for_function("window.jupyterapp?.restored.then(() => true)", timeout=2 * MINUTES)
        yield page
        page.close()


@pytest.fixture
def trouble(lab, folder):
    """``trouble(name)`` opens a notebook, not run: for each markdown cell, what is wrong."""

    def look(name):
        count = len(markdown(folder, name))
        arguments = {
            "path": name,
            "factory": "Notebook",
            "kernelPreference": {"shouldStart": False},
        }
        # Nothing here waits for JupyterLab without an end: whether it's done is asked below.
        lab.evaluate(
            "(it) => void window.jupyterapp.commands.execute('docmanager:open', it)", arguments
        )
        # References are resolved again with every cell that is shown: the last says what stays.
        settled = f"""() => {{
          const found = ({TROUBLE})(), now = JSON.stringify(found);
          const ready = found.length === {count} && !now.includes("not shown yet");
          const same = now === window.before;
          window.before = now;
          return ready && (same || now === JSON.stringify(found.map(() => [])));
        }}"""
        lab.wait_for_function(settled, timeout=2 * MINUTES, polling=500)
        found, links = lab.evaluate(TROUBLE), lab.evaluate(LINKS)
        for said, addresses in zip(found, links):
            paths = [
                unquote(urlsplit(address).path).partition("/files/")[2] for address in addresses
            ]
            said += [
                f"no such file: {path}"
                for path in paths
                if not (folder / "chapters" / path).is_file()
            ]
        return found

    yield look
    # Its own command would ask what to do with a changed notebook, and wait.
    lab.evaluate("() => [...window.jupyterapp.shell.widgets('main')].forEach((w) => w.dispose())")


@pytest.mark.parametrize("name", CHAPTERS, ids=lambda name: name.removesuffix(".ipynb"))
def test_no_markup_is_seen_and_no_link_leads_nowhere(trouble, name):
    assert [said for cell in trouble(name) for said in cell] == []


def test_each_kind_of_fault_is_found_and_nothing_else(trouble, folder):
    sources = [*FAULTS, *FAULTLESS]
    cells = [
        {"cell_type": "markdown", "id": f"c{i}", "metadata": {}, "source": s}
        for i, s in enumerate(sources)
    ]
    metadata = json.loads((ROOT / "chapters" / CHAPTERS[0]).read_text(encoding="utf-8"))["metadata"]
    notebook = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (folder / "chapters" / "faults.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    found = trouble("faults.ipynb")
    missed = [
        (s, said)
        for s, said in zip(sources, found)
        if not any(w.startswith(FAULTS.get(s, "")) for w in said)
    ]
    assert [pair for pair in missed if pair[0] in FAULTS] == []
    assert found[len(FAULTS) :] == [[] for _ in FAULTLESS]


def test_a_link_opens_the_other_notebook(trouble, lab):
    trouble("03_matching.ipynb")
    lab.locator(".myst a[href*='/files/02_default_boxes.ipynb']").first.click()
    lab.locator(".lm-TabBar-tabLabel", has_text="02_default_boxes.ipynb").wait_for()

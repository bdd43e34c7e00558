"""A paper is cited by a link to it, which JupyterLab shows, too.

The authors' names, the year and the address are those of the bibliography.
"""

import json
import re
from pathlib import Path

import pytest
from pybtex.database import parse_file

ROOT = Path(__file__).parents[1]
BIBLIOGRAPHY = ROOT / "book" / "reference" / "references.bib"
PAGES = [*sorted((ROOT / "chapters").glob("*.ipynb")), *sorted(ROOT.glob("*.md"))]
PAGES += sorted((ROOT / "book").rglob("*.md"))
LINK = re.compile(r"\[([^\]\[]+)\]\((https?://[^\s)]+)\)")
CITATION = re.compile(r"[A-Z][^\d(]*(, \d{4}| \(\d{4}\))")


def text(page):
    if page.suffix == ".md":
        return page.read_text(encoding="utf-8")
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def papers():
    """Authors and year as they are cited, by address."""
    found = {}
    for key, entry in parse_file(BIBLIOGRAPHY).entries.items():
        assert "url" in entry.fields, f"{key} has no address to link to"
        names = [
            " ".join(person.prelast_names + person.last_names) for person in entry.persons["author"]
        ]
        who = (
            names[0]
            if len(names) == 1
            else f"{names[0]} and {names[1]}"
            if len(names) == 2
            else f"{names[0]} et al."
        )
        found[entry.fields["url"]] = who, entry.fields["year"]
    return found


PAPERS = papers()
ENTRIES = parse_file(BIBLIOGRAPHY).entries


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_says_who_what_where_and_when(entry):
    """Each was compared with a public record: the publisher's, arXiv's or the authors' own."""
    fields = entry.fields
    names = [(*author.first_names, *author.last_names) for author in entry.persons["author"]]
    assert all(len(name) >= 2 for name in names) and "others" not in str(names)
    assert fields["title"] and re.fullmatch(r"(19|20)\d\d", fields["year"])
    place = {"article": "journal", "inproceedings": "booktitle", "misc": "eprint"}[entry.type]
    assert fields[place]
    if entry.type == "article":
        assert {"volume", "number", "pages"} <= set(fields)
    if "pages" in fields:
        first, last = fields["pages"].split("--")
        assert int(first) < int(last)
    assert re.fullmatch(r"10\.\d{4,5}/\S+", fields.get("doi", "10.1000/none"))
    arxiv = re.fullmatch(r"https://arxiv\.org/abs/(\d{4}\.\d{4,5})", fields["url"])
    assert arxiv or re.fullmatch(r"https://doi\.org/10\.\d{4,5}/\S+", fields["url"])
    assert fields.get("eprint") in (None, arxiv and arxiv[1])
    if arxiv:  # a preprint is no younger than the paper, save for one that came months after
        assert 2000 + int(arxiv[1][:2]) <= int(fields["year"]) + (int(arxiv[1][2:4]) == 1)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_citations_agree_with_the_bibliography(page):
    wrong = []
    for words, address in LINK.findall(text(page)):
        who, year = PAPERS.get(address, ("nobody", "never"))
        right = words in (f"{who}, {year}", f"{who} ({year})")
        if not right and (address in PAPERS or CITATION.fullmatch(words)):
            wrong.append((words, address))
    assert wrong == [], (
        "[Liu et al., 2016](address of the paper), or [Liu et al. (2016)](...) in a sentence"
    )


def test_every_paper_is_cited_and_listed():
    cited = {address for page in PAGES for _, address in LINK.findall(text(page))}
    assert [address for address in PAPERS if address not in cited] == []
    page = next(path for path in PAGES if path.name == "bibliography.md")
    assert "```{bibliography}\n:all:\n" in text(
        page
    )  # no citation tells Sphinx which entries are used


def test_no_page_cites_in_another_way():
    assert [page.name for page in PAGES if "{cite" in text(page)] == []


@pytest.mark.parametrize("words", ["Liu et al., 2016", "Wu and He (2018)", "Girshick, 2015"])
def test_a_citation_is_recognized(words):
    assert CITATION.fullmatch(words)

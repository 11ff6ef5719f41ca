"""Every page says what was found: in titles with their numbers, on the first screen, in few words."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import throwaway
from browser import Browser
from prose import is_recorded, numbers_in, told
from throwaway import ROOT

from darkmatter_utils.book import arranging, chapters
from darkmatter_utils.charts.vegalite import MIME

EDITIONS = chapters.editions(ROOT)
BOOK = [chapter.name for chapter in chapters.chapters(ROOT)]
NAMES = [f"{edition}/{page}" for edition in EDITIONS for page in BOOK]
WORDS, WITH_FOLDS, OPEN_TABLES, CAPTION = 22_000, 33_000, 30, 40
"""The most of an edition: words that are seen at once, with folds (without code), tables; of a caption."""
SCREEN = (1440, 900)


def record_of(name: str) -> dict:
    """The published record of a page."""
    edition, page = name.split("/")
    return json.loads((ROOT / "book" / "records" / edition / f"{page[:2]}.json").read_text())["values"]


def figures_of(name: str) -> dict[str, dict]:
    """The figures of an executed page that were drawn: by label, its caption and its chart."""
    book = json.loads((ROOT / "book" / f"{name}.ipynb").read_text())
    found = {}
    for cell in book["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure")
        drawn = [output["data"][MIME] for output in cell.get("outputs", []) if MIME in output.get("data", {})]
        if figure and drawn:
            found[figure["name"]] = {"caption": figure["caption"], "chart": drawn[0]}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_a_finding_and_so_has_each_of_its_figures(name):
    values, figures = record_of(name), figures_of(name)
    assert len(values["finding"].split()) >= 4
    assert set(figures) == set(values.get("findings", {})) & set(figures)
    for label, figure in figures.items():
        title = figure["chart"]["title"]
        shown = (
            title
            if isinstance(title, str)
            else " ".join(title.get("text", title) if isinstance(title, dict) else title)
        )
        assert shown == values["findings"][label] == figure["chart"]["description"]


@pytest.mark.parametrize("name", NAMES)
def test_a_caption_is_short_and_says_what_is_drawn(name):
    for label, figure in figures_of(name).items():
        caption = re.sub(r"\{glue:text\}", "", figure["caption"])
        assert len(caption.split()) <= CAPTION, label
        assert not re.search(r"\bsee (whether|how|which)\b", caption, re.I), label


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_title_is_in_the_record(name):
    values = record_of(name)
    rest = {key: value for key, value in values.items() if key not in ("finding", "findings")}
    if name.endswith("00_index"):
        rest["report"] = record_of(f"{name.split('/')[0]}/15_the_report")["tally"]
    numbers = numbers_in(rest)
    sentences = [values["finding"], *values.get("findings", {}).values()]
    assert [said for text in sentences for said in told(text) if not is_recorded(said, numbers)] == []


def test_a_number_that_is_not_in_the_record_is_found():
    numbers = numbers_in({"r2": [0.4821, 0.391], "text": "0.13 [0.12, 0.14]", "by": {"4096": 2.0}})
    assert all(
        is_recorded(said, numbers) for said in told("from 0.48 to 39% at 4,096, 13%, R² of w1024-l0-8")
    )
    assert not is_recorded("0.49", numbers) and not is_recorded("14.2%", numbers)


class Text(HTMLParser):
    """The words of a page's article, those under folds apart, and how many tables stand open."""

    SKIPPED = ("script", "style", "svg", "pre", "mjx-container")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.folded, self.tables = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        if tag in ("br", "img", "input", "hr", "meta", "link", "source", "wbr", "col"):
            return
        about = dict(attrs)
        kind = tag
        if tag == "article":
            kind = "ARTICLE"
        elif tag == "details":
            kind = "RECORD" if "run-record" in (about.get("class") or "") else "FOLD"
        elif "headerlink" in (about.get("class") or ""):
            kind = "script"
        self.open.append((tag, kind))
        kinds = [one for _, one in self.open]
        if tag == "table" and "ARTICLE" in kinds and "FOLD" not in kinds and "RECORD" not in kinds:
            self.tables += 1

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        kinds = [kind for _, kind in self.open]
        if "ARTICLE" not in kinds or "RECORD" in kinds or any(kind in self.SKIPPED for kind in kinds):
            return
        words = re.findall(r"\w[\w'’.,-]*", data)
        (self.folded if "FOLD" in kinds and "summary" not in kinds else self.seen).extend(words)


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built pages."""
    return throwaway.site()


@pytest.mark.parametrize("edition", EDITIONS)
def test_an_edition_is_short(site, edition):
    read = []
    for page in BOOK:
        text = Text()
        text.feed((site / edition / "book" / f"{page}.html").read_text(encoding="utf-8"))
        read.append(text)
        assert text.tables <= 2, page
    seen, folded = (sum(len(getattr(text, what)) for text in read) for what in ("seen", "folded"))
    assert seen <= WORDS and seen + folded <= WITH_FOLDS
    assert sum(text.tables for text in read) <= OPEN_TABLES


@pytest.mark.browser
def test_the_main_figure_of_every_page_is_on_the_first_screen(site):
    low = []
    with Browser() as browser:
        for name in NAMES:
            edition, page = name.split("/")
            browser.open(site / edition / "book" / f"{page}.html", width=SCREEN[0], height=SCREEN[1])
            browser.until("[...document.querySelectorAll('div.vl-chart')].every(one => one.dataset.drawn)")
            first = "document.querySelector('.bd-article figcaption, .bd-article .strip')"
            foot = browser.evaluate(f"{first}.getBoundingClientRect().bottom")
            low += [(name, foot)] if foot > SCREEN[1] else []
    assert low == []


def test_a_page_is_arranged_by_what_was_found():
    import nbformat

    new = nbformat.v4
    cells = [
        new.new_markdown_cell("# Is it?\n\nWhy we ask, {doc}`02_b`."),
        new.new_code_cell("idea"),
        new.new_code_cell("hero"),
    ]
    cells[2].metadata["tags"] = [arranging.FIRST]
    book = new.new_notebook(cells=cells)
    titles = {"01_a": "Is it?", "02_b": "The other"}
    made = arranging.arranged(book, {"finding": "It is, by 12%"}, titles)
    assert [cell.source.split("\n")[0] for cell in made.cells] == [
        "# It is, by 12%",
        "hero",
        "Why we ask, {doc}`The other <02_b>`.",
        "idea",
    ]
    assert "Is it?" in made.cells[0].source
    plain = arranging.arranged(book, {}, titles)
    assert plain.cells[0].source == "# Is it?\n" and book.cells[0].source.startswith("# Is it?")
    toc = {"root": "book/00_i", "parts": [{"chapters": [{"file": "book/01_a"}, {"file": "book/notation"}]}]}
    listed = arranging.listed(toc, titles)["parts"][0]["chapters"]
    assert [entry.get("title") for entry in listed] == ["Is it?", None]


def test_the_glossary_explains_words_not_symbols():
    found = arranging.glossary((ROOT / "book" / "notation.md").read_text(encoding="utf-8"))
    assert {"latent", "FVU", "oracle SAE", "width"} <= set(found)
    assert not any(mark in meaning for meaning in found.values() for mark in "${}\\`")

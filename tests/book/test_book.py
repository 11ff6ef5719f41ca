"""The built pages in a real browser without a network: every chart drawn, every formula typeset, nothing
asked for. How a page is laid out at each width is in `test_matrix.py`.

What is rendered are the executed chapters that the repository holds; running them is `make book`'s part.
"""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
import throwaway
from browser import Browser
from throwaway import ROOT

from darkmatter_utils import charts
from darkmatter_utils.book import chapters
from darkmatter_utils.charts.vegalite import MIME

WIDTHS = (380, 800, 1400)
DRAWN = "[...document.querySelectorAll('div.vl-chart')].every(chart => chart.dataset.drawn)"
TYPESET = (
    "!document.querySelector('.math') || !!(window.MathJax && MathJax.startup && MathJax.startup.promise)"
)
EDITIONS = chapters.editions(ROOT)
PAGES = [chapter.name for chapter in chapters.chapters(ROOT)] + ["notation", "paper", "references"]
NAMES = [f"{edition}/{page}" for edition in EDITIONS for page in PAGES]


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder of the built pages."""
    return throwaway.site()


def page_of(site: Path, name: str) -> Path:
    """The file of a page by its edition and name."""
    edition, page = name.split("/")
    return site / edition / "book" / f"{page}.html"


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def settled(browser: Browser, page: Path, **options):
    """Open a page and wait until its script has drawn what it can and its formulas are set."""
    seen = browser.open(page, **options)
    browser.until(f"({DRAWN}) && ({TYPESET})")
    browser.evaluate("window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true")
    return seen


def charts_of(name: str) -> int:
    """How many charts the executed notebook of a page shows."""
    path = ROOT / "book" / f"{name}.ipynb"
    cells = json.loads(path.read_text())["cells"] if path.exists() else []
    return sum(MIME in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


@pytest.mark.browser
@pytest.mark.parametrize("name", NAMES)
def test_a_page_draws_every_chart_and_formula_and_asks_for_nothing(site, browser, name):
    seen = settled(browser, page_of(site, name))
    assert [address for address in seen.requests if not address.startswith(("file:", "data:", "blob:"))] == []
    missing = [
        a for a in seen.requests if a.startswith("file:") and not Path(unquote(urlsplit(a).path)).exists()
    ]
    # The theme says this now and then of a profile's first visit, and takes "auto", which is what was meant.
    complaints = [line for line in seen.complaints if not line.startswith("Got invalid theme mode: .")]
    assert missing == [] and complaints == []
    drawn = browser.evaluate(
        "[...document.querySelectorAll('div.vl-chart')].map(chart => ({state: chart.dataset.drawn, "
        "marks: chart.querySelectorAll('svg [role=graphics-symbol], svg .mark-text text, svg path').length, "
        "wide: chart.querySelector('svg').getBoundingClientRect().width}))"
    )
    assert len(drawn) == charts_of(name)
    assert all(chart["state"] == "yes" and chart["marks"] > 3 and chart["wide"] > 100 for chart in drawn)
    formulas = browser.evaluate(
        "[document.querySelectorAll('.math').length, document.querySelectorAll('.math mjx-container "
        "svg').length, "
        "document.querySelectorAll('mjx-merror, [data-mjx-error]').length]"
    )
    assert formulas[1] >= formulas[0] and formulas[2] == 0


@pytest.mark.browser
def test_charts_are_there_without_a_script(site, browser):
    for name in NAMES:
        browser.open(page_of(site, name), scripts=False)
        sizes = browser.evaluate(
            "[...document.querySelectorAll('div.vl-chart svg')].map(e => e.getBoundingClientRect().height)"
        )
        assert len(sizes) == charts_of(name) and all(size > 40 for size in sizes)


@pytest.mark.browser
def test_a_chart_keeps_the_size_of_its_text_in_a_narrow_page(site, browser):
    name = max(NAMES, key=charts_of)
    for width in WIDTHS:
        settled(browser, page_of(site, name), width=width)
        sizes = browser.evaluate(
            "[...document.querySelectorAll('div.vl-chart svg .role-axis-label text')]"
            ".filter(e => e.textContent).map(e => e.getBoundingClientRect().height)"
        )
        assert sizes and min(sizes) > 8


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 790])
def test_no_legend_takes_the_room_of_what_is_drawn(browser, tmp_path, width):
    """Panels share one legend, and a legend has as many lines as its words need."""
    names = [f"a long name of series {n}" for n in range(5)]
    rows = [{"x": x, "y": x, "name": name, "of": of} for x in range(3) for name in names for of in "ab"]
    charts.use()
    chart = charts.panels(pd.DataFrame(rows), "of", charts.lines, "x", "y", color="name")
    charts.write_script(tmp_path / "vega-pages.js")
    page = charts.html(charts.render(chart.to_dict())[MIME]) + '<script src="vega-pages.js"></script>'
    (tmp_path / "page.html").write_text(f"<!doctype html><body style='margin:0'>{page}</body>")
    settled(browser, tmp_path / "page.html", width=width)
    views = "[...document.querySelectorAll('svg [class*=_group] > g > .background')]"
    found = browser.evaluate(f"{views}.map(e => e.getBoundingClientRect().width)")
    assert len(found) == 2 and min(found) > 0.6 * (width if width < 480 else width / 2)


@pytest.mark.browser
def test_a_dark_page_has_light_labels(site, browser):
    name = max(NAMES, key=charts_of)
    settled(browser, page_of(site, name))
    fill = "getComputedStyle(document.querySelector('div.vl-chart svg .role-axis-label text')).fill"
    light = browser.evaluate(fill)
    browser.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = browser.evaluate(fill)
    assert _lightness(dark) > 0.6 > _lightness(light)


def _lightness(colour: str) -> float:
    return sum(int(number) for number in re.findall(r"\d+", colour)[:3]) / (3 * 255)


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loads, self.links, self.anchors = [], [], set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if found.get("id"):
            self.anchors.add(found["id"])
        if tag in ("script", "img", "iframe", "source") and found.get("src"):
            self.loads.append(found["src"])
        if (
            tag == "link"
            and found.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon")
            and found.get("href")
        ):
            self.loads.append(found["href"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])


def parsed(page: Path) -> _Links:
    """What a page loads and links to."""
    links = _Links()
    links.feed(page.read_text(encoding="utf-8"))
    return links


def test_every_file_and_anchor_that_a_page_names_is_there(site):
    for name in NAMES:
        page = page_of(site, name)
        found = parsed(page)
        assert not [
            address for address in found.loads if urlsplit(address).scheme or address.startswith("//")
        ]
        for address in found.loads + [link for link in found.links if not urlsplit(link).scheme]:
            path, anchor = unquote(urlsplit(address).path), urlsplit(address).fragment
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), f"{name}: {address}"
            if anchor and there.suffix == ".html" and not anchor.startswith("/"):
                assert anchor in parsed(there).anchors, f"{name}: {address}"


DRAW = """
import hashlib, json, re, sys
from pathlib import Path
from darkmatter_utils.charts import MIME, render
from darkmatter_utils.charts.theme import FONT, MONO
for path in (path for folder in sys.argv[1:] for path in sorted(Path(folder).glob("[0-9]*.ipynb"))):
    cells = json.loads(path.read_text())["cells"]
    for spec in (o["data"][MIME] for c in cells for o in c.get("outputs", []) if MIME in o.get("data", {})):
        text = json.dumps(spec)
        family = lambda found: MONO if "mono" in found[1].lower() else FONT
        text = re.sub('"font": "([^"]*)"', lambda found: f'"font": "{family(found)}"', text)
        print(path.stem, hashlib.sha256(render(json.loads(text))["image/png"].encode()).hexdigest())
"""


def test_no_chart_of_the_book_needs_a_font_of_the_machine(tmp_path):
    config = tmp_path / "fonts.conf"
    config.write_text(f"<fontconfig><dir>{tmp_path / 'none'}</dir></fontconfig>")
    drawn = [
        subprocess.run(
            [sys.executable, "-c", DRAW, *(str(ROOT / "book" / edition) for edition in EDITIONS)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | fonts,
        ).stdout
        for fonts in ({}, {"FONTCONFIG_FILE": str(config), "HOME": str(tmp_path)})
    ]
    assert drawn[0] == drawn[1] and drawn[0].count("\n") == sum(map(charts_of, NAMES))


@pytest.mark.browser
def test_the_first_page_leads_to_the_index_of_the_first_edition(site, browser):
    first = page_of(site, f"{EDITIONS[0]}/{PAGES[0]}").resolve().as_uri()
    browser.open(site / "index.html")
    browser.until(f"location.href === '{first}'")


def test_no_executed_chapter_holds_an_error_a_path_of_this_machine_or_a_run_of_other_parameters():
    for edition, chapter in [(e, c) for e in EDITIONS for c in chapters.chapters(ROOT)]:
        text = chapter.published(edition).read_text()
        cells = json.loads(text)["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output["output_type"] == "error"], chapter.name
        given = [c["source"] for c in cells if "injected-parameters" in c["metadata"].get("tags", [])]
        own = [f'# Parameters\nstudy = "{edition}"\n'] * (edition != chapters.DEFAULT_STUDY)
        assert ["".join(source) for source in given] == own, chapter.name
        assert str(ROOT) not in text and str(Path.home()) + "/" not in text, chapter.name


def test_executed_chapters_are_those_of_the_sources():
    for edition, chapter in [(e, c) for e in EDITIONS for c in chapters.chapters(ROOT)]:
        record = json.loads(chapter.published_record(edition).read_text())
        assert record["cells"] == chapter.cells_hash(), f"{chapter.name} changed after it was run: make book"


@pytest.mark.parametrize("path", sorted((ROOT / "book/records").glob("*/[0-9][0-9].json")), ids=str)
def test_what_a_published_report_read_is_what_is_published(path):
    read = json.loads(path.read_text())["records"]
    if read:
        records = chapters.read_records(ROOT, "", read["asked"], reader=int(path.stem))
        assert read["found"] == chapters.hashes(records), "publish the studies together (CONTRIBUTING.md)"

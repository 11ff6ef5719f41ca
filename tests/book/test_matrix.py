"""Every page at every width, in light and dark, its folds shut and open, as a browser lays it out; and the
search, from the disk. What is looked for is in `tests/audit.js`."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import throwaway
from browser import Browser
from throwaway import ROOT

from darkmatter_utils.book import chapters

AUDIT = (ROOT / "tests" / "audit.js").read_text(encoding="utf-8")
AXE = (ROOT / "tests" / "axe" / "axe.min.js").read_text(encoding="utf-8")
"""axe-core 4.14.1, under the Mozilla Public License 2.0, as its authors publish it."""
SERIOUS = (
    "axe.run({ exclude: [['.vl-box svg']] }, { preload: false, resultTypes: ['violations'] })"
    ".then(found => found.violations"
    ".filter(one => ['serious', 'critical'].includes(one.impact))"
    ".map(one => `${one.id}: ${one.nodes.map(node => node.html.slice(0, 120)).slice(0, 3).join(' | ')}`))"
)
"""A chart's picture is hidden from readers of screens, and the contrast of its words is a rule of ours."""
EDITIONS = chapters.editions(ROOT)
PAGES = [f"book/{chapter.name}" for chapter in chapters.chapters(ROOT)]
PAGES += ["book/notation", "book/paper", "book/references", "search", "genindex"]
FULL, PART = (1440, 1024, 768, 390), (1440, 390)
"""Widths at which the first edition is seen, in light and dark, and each other one, in light."""
MATRIX = [(edition, page) for edition in EDITIONS for page in PAGES]
LARGEST = 1_500_000
"""Bytes of a page with what it alone loads."""
READY = (
    "[...document.querySelectorAll('div.vl-chart')].every(e => !e.clientWidth || (e.dataset.drawn === 'yes' "
    "&& e.drawnAt === e.clientWidth && e.querySelectorAll('.vl-box').length === 1)) && "
    "document.getAnimations().length === 0 && (!document.querySelector('.math') || "
    "!!(window.MathJax && MathJax.startup && MathJax.startup.promise))"
)
TYPESET = "window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true"
UNFOLD = "document.querySelectorAll('.bd-article details').forEach(e => e.open = true)"


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def audit(browser: Browser, width: int, scheme: str) -> dict[str, list[str]]:
    """What is wrong with the open page at a width, in light or dark: rule → places. Charts are drawn anew
    where their width changed, as for a reader who turns a phone."""
    browser.resize(width)
    browser.prefer(scheme)
    browser.until(f"document.documentElement.dataset.theme === '{scheme}' && {READY}")
    return {rule: places for rule, places in browser.evaluate(AUDIT).items() if places}


@pytest.mark.browser
@pytest.mark.parametrize("edition, page", MATRIX)
def test_a_page_reads_well_at_every_width_in_light_and_dark(browser, edition, page):
    first = edition == EDITIONS[0]
    browser.prefer("light")
    seen = browser.open(throwaway.site() / edition / f"{page}.html", width=1440)
    browser.until(READY)
    browser.evaluate(TYPESET)
    wrong = {}
    for width in FULL if first else PART:
        for scheme in ("light", "dark") if first else ("light",):
            wrong[width, scheme] = audit(browser, width, scheme)
    browser.evaluate(UNFOLD)
    for width, scheme in ((390, "light"), (1440, "dark" if first else "light")):
        wrong[width, scheme, "unfolded"] = audit(browser, width, scheme)
        browser.evaluate(AXE)
        wrong[width, scheme, "axe"] = browser.evaluate(SERIOUS)
    complaints = [line for line in seen.complaints if not line.startswith("Got invalid theme mode: .")]
    remote = [a for a in seen.requests if not a.startswith(("file:", "data:", "blob:"))]
    assert {where: found for where, found in wrong.items() if found} == {} and complaints == remote == []


CHART = (
    '<div class="vl-chart" aria-label="a chart of one panel, two layers"><svg width="300" height="90">'
    '<g class="mark-group"><g><path class="background" d="M0,0h{0}v60h-{0}Z"></path></g></g>'
    '<g class="mark-group"><g><path class="background" d="M0,0h{0}v60h-{0}Z"></path></g></g>{1}</svg>'
    '<script type="application/json">{{}}</script></div>'
)
FAULTS = {
    "markup": "<p>It <b>is</b> &lt;strong&gt;so</p><p>with $x$</p><p>and *so*</p><p>''quoted''</p>",
    "equations": '<div class="math" style="width: 80px; overflow: auto"><p style="width: 90px">x</p></div>',
    "code": '<pre style="width: 80px; overflow: auto">one_line_that_is_wider_than_its_box()</pre>',
    "padding": '<blockquote style="border: 1px solid; padding: 0; margin: 0">at the edge</blockquote>',
    "contrast": '<p style="color: #999999">pale</p>',
    "labels": '<button></button><svg role="img" width="9" height="9"></svg>',
    "wide": '<p style="width: 2000px">wider than the page</p>',
    "twice": '<p id="a">one</p><p id="a">two</p>',
    "plots": CHART.format(90, ""),
    "cut": CHART.format(290, '<text x="-20" y="20">cut</text>'),
}


@pytest.mark.browser
@pytest.mark.parametrize("rule", [None, *FAULTS])
def test_the_audit_finds_a_fault_of_each_kind_and_nothing_where_there_is_none(browser, tmp_path, rule):
    style = "<style>body { margin: 8px } p, pre { margin: 9px 0 }</style>"
    plain = f'<!doctype html><meta charset="utf-8">{style}<article class="bd-article"><p>Words.</p>'
    page = tmp_path / "page.html"
    page.write_text(plain + FAULTS.get(rule, ""), encoding="utf-8")
    browser.open(page, width=1000)
    found = {name: places for name, places in browser.evaluate(AUDIT).items() if places}
    assert set(found) == ({rule} if rule else set())
    assert len(found.get("markup", [])) in (0, 4)


@pytest.mark.browser
def test_axe_finds_what_is_serious(browser, tmp_path):
    page = tmp_path / "page.html"
    whole = '<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1>{}</main>'
    for more, rules in (("", []), ('<img src="x.png">', ["image-alt"])):
        page.write_text(whole.format(more), encoding="utf-8")
        browser.open(page, width=1000)
        browser.evaluate(AXE)
        assert [one.partition(":")[0] for one in browser.evaluate(SERIOUS)] == rules


class _Own(HTMLParser):
    """What a page loads beside what all pages share."""

    def __init__(self):
        super().__init__()
        self.files = set()

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        named = about.get("src") or (about.get("href") if tag == "link" else None)
        if named and not urlsplit(named).scheme and "_static/" not in named:
            self.files.add(urlsplit(named).path)


def test_a_page_is_light():
    for edition, page in MATRIX:
        path = throwaway.site() / edition / f"{page}.html"
        own = _Own()
        own.feed(path.read_text(encoding="utf-8"))
        loads = {(path.parent / name).resolve() for name in own.files} - {path.parent}
        beside = [one for one in loads if one.is_file() and one.suffix != ".html"]
        assert sum(one.stat().st_size for one in [path, *beside]) < LARGEST, page


@pytest.mark.browser
@pytest.mark.parametrize("edition", EDITIONS)
def test_the_search_shows_a_piece_of_every_page_that_it_finds_from_the_disk(browser, edition):
    seen = browser.open(throwaway.site() / edition / "search.html", query="?q=width")
    browser.until(
        "document.querySelector('#search-results .search-summary')?.textContent.includes('finished')"
    )
    items = "[...document.querySelectorAll('#search-results > ul.search > li')]"
    browser.until(f"{items}.every(e => e.querySelector('p.context'))")
    found = browser.evaluate(
        f"{items}.map(e => [e.querySelector('a').href, e.querySelector('p.context').innerText])"
    )
    assert len(found) > 8 and all(len(text) > 60 for _, text in found)
    assert sum("width" in text.lower() for _, text in found) > len(found) / 2
    for address, text in found:
        path = urlsplit(address).path
        assert Path(path).exists() and not any(mark in text for mark in ("<", "\\(", "$"))
    assert browser.evaluate(AUDIT)["markup"] == [] and seen.complaints == []

"""What a reader moves on a page, in a real browser: each picture follows, by what was computed before, and
stands still without a script. And what a printed page fills of its sheets."""

import base64
import json
import math
from dataclasses import replace

import printed
import pytest
import throwaway
from browser import Browser
from throwaway import ROOT

from darkmatter_utils.book import chapters
from darkmatter_utils.charts.theme import GLYPHS
from darkmatter_utils.claims import report, strips
from darkmatter_utils.claims.statement import word_of

HANDS = (ROOT / "tests" / "hands.js").read_text(encoding="utf-8")
EDITION = chapters.editions(ROOT)[0]
INDEX, SCALING, NULL, REPORT = "00_index", "05_scaling", "07_models_of_activations", "15_the_report"
DRAWN = (
    "[...document.querySelectorAll('div.vl-chart')].every(e => !e.clientWidth || e.dataset.drawn === 'yes')"
)


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def opened(browser: Browser, page: str, *, scripts: bool = True) -> None:
    """Open a page of the first edition and wait until its charts are drawn."""
    browser.open(throwaway.site() / EDITION / "book" / f"{page}.html", width=1440, scripts=scripts)
    if scripts:
        browser.until(DRAWN)
    browser.evaluate(HANDS)


def move(browser: Browser, name: str, value) -> None:
    """Move a slider, or choose a button, of the page's chart; wait until the chart has followed."""
    browser.evaluate(f"hands.move({json.dumps(name)}, {json.dumps(str(value))})")


def pixel(browser: Browser, at: dict) -> None:
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=at["x"], y=at["y"])


@pytest.mark.browser
def test_a_width_that_is_pointed_at_is_shown_in_every_chart_of_the_page(browser):
    opened(browser, SCALING)
    before = browser.evaluate("hands.faded()")
    assert sum(len(marks) > 3 for marks in before) >= 2
    assert not any(faded for marks in before for _, faded in marks)
    at = browser.evaluate("hands.point()")
    pixel(browser, at)
    browser.until("!!document.querySelector('svg .faded')")
    pointed = browser.evaluate("hands.faded()")
    assert sum(any(faded for _, faded in marks) for marks in pointed) >= 2, "in other charts too"
    assert all(faded == (width != at["width"]) for marks in pointed for width, faded in marks)
    pixel(browser, {"x": 2, "y": 2})
    browser.until("!document.querySelector('svg .faded')")


@pytest.mark.browser
def test_the_breakdown_explorer_shows_the_saes_nearest_to_an_l0_of_the_study_that_is_chosen(browser):
    opened(browser, INDEX)
    record = json.loads((ROOT / "book" / "records" / EDITION / "00.json").read_text())
    parts = record["values"]["parts"]
    own = [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)]
    bar = lambda row, part, value: (row["width"], round(row["l0"], 6), part, round(value, 6))
    seen = {}
    for at in (3, 4.5, 6):
        move(browser, "log₂ L0", at)
        far = [abs(math.log2(row["l0"]) - at) for row in own]
        nearest = [row for row, gap in zip(own, far, strict=True) if gap < min(far) + 0.15]
        seen[at] = {bar(row, "LinearError", row["linear"]) for row in nearest}
        seen[at] |= {bar(row, "NonlinearError", row["nonlinear"]) for row in nearest}
        drawn = browser.evaluate("hands.data('rect')")
        assert {bar(row, row["color"], row["value"]) for row in drawn} == seen[at]
    assert seen[3] != seen[6]
    studies = browser.evaluate("hands.options('Show')")
    null = next(name for name in studies if "null" in name)
    assert EDITION in studies
    move(browser, "Show", null)
    drawn = browser.evaluate("hands.data('rect')")
    assert drawn and {row["study"] for row in drawn} == {null}


@pytest.mark.browser
def test_the_sandbox_shows_one_world_at_a_time_with_the_values_of_that_world(browser):
    opened(browser, NULL)
    tables = browser.evaluate("hands.spec()")["datasets"].values()
    landing, curve = (next(rows for rows in tables if name in rows[0]) for name in ("part", "law"))
    shares, laws = (browser.evaluate(f"hands.options('{name}')") for name in ("held", "exponent"))
    assert len(shares) > 1 and len(laws) > 1
    pictures = set()
    for step in range(max(len(shares), len(laws))):
        held, law = shares[step % len(shares)], laws[step % len(laws)]
        move(browser, "held", held)
        move(browser, "exponent", law)
        for at in range(7):
            move(browser, "features", at)
            bars, points = (browser.evaluate(f"hands.data('{kind}')") for kind in ("rect", "symbol"))
            left = nearest([row for row in landing if row["held"] == float(held)], at)
            right = nearest([row for row in curve if row["law"] == float(law)], at)
            assert of(bars, "part", "color", "value") == of(left, "part", "color", "value")
            assert of(points, "width", "fvu_nonlinear") == of(right, "width", "fvu_nonlinear")
            assert len(points) == len({row["width"] for row in points}), "one world: one point a width"
            pictures.add(json.dumps([of(bars, "value"), of(points, "fvu_nonlinear")]))
    assert len(pictures) > 6


def nearest(rows: list[dict], at: float) -> list[dict]:
    """The rows of the world nearest to a number of features a dimension; of two, that with fewer."""
    worlds = {row["superposition"] for row in rows}
    chosen = min(worlds, key=lambda n: (round(abs(math.log2(n) - at), 9), n))
    return [row for row in rows if row["superposition"] == chosen]


def of(rows: list[dict], *names: str) -> list[tuple]:
    """Columns of rows, in order."""
    return sorted(tuple(row[name] for name in names) for row in rows)


@pytest.mark.browser
def test_a_threshold_that_is_moved_has_the_words_that_the_rule_gives(browser):
    opened(browser, REPORT)
    found = report.findings(chapters.read_records(ROOT, EDITION, [], reader=0)[EDITION])
    asked = [
        (one, judged, n, side)
        for one in found.values()
        for judged in [strips.statements(one)]
        for n, each in enumerate(judged)
        for side, end in enumerate(each.statement.inside)
        if math.isfinite(end) and each.found
    ]
    browser.evaluate("hands.unfold()")
    benches = browser.evaluate("hands.benches().map(hands.told)")
    assert len(benches) == len(asked) > 20
    words, changes = set(), 0
    for k, ((one, judged, n, side), first) in enumerate(zip(asked, benches, strict=True)):
        about, statement = first["about"], judged[n].statement
        assert statement.name in first["label"] and about["at"] == statement.inside[side]
        said = set()
        for place in (0, 137, 391, 638, 862, 1000):
            now = browser.evaluate(f"hands.slide({k}, {place})")
            assert now["at"] == pytest.approx(place / 1000)
            if now["said"] == first["said"]:
                continue  # it stands where it stood
            inside = list(statement.inside)
            inside[side] = about["low"] + place / 1000 * (about["high"] - about["low"])
            moved = replace(statement, inside=tuple(inside)).judge(one.evidence)
            claim = word_of([*judged[:n], moved, *judged[n + 1 :]])
            assert f"the statement: {GLYPHS[moved.word]} {moved.word};" in now["said"], first["label"]
            assert now["said"].endswith(f"the claim: {GLYPHS[claim]} {claim}"), first["label"]
            said.add((moved.word, claim))
        words |= said
        changes += len(said) > 1
    assert len(words) > 2 and changes > 10


@pytest.mark.browser
def test_what_can_be_moved_has_a_still_picture_without_a_script(browser):
    for page in (INDEX, SCALING, NULL, REPORT):
        opened(browser, page, scripts=False)
        assert browser.evaluate("document.querySelectorAll('.vl-chart input, .bench input').length") == 0
        still = browser.evaluate("hands.still()")
        assert still and all(height > 40 and marks > 1 for height, marks in still)
    browser.evaluate("hands.unfold()")
    benches = browser.evaluate("hands.benches().map(hands.told)")
    assert benches and all(one["tall"] > 20 and "the same word" in one["said"] for one in benches)


@pytest.mark.browser
@pytest.mark.parametrize("page", [INDEX, "04_half_linear", REPORT])
def test_a_printed_page_leaves_no_sheet_half_empty_but_its_last(browser, page):
    opened(browser, page)
    full = printed.sheets(base64.b64decode(browser.call("Page.printToPDF")["data"]))
    assert len(full) > 1 and min(full[:-1]) >= 0.5 and full[-1] > 0.05

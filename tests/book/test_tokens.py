"""The token browser in a real Chromium: two SAEs to choose, contexts by disagreement, a token's splits."""

import json
import re

import numpy as np
import pytest
from browser import Browser
from throwaway import ROOT

from darkmatter_utils import Study, measure
from darkmatter_utils.base import config
from darkmatter_utils.book import chapters
from darkmatter_utils.charts import TokenBrowser
from darkmatter_utils.charts.texts import FULL
from darkmatter_utils.experiments.same_tokens import gallery
from darkmatter_utils.experiments.token_splits import PARTS, columns_of, token_splits

pytestmark = pytest.mark.browser
UNSPLIT = "no split: its weights are not kept"
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Home": 36, "End": 35, "Tab": 9}


@pytest.fixture(scope="module")
def frame():
    """nano's contexts by four SAEs, of which two can be run again."""
    study = Study.load("nano")
    strips = gallery(measure(study), count=4, shown=25)["strips"]
    few = measure(study.at(saes=tuple(study.sae(id) for id in ("w16", "w64"))))
    contexts = strips["context"].unique().tolist()
    return columns_of(strips, token_splits(few, contexts=contexts, shown=25)["splits"])[0]


@pytest.fixture(scope="module")
def page(frame, tmp_path_factory):
    return written(frame, tmp_path_factory.mktemp("tokens"))


def written(frame, folder):
    """The path of a page with a token browser."""
    saes = {f"{w} latents": [f"{w} {part}" for part in PARTS] for w in ("16", "64")}
    saes |= {f"{w} latents": [w] for w in ("32", "128")}
    saes = {name: saes[name] for name in sorted(saes, key=lambda name: int(name.split()[0]))}
    box = TokenBrowser(frame, saes, name="Tokens", unsplit=UNSPLIT)._repr_html_()
    style = (ROOT / "book" / "_static" / "book.css").read_text(encoding="utf-8")
    script = (config.STATIC / "tokens.js").read_text(encoding="utf-8")
    path = folder / "page.html"
    head = f'<meta charset="utf-8"><style>{style}</style><script>{script}</script>'
    path.write_text(f"<!doctype html><html><head>{head}</head><body>{box}</body></html>", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium():
    with Browser() as made:
        made.call("Emulation.setFocusEmulationEnabled", enabled=True)
        yield made


@pytest.fixture
def browser(chromium, page):
    assert chromium.open(page).complaints == []
    return chromium


def choose(browser, which: int, option: str) -> None:
    browser.evaluate(
        f"(() => {{ const select = document.querySelectorAll('.tokens select')[{which}];"
        f"select.value = [...select.options].findIndex((one) => one.text === {json.dumps(option)});"
        "select.dispatchEvent(new Event('change')) })()"
    )


def press(browser, key: str) -> None:
    about = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, **about)


def listed(browser) -> list[str]:
    return browser.evaluate(
        "[...document.querySelectorAll('.tokens select')[2].options].map((one) => one.text)"
    )


def ground(browser) -> list[float]:
    of = "[...document.querySelectorAll('.tokens-text span')]"
    return browser.evaluate(f"{of}.map((one) => Number(one.style.getPropertyValue('--e')))")


def told(browser) -> dict[str, str]:
    """What is said of each SAE under the text, and under "" of what it is said."""
    said = "[...one.children].slice(1).map((part) => part.textContent).join(', ')"
    pairs = (
        f"[...document.querySelectorAll('.tokens-row')].map((one) => [one.firstChild.textContent, {said}])"
    )
    rows = browser.evaluate(f"Object.fromEntries({pairs})")
    return rows | {"": browser.evaluate("document.querySelector('.tokens-what').textContent")}


def shown(frame, browser):
    """The rows of the context that is on the page."""
    text = browser.evaluate("document.querySelector('.tokens-text').textContent")
    (context,) = [rows for _, rows in frame.groupby("context") if "".join(rows["text"]) == text]
    return context.reset_index(drop=True)


def agrees(said: str, values) -> None:
    """What is said of a split against its values; the squares and twice the product add up."""
    parts = [float(re.search(rf"\b{part} ([\d.]+)", said)[1]) for part in PARTS]
    assert parts == pytest.approx(list(values), abs=0.0056)
    whole, *rest = re.search(r"squares: ([\d.]+) = ([\d.]+) \+ ([\d.]+) ([+−] [\d.]+)", said).groups()
    rest = [float(one.replace("−", "-").replace(" ", "")) for one in rest]
    assert float(whole) == pytest.approx(sum(rest), abs=1e-9)
    squares = [value**2 for value in values]
    expected = [squares[1], squares[2], squares[0] - squares[1] - squares[2]]
    assert [float(whole), *rest] == pytest.approx([squares[0], *expected], abs=0.02)


def test_contexts_are_sorted_by_how_far_the_chosen_two_are_apart(browser, frame):
    orders = []
    for one, other in (("16", "128"), ("32", "64")):
        choose(browser, 0, f"{one} latents")
        choose(browser, 1, f"{other} latents")
        far = (frame[one] - frame[other]).abs().groupby(frame["context"]).mean().sort_values(ascending=False)
        assert listed(browser) == [f"{value:.2f} apart: {context}" for context, value in far.items()]
        assert shown(frame, browser)["context"][0] == far.index[0]
        orders.append(listed(browser))
    assert orders[0] != orders[1]


def test_it_opens_on_a_text_of_whole_characters(chromium, frame, tmp_path):
    far = (frame["16"] - frame["64"]).abs().groupby(frame["context"]).mean().sort_values(ascending=False)
    bytes_ = frame["context"] == far.index[0]
    chromium.open(
        written(frame.assign(text=frame["text"].mask(bytes_, "\N{REPLACEMENT CHARACTER}")), tmp_path)
    )
    assert [line.split(": ", 1)[1] for line in listed(chromium)] == far.index.astype(str).tolist()
    chosen = "document.querySelectorAll('.tokens select')[2].selectedOptions[0].textContent"
    assert chromium.evaluate(chosen).endswith(f": {far.index[1]}")
    words = chromium.evaluate("document.querySelector('.tokens-text').textContent")
    assert words == "".join(frame.loc[frame["context"] == far.index[1], "text"])


def test_the_ground_is_the_error_of_the_sae_that_is_shown(browser, frame):
    choose(browser, 1, "128 latents")
    grounds = {"16": ground(browser)}
    browser.evaluate("document.querySelector('.tokens button').click()")
    grounds["128"] = ground(browser)
    rows = shown(frame, browser)
    for width, found in grounds.items():
        assert found == pytest.approx(np.clip(rows[width] / FULL, 0, 1), abs=0.0056)
    assert grounds["16"] != grounds["128"]
    assert "128 latents" in browser.evaluate("document.querySelector('.tokens-about').textContent")
    spans = "[...document.querySelectorAll('.tokens-text span')]"
    drawn = f"{spans}.map((one) => getComputedStyle(one).backgroundColor)"
    assert len(set(browser.evaluate(drawn))) > 5


def test_the_token_under_the_pointer_has_both_splits(browser, frame):
    assert set(told(browser)) == {"16 latents", "64 latents", ""}, "at first two whose errors are split"
    rows = shown(frame, browser)
    rest = told(browser)
    assert rest[""].startswith(f"all {len(rows)} tokens")
    for width in ("16", "64"):
        values = [np.sqrt((rows[f"{width} {part}"] ** 2).mean()) for part in PARTS]
        agrees(rest[f"{width} latents"], values)
    for at in (3, 17, 24):
        box = f"(() => {{const r = document.querySelectorAll('.tokens-text span')[{at}].getClientRects()[0];"
        x, y = browser.evaluate(f"{box} return [r.x + r.width / 2, r.y + r.height / 2]}})()")
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        said = told(browser)
        assert f"“{rows['text'][at].strip() or '␣'}”" in said[""]
        for width in ("16", "64"):
            agrees(said[f"{width} latents"], rows.loc[at, [f"{width} {part}" for part in PARTS]])
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    assert told(browser) == rest


def test_an_sae_without_a_split_has_its_whole_error_alone_and_says_so(browser, frame):
    choose(browser, 1, "128 latents")
    browser.evaluate("document.querySelectorAll('.tokens-text span')[5].focus()")
    said, rows = told(browser)["128 latents"], shown(frame, browser)
    assert said == f"error {rows['128'][5]:.2f}, {UNSPLIT}"
    assert "linear" in told(browser)["16 latents"]


def test_it_can_be_read_by_the_keyboard(browser, page, frame):
    browser.open(page, width=390)
    at = "[...document.querySelectorAll('.tokens-text span')].indexOf(document.activeElement)"
    rows = shown(frame, browser)
    for _ in range(5):  # three choices, a button, the text
        press(browser, "Tab")
    assert browser.evaluate(at) == 0 and f"“{rows['text'][0].strip() or '␣'}”" in told(browser)[""]
    places = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home"):
        press(browser, key)
        places.append(browser.evaluate(at))
        agrees(told(browser)["64 latents"], rows.loc[places[-1], [f"64 {part}" for part in PARTS]])
    assert places == [1, 2, 1, 24, 0]
    top = "document.activeElement.getBoundingClientRect().top"
    first = browser.evaluate(top)
    press(browser, "ArrowDown")
    assert browser.evaluate(top) > first
    press(browser, "ArrowUp")
    assert browser.evaluate(top) == first
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "2px"
    press(browser, "Tab")
    assert browser.evaluate(at) == -1 and told(browser)[""].startswith("all 25 tokens"), "one stop, not 25"


def test_without_a_script_the_first_context_is_there(chromium, page, frame):
    chromium.open(page, scripts=False)
    chromium.call("Emulation.setScriptExecutionDisabled", value=False)  # what is there was made without
    rows = frame[frame["context"] == frame["context"].iloc[0]]
    assert chromium.evaluate("document.querySelector('.tokens-text').textContent") == "".join(rows["text"])
    assert ground(chromium) == pytest.approx(np.clip(rows["16"] / FULL, 0, 1), abs=0.0056)
    assert chromium.evaluate("document.querySelector('.tokens-controls').children.length") == 0


@pytest.mark.parametrize("edition", chapters.editions(ROOT))
def test_the_published_one_is_light(edition):
    (path,) = (ROOT / "book" / edition).glob("06_*.ipynb")
    outputs = [o for cell in json.loads(path.read_text())["cells"] for o in cell.get("outputs", [])]
    texts = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs]
    (box,) = [text for text in texts if 'class="tokens"' in text]
    assert len(box.encode()) < 60_000

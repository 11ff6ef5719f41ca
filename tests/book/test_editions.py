"""A site of several editions: each page says which it is of, and leads to the same page of the others."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from browser import Browser
from throwaway import ROOT, environment, files, project

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.book import chapters, pages, running, staleness
from darkmatter_utils.studies.study import Study

STUDIES = ("world", "nano")
PAGES = ("book/index", "book/01_probe", "genindex", "search")
SWITCH = "document.querySelector('nav[aria-label=\"This page in each edition\"]')"


def listed(root: Path, *studies: str) -> None:
    (root / "book" / chapters.EDITIONS).write_text("".join(f"- {study}\n" for study in studies))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A project with two published editions, rendered on a machine that has run neither."""
    root = project(tmp_path_factory.mktemp("editions"))
    shutil.copytree(ROOT / "book" / "_templates", root / "book" / "_templates")
    listed(root, *STUDIES)
    for study in STUDIES:
        running.build(root, study=study, log=str)
    pages.publish(root, *STUDIES, log=str)
    shutil.rmtree(root / "build")
    pages.render(root, study="world", log=str)
    return root


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.mark.browser
@pytest.mark.parametrize("name", PAGES)
def test_every_page_names_its_edition_and_leads_to_itself_in_the_other(root, browser, name):
    site = root / "build" / "html"
    for here, there in (STUDIES, STUDIES[::-1]):
        for width in (390, 1400):
            browser.open(site / here / f"{name}.html", width=width)
            assert f"{here}: {Study.load(here).title}" in browser.evaluate("document.body.innerText")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.evaluate(f"{SWITCH}.querySelector('[aria-current]').textContent") == here
        assert browser.evaluate(f"[...{SWITCH}.querySelectorAll('a')].map(e => e.textContent)") == [there]
        # By keyboard alone: Tab comes to the link, Enter follows it.
        browser.evaluate("document.activeElement.blur()")
        for _ in range(80):
            press(browser, "Tab")
            if browser.evaluate(f"{SWITCH}.contains(document.activeElement)"):
                break
        press(browser, "Enter")
        other = (site / there / f"{name}.html").resolve().as_uri()
        browser.until(f"location.href === '{other}'")


def press(browser: Browser, key: str) -> None:
    code, text = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
    about = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    browser.call("Input.dispatchKeyEvent", type="keyDown", text=text, **about)
    browser.call("Input.dispatchKeyEvent", type="keyUp", **about)


@pytest.mark.browser
def test_the_switch_needs_no_script_and_the_site_opens_on_the_first_edition(root, browser):
    site = root / "build" / "html"
    browser.open(site / "nano" / "book" / "01_probe.html", scripts=False)
    link = browser.evaluate(f"{SWITCH}.querySelector('a').href")
    assert link == (site / "world" / "book" / "01_probe.html").resolve().as_uri()
    browser.open(site / "index.html")
    browser.until("location.href.endsWith('/world/book/index.html')")


def test_an_edition_shows_its_own_numbers_and_is_not_built_twice(root):
    said = []
    first = files(root / "build" / "html")
    pages.render(root, study="nano", log=said.append)
    assert said == [] and files(root / "build" / "html") == first
    for study in STUDIES:
        record = (root / "book" / "records" / study / "01.json").read_text()
        assert f'"study": "{study}"' in record and f'"title": "{Study.load(study).title}"' in record
        assert f"{study}, seed" in first[f"{study}/book/01_probe.html"].decode()


def test_one_edition_alone_has_no_switch_and_one_that_lacks_a_chapter_is_left_out(root, tmp_path):
    alone = tmp_path / "alone"
    shutil.copytree(root, alone, ignore=shutil.ignore_patterns("build"))
    (alone / "book" / "nano" / "01_probe.ipynb").unlink()
    said = []
    page = pages.render(alone, study="world", log=said.append).parent / "book" / "01_probe.html"
    assert "edition nano is left out of the site: it has no chapter 01_probe" in said
    assert (
        "<strong>world</strong>" in page.read_text() and '<nav aria-label="This page' not in page.read_text()
    )
    with pytest.raises(BadInput, match="01_probe has not been run on study nano; run: darkmatter build"):
        pages.render(alone, study="nano", log=str)


def test_what_is_an_edition_is_listed_and_another_study_publishes_its_records_alone(root, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("build"))
    listed(other, "tiny", "world")
    running.build(other, study="nano", log=str)
    pages.publish(other, "nano", log=str)
    assert not list((other / "book" / "nano").glob("*.ipynb")), "no edition any more"
    assert (other / "book" / "records" / "nano" / "01.json").exists()
    (other / "book" / chapters.EDITIONS).unlink()
    assert chapters.editions(other) == ["tiny"]
    for text, why in {
        "": "must list",
        "a: b": "must list",
        "- a\n- a": "lists a twice",
        "- a/b": "no slash",
    }.items():
        (other / "book" / chapters.EDITIONS).write_text(text)
        with pytest.raises(BadInput, match=why):
            chapters.editions(other)


@pytest.mark.parametrize("chapter", chapters.chapters(ROOT), ids=lambda chapter: chapter.name)
def test_every_chapter_is_at_its_old_place_too(chapter):
    old = ROOT / "book" / f"{chapter.name}.ipynb"
    assert old.samefile(chapter.published()) and not Path(old.readlink()).is_absolute()


def test_papermill_runs_a_chapter_from_its_old_place(tmp_path):
    copy = tmp_path / "book"
    shutil.copytree(ROOT / "book", copy, symlinks=True)
    name = "00_index.ipynb"
    run = [
        sys.executable,
        "-m",
        "papermill",
        str(copy / name),
        str(tmp_path / "out.ipynb"),
        "-p",
        "study",
        "nano",
    ]
    done = subprocess.run(
        [*run, "--no-progress-bar"], capture_output=True, text=True, env=environment(), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("*.*")} == {"out.ipynb", "00.nano.record.json"}
    assert (copy / name).is_symlink() and files(copy) == files(ROOT / "book")


DRAWS = """
# %%
theirs = pd.DataFrame({"width": [16384], "value": [0.3]})
print(chapter.beside(theirs, "curve", lambda rows: rows.query("width > 64")).to_json(orient="records"))
chapter.record("curve", {"width": [64, 128], "value": [0.9, 0.1 * scale]})
"""


def drawn(chapter, study: str) -> list:
    """What the cell above printed."""
    cells = nbformat.read(chapter.executed(study), as_version=4).cells
    said = [
        o["text"] for cell in cells for o in cell.get("outputs", []) if o.get("text", "").startswith("[{")
    ]
    return json.loads(said[0])


def test_points_of_other_studies_are_the_published_ones_and_an_edition_is_of_one_piece(tmp_path):
    root = project(tmp_path / "p", extra=DRAWS)
    listed(root, "nano")  # an edition; world is a null
    (chapter,) = chapters.chapters(root)
    paper = {"width": 16384, "value": 0.3}
    for study in STUDIES:
        running.build(root, study=study, log=str)
        assert drawn(chapter, study) == [paper], "nothing is published yet"
    pages.publish(root, *STUDIES, log=str)
    for study, other, name in (("world", "nano", "nano"), ("nano", "world", "world, a null")):
        assert staleness.due(root, study) == []
        first, point = drawn(chapter, study)
        assert first == paper | {"study": None}
        assert point == {"width": 128, "value": 0.2, "study": name}
        record = json.loads(chapter.published_record(study).read_text())
        assert record["records"]["points"].keys() == {"01 curve"}
        assert record["records"]["points"]["01 curve"].keys() == {other}
    record = json.loads(chapter.published_record("world").read_text())
    record["values"]["half"] = 7.0
    chapter.published_record("world").write_text(json.dumps(record))
    assert staleness.stale_reason(chapter, "nano") is None, "no other number of that study counts"
    record["values"]["curve"]["value"][1] = 0.5
    chapter.published_record("world").write_text(json.dumps(record))
    reason = "points of other studies that it draws changed: 01 curve"
    assert staleness.stale_reason(chapter, "nano") == reason
    running.build(root, study="nano", log=str)
    assert drawn(chapter, "nano")[1]["value"] == 0.5
    shutil.rmtree(root / "book" / "records" / "world")
    assert staleness.stale_reason(chapter, "nano") == reason

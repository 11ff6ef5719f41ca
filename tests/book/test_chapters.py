"""Running chapters by real papermill runs: the same bytes, nothing lost, a reason for every run."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest
from throwaway import FOOTER, HEADER, ROOT, STUDY, command, environment, files, project

from darkmatter_utils.base import config, words
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Estimate, to_json
from darkmatter_utils.book import agreement, blocks, chapters, pages, records, results, running, staleness


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A project whose chapter has run once."""
    root = project(tmp_path_factory.mktemp("ran"))
    running.run(chapters.pick(root, 1), study="world", log=str)
    return root


def test_two_runs_are_the_same_bytes(ran):
    before, stamps = files(ran), "build/world/stamps/01.json"
    running.run(chapters.pick(ran, 1), study="world", log=str)
    assert files(ran) | {stamps: b""} == before | {stamps: b""}
    assert {"build/world/01_probe.ipynb", "build/world/records/01.json", stamps} <= set(before)


def test_a_run_writes_nothing_but_into_build(ran, tmp_path):
    clean = files(project(tmp_path / "clean"))
    assert {name: data for name, data in files(ran).items() if not name.startswith("build/")} == clean


def test_an_executed_notebook_holds_nothing_of_one_run_or_one_machine(ran):
    path = chapters.pick(ran, 1).executed("world")
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.metadata == {"kernelspec": chapters.KERNEL, "language_info": chapters.LANGUAGE}
    assert [cell["id"] for cell in book.cells] == [f"cell-01-{n:02d}" for n in range(len(book.cells))]
    assert {key for cell in book.cells for key in cell.metadata} <= set(chapters.KEPT)
    assert "progress that differs" not in json.dumps([cell.get("outputs", []) for cell in book.cells])
    assert str(ran) not in path.read_text() and str(Path.home()) not in path.read_text()


def test_what_a_cell_prints_is_one_piece_however_it_arrived():
    out = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("a\n", "b\n")]
    shown = nbformat.v4.new_output("display_data", data={"text/plain": "x"})
    late = nbformat.v4.new_output("stream", name="stdout", text="c\n")
    progress = nbformat.v4.new_output("stream", name="stderr", text="50%")
    cell = nbformat.v4.new_code_cell("1", outputs=[out[0], progress, out[1], shown, late])
    (settled,) = chapters.settle(nbformat.v4.new_notebook(cells=[cell]), 1).cells
    assert [output.get("text") for output in settled.outputs] == ["a\nb\n", None, "c\n"]


def test_a_record_says_what_was_asked_and_what_came_out(ran):
    record = json.loads((ran / "build" / "world" / "records" / "01.json").read_text())
    assert record["parameters"] == {"study": "world", "scale": 2} and record["study"] == "world"
    assert record["values"]["half"] == 0.246914
    assert record["values"]["floor"] == {"value": -0.5, "low": -0.6, "high": 0.4}
    assert record["values"]["missing"] is None
    used = {name.partition(":")[0] for name in record["sources"]}
    assert {"charts.curves.lines", "charts.theme.GRID", "base.values.Estimate"} <= used
    assert not [name for name in used if name.startswith(("cli.", "book."))]
    assert set(record["versions"]) == {"python", *blocks.PACKAGES}
    assert list(record) == sorted(record)


def test_prose_shows_numbers_and_intervals(ran):
    text = chapters.pick(ran, 1).executed("world").read_text()
    assert "application/papermill.record/text/plain\": \"'0.247'" in text
    assert "\u22120.50 [\u22120.60, 0.40]" in text


@pytest.fixture
def chapter(tmp_path, ran):
    """The chapter of a fresh copy of that project, run on this machine as far as stamps tell."""
    root = project(tmp_path / "copy")
    for name in ("records/01.json", "01_probe.ipynb", "stamps/01.json"):
        name = f"build/world/{name}"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes((ran / name).read_bytes())
    return chapters.pick(root, 1)


def edit_record(chapter, **changes):
    path = chapter.record("world")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_nothing_is_due_when_nothing_changed(chapter):
    assert staleness.stale_reason(chapter, "world") is None
    assert staleness.due(chapter.root, "world") == []


def test_a_changed_cell_makes_a_chapter_stale_and_a_changed_header_does_not(chapter):
    source = chapter.source.read_text()
    chapter.source.write_text(source.replace("display_name: Python 3", "display_name: Python"))
    assert staleness.stale_reason(chapter, "world") is None
    chapter.source.write_text(source.replace("0.123456789", "0.2"))
    assert staleness.stale_reason(chapter, "world") == "its cells changed (notebooks/01_probe.py)"


def test_a_changed_parameter_makes_a_chapter_stale(chapter):
    chapter.source.write_text(chapter.source.read_text().replace("scale = 2", "scale = 3"))
    assert "its cells changed" in staleness.stale_reason(chapter, "world")


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("sources", "code that it uses changed: charts.curves.lines"),
        ("data", "its data changed: settings of study world"),
        ("versions", "versions changed: numpy other is now"),
    ],
)
def test_changed_modules_data_and_versions_make_a_chapter_stale(chapter, part, reason):
    first = {"sources": "charts.curves.lines", "data": "settings", "versions": "numpy"}[part]
    was = json.loads(chapter.record("world").read_text())[part]
    edit_record(chapter, **{part: was | {first: "other"}})
    assert staleness.stale_reason(chapter, "world").startswith(reason)


def test_a_removed_definition_makes_a_chapter_stale(chapter):
    was = json.loads(chapter.record("world").read_text())["sources"]
    edit_record(chapter, sources=was | {"no_such.thing": "0123"})
    assert staleness.stale_reason(chapter, "world") == "code that it uses changed: no_such.thing"


def test_a_clone_runs_every_chapter_once(chapter):
    staleness.stamp_path(chapter, "world").unlink()
    assert staleness.due(chapter.root, "world") == [(chapter, "not yet run on this machine")]


def test_an_executed_chapter_that_was_edited_by_hand_is_due(chapter):
    path = chapter.executed("world")
    path.write_text(path.read_text().replace("0.247", "0.999"))
    assert "is not what its last run here wrote" in dict(staleness.due(chapter.root, "world"))[chapter]


def test_a_failing_cell_keeps_the_last_good_book_and_the_failed_notebook(chapter):
    root = chapter.root
    before = files(root / "book") | files(root / "build")
    chapter.source.write_text(
        chapter.source.read_text().replace('chapter.record("missing"', '1 / 0\nchapter.record("missing"')
    )
    done = command("run", "1", *STUDY, folder=root)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 2, "the cell's own stderr and one line"
    line = done.stderr.splitlines()[-1]
    assert line == (
        "darkmatter: chapter 01_probe, cell 6: ZeroDivisionError: division by zero "
        "(as it failed: build/failed/01_probe.ipynb)"
    )
    after = files(root / "book") | files(root / "build")
    failed = after.pop("failed/01_probe.ipynb")
    assert after == before and b"ZeroDivisionError" in failed


def test_bad_input_inside_a_chapter_is_one_line_too(chapter):
    text = chapter.source.read_text().replace(
        "chapter = open_chapter(1, study", 'chapter = open_chapter(1, "wrld"'
    )
    chapter.source.write_text(text)
    with pytest.raises(
        running.ChapterFailed, match="BadInput: unknown study 'wrld'; nearest valid names: world"
    ):
        running.run(chapter, study="world", log=str)


def test_a_process_that_is_ended_from_outside_is_one_line(tmp_path):
    root = project(tmp_path / "p", extra="\n# %%\nimport os\nos.kill(os.getpid(), 9)\n")
    done = command("run", "1", *STUDY, folder=root)
    assert done.returncode == 2 and not (root / "build" / "world").exists()
    assert done.stderr.splitlines()[-1].startswith("darkmatter: chapter 01_probe: its process was ended")


def test_a_full_disk_under_a_cell_is_one_line(tmp_path):
    root = project(
        tmp_path / "p", extra='\n# %%\nwith open("/dev/full", "w") as full:\n    full.write("x" * 100)\n'
    )
    done = command("run", "1", *STUDY, folder=root)
    assert done.returncode == 2
    assert "darkmatter: the disk is full" in done.stderr.splitlines()[-1]
    assert not (root / "build" / "world").exists() and not (root / "book" / "records").exists()


def test_a_full_disk_under_the_runner_is_one_line_and_leaves_the_book(chapter):
    before = files(chapter.root / "book") | files(chapter.root / "build")

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = command("run", "1", *STUDY, folder=chapter.root, preexec_fn=small_files)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("darkmatter: the disk is full")
    assert "Traceback" not in done.stderr
    assert files(chapter.root / "book") | files(chapter.root / "build") == before


def test_ctrl_c_is_one_line_and_leaves_the_book_and_no_kernel(tmp_path, ran):
    cell = (
        "\n# %%\nimport os, pathlib, "
        'time\npathlib.Path(r"{}").write_text(str(os.getpid()))\ntime.sleep(120)\n'
    )
    root, mark = tmp_path / "p", tmp_path / "mark"
    project(root, extra=cell.format(mark))
    before = files(root)
    program = [sys.executable, "-m", "darkmatter_utils.cli", "run", "1", *STUDY]
    process = subprocess.Popen(
        program,
        cwd=root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(
            signal.signal, signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background job ignores it
    )
    while not (mark.exists() and mark.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert (
        said.splitlines()[-1]
        == "darkmatter: interrupted; what was finished is kept, the same command goes on from there"
    )
    assert "Traceback" not in said
    assert files(root) == before
    with pytest.raises(ProcessLookupError):
        while True:  # the kernel ends with the command
            os.kill(int(mark.read_text()), 0)
            time.sleep(0.1)


def test_a_run_with_other_parameters_is_not_among_the_chapters(chapter):
    before = files(chapter.root)
    path = running.run(chapter, study="world", parameters={"scale": 10}, log=str)
    assert path == chapter.root / "build" / "world" / "tried" / "01_probe.ipynb"
    record = json.loads((path.parent / "records" / "01.json").read_text())
    assert record["values"]["half"] == 1.23457
    assert {name: data for name, data in files(chapter.root).items() if "/tried/" not in name} == before


def test_a_parameter_the_chapter_does_not_have_is_named(chapter):
    with pytest.raises(
        BadInput, match="chapter 01_probe has no parameter 'scal'; nearest valid names: scale"
    ):
        running.run(chapter, study="world", parameters={"scal": 1}, log=str)


def test_a_studys_chapters_are_kept_under_its_name(chapter, tmp_path):
    build = chapter.root / "build"
    assert chapter.executed("tiny") == build / "tiny" / "01_probe.ipynb"
    assert chapter.executed("llama-3.1") == build / "llama-3.1" / "01_probe.ipynb"
    assert chapter.executed("/somewhere/mine.yaml") == build / "mine" / "01_probe.ipynb"
    (tmp_path / "file.yaml").write_text("name: told\n")
    assert chapter.record(str(tmp_path / "file.yaml")) == build / "told" / "records" / "01.json"


def test_what_is_found_is_what_ran_here_and_else_what_is_published(chapter):
    published = chapter.published(), chapter.published_record("tiny")
    assert published == (
        chapter.root / "book/tiny/01_probe.ipynb",
        chapter.root / "book/records/tiny/01.json",
    )
    assert chapter.found("tiny") == published
    chapter.executed("tiny").parent.mkdir()
    chapter.executed("tiny").write_text("")
    assert chapter.found("tiny") == (chapter.executed("tiny"), chapter.record("tiny"))


def test_papermill_by_hand_writes_its_record_beside_its_output(chapter, tmp_path):
    before = files(chapter.root / "book")
    elsewhere, output = tmp_path / "elsewhere", tmp_path / "results"
    elsewhere.mkdir(), output.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            str(chapter.executed("world")),
            str(output / "out.ipynb"),
            "-p",
            "study",
            "world",
            "-p",
            "scale",
            "4",
            "--no-progress-bar",
        ],
        cwd=elsewhere,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(files(output)) == ["01.world.record.json", "out.ipynb"] and not files(elsewhere)
    assert json.loads((output / "01.world.record.json").read_text())["parameters"] == {
        "study": "world",
        "scale": 4,
    }
    assert files(chapter.root / "book") == before


def test_chapters_are_found_by_number_and_name_and_else_the_nearest_are_named(chapter):
    for name in ("1", "01", "01_probe", 1):
        assert chapters.pick(chapter.root, name) == chapter
    with pytest.raises(BadInput, match="there is no chapter '02_prob'; nearest valid names: 01_probe"):
        chapters.pick(chapter.root, "02_prob")
    (chapter.root / "notebooks" / "01_other.py").write_text("# %%\n")
    with pytest.raises(BadInput, match="01_other.py and 01_probe.py have one number"):
        chapters.chapters(chapter.root)


def test_a_project_is_found_from_inside_and_not_elsewhere(chapter, tmp_path, monkeypatch):
    assert chapters.project_root(chapter.root / "book" / "records") == chapter.root
    with pytest.raises(BadInput, match="no book at"):
        chapters.project_root(tmp_path)
    monkeypatch.setenv("DARKMATTER_PROJECT", str(chapter.root))
    assert chapters.project_root() == chapter.root


def test_a_key_names_one_value():
    chapter = records.open_chapter(1, "world")
    chapter.record("a", 1)
    with pytest.raises(BadInput, match="chapter 01 records 'a' twice"):
        chapter.record("a", 2)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.12345678, 0.123457),
        (float("inf"), None),
        (Estimate(1 / 3), {"value": 0.333333, "low": None, "high": None}),
        ([1, True, "x", (2.0,)], [1, True, "x", [2.0]]),
        ({"b": Path("x")}, {"b": "x"}),
    ],
)
def test_records_hold_json_values(value, kept):
    assert to_json(value) == kept


@pytest.mark.parametrize(
    ("value", "fmt", "said"),
    [
        (0.5, ".2f", "0.50"),
        (-0.5, ".1f", "\u22120.5"),
        (Estimate(0.5), ".2f", "0.50"),
        (1234, ",", "1,234"),
        (Estimate(0.5, -0.1, 0.7), ".1f", "0.5 [\u22120.1, 0.7]"),
    ],
)
def test_numbers_in_words(value, fmt, said):
    assert words.said(value, fmt) == said


def test_the_readme_table_comes_from_the_records(chapter, monkeypatch):
    root = chapter.root
    (root / "README.md").write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n")
    record = chapter.published_record("tiny")
    record.parent.mkdir(parents=True)
    record.write_bytes(chapter.record("world").read_bytes())
    assert pages.update(root) is True and pages.update(root) is False
    assert (root / "README.md").read_text() == (
        f"before\n{pages.BEGIN}\n| | here (study `tiny`) | the paper | its own points earn | "
        "the null earns | chapter |\n|---|---|---|---|---|---|\n"
        "| The floor | \u22120.500 [\u22120.600, 0.400] | none given | – | – "
        "| [01](book/tiny/01_probe.ipynb) |\n"
        f"{pages.END}\nafter\n"
    )
    (root / "README.md").write_text("no markers\n")
    with pytest.raises(BadInput, match="README.md needs one line"):
        pages.update(root)


def test_publishing_copies_what_a_build_made_and_a_clone_finds_it_fresh(chapter, tmp_path):
    root = chapter.root
    with pytest.raises(BadInput, match="01_probe cannot be published: never run; first: darkmatter build"):
        pages.publish(root, "tiny")
    old = root / "book" / "records" / "world" / "02.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    assert pages.publish(root, "world") == [chapter.published_record("world")]
    assert files(old.parent).keys() == {"01.json", "seconds.json"}, "and none of a chapter that is gone"
    assert chapter.published_record("world").read_bytes() == chapter.record("world").read_bytes()
    assert staleness.expected([chapter], "world") == staleness.read_stamp(chapter, "world")["seconds"]
    shutil.rmtree(root / "build")
    assert staleness.expected([chapter], "world") is not None, "a clone knows from the published edition"


REPORT = (
    HEADER
    + """
# %% tags=["reads-records"]
print(sorted(chapter.reads("*").items()))

# %%
chapter.close()
"""
)


def test_two_studies_whose_reports_read_each_other_are_published_in_one_go(tmp_path):
    root = project(tmp_path / "p")
    of_tiny = lambda text: text.replace('study = "world"', 'study = "tiny"')
    (root / "notebooks" / "02_report.py").write_text(
        of_tiny(REPORT).replace("open_chapter(1", "open_chapter(2")
    )
    probe, report = chapters.chapters(root)
    assert report.reads_records() and not probe.reads_records()
    studies = ("tiny", "world")

    def run_and_publish(scale: int):
        probe.source.write_text(of_tiny(HEADER + FOOTER).replace("scale = 2", f"scale = {scale}"))
        for study in studies:
            running.build(root, study=study, log=str)
        pages.publish(root, *studies, log=str)

    run_and_publish(2)
    made = files(root / "book")
    run_and_publish(3)
    for study in studies:
        assert staleness.due(root, study) == [], "nothing is stale once both are published"
        read = json.loads(report.published_record(study).read_text())["records"]["found"]
        published = chapters.read_records(root, "", studies, reader=2)
        assert read == chapters.hashes(published)
        assert report.published_record(study).read_bytes() == report.record(study).read_bytes()
    run_and_publish(2)
    timeless = lambda found: {name: data for name, data in found.items() if "seconds" not in name}
    assert timeless(files(root / "book")) == timeless(made)


def test_a_report_reads_other_studies_as_published_wherever_else_they_were_run(chapter):
    mine = chapter.root / "build" / "mine" / "records" / "04.json"
    mine.parent.mkdir(parents=True)
    mine.write_text('{"values": {"a": 1}}')
    read = lambda own: chapters.read_records(chapter.root, own, [chapters.EVERY], reader=1)
    assert read("world") == {"world": {}} and read("mine") == {"mine": {4: {"a": 1}}}
    shutil.copytree(mine.parent, chapter.root / "book" / "records" / "mine")
    mine.write_text('{"values": {"a": 2}}')
    assert read("world")["mine"] == {4: {"a": 1}} and read("mine")["mine"] == {4: {"a": 2}}


def published_with(chapter, **values):
    """A published record of the chapter whose values differ in these."""
    record = json.loads(chapter.record("world").read_text())
    path = chapter.published_record("world")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record | {"values": record["values"] | values}))
    return agreement.compare(chapter.root, "world")


def test_a_number_agrees_within_a_twentieth_of_its_standard_error(chapter):
    error = 1.0 / 3.92
    near = {"value": -0.5 + 0.04 * error, "low": -0.6, "high": 0.4}
    found = published_with(chapter, floor=near)
    assert found.apart() == []
    assert list(found.lines())[-1].startswith("8 of 8 recorded values agree with the published ones")
    assert "the largest difference is 0.04 standard errors; 0 of" in list(found.lines())[-1]
    (apart,) = published_with(chapter, floor=near | {"value": -0.5 + 0.06 * error}).apart()
    assert (
        str(apart) == f"01 floor / value: published {-0.5 + 0.06 * error}, here -0.5 (0.06 standard errors)"
    )


def test_a_number_without_an_interval_agrees_to_a_ten_thousandth(chapter):
    assert published_with(chapter, half=0.246914 * (1 + 0.9e-4)).apart() == []
    (apart,) = published_with(chapter, half=0.246914 * (1 + 1.2e-4)).apart()
    assert apart.where == "01 half" and "of it)" in str(apart)


def test_columns_have_the_intervals_beside_them():
    was = {"width": [8, 16], "r2": [0.5, 0.4], "r2_low": [0.4, 0.4], "r2_high": [0.6, 0.4], "n": [7, 7]}
    here = was | {"r2": [0.501, 0.401], "n": [7, 8]}
    pairs = list(agreement._pairs(was, here, "x", None))
    assert [(p.where, p.error) for p in pairs if not p.agrees()] == [("x n[1]", None), ("x r2[1]", None)]


def test_single_seeds_agree_within_their_estimates_error_and_how_much_more_to_a_twentieth():
    was = {"a": {"estimate": {"value": 0.5, "low": 0.4, "high": 0.6}, "seeds": [0.3, 0.52]}, "more": 3.4}
    apart = lambda here: [p.where for p in agreement._pairs(was, was | here, "x", None) if not p.agrees()]
    seeds = lambda *two: {"a": was["a"] | {"seeds": list(two)}}
    assert apart(seeds(0.302, 0.518)) == [] == apart({"more": 3.5})
    assert apart(seeds(0.3, 0.524)) == ["x a / seeds[1]"] and apart({"more": 3.6}) == ["x more"]


def test_a_small_share_agrees_on_the_scale_of_its_column_and_beside_larger_numbers_on_its_own():
    def apart(was, here):
        return [p.where for p in agreement._pairs({"v": was}, {"v": here}, "x", None) if not p.agrees()]

    assert apart([0.5, 1e-4], [0.5, 1.4e-4]) == [] and apart([0.5, 1e-4], [0.5, 1.6e-4]) == ["x v[1]"]
    assert apart([500.0, 1e-4], [500.0, 1.001e-4]) == ["x v[1]"]
    rows = lambda *values: [{"name": "a", "r2": value, "n": 3} for value in values]
    assert apart(rows(0.5, 1e-4), rows(0.5, 1.4e-4)) == []
    assert apart(rows(0.5, 1e-4), rows(0.5, 1.6e-4)) == ["x v[1] / r2"]
    assert apart({"a": 0.5, "b": 1e-4}, {"a": 0.5, "b": 1.4e-4}) == ["x v / b"], "no column"


def test_a_change_agrees_on_the_scale_of_the_numbers_that_it_is_made_of():
    def apart(unit, value):
        effect = lambda value: {"here": 0.5, "other": 0.51, "unit": unit, "change": {"value": value}}
        return [p.where for p in agreement._pairs(effect(0.01), effect(value), "x", None) if not p.agrees()]

    assert apart("R²", 0.01005) == [] and apart("R²", 0.010052) == ["x change / value"]
    assert apart("share", 0.01009) == [] and apart("share", 0.01011) == ["x change / value"]


def test_what_counts_standard_errors_and_a_dot_with_an_interval_agree_to_a_twentieth():
    apart = lambda was, here: [p.where for p in agreement._pairs(was, here, "x", None) if not p.agrees()]
    assert apart({"off": 0.1}, {"off": 0.14}) == [] and apart({"off": 0.1}, {"off": 0.16}) == ["x off"]
    dot = lambda at: {"ours": [["512", at, 0.0, 0.392, "0.1"]]}
    assert apart(dot(0.2), dot(0.204)) == [] and apart(dot(0.2), dot(0.206)) == ["x ours[0][1]"]


def test_a_share_of_latents_agrees_though_one_of_them_is_in_or_out():
    def apart(here):
        return [p.where for p in agreement._pairs({"reach": {"x": 0.4}}, here, "09", None) if not p.agrees()]

    assert apart({"reach": {"x": 0.404}}) == [] and apart({"reach": {"x": 0.406}}) == ["09 reach / x"]


def test_numbers_that_count_answers_agree_within_a_quarter_of_their_error():
    was = {"detection accuracy": {"value": 0.5, "low": 0.402, "high": 0.598}}
    found = [
        pair.agrees()
        for value in (0.51, 0.52)
        for pair in agreement._pairs(
            was, {"detection accuracy": was["detection accuracy"] | {"value": value}}, "09", None
        )
        if pair.where.endswith("value")
    ]
    assert found == [True, False]


@pytest.mark.parametrize(
    ("published", "here", "agrees"),
    [
        ("from 0.55 [0.54, 0.56] to 7%", "from 0.56 [0.54, 0.55] to 8%", True),
        ("from 0.55", "from 0.57", False),
        ("from 0.55", "from 0.550", False),
        ("in 17 of 20", "in 18 of 20", False),
        ("**holds**: 0.5", "**partly**: 0.5", False),
        (None, 0.0, False),
        (True, 1.5, False),
        (0.0, 1e-10, True),
        ([1, 2], [1, 2, 3], False),
    ],
)
def test_a_text_agrees_word_by_word_and_in_its_numbers_but_for_the_last_digit(published, here, agrees):
    assert all(p.agrees() for p in agreement._pairs({"a": published}, {"a": here}, "x", None)) is agrees


def test_what_is_new_or_gone_and_what_other_records_made_is_said(chapter):
    found = published_with(chapter, gone=1)
    assert [str(pair) for pair in found.apart()] == ["01 gone: published 1, here nothing"]
    edit_record(chapter, records={"asked": ["mine"], "found": {"mine/04": "0123"}}, edited=["law"])
    assert list(agreement.compare(chapter.root, "world").lines()) == [
        "chapter 01_probe is not compared: of its two editions one alone reads records of mine"
    ]


def test_in_a_log_a_run_says_what_it_is_at(tmp_path, monkeypatch):
    cell = "\n# %% [markdown]\n# ## A long wait\n\n# %%\nimport time\ntime.sleep(1.5)\n"
    root, said = project(tmp_path / "p", extra=cell), []
    monkeypatch.setattr(running, "EVERY", 0.2)
    running.run(chapters.pick(root, 1), study="world", log=said.append)
    waits = [line for line in said if "A long wait, cell 7 of 9" in line]
    assert len(waits) >= 3 and all(line.startswith("chapter 01_probe, ") for line in waits)


@pytest.mark.parametrize("number", [chapter.number for chapter in chapters.chapters(ROOT)])
def test_every_chapter_runs_on_nano_twice_to_the_same_bytes(number, tmp_path, monkeypatch):
    """With model, SAEs and text; then from stored results, without any of them and with an empty cache."""
    for name in ("notebooks", "book"):
        (tmp_path / name).mkdir()
    (tmp_path / "_toc.yml").write_text("")
    source = chapters.pick(ROOT, number).source
    (tmp_path / "notebooks" / source.name).write_bytes(source.read_bytes())
    chapter, study = chapters.pick(tmp_path, number), copied_nano(tmp_path)
    built = lambda: {p: f for p, f in files(tmp_path / "build" / "nano").items() if "stamps" not in p}
    running.run(chapter, study=study, log=str)
    first = built()
    assert {f"{chapter.name}.ipynb", f"records/{number:02d}.json"} == set(first)
    place = results.store(tmp_path, study)
    stored = files(place)
    weightless(tmp_path)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "empty"))
    said = []
    running.run(chapter, study=study, taking=running.results(only="stored"), log=said.append)
    assert built() == first and not list((tmp_path / "empty").glob("*-*[0-9a-f]/"))
    used = len([*place.glob("*/")])
    assert (f" ({used} of {used} results as they are stored)" in said[-1]) == bool(used)
    results.store(tmp_path, study)
    assert files(place) == stored


def copied_nano(folder: Path) -> str:
    """The path of a study that is nano, with files of its own beside it."""
    shutil.copytree(config.DATA / "nano", folder / "nano")
    text = (config.STUDIES / "nano.yaml").read_text().replace("data: nano", "data: ./nano")
    (folder / "nano.yaml").write_text(text)
    return str(folder / "nano.yaml")


def weightless(folder: Path) -> None:
    """Delete all files of that study but its manifest."""
    (manifest := folder / "nano" / "manifest.json").rename(folder / "kept.json")
    shutil.rmtree(folder / "nano")
    (folder / "nano").mkdir()
    (folder / "kept.json").rename(manifest)


def test_a_figures_name_and_caption_stand_in_its_cell_as_text(tmp_path):
    source = (
        "# %% [markdown]\n# # A\n\n"
        '# %% tags=["hide-input"]\n#| label: fig-a\n#| caption: One $x$ a width:\n#|   two lines. '
        "(Paper: Fig. 2.)\nchart()\n"
    )
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_a.py").write_text(source)
    (tmp_path / "_toc.yml").write_text("")
    cell = chapters.pick(tmp_path, 1).notebook().cells[-1]
    assert cell.metadata["mystnb"] == {
        "figure": {"name": "fig-a", "caption": "One $x$ a width: two lines. (Paper: Fig. 2.)"}
    }
    with pytest.raises(BadInput, match="'fig-cap'; valid: label, caption"):
        chapters.options("#| fig-cap: x\n")
    with pytest.raises(BadInput, match="fig-a needs both"):
        chapters.options("#| label: fig-a\nchart()")

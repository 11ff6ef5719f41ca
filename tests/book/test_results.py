"""Results that the repository stores: who reads them, and what is said where they no longer follow."""

import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_chapters import copied_nano, weightless
from throwaway import ROOT, files, project

from darkmatter_utils import Study, measure
from darkmatter_utils.base import cache, provenance
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.follows import CARRIED, FOLLOWS
from darkmatter_utils.book import chapters, results, running, staleness
from darkmatter_utils.cli import main
from darkmatter_utils.decomposition.scores import linear_shares, rescaled
from darkmatter_utils.experiments.live import live
from darkmatter_utils.measurement.measure import AFTER, Measurement


@cache.kept
def doubled(measurement, *, times: int = 2) -> dict:
    """A result of the test."""
    saes = measurement.saes[["id", "fvu"]]
    return {"table": saes.assign(fvu=times * saes["fvu"]), "said": {"times": times, "nothing": np.nan}}


@cache.kept
def made_by(measurement, *, function) -> dict:
    """Another."""
    return {"table": measurement.saes[["fvu"]], "by": {"name": function.__name__}}


@pytest.fixture
def there(tmp_path, monkeypatch):
    """nano measured and `doubled`, both stored in a folder; then an empty cache, and no weights."""
    monkeypatch.setattr(cache, "_STORES", cache._Stores())
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "first"))
    study = copied_nano(tmp_path)
    kept = doubled(measure(study))
    made_by(measure(study), function=rescaled)
    shutil.copytree(tmp_path / "first", store := tmp_path / "store", ignore=shutil.ignore_patterns(".locks"))
    for folder in store.iterdir():
        for name in results.LEFT_OUT.get(results.kind(folder.name, "nano"), ()):
            (folder / name).unlink()
        cache.seal(folder)
    weightless(tmp_path)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "second"))
    return study, store, kept


def test_a_stored_result_is_what_was_kept_and_needs_no_weights(there, capsys):
    study, store, kept = there
    cache.also_read(store)
    measurement = measure(study)
    assert measurement.folder.parent == store and measurement.lacks()
    again = doubled(measurement)
    pd.testing.assert_frame_equal(again["table"], kept["table"])
    assert again["said"] == kept["said"] == {"times": 2, "nothing": None}
    assert capsys.readouterr().err == ""
    with pytest.raises(BadInput, match="is without tokens.parquet and maps.npz .* would be needed"):
        measurement.tokens  # what is left out is measured anew


def test_what_no_longer_follows_is_said_with_its_cost(there, tmp_path):
    study, store, _ = there
    cache.also_read(store)
    (folder,) = store.glob("doubled-*")
    (folder / cache.SECONDS).write_text("720.0")
    cache.seal(folder)
    said = "doubled-nano: what is stored does not follow .* \\(to compute it took 12 min\\); to compute it, "
    with pytest.raises(BadInput, match=said + "model/config.json and [0-9]+ more files would be needed"):
        doubled(measure(study), times=3)
    with pytest.raises(BadInput, match="live-nano: nothing is stored; to compute it"):
        live(measure(study), lambda one: one, of=lambda measurement: 1)


def test_a_result_says_what_its_key_was_made_of(there, monkeypatch):
    study, *_ = there
    made = cache.Kept("doubled-nano", cache.key_of(subject={"files": {}, "code": "a"}, code="b", settings={}))
    made.write(lambda folder: (folder / "said.json").write_text("1"))
    said = json.loads((made.folder / cache.FOLLOWS).read_text())
    assert {"subject files", "subject code", "code", "settings", "same"} == said.keys()
    other = cache.Kept(
        "doubled-nano", cache.key_of(subject={"files": {}, "code": "c"}, code="d", settings={})
    )
    (made.folder / cache.FOLLOWS).unlink()  # as of before it was written
    cache.seal(made.folder)
    assert made.read(cache._read) == {"said": 1}
    other.write(lambda folder: None)
    again, moved = (json.loads((one.folder / cache.FOLLOWS).read_text()) for one in (made, other))
    assert again == said and moved["same"] == said["same"] and moved["code"] != said["code"]
    third = cache.Kept("doubled-nano", cache.key_of(subject={"files": {}}, code="b", settings={"times": 2}))
    third.write(lambda folder: None)
    assert json.loads((third.folder / cache.FOLLOWS).read_text())["same"] != said["same"]


def test_two_runs_make_a_result_once_and_the_second_says_what_it_waits_for(monkeypatch, tmp_path):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(cache.PROGRESS, str(tmp_path / "progress"))
    made, begun, end = [], threading.Event(), threading.Event()

    @cache.kept
    def slow(subject) -> dict:
        made.append(begun.set())
        end.wait(30)
        return {"said": len(made)}

    def both():
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(slow, subject)
            begun.wait(30)
            second = pool.submit(slow, subject)
            while not (tmp_path / "progress").exists() and not second.done():
                time.sleep(0.01)
            end.set()
            return first.result(), second.result()

    subject = SimpleNamespace(name="nano", key=dict)
    assert both() == ({"said": 1}, {"said": 1}) and len(made) == 1
    assert (tmp_path / "progress").read_text() == "slow-nano: another run is making it"


def test_only_stored_computes_nothing_even_where_it_could(there, tmp_path, monkeypatch, capsys):
    study, store, _ = there
    cache.also_read(store)
    shutil.copytree(results.DATA / "nano", tmp_path / "nano", dirs_exist_ok=True)
    with pytest.raises(BadInput, match="does not follow .* run it without --only stored"):
        monkeypatch.setenv(cache.STORED, cache.ALONE)
        doubled(measure(study), times=3)
    monkeypatch.delenv(cache.STORED)
    assert doubled(measure(study), times=3)["said"]["times"] == 3
    assert "doubled-nano: what is stored does not follow" in capsys.readouterr().err


def test_recompute_reads_nothing_that_is_stored(there, tmp_path, monkeypatch):
    study, store, kept = there
    for path in store.rglob("*.*"):
        path.write_text("unreadable")
    shutil.copytree(results.DATA / "nano", tmp_path / "nano", dirs_exist_ok=True)
    monkeypatch.setenv(cache.STORED, cache.NONE)
    cache.also_read(store)
    assert cache._STORES == []
    pd.testing.assert_frame_equal(doubled(measure(study))["table"], kept["table"])
    monkeypatch.delenv(cache.STORED)
    cache.also_read(store)  # a damaged result is none
    pd.testing.assert_frame_equal(doubled(measure(study))["table"], kept["table"])


def test_a_key_depends_on_a_files_recorded_digest_where_the_file_is_absent(there, tmp_path):
    study, store, _ = there
    cache.also_read(store)
    key = measure(study).key()
    manifest = tmp_path / "nano" / "manifest.json"
    said = json.loads(manifest.read_text())
    said["files"]["tokens.npz"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(said))
    with pytest.raises(BadInput, match="measure-nano: what is stored does not follow"):
        measure(study)
    assert key["files"]["tokens.npz"] != "0" * 64


def test_saes_of_parts_of_x_change_the_key_of_no_other_result():
    tiny = Study.load("tiny")
    assert [entry.id for entry in tiny.saes if entry.suite == AFTER]
    without = tiny.at(saes=tuple(entry for entry in tiny.saes if entry.suite != AFTER))
    less = tiny.at(saes=tuple(entry for entry in tiny.saes if entry.suite != "kinds"))
    keys = [Measurement(study, Path()).key() for study in (tiny, without, less)]
    assert keys[0] == keys[1] != keys[2]
    assert not any(name.startswith("saes/part-") for name in keys[0]["files"])


def test_results_of_earlier_code_are_carried_over_where_that_is_asked(there, monkeypatch):
    study, store, kept = there
    cache.also_read(store)
    before = {p.name: p.read_bytes() for p in store.glob("doubled-*/*")}
    known = provenance.key
    monkeypatch.setattr(provenance, "key", lambda found: f"another {known(found)}")
    monkeypatch.setenv(cache.STORED, cache.ALONE)
    with pytest.raises(BadInput, match="what is stored does not follow from code"):
        measure(study)
    monkeypatch.setenv(cache.STORED, CARRIED)
    measurement = measure(study)
    again = doubled(measurement)
    pd.testing.assert_frame_equal(again["table"], kept["table"])
    assert len(made_by(measurement, function=rescaled)["table"]) == len(kept["table"])
    with pytest.raises(BadInput, match="made-by-nano: what is stored does not follow"):
        made_by(measurement, function=linear_shares)
    said = json.loads((measurement.folder / FOLLOWS).read_text())
    assert said["code"] == f"another {said['computed with']}" and cache.sealed(measurement.folder)
    first = json.loads((next(store.glob("measure-nano-*")) / FOLLOWS).read_text())["code"]
    assert said["computed with"] == first
    with pytest.raises(BadInput, match="doubled-nano: what is stored does not follow"):
        doubled(measurement, times=3)
    assert before == {p.name: p.read_bytes() for p in store.glob("doubled-*/*")}
    monkeypatch.setattr(cache, "versions", lambda: {"torch": "another"})
    with pytest.raises(BadInput, match="does not follow"):
        measure(study)


def test_where_the_data_lies_changes_no_key(tmp_path):
    nano = Study.load("nano")
    assert replace(nano, data=str(tmp_path / "nano")).fingerprint() == nano.fingerprint()
    assert replace(nano, data=str(tmp_path / "other")).fingerprint() != nano.fingerprint()


def test_shipped_saes_give_the_published_numbers_and_a_wrong_one_is_told(tmp_path, monkeypatch, capsys):
    for name in ("notebooks", "book"):
        (tmp_path / name).mkdir()
    (tmp_path / "_toc.yml").write_text("")
    source = chapters.pick(ROOT, 4).source
    shutil.copyfile(source, tmp_path / "notebooks" / source.name)
    monkeypatch.chdir(tmp_path)
    chapter, study = chapters.pick(tmp_path, 4), copied_nano(tmp_path)
    running.run(chapter, study=study, log=str)
    published = chapter.published_record(study)
    published.parent.mkdir(parents=True)
    shutil.copyfile(chapter.record(study), published)
    place = results.store(tmp_path, study)
    for path in place.rglob("*.*"):
        path.write_text("unreadable")
    for gone in ("w32-seed1", "w128"):
        shutil.rmtree(tmp_path / "nano" / "saes" / gone)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "empty"))
    before = files(tmp_path / "build" / "nano")
    asked = ["run", "04", "--study", study, "--recompute", "--only", "shipped"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    saes = sum(entry.suite == "" for entry in Study.load(study).at_hand().saes)
    agree = re.search(r"(\d+) of \1 recorded values agree", said)
    assert agree and int(agree[1]) >= 8 * saes
    assert {k: v for k, v in files(tmp_path / "build" / "nano").items() if "tried" not in k} == before
    record = json.loads(published.read_text())
    record["values"]["SAEs"]["r2_total"][0] *= 1.001
    published.write_text(json.dumps(record))
    assert main(asked) == 1
    assert "04 SAEs w16 r2_total: published" in capsys.readouterr().out
    assert main([*asked[:-1], "stored"]) == 2


def test_every_line_of_the_dictionary_says_something_once():
    known = pd.read_csv(results.COLUMNS, dtype=str, keep_default_na=False)
    assert known["name"].is_unique and (known != "").all(axis=None)
    known = known.set_index("name")
    said = f"{results.ENDS['_low']} fvu_linear: {known['meaning']['fvu_linear']}"
    assert results.meaning("measure", "saes", "fvu_linear_low", known) == ("share", said)
    with pytest.raises(BadInput, match="result a, table b: data/columns.csv does not say"):
        results.meaning("a", "b", "no_such_column", known)


def test_what_a_chapter_costs_is_the_time_of_its_results_each_counted_once(tmp_path, monkeypatch):
    root = project(tmp_path / "project")
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    for name, seconds in {"measure-world": 100.0, "other-world": 30.0}.items():
        (folder := tmp_path / "cache" / name).mkdir(parents=True)
        (folder / cache.SECONDS).write_text(str(seconds))
    one, *_ = chapters.run_order(root)
    for path in (one.executed("world"), one.record("world")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    staleness.stamp(one, "world", seconds=7.0, results=["measure-world", "other-world", "gone-world"])
    assert staleness.costs(root, "world")["01"] == 130.0
    staleness.stamp(one, "world", seconds=200.0, results=["measure-world"])
    assert staleness.costs(root, "world")["01"] == 200.0

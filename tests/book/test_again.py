"""Studies whose weights are not all kept: what is run again is of those that are, and it is said."""

import json
import shutil
from pathlib import Path

import pytest
from test_chapters import copied_nano

from darkmatter_utils import Study, measure
from darkmatter_utils.book.records import open_chapter
from darkmatter_utils.claims import c03_same_tokens
from darkmatter_utils.measurement.measure import AFTER, shipped

KEPT = ("w16", "w64")


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """nano, of whose SAEs the manifest calls `KEPT` shipped; the weights of no other are there."""
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    path = copied_nano(tmp_path)
    manifest = tmp_path / "nano" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"shipped": KEPT}))
    for folder in (tmp_path / "nano" / "saes").iterdir():
        if folder.name not in KEPT:
            shutil.rmtree(folder)
    return Study.load(path)


def test_shipped_saes_are_those_at_hand_and_no_number_of_theirs_is_another(study):
    assert [entry.id for entry in shipped(study).saes] == list(KEPT)
    assert shipped(study).fingerprint() == study.at_hand().fingerprint()
    with_parts = shipped(study, also=AFTER)
    assert {e.suite for e in with_parts.saes if e.id not in KEPT} == {AFTER}
    assert with_parts.fingerprint() == shipped(study).fingerprint()
    few, whole = measure(shipped(study)), measure("nano")
    assert few.lacks() == [] and whole.study.name == few.study.name
    for id in KEPT:
        assert few.sae(id)["fvu_nonlinear"] == pytest.approx(whole.sae(id)["fvu_nonlinear"], rel=1e-9)


def test_a_study_that_names_none_is_itself():
    for name in ("nano", "tiny", "world"):
        study = Study.load(name)
        assert shipped(study) is study


def test_a_chapters_first_screen_says_what_is_run_again(study):
    chapter = open_chapter(3, study)
    chapter.judge(c03_same_tokens, None, unfit="not asked")
    assert "run again" not in str(chapter.opening(c03_same_tokens))
    assert [entry.id for entry in chapter.again().saes] == list(KEPT)
    said = str(chapter.opening(c03_same_tokens))
    count = len(study.selected())
    assert f"is of w16, w64: the weights of 2 of this study's {count} SAEs here are kept with it" in said
    assert said.count("<strong>What is run again.</strong>") == 1


def test_what_smollm2_ships_is_what_lies_there():
    study = Study.load("smollm2")
    found = {path.parent.name for path in Path(study.data_folder()).glob("saes/*/*.safetensors")}
    kept = {entry.id for entry in shipped(study).saes}
    assert not found or kept <= found <= {entry.id for entry in study.saes}  # whoever trains has more

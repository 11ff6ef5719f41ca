"""Study files: every mistake gets one line that says what is wrong and what is valid."""

import pytest
import yaml

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.studies.study import Study, study_names
from darkmatter_utils.training import shipping

GOOD = dict(
    name="mine",
    title="Mine",
    site="world",
    world=dict(documents=4, d_model=8, features=32, l0=2.0),
    window=[0, 16],
    folds=2,
    saes=[dict(id="o", kind="oracle", width=8)],
)


@pytest.mark.parametrize(
    "change, line",
    [
        (dict(titel="x"), "study mine: unknown key 'titel'; nearest valid names: title"),
        (dict(folds="five"), "study mine: folds is 'five'; expected a whole number"),
        (dict(folds=True), "folds is True; expected a whole number"),
        (dict(folds=1), "folds is 1; a fold is scored by a map fitted on the others"),
        (dict(window=[9, 9]), r"window \[9, 9\] is empty"),
        (dict(window=[9]), "expected two whole numbers"),
        (dict(window=["a", "b"]), "expected two whole numbers"),
        (dict(bootstrap=5), "give at least 100 resamples"),
        (dict(dtype="float8"), "dtype 'float8' is not one of float64, float32"),
        (dict(ridge="auto"), "ridge is 'auto'; give a number of 0 or more, or cv"),
        (dict(model="model"), "give either a model or a world"),
        (dict(world={}), "give either a model or a world"),
        (dict(saes=[]), "saes must be a list with at least one entry"),
        (dict(saes=None), "saes is missing"),
        (dict(saes=["w32"]), "sae 0: expected keys and values, got 'w32'"),
        (dict(saes=[dict(id="a", widht=3)]), "unknown key 'widht'; nearest valid names: width"),
        (dict(saes=[dict(id="a"), dict(id="a")]), "SAE id 'a' is given twice"),
        (dict(saes="manifest"), "saes: manifest needs data"),
    ],
)
def test_a_mistake_is_named(change, line):
    with pytest.raises(BadInput, match=line) as caught:
        Study.of(GOOD | change)
    assert "\n" not in str(caught.value)


def test_names_paths_and_yaml_errors(tmp_path):
    with pytest.raises(BadInput, match="unknown study 'wordl'; nearest valid names: world"):
        Study.load("wordl")
    with pytest.raises(BadInput, match="no study file at"):
        Study.load(tmp_path / "none.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text("name: [")
    with pytest.raises(BadInput, match="mine.yaml is not YAML"):
        Study.load(path)
    path.write_text("- a list")
    with pytest.raises(BadInput, match="holds keys and values"):
        Study.load(path)
    path.write_text(yaml.safe_dump(GOOD))
    assert Study.load(path) == Study.of(GOOD) == Study.load(Study.load(str(path)))


def test_missing_data_names_what_there_is():
    with pytest.raises(BadInput, match="no data at 'teeny'"):
        Study.of(GOOD | dict(world={}, model="model", data="teeny", text="score", saes="manifest"))


def test_sae_ids_are_looked_up_with_a_hint():
    with pytest.raises(BadInput, match="study nano has no SAE 'w33'; nearest valid names: w32"):
        Study.load("nano").sae("w33")


def test_the_fingerprint_follows_what_numbers_follow():
    study = Study.of(GOOD)
    assert study.fingerprint() == Study.of(GOOD | dict(title="Other")).fingerprint()
    assert study.fingerprint() != Study.of(GOOD | dict(seed=1)).fingerprint()


def test_the_embedded_study_is_what_its_training_makes():
    study = Study.load("tiny")
    assert (study.site, study.window) == (shipping.SITE, shipping.WINDOW)
    assert {"world", "nano", "tiny"} <= set(study_names())
    assert {job.id for job in shipping.jobs()} == {sae.id for sae in study.saes if not sae.suite}

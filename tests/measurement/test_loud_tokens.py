"""Tokens that hold most of the variance: named where they count, left out where a study says so."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import toys

from darkmatter_utils import decompose, measure
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.cli import show
from darkmatter_utils.experiments import measured, replacements
from darkmatter_utils.measurement import about, arrays
from darkmatter_utils.measurement.measure import stream_parts
from darkmatter_utils.measurement.one_sae import probe
from darkmatter_utils.stats.loud import loud_tokens
from darkmatter_utils.stats.metrics import fvu
from darkmatter_utils.studies.activations import Activations
from darkmatter_utils.studies.recipes import Request
from darkmatter_utils.studies.saes import collect_anew, load_saes, reconstructions, sample
from darkmatter_utils.studies.study import Study

NANO = Study.load("nano")


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    return toys.loud(tmp_path_factory.mktemp("loud") / "data")


@pytest.fixture(scope="module")
def with_them(loud):
    return measure(loud)


@pytest.fixture(scope="module")
def without(loud):
    return measure(replace(loud, loud=10))


def scored(study, *, keep=lambda batch: batch.scored):
    """(x, {SAE: Sae(x)}) of the tokens of a study that ``keep`` says."""
    found = reconstructions(source := Activations(study), load_saes(study, source), scored=False)
    xs, hats = [], []
    for batch, made in found:
        rows = torch.from_numpy(keep(batch))
        xs.append(batch.x[rows])
        hats.append({id: hat[rows] for id, (hat, _) in made.items()})
    return torch.cat(xs), {id: torch.cat([hat[id] for hat in hats]) for id in hats[0]}


def test_a_study_names_its_loud_tokens_and_says_what_is_without_them(loud, with_them):
    found = about.loud_tokens(with_them)
    assert found["loud"] == 17 and found["tokens"] == 3240 and found["share"] > 0.9
    assert {token["text"] for token in found["loudest"]} == {f"w{toys.LOUD}"}
    tokens = with_them.tokens.set_index(["document", "position"])["token"]
    assert all((tokens.loc[t["document"], t["position"]] == toys.LOUD).any() for t in found["loudest"])
    x, hats = scored(loud)
    (exact, left) = loud_tokens(x, hats["w32"])
    assert (found["share"], found["gamma"]) == pytest.approx((exact.share, exact.gamma), rel=1e-5)
    assert found["gamma_without"] == pytest.approx(exact.gamma_without, rel=1e-4)
    assert found["fvu_without"]["w32"] == pytest.approx(left, rel=1e-4)
    plain = measure(NANO).sae("w32")["fvu"]
    assert left == pytest.approx(plain, rel=0.01) and found["fvu"]["w32"] > 2 * plain
    (said,) = [line for line in about.of_study(with_them) if "louder than" in line]
    assert f"'w{toys.LOUD}'" in said and said.startswith("17 of 3,240 tokens (0.52%)")
    told = json.loads(show.study_json(loud, with_them.saes, [said], found))
    assert told["loud"]["loud"] == 17 and told["warnings"] == [said]


def test_a_study_that_leaves_them_out_neither_fits_nor_scores_them(loud, with_them, without):
    left = without.card["left_out"]
    assert left["loud"]["tokens"] == 17 == with_them.card["tokens"] - without.card["tokens"]
    assert left["loud"]["share"] == pytest.approx(17 / 3240) and left["loud"]["share_of_squares"] > 0.9
    assert "loud" not in without.card and not [s for s in about.of_study(without) if "louder" in s]
    assert without.documents["tokens"].sum() == without.card["tokens"]
    facts = about.facts(without).set_index("")["value"]
    assert facts["left out: louder than 10 × the median norm"].startswith("17 tokens (0.5%, 9")
    assert not [name for name in about.facts(with_them)[""] if name.startswith("left out")]
    for row in without.saes.itertuples():
        assert row.fvu == pytest.approx(with_them.card["loud"]["fvu_without"][row.id], rel=1e-5)
    quiet = with_them.tokens[with_them.tokens["token"] != toys.LOUD]
    x, hats = scored(loud, keep=lambda batch: batch.scored & (batch.token != toys.LOUD))
    assert len(x) == without.card["tokens"] == quiet["scored"].sum()
    assert without.sae("w64")["fvu"] == pytest.approx(fvu(x, hats["w64"]))


def test_every_pass_leaves_them_out(loud, without):
    study, wanted = without.study, without.card["tokens"]
    source = Activations(study)
    assert len(torch.cat([batch.x for batch in source.batches(scored=True)])) == wanted
    assert sum(len(batch.x) for batch, _ in stream_parts(without, ["w32"])) == wanted
    assert len(collect_anew(study, ["w32"], False).x) == wanted
    assert np.linalg.norm(sample(study, "w32", contexts=120).x, axis=1).max() < 10 * source.typical
    other = stream_parts(without, ["w32"], text="component")
    assert max(float(batch.x.norm(dim=1).max()) for batch, _ in other) < 10 * source.typical
    taken = replacements.take(without, 120)
    assert not (taken.tokens[:, taken.positions] == toys.LOUD).any() and 100 < len(taken.rows) < 120
    assert len(replacements.take(measure(loud), 120).rows) == 120
    curve, outside = (measured.positions(one, ["w32"]) for one in (without, measure(NANO)))
    inside = outside["position"].between(*NANO.window, inclusive="left")
    assert curve.loc[inside, "error"].max() < 2 * outside.loc[inside, "error"].max()


def test_what_is_loud_is_decided_by_the_component_text(loud):
    source = Activations(loud)
    component = Activations(replace(loud, text="component")).batches(contexts=64, scored=True)
    norm = torch.cat([batch.x for batch in component]).norm(dim=1)
    assert source.typical == pytest.approx(float(np.median(norm.numpy())), rel=1e-6)
    assert Activations(replace(loud, text="component")).typical == source.typical
    own = torch.cat([batch.x for batch in source.batches(contexts=64, scored=True)]).norm(dim=1)
    assert source.typical != pytest.approx(float(np.median(own.numpy())), rel=1e-6)


def test_a_cut_must_be_above_the_median():
    with pytest.raises(BadInput, match="study nano: loud is 0.5; give a multiple of the median norm above 1"):
        replace(NANO, loud=0.5)


def test_special_tokens_never_count(tmp_path):
    marks = (25, 31)
    study = toys.loud(tmp_path / "data", times=1, special=marks)
    source, plain = Activations(study), Activations(NANO)
    assert source.special == [0, *marks]
    batches = [batch for one in (source, plain) for batch in [list(one.batches())]]
    kept, before = (np.concatenate([b.scored for b in one]) for one in batches)
    token = np.concatenate([b.token for b in batches[0]])
    assert (kept == before & ~np.isin(token, marks)).all() and kept.sum() < before.sum()
    assert sum(source.document_tokens().values()) == kept.sum()
    found = measure(study)
    assert found.card["left_out"]["special"]["tokens"] == before.sum() - kept.sum()
    assert "left out: special tokens" in about.facts(found)[""].tolist()
    assert not (sample(study, "w32", contexts=120).x == 0).all()


def test_five_sound_studies_say_nothing(tmp_path):
    small = lambda **dials: replace(
        Study.load("world"), world=Study.load("world").world | dials | {"documents": 24}, bootstrap=100
    )
    for study in (NANO, small(), small(scale_token=0.5, huge_mean=0.0)):
        found = measure(study)
        assert about.loud_tokens(found) is None and "loud" not in found.card, study
        assert not [line for line in about.of_study(found) if "louder" in line]
    rng = np.random.default_rng(0)
    for x in (rng.normal(size=(3000, 16)) + 50, rng.laplace(size=(3000, 16))):
        done = arrays.measure(x, 0.8 * x, document=np.arange(3000) // 100, bootstrap=100)
        assert "loud" not in done.about and not [line for line in done.warnings if "louder" in line]
    x, hat, *_ = sample("tiny", Study.load("tiny").selected()[0].id, contexts=16)
    assert loud_tokens(x, hat) is None


def planted(x, count=20):
    """(a copy with ``count`` rows at 100 times the median norm, these rows)."""
    rows, rng = np.arange(count) * (len(x) // count) + 3, np.random.default_rng(1)
    drawn = rng.normal(size=(count, x.shape[1]))
    norm = np.median(np.linalg.norm(x, axis=1))
    x = x.copy()
    x[rows] = 100 * norm * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return x, rows


def test_arrays_with_twenty_planted_tokens():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8000, 16)) + 1
    hat = x + 0.3 * rng.normal(size=x.shape)
    loud, rows = planted(x)
    ask = dict(document=np.arange(8000) // 100, bootstrap=100)
    done, plain = arrays.measure(loud, hat, **ask), arrays.measure(x, hat, **ask)
    found = json.loads(show.answer_json(done))["loud"]
    assert {token["row"] for token in found["loudest"]} == set(rows) and found["share"] > 0.9
    assert all(token["document"] == token["row"] // 100 for token in found["loudest"])
    assert found["fvu_without"] == pytest.approx(plain.result.fvu.value, rel=0.01) and found["fvu"] > 0.9
    (said,) = [line for line in done.warnings if "louder than" in line]
    assert all(f"row {row} document {row // 100} (" in said for row in rows)
    assert said.replace("‖", "‖") in show.page(done) and "loud" not in plain.about
    (doubt,) = decompose(loud, hat, document=ask["document"], bootstrap=0).doubts()
    assert all(f"row {row} (" in doubt for row in rows)
    blocks = arrays.measure(loud, hat, bootstrap=100)
    assert "document" not in blocks.about["loud"]["loudest"][0]


def test_a_model_with_a_loud_token(loud, tmp_path):
    model = toys.tokenizer(toys.model(tmp_path / "model"))
    weights = (loud.data_folder() / "model" / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights)
    text, sae = toys.text(tmp_path / "text.jsonl", documents=40), toys.sae(tmp_path / "sae")
    asked = Request(
        model=str(model), sae=str(sae), site=toys.SITE, text=str(text), positions=(4, 32), bootstrap=100
    )
    done = probe(asked)
    found = done.about["loud"]
    assert {token["text"] for token in found["loudest"]} == {f"w{toys.LOUD}"}
    lines = [json.loads(line)["text"].split() for line in text.read_text().splitlines()]
    assert all(lines[t["document"]][t["position"] - 1] == t["text"] for t in found["loudest"])
    assert any(f"'w{toys.LOUD}'" in line for line in done.warnings) and f"w{toys.LOUD}" in show.page(done)


def test_a_text_with_special_tokens_is_probed_without_them(tmp_path):
    model, sae = toys.model(tmp_path / "model"), toys.sae(tmp_path / "sae")
    text = toys.text(tmp_path / "text.jsonl", documents=40)
    lines = [json.loads(line)["text"].split() for line in text.read_text().splitlines()]
    for line in lines[::4]:
        line[9] = "<bos>"
    text.write_text("\n".join(json.dumps({"text": " ".join(line)}) for line in lines))
    ask = Request(
        model=str(model), sae=str(sae), site=toys.SITE, text=str(text), positions=(4, 32), bootstrap=100
    )
    done = probe(ask)
    assert done.result.tokens == 40 * 28 - 10 == done.plan.tokens

"""Nested models: the same numbers as plain regressions on the tokens, and as the measurement where both speak
of x."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cells import cell
from sklearn.linear_model import LinearRegression

from darkmatter_utils import measure
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.claims import c02_norm_linear, c13_beyond_simple
from darkmatter_utils.experiments.baselines import LabelMeans
from darkmatter_utils.experiments.error_norms import (
    ADDS,
    beyond_simple,
    error_norms,
    layers,
    norm_linear,
    places,
)
from darkmatter_utils.experiments.nested import ALL, ALONE, BEST, SIMPLE, STEPS, Nested, X, nested
from darkmatter_utils.experiments.regress import of, regress
from darkmatter_utils.measurement.widths import suite_rows, width_suite
from darkmatter_utils.studies.activations import Activations

OTHER = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


def squared(x, reconstruction):
    """What chapter 03 predicts."""
    return (x - reconstruction).norm(dim=1, keepdim=True) ** 2


def models_of(measurement, ids, suite=""):
    return nested(measurement, regress(measurement, of(squared)), squared, ids, suite=suite)


@pytest.fixture(scope="module")
def models(nano):
    return models_of(nano, nano.saes["id"].tolist())


def test_x_alone_is_the_norm_test_of_the_measurement(nano, models):
    values, _ = models.replicated(X)
    # Two forward passes of another shape need not be the same to the last bit.
    assert values == pytest.approx(nano.saes["norm_error"].to_numpy(), abs=1e-6)


def test_each_model_is_plain_regressions_out_of_fold_and_in_sample(nano, models):
    tokens = nano.tokens[nano.tokens["scored"]].reset_index(drop=True)
    x = torch.cat([batch.x for batch in Activations(nano.study).batches(scored=True)]).numpy()
    y, fold = tokens["w32:error"].to_numpy(), tokens["fold"].to_numpy().astype(int)
    means = {name: LabelMeans(y, tokens[name], fold) for name in ("position", "token")}
    loss = tokens["loss"].fillna(tokens["loss"].mean()).to_numpy()
    for model in (SIMPLE, STEPS[6], ALL):
        left = {"held out": 0.0, "in sample": 0.0}
        for out in (*range(5), None):
            known = [np.sqrt(tokens["norm2"]), tokens["norm2"], *(m.without(out) for m in means.values())]
            known += [loss, tokens["w32:l0"]]
            train = fold != (-1 if out is None else out)
            test, kind = (train, "in sample") if out is None else (~train, "held out")
            if model == STEPS[6]:
                axes = np.linalg.svd(x[train] - x[train].mean(axis=0), full_matrices=False)[2][:10]
                known += list(axes @ x.T)
            known = np.column_stack(known + (list(x.T) if model == ALL else []))
            spread = known[train].std(axis=0)
            fit = LinearRegression().fit(known[train] / spread, y[train])
            left[kind] += ((y[test] - fit.predict(known[test] / spread)) ** 2).sum()
        mine = models.residual[:, models.ids.index("w32"), models.models.index(model)].sum()
        assert mine == pytest.approx((4 * left["held out"] + 5 * left["in sample"]) / 9, rel=1e-6), model
        assert left["in sample"] < mine < left["held out"]


def test_a_gain_is_the_difference_of_two_r2_and_is_paired(models):
    gain = models.gain("w16", ALL, SIMPLE)
    assert gain.value == pytest.approx(
        models.gain("w16", ALL).value - models.gain("w16", SIMPLE).value, abs=1e-12
    )
    (_, more), (_, less), (_, paired) = (
        models.replicated(ALL),
        models.replicated(SIMPLE),
        models.replicated(ALL, SIMPLE),
    )
    # Each is stretched to its own interval, so the differences are the same but for their scale.
    alike = [np.corrcoef(d, p)[0, 1] for d, p in zip((more - less).T, paired.T)]
    assert min(alike) > 0.95


def test_more_predictors_never_fit_the_world_worse(nano):
    world = measure("world")
    found = models_of(world, suite_rows(world)["id"].tolist()[:2])
    assert "loss" not in found.steps and found.steps[0] == STEPS[0]
    assert (np.diff([found.replicated(step)[0][0] for step in found.steps]) > -0.002).all()
    assert found.replicated("‖x‖")[0] == pytest.approx(found.replicated("‖x‖" + ALONE)[0])


def test_other_layers_are_what_a_measurement_of_them_says(nano):
    there = measure(nano.study.at(OTHER, suite="depth"))
    models = models_of(nano, ["w16", "w32", "w64"], suite="depth")
    assert models.ids == ["w16", "w32", "w64", "depth-w16", "depth-w64"]
    for row in there.saes.itertuples():
        assert models.gain(row.id, X).value == pytest.approx(row.norm_error, abs=1e-6)
    assert layers(nano)[["width", "layer"]].to_numpy().tolist() == [[16, 0], [16, 1], [64, 0], [64, 1]]
    found = error_norms.anew(nano, target=squared)
    assert list(places(found, X))[-2:] == ["layer 1, 16 latents", "layer 1, 64 latents"]
    assert places(found, X)["layer 1, 16 latents"] == models.gain("depth-w16", X)
    verdict = c02_norm_linear.CLAIM.judge(norm_linear(found))
    for name in ("abstract", "§4.1", "beyond simple predictors"):
        assert verdict.numbers[name]["places"] == 6


def test_x_is_held_against_the_best_single_predictor_and_the_first_layers_are_told(nano):
    found = error_norms.anew(nano, target=squared)
    evidence = beyond_simple(found, nano)
    assert not evidence.lead and len(evidence.early) == 6, "nano has two layers: both are early"
    assert c13_beyond_simple.CLAIM.judge(evidence).why == c13_beyond_simple.EXCEPTED
    deep = SimpleNamespace(study=SimpleNamespace(site=OTHER), card={"layers": 20})
    assert list(beyond_simple(found, deep).early) == list(evidence.early), "10% of 20 layers are two"
    deep = SimpleNamespace(study=SimpleNamespace(site="blocks.2.hook_resid_post"), card={"layers": 20})
    assert list(beyond_simple(found, deep).early) == ["layer 1, 16 latents", "layer 1, 64 latents"]
    judged = beyond_simple(found, deep)
    assert set(judged.lead) == set(judged.gain) and len(judged.lead) == 4
    singles = list(found["single"]["step"])
    assert singles == ["‖x‖", "position", "loss", "L0", "token"]
    for name, lead in (judged.lead | judged.early).items():
        r2 = {step: places(found, step + ALONE)[name].value for step in singles}
        assert judged.best[name] == max(r2, key=r2.get)
        assert lead.value > places(found, X)[name].value - max(r2.values()) - 1e-9


def singles(a, b, x):
    """Models of one number at 40 documents of 2 folds: facts "a" and "b" leave these, and x that."""
    residual = np.stack(np.broadcast_arrays(a, b, x, np.zeros(40)), axis=-1)[:, None, :-1]
    moments = {"n": np.ones((40, 1)), "y": np.resize([1.0, -1.0], (40, 1)), "yy": np.ones((40, 1))}
    return Nested(["sae"], [], ["a" + ALONE, "b" + ALONE, X], residual, moments, np.arange(40) % 2, 0, 200)


def test_the_best_single_predictor_is_chosen_on_other_folds():
    even, x = np.arange(40) % 2 == 0, 0.5
    clear = singles(0.7 + 0.1 * np.random.default_rng(0).standard_normal(40), 0.9, x)
    best, alone = (clear.gain("sae", X, over).to_dict() for over in (BEST, "a" + ALONE))
    assert best == pytest.approx(alone)
    # "a" is right at even documents alone, "b" at odd ones alone: of each fold the other's is taken.
    crossed = singles(np.where(even, 0.6, 0.9), np.where(even, 0.9, 0.6), x)
    assert crossed.gain("sae", X, BEST).value == pytest.approx(0.4)
    values, drawn = crossed.replicated(X, BEST)
    assert values == pytest.approx([0.4]) and drawn.shape == (200, 1)
    assert values[0] == pytest.approx(crossed.gain("sae", X).value - (1 - 0.9))


def test_a_lead_over_equals_is_not_too_small():
    """Two facts that say the same, each with its noise: over many studies the lead is the true one."""
    rng, noise = np.random.default_rng(0), 0.3
    noisy = [0.7 + noise * rng.standard_normal((2, 40)) for _ in range(400)]
    leads = [singles(*pair, 0.5).gain("sae", X, BEST).value for pair in noisy]
    error = np.std(leads) / np.sqrt(len(leads))
    assert abs(np.mean(leads) - 0.2) < 3 * error
    over_largest = [pair.mean(axis=1).min() - 0.5 for pair in noisy]
    assert np.mean(over_largest) < 0.2 - 3 * error, "the largest of both R² is too large"


def test_the_suite_is_that_of_the_measurement(nano):
    found = error_norms.anew(nano, target=squared)
    theirs = width_suite(nano, "norm_error").frame()
    np.testing.assert_allclose(found["suite"], theirs, rtol=1e-5, atol=1e-6)
    alone = found["widths"].query("model == 'x alone'")["value"]
    assert alone.to_numpy() == pytest.approx(theirs["value"].to_numpy(), abs=1e-6)
    assert set(found["grid"]["width"]) == {32} and found["seeds"]["sd"][0] > 0


def test_what_a_study_lacks_is_absent(nano):
    study = replace(nano.study, saes=tuple(e for e in nano.study.saes if e.main and not e.seed))
    found = error_norms.anew(measure(study), target=squared)
    assert not found["layers"] and not found["grid"] and not found["seeds"]


TARGET = "def target(x, reconstruction, power=2):\n    return size(x - reconstruction) ** power\n"
SIZE = "def size(error):\n    return error.norm(dim=1)\n"


@pytest.mark.parametrize(
    "edited",
    [
        SIZE + TARGET.replace("x - reconstruction", "x"),
        SIZE + TARGET.replace("power=2", "power=1"),
        SIZE.replace("dim=1", "dim=1, p=1") + TARGET,
    ],
)
def test_an_edited_target_changes_the_figure_and_the_verdict_s_numbers(nano, edited, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    published, found = (error_norms(nano, target=cell(source)) for source in (SIZE + TARGET, edited))
    for name in ("suite", "widths", "saes"):
        assert (published[name]["value"] != found[name]["value"]).mean() > 0.9, name
    (one, *_), (other, *_) = (norm_linear(result).r2.values() for result in (published, found))
    assert one != other and places(published, ADDS) != places(found, ADDS)


def test_a_target_is_one_number_a_token(nano):
    with pytest.raises(BadInput, match="one number a token"):
        error_norms.anew(nano, target=lambda x, reconstruction: x - reconstruction)

"""Nested models: the same numbers as plain regressions on the tokens, and as the measurement where both speak
of x."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from darkmatter_utils import Study, measure
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims import c02_norm_linear, c13_beyond_simple
from darkmatter_utils.claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN
from darkmatter_utils.experiments.baselines import LabelMeans
from darkmatter_utils.experiments.nested import ALL, ALONE, SIMPLE, STEPS, THREE, X, nested
from darkmatter_utils.measurement.widths import suite_rows
from darkmatter_utils.pages.depth import (
    by_place,
    layers,
    norm_evidence,
    norm_models,
    place_table,
    suite_of,
)
from darkmatter_utils.studies.activations import Activations

OTHER = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


@pytest.fixture(scope="module")
def models(nano):
    return norm_models(nano)


@pytest.fixture(scope="module")
def deep():
    """Nano with the SAEs of its site used at the next layer too, as a suite of the same widths at every
    layer."""
    study = Study.load("nano")
    more = tuple(
        replace(entry, id=f"depth-{entry.id}", site=OTHER, suite="depth", main=False)
        for entry in study.saes[:2]
    )
    return replace(study, saes=study.saes + more)


def test_x_alone_is_the_norm_test_of_the_measurement(nano, models):
    values, _ = models.replicated(X)
    assert values == pytest.approx(nano.saes["norm_error"].to_numpy(), abs=1e-9)


def test_each_model_is_a_plain_regression_out_of_fold(nano, models):
    tokens = nano.tokens[nano.tokens["scored"]].reset_index(drop=True)
    x = torch.cat([batch.x for batch in Activations(nano.study).batches(scored=True)]).numpy()
    y, fold = tokens["w32:error"].to_numpy(), tokens["fold"].to_numpy().astype(int)
    means = {name: LabelMeans(y, tokens[name], fold) for name in ("position", "token")}
    loss = tokens["loss"].fillna(tokens["loss"].mean()).to_numpy()
    for model in (THREE, SIMPLE, STEPS[6], ALL):
        left = 0.0
        for out in range(5):
            known = [np.sqrt(tokens["norm2"]), tokens["norm2"], *(m.without(out) for m in means.values())]
            if model != THREE:
                known += [loss, tokens["w32:l0"]]
            train, test = fold != out, fold == out
            if model == STEPS[6]:
                axes = np.linalg.svd(x[train] - x[train].mean(axis=0), full_matrices=False)[2][:10]
                known += list(axes @ x.T)
            known = np.column_stack(known + (list(x.T) if model == ALL else []))
            spread = known[train].std(axis=0)
            fit = LinearRegression().fit(known[train] / spread, y[train])
            left += ((y[test] - fit.predict(known[test] / spread)) ** 2).sum()
        mine = models.residual[:, models.ids.index("w32"), models.column(model)].sum()
        assert mine == pytest.approx(left, rel=1e-6), model


def test_a_gain_is_the_difference_of_two_r2_and_is_paired(models):
    gain = models.gain("w16", ALL, SIMPLE)
    assert gain.value == pytest.approx(
        models.r2("w16", ALL).value - models.r2("w16", SIMPLE).value, abs=1e-12
    )
    (_, more), (_, less), (_, paired) = (
        models.replicated(ALL),
        models.replicated(SIMPLE),
        models.replicated(ALL, SIMPLE),
    )
    assert np.allclose(more - less, paired)


def test_more_predictors_never_fit_the_world_worse(nano):
    world = measure("world")
    found = nested(world, suite_rows(world)["id"].tolist()[:2])
    assert "loss" not in found.steps and found.steps[0] == STEPS[0]
    assert (np.diff([found.replicated(step)[0][0] for step in found.steps]) > -0.002).all()
    assert found.replicated("‖x‖")[0] == pytest.approx(found.replicated("‖x‖" + ALONE)[0])


def test_other_layers_are_what_a_measurement_of_them_says(deep):
    here, there = measure(deep), measure(deep.at(OTHER, suite="depth"))
    models = norm_models(here)
    assert models.ids == ["w16", "w32", "w64", "depth-w16", "depth-w32"]
    for row in there.saes.itertuples():
        assert models.r2(row.id, X).value == pytest.approx(row.norm_error, abs=1e-9)
    assert layers(here)[["width", "layer"]].to_numpy().tolist() == [[16, 0], [16, 1], [32, 0], [32, 1]]
    assert list(by_place(here, models, X))[-2:] == ["layer 1, 16 latents", "layer 1, 32 latents"]
    found = norm_evidence(here, models)
    assert c02_norm_linear.verdict(found).numbers["places"] == 5
    assert repr(place_table(here, models)).count("\n") == 5


def test_the_suite_of_a_model_is_the_suite_of_the_measurement(nano, models):
    assert suite_of(nano, models, X).values == pytest.approx(nano.saes["norm_error"].to_numpy(), abs=1e-9)


def test_an_unknown_sae_is_named(nano):
    with pytest.raises(BadInput, match="w16"):
        nested(nano, ["w17"])


def e(value, half=0.02):
    return Estimate(value, value - half, value + half)


@pytest.mark.parametrize(
    "r2, layers, word",
    [
        ([0.95] * 4, [0.95] * 4, HOLDS),
        ([0.95] * 4, [0.95] * 3 + [0.8], PARTLY),
        ([0.95] * 4, [0.95] * 2 + [0.3] * 2, PARTLY),
        ([0.95] * 4, [0.95] + [0.3] * 3, FAILS),
        ([0.95] * 4, [-0.1] * 4, FAILS),
    ],
)
def test_layers_are_places_where_claim_2_may_fail(r2, layers, word):
    numbers = {"r2": dict(enumerate(map(e, r2))), "layers": dict(enumerate(map(e, layers)))}
    simple = dict.fromkeys(range(4), 0.5)
    verdict = c02_norm_linear.verdict(c02_norm_linear.Evidence(**numbers, simple=simple))
    assert verdict.word == word and "8 places" in verdict.why


@pytest.mark.parametrize(
    "lead, gain, word",
    [
        ([0.2] * 8, [0.1] * 8, HOLDS),
        ([0.2] * 8, [0.1] * 7 + [0.0], PARTLY),
        ([0.2] * 6 + [0.0] * 2, [0.1] * 8, PARTLY),
        ([0.2] * 5 + [0.0] * 3, [0.1] * 8, FAILS),
        ([-0.2] * 8, [0.1] * 8, FAILS),
    ],
)
def test_x_beyond_simple_predictors(lead, gain, word):
    places = [dict(enumerate(map(e, values))) for values in (lead, gain)]
    verdict = c13_beyond_simple.verdict(c13_beyond_simple.Evidence(*places))
    assert verdict.word == word and verdict.measured
    assert c13_beyond_simple.verdict(c13_beyond_simple.Evidence({}, {})).word == UNKNOWN

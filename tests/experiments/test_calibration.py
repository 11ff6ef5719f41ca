"""The rules are wrong as rarely as the shipped table says: rates, truths, and five studies again."""

import math

import numpy as np
import pandas as pd
import pytest

from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN
from darkmatter_utils.experiments import calibration
from darkmatter_utils.experiments import simulated_documents as documents
from darkmatter_utils.experiments import simulated_norms as norms
from darkmatter_utils.experiments.calibration import (
    AGAIN,
    FALSE,
    MARGIN,
    NOTHING,
    NULL_STUDIES,
    RULES,
    TRUE,
    truths,
)
from darkmatter_utils.experiments.norm_test import fallen, owned

INF = math.inf


@pytest.mark.parametrize(
    "inside, margin, false, true",
    [
        ((0.3, 0.7), 0.7, 0.85, 0.5),  # no more than half the way to 1
        ((-0.05, 0.05), 0.05, 0.1, 0.0),
        ((-0.1, 0.0), 0.0, 0.05, -0.05),
        ((0.8, 1.25), 1.25, 1.475, 1.025),
        ((0.2, INF), 0.2, 0.0, 0.4),
        ((0.9, INF), 0.9, 0.85, 0.95),
        ((1.1, INF), 1.1, 1.0, 1.2),
        ((-INF, 0.2), 0.2, 0.4, 0.0),
        ((-INF, -0.01), -0.01, 0.0, -0.02),
    ],
)
def test_truths_lie_at_the_margin_and_as_far_again_on_both_sides(inside, margin, false, true):
    found = truths(inside)
    assert [found[name] for name in (MARGIN, FALSE, TRUE)] == pytest.approx([margin, false, true])
    assert inside[0] <= found[TRUE] <= inside[1] and not inside[0] <= found[FALSE] <= inside[1]


def test_every_statement_of_a_rule_is_simulated_at_every_truth():
    table = calibration.shipped()
    asked = [(name, s, t) for name, rule in RULES.items() for s in rule.inside for t in (MARGIN, FALSE, TRUE)]
    asked += [(name, rule.introduced, NOTHING) for name, rule in RULES.items() if rule.null]
    assert sorted(map(tuple, table[["rule", "statement", "truth"]].to_numpy())) == sorted(asked)
    nothing, studies = table["truth"] == NOTHING, [RULES[name].studies for name in table["rule"]]
    assert (table["studies"] == np.where(nothing, NULL_STUDIES, studies)).all()
    assert (table[list(calibration.LETTERS)].sum(axis=1) == table["studies"]).all()


@pytest.mark.parametrize("name", RULES)
def test_the_shipped_table_is_of_the_rule_as_it_stands(name):
    table = calibration.shipped()
    why = "the rule, or what simulates it, has changed: run darkmatter calibrate rules"
    assert set(table.loc[table["rule"] == name, "code"]) == {calibration.code(name)}, why


@pytest.mark.parametrize("name", RULES)
def test_the_first_studies_say_again_what_the_table_says(name):
    again = calibration.rows(name, studies=AGAIN).set_index(["statement", "truth"])
    table = calibration.shipped().query("rule == @name").set_index(["statement", "truth"])
    assert again["first"].to_dict() == table["first"].to_dict()
    assert again["value"].to_dict() == pytest.approx(table["value"].to_dict(), nan_ok=True)


def test_rates_from_counts(monkeypatch):
    about = {"rule": "1", "statement": "half", "studies": 400, PARTLY: 0, "first": "", "code": ""}
    rows = [(MARGIN, 12, 20), (FALSE, 4, 390), (TRUE, 400, 0)]
    table = [about | {"truth": t, HOLDS: h, FAILS: f, UNKNOWN: 400 - h - f} for t, h, f in rows]
    found = calibration.rates(pd.DataFrame(table)).set_index("truth")
    assert found["false"].to_dict() == {MARGIN: 20 / 400, FALSE: 4 / 400, TRUE: 0}
    assert found["upper"][TRUE] == pytest.approx(1 - 0.05 ** (1 / 400)), "none of n: the rule of three"
    assert found["upper"][MARGIN] == pytest.approx(0.0722, abs=5e-4)
    assert (
        found["power"][FALSE] == 390 / 400
        and found["power"][TRUE] == 1
        and math.isnan(found["power"][MARGIN])
    )
    (one,) = calibration.summary(pd.DataFrame(table)).to_dict("records")
    assert one["false"] == 0.05 and one["power"] == 390 / 400 and one["sound"] and one["answers"]


def test_the_truths_of_vectors_are_those_of_large_samples():
    rng, r2, kept, lead = np.random.default_rng(0), [], [], []
    wanted = {"about half": {MARGIN: 0.7}, "not shrinkage": {MARGIN: 0.5, TRUE: 0.75}}
    for _ in range(4):
        found = documents.half_linear(rng, wanted)
        r2.append(found["about half", MARGIN].r2[documents.D].value)
        kept.append([found["not shrinkage", t].kept[documents.D].value for t in (MARGIN, TRUE)])
        lead.append(documents.earlier(rng, {"part of it": {TRUE: 0.1}})["part of it", TRUE].over_shuffled)
    assert np.mean(r2) == pytest.approx(0.7, abs=0.01)
    assert np.mean(kept, axis=0) == pytest.approx([0.5, 0.75], abs=0.03)
    assert np.mean([one["site"].value for one in lead]) == pytest.approx(0.1, abs=0.002)


def test_the_truths_of_norms_are_those_of_large_samples():
    rng = np.random.default_rng(0)
    v = norms.drop_for(0.02, "SaeError")
    parts = []
    for _ in range(4):
        text = norms.Text.draw(rng)
        x, z = norms.sizes(text)
        size = np.sqrt(norms.factor(text.normal(1, alike=0.0), v) * z)
        error = z * np.eye(documents.D)[1] + size * norms.directions(text)
        measured = text.scored(x, {"sae": error})["sae"].norm_r2
        parts.append([measured[part].value for part in norms.of_norms(v)])
    assert np.mean(parts, axis=0) == pytest.approx(list(norms.of_norms(v).values()), abs=0.03)


def test_the_maps_own_error_moves_a_fall_of_norms_as_far_as_doubling_it_does():
    """Against the same with LinearError and NonlinearError known exactly; the interval is moved out by it."""
    text = norms.Text.draw(np.random.default_rng(1))
    x, z = norms.sizes(text)
    size = np.sqrt(norms.factor(text.normal(1, alike=0.0), norms.drop_for(0.02, "SaeError")) * z)
    linear, rest = z * np.eye(documents.D)[1], size * norms.directions(text)
    known = np.stack([(part**2).sum(axis=1) for part in (linear + rest, rest)], axis=1)
    exact = text.regressed(x, {"": known}).r2("less", only=(0, 1))[0]["value"][0]
    value, _, moved = fallen(text.regressed(x, {"": norms.squares(text, x, linear + rest)}), "SaeError")
    assert value[0] - exact > 0.0005 and moved[0] == pytest.approx(value[0] - exact, rel=0.5)
    told = owned(Estimate(0.5, 0.4, 0.6), 0.1)
    assert (told.low, told.value, told.high) == pytest.approx((0.3, 0.5, 0.6))
    assert owned(Estimate(0.5, 0.4, 0.6), -0.1).high == pytest.approx(0.7)

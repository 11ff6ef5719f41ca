"""Known parts followed through the split: exact identities, closed forms, and rules that follow their
numbers."""

import numpy as np
import pandas as pd
import pytest

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Absent, Estimate
from darkmatter_utils.claims import c11_parts_land
from darkmatter_utils.decomposition.decompose import decompose
from darkmatter_utils.experiments import known_parts, nulls
from darkmatter_utils.experiments.ablation import LEVELS, over_ablation, table_one
from darkmatter_utils.experiments.known_parts import ERROR, TRUE, land_sae
from darkmatter_utils.studies.study import Study
from darkmatter_utils.worlds.known import land, tokens_of
from darkmatter_utils.worlds.saes import OracleSae
from darkmatter_utils.worlds.world import World

WORLD = World(
    d_model=12,
    features=60,
    context=128,
    l0=4,
    dense=0.1,
    curved=0.05,
    noise=0.05,
    manifolds=2,
    scale_token=0.3,
)
SAE = OracleSae("a", WORLD, 20, gain=0.9, wrong=0.2, missed=0.05, false_fires=0.3, interference=0.2)


@pytest.fixture(scope="module")
def batch():
    return tokens_of(WORLD, 40)


def test_the_parts_make_up_the_error_that_decompose_splits(batch):
    landed = land_sae(SAE, batch)
    whole = landed.weights(**ERROR)
    x_hat = SAE.reconstruct(batch)[0]
    found = decompose(batch.x, x_hat, document=batch.document.numpy(), bootstrap=0)
    assert float(landed.nonlinear(whole)) == pytest.approx(found.held_out["fvu_nonlinear"], rel=1e-9)
    mean = ((batch.x - x_hat).mean(dim=0) ** 2).sum() * len(batch.x) / landed.x.sum()
    assert float(landed.variance(whole)) + float(mean) == pytest.approx(found.fvu.value, rel=1e-9)


def test_covariance_shares_add_up_to_the_estimated_parts(batch):
    landed = land_sae(SAE, batch)
    whole = landed.weights(**ERROR)
    shares = [
        landed.made_of(whole, landed.weights(**{n: s * ERROR[n] for n, s in signs.items()}))
        for signs in TRUE.values()
    ]
    linear, nonlinear = np.sum(shares, axis=0)
    assert linear + nonlinear == pytest.approx(float(landed.variance(whole)), rel=1e-9)


def test_a_linear_part_lands_in_the_linear_error_and_noise_in_the_nonlinear_one():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6000, 5)) + 100.0
    read, noise = x @ rng.standard_normal((5, 5)), rng.standard_normal((6000, 5))
    landed = land(
        x, {"read": read, "noise": noise}, np.arange(6000) // 60, error={"read": 1, "noise": 1}, learned=x
    )
    assert landed.shares(landed.weights(read=1))[0] == pytest.approx(1)
    assert abs(landed.shares(landed.weights(noise=1))[0]) < 0.01
    linear, _ = landed.shares(landed.weights(read=1, noise=1))
    assert linear == pytest.approx(
        landed.variance(landed.weights(read=1)) / landed.variance(landed.weights(read=1, noise=1)), abs=0.02
    )
    assert landed.leaked() == pytest.approx(
        float(((read - read.mean(0)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()), rel=0.05
    )


def test_the_error_of_an_absent_feature_lands_as_the_closed_form_says():
    world = World(d_model=16, features=120, l0=4, context=256)
    truth, landed = world.truth(30), land_sae(OracleSae("a", world, 30), tokens_of(world, 60))
    linear, _ = landed.shares(landed.weights(absent=1))
    assert linear == pytest.approx(truth.linear["absent"], abs=0.02)
    assert float(landed.nonlinear(landed.weights(absent=1))) == pytest.approx(truth.fvu_nonlinear, rel=0.05)
    assert np.isnan(landed.shares(landed.weights(introduced=1))[0])  # it introduces nothing


def test_an_unknown_part_is_named():
    landed = land(np.eye(8), {"a": np.eye(8)}, np.arange(8), error={}, folds=2)
    with pytest.raises(BadInput, match="no part 'b'; there are a"):
        landed.weights(b=1)


def test_the_bootstrap_of_all_documents_once_is_the_value(batch):
    landed = land_sae(SAE, batch)
    c = landed.weights(absent=1)
    for value, drawn in zip(landed.shares(c), landed.shares(c, np.ones((2, len(landed.x)))), strict=True):
        assert drawn == pytest.approx([float(value)] * 2)


def test_the_measured_null_agrees_with_its_closed_form():
    world = nulls.null_world(2, 1.0)
    found = nulls.capped_curve(world, [16, 64], cap=None, documents=12)
    for width, _, fvu, nonlinear, r2 in found:
        truth = world.truth(width)
        assert (nonlinear, r2) == pytest.approx((truth.fvu_nonlinear, truth.r2_total), abs=0.03)
        assert truth.fvu - 0.02 < fvu < truth.fvu + 0.1  # it counts the error's mean, too


def test_a_null_that_introduces_nothing_is_half_linear_and_level_somewhere():
    ranges = nulls.flat_ranges(nulls.unfixed(superposition=(16,), laws=(1.0,)))
    row = ranges.iloc[0]
    assert row["slope_factor"] >= 8 and row["r2_start"] > 0.5 > row["r2_stop"]


def test_ranges_of_curves_that_are_known():
    widths = [16, 32, 64, 128, 256]
    level = pd.DataFrame({"superposition": 8, "law": 1.0, "width": widths, "fvu_nonlinear": 0.1, "r2": 0.5})
    halving = level.assign(law=2.0, fvu_nonlinear=[0.5**k for k in range(5)])
    flat, none = nulls.flat_ranges(pd.concat([level, halving])).to_dict("records")
    assert (flat["slope_factor"], flat["steps_factor"], flat["change"]) == (16, 16, pytest.approx(0))
    assert (none["slope_factor"], none["steps_factor"]) == (1, 1)


def test_less_superposition_puts_more_of_what_is_absent_into_the_linear_error():
    swept = known_parts.sweep(seeds=1, documents=12, superposition=(1, 16), held=(1 / 4,))
    absent = swept[swept["part"] == "absent"].set_index("superposition")["linear"]
    introduced = swept[swept["part"] == "introduced"]["linear"]
    assert absent[1] > absent[16] + 0.3 and introduced.abs().max() < 0.1
    own = swept.assign(kind="matched", ablated=0.5)
    cells = known_parts.cases({"goes": swept, "swept": swept}, {"shares": own})
    assert set(cells) == {
        "n/d 1, 8 held",
        "n/d 16, 128 held",
        "world, introduced apart",
        "own dictionary, matched noise, 50% ablated",
    }
    assert len(known_parts.cases({"goes": swept, "swept": swept}, Absent("No model."))) == 3
    assert cells["n/d 1, 8 held"]["absent"].value == pytest.approx(1 - absent[1])


def test_shrinkage_is_introduced_and_yet_linear():
    goes = known_parts.case_tables(Study.load("world"), seeds=1, documents=5)["goes"].set_index(
        ["part", "introduced"]
    )["linear"]
    assert goes["introduced", "shrunk"] > 0.3
    assert goes["introduced", "apart"] < 0.1


@pytest.mark.parametrize(
    ("shares", "word"),
    [
        ([(0.1, 0.1), (0.2, 0.0)], "holds"),
        ([(0.1, 0.1), (0.6, 0.0)], "partly"),
        ([(0.1, 0.6), (0.6, 0.0)], "does not hold"),
        ([(0.26, 0.0), (0.1, 0.0)], "partly"),  # the interval crosses the edge
    ],
)
def test_claim_11_follows_its_numbers(shares, word):
    near = lambda v: Estimate(v, v - 0.02, v + 0.02)
    cells = {f"case {i}": {"absent": near(a), "introduced": near(b)} for i, (a, b) in enumerate(shares)}
    verdict = c11_parts_land.verdict(c11_parts_land.Evidence(cells))
    assert verdict.word == word and f"{c11_parts_land.THRESHOLDS.misplaced:.0%}" in verdict.why


def test_the_world_study_is_its_own_null():
    study = Study.load("world")
    main = [entry for entry in study.saes if entry.main]
    assert {entry.kind for entry in main} == {"oracle"} and len(main) >= 4
    l0 = [
        float(
            OracleSae("a", known_parts.world_of(study, seed=0), e.width, **e.dials)
            .reconstruct(tokens_of(known_parts.world_of(study, seed=0), 2))[1]
            .double()
            .mean()
        )
        for e in (main[0], main[-1])
    ]
    assert max(l0) / min(l0) < 1.05


def test_slopes_and_correlations_of_a_grid_that_is_known():
    levels = [(a, b) for a in (0.0, 0.1, 0.2) for b in (0.0, 0.1, 0.2)]
    cells = pd.DataFrame(
        [
            {
                "kind": "isotropic",
                "ablated": 0.5,
                "dense": a,
                "introduced": b,
                "linear": 0.3 * a,
                "nonlinear": 0.7 * a + b,
            }
            for a, b in levels
        ]
    )
    table = table_one(cells).set_index(["true", "estimated"])
    assert table.loc[("dense", "linear"), "slope"] == pytest.approx(0.3)
    assert table.loc[("dense", "linear"), "correlation"] == pytest.approx(1)
    assert table.loc[("introduced", "nonlinear"), "slope"] == pytest.approx(1)


def test_three_pairs_of_noise_as_latents_are_ablated():
    levels = [(a, b) for a in LEVELS for b in LEVELS]
    grid = pd.DataFrame(levels, columns=["dense", "introduced"]).assign(kind="isotropic", ablated=0.1)
    grid = grid.assign(linear=grid["dense"], nonlinear=grid["introduced"], reaction=0.01)
    found = over_ablation(grid).set_index(["noise", "part"])["share"]
    assert found["no noise", "SaeError"] == 0 and found["more on x", "SaeError"] == LEVELS[3] + LEVELS[1]
    assert found["more on Sae(x)", "Introduced"] == pytest.approx(LEVELS[3] + 0.01)


def test_the_slope_of_a_null_curve():
    curve = pd.DataFrame({"width": [128, 256, 512], "fvu_nonlinear": [0.1, 0.09, 0.081]})
    assert nulls._slope(curve) == pytest.approx(-0.1)

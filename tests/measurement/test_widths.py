"""The width suite: intervals that carry seeds, trends with a known answer."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.experiments.measured import fit_floor, left_out, per_doubling
from darkmatter_utils.measurement.widths import WIDTHS, one_l0, suite_l0, width_suite

WIDE = np.array([128, 256, 512, 1024, 2048, 4096])


def measured(fvu, *, seeds=(3, 3, 3, 3, 1, 1), spread=0.0, error=0.01, replicates=2000, seed=0):
    """A measurement with a width suite: FVU by width, `spread` between seeds, `error` between documents
    (relative).
    """
    rng = np.random.default_rng(seed)
    rows = [(w, s) for w, n in zip(WIDE, seeds, strict=True) for s in range(n)]
    width = np.array([w for w, _ in rows])
    values = fvu(width.astype(float)) * np.exp(spread * rng.standard_normal(len(rows)))
    documents = np.exp(error * rng.standard_normal((replicates, 1)))
    saes = pd.DataFrame(
        {
            "id": [f"{w}-{s}" for w, s in rows],
            "width": width,
            "seed": [s for _, s in rows],
            "main": True,
            "fvu": values,
        }
    )
    return SimpleNamespace(saes=saes, replicates={"fvu": values * documents})


def test_without_seeds_the_interval_is_that_of_the_documents():
    suite = width_suite(measured(lambda w: w**-0.3, seeds=(1,) * 6), "fvu")
    assert np.allclose(suite.replicates, suite.documents_only) and np.isnan(suite.seed_sd)
    assert np.allclose(suite.values, WIDE**-0.3)


def test_a_width_trained_once_borrows_the_spread_of_the_others():
    suite = width_suite(measured(lambda w: w**-0.3, seeds=(8, 8, 8, 8, 1, 1), spread=0.1), "fvu")
    assert suite.seed_sd == pytest.approx(0.1, rel=0.4)
    spread = np.log(suite.replicates).std(axis=0)
    assert np.allclose(spread[4:], suite.seed_sd, rtol=0.15)
    assert np.allclose(spread[:4], np.hypot(suite.seed_sd / np.sqrt(8), 0.01), rtol=0.15)


def test_intervals_with_seeds_cover_the_width_s_own_mean():
    truth = WIDE**-0.3
    hits = []
    for seed in range(60):
        made = measured(lambda w: w**-0.3, spread=0.05, error=0.02, replicates=400, seed=seed)
        # One draw of documents moves every SAE alike, as it does in a measurement.
        made.saes["fvu"] *= np.exp(0.02 * np.random.default_rng([1, seed]).standard_normal())
        made.replicates["fvu"] = made.saes["fvu"].to_numpy() * (
            made.replicates["fvu"] / made.replicates["fvu"].mean(0)
        )
        suite = width_suite(made, "fvu")
        hits.append([e.low <= t <= e.high for e, t in zip(suite.estimates().values(), truth, strict=True)])
    assert 0.9 <= np.mean(hits) <= 0.99


def test_change_per_doubling_of_a_power_law_is_exact():
    change = per_doubling(width_suite(measured(lambda w: 3 * w**-0.25), "fvu"))
    assert change.value == pytest.approx(2**-0.25 - 1) and change.low <= change.value <= change.high


@pytest.mark.parametrize("c, a, m", [(0.05, 1.5, 0.6), (0.0, 0.8, 0.3)])
def test_the_curve_is_found_and_predicts_left_out_widths(c, a, m):
    suite = width_suite(measured(lambda w: c + a * w**-m, spread=0.01), "fvu")
    fit = fit_floor(suite)
    assert fit.c.low - 0.01 <= c <= fit.c.high + 0.01
    assert (left_out(suite)["miss"].abs() < 4).all()
    band = fit.curve(WIDE)
    assert ((band["low"] <= band["value"] + 1e-9) & (band["value"] <= band["high"] + 1e-9)).all()


def test_too_few_widths_give_no_fit():
    suite = width_suite(measured(lambda w: w**-0.3), "fvu")
    for width in suite.widths[: 7 - WIDTHS]:
        suite = suite.without(width)
    assert not fit_floor(suite) and not left_out(suite)


def grid(l0s, *, error=0.01, replicates=500):
    """A measurement with SAEs of several L0 a width, FVU = W^-0.3 L0^-0.4; the first L0 of a width is the
    suite's."""
    rows = [(width, l0, i == 0) for width, mine in zip(WIDE, l0s, strict=True) for i, l0 in enumerate(mine)]
    saes = pd.DataFrame(rows, columns=["width", "l0", "main"]).assign(
        seed=0, kind="jumprelu", l0_target=np.nan
    )
    saes["id"] = [f"{row.width}-{row.l0}" for row in saes.itertuples()]
    saes["fvu"] = saes["width"] ** -0.3 * saes["l0"] ** -0.4
    documents = np.exp(error * np.random.default_rng(0).standard_normal((replicates, 1)))
    return SimpleNamespace(saes=saes, replicates={"fvu": saes["fvu"].to_numpy() * documents})


def test_widths_at_different_l0_are_read_at_one_in_log_l0():
    made = grid([(50, 80, 20), (62, 40), (57, 300), (48, 90, 70), (64, 30), (60, 65, 55)])
    l0 = one_l0(made)
    assert 55 <= l0 <= 62 and suite_l0(made) == (l0, l0)
    suite = width_suite(made, "fvu", l0=l0)
    assert suite.l0 == l0 and np.allclose(suite.values, WIDE**-0.3 * l0**-0.4)
    assert np.allclose(suite.replicates.std(axis=0) / suite.values, 0.01, rtol=0.1)
    # At the SAEs' own L0 the slope over widths is another one.
    assert (
        abs(per_doubling(suite).value - (2**-0.3 - 1))
        < 1e-9
        < abs(per_doubling(width_suite(made, "fvu")).value - (2**-0.3 - 1))
    )


def test_widths_that_share_no_l0_are_left_as_they_are():
    made = grid([(50, 80), (20, 30), (57, 300), (48, 90), (64, 30), (60, 65)])
    assert one_l0(made) is None and suite_l0(made) == (20, 64)
    with pytest.raises(BadInput, match="no two SAEs of 256 latents lie around an L0 of 60"):
        width_suite(made, "fvu", l0=60)


def test_a_suite_at_one_l0_needs_no_reading_between():
    assert one_l0(grid([(50, 80), (51, 30), (50.5, 300), (50, 90), (50, 30), (52, 65)])) is None


def test_seeds_stay_in_the_interval_between_l0s():
    made = grid([(40, 80)] * 6)
    twice = pd.concat([made.saes, made.saes.assign(seed=1, fvu=made.saes["fvu"] * 1.1)], ignore_index=True)
    twice["l0_target"], twice.loc[twice["main"] & (twice["width"] > 1000), "l0"] = twice["l0"], 44.0
    both = SimpleNamespace(saes=twice, replicates={"fvu": np.tile(twice["fvu"].to_numpy(), (500, 1))})
    suite = width_suite(both, "fvu", l0=one_l0(both))
    assert suite.seed_sd > 0.05 and (suite.replicates.std(axis=0) > 0.02 * suite.values).all()

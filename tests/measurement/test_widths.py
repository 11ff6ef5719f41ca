"""The width suite: intervals that carry seeds, trends with a known answer."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from darkmatter_utils.experiments.floors import cuts, fit_floor, left_out, less, refits
from darkmatter_utils.experiments.scaling import lack_of_fit, per_doubling
from darkmatter_utils.measurement.widths import WIDTHS, at_each_l0, one_l0, suite_l0, wide, width_suite

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


def test_every_width_counts_alike_in_the_slope():
    """One seed or three: the slope is numpy's, whatever a width's own spread."""
    made = measured(lambda w: np.where(w > 1000, 0.2, 0.3), spread=0.05)
    suite = width_suite(made, "fvu")
    plain = np.polyfit(np.log2(WIDE), np.log2(suite.values), 1)[0]
    assert per_doubling(suite).value == pytest.approx(2**plain - 1)


def test_a_straight_line_fits_a_straight_line():
    """χ² per degree of freedom is near 1 on average where the line is true, p uniform; large where not."""
    lines = lambda seed: width_suite(
        measured(lambda w: w**-0.1, seeds=(3,) * 6, spread=0.01, seed=seed), "fvu"
    )
    found = np.array([lack_of_fit(lines(seed)) for seed in range(60)])
    # The spread between seeds is known to 12 degrees of freedom.
    assert 0.8 < found[:, 0].mean() < 1.5 and 0.01 <= (found[:, 1] < 0.05).mean() <= 0.2
    bent = width_suite(measured(lambda w: 0.1 + 3 * w**-0.6, spread=0.01), "fvu")
    assert lack_of_fit(bent)[0] > 10 and lack_of_fit(bent)[1] < 1e-6


@pytest.mark.parametrize("c, a, m", [(0.05, 1.5, 0.6), (0.0, 0.8, 0.3)])
def test_the_curve_is_found_and_predicts_left_out_widths(c, a, m):
    suite = width_suite(measured(lambda w: c + a * w**-m, spread=0.01), "fvu")
    fit = fit_floor(suite)
    assert fit.c.low <= c <= fit.c.high + 0.01 and fit.c.low >= 0 and fit.misfit < 3
    assert (left_out(suite)["miss"].abs() < 4).all()
    band = fit.curve(WIDE)
    assert ((band["low"] <= band["value"] + 1e-9) & (band["value"] <= band["high"] + 1e-9)).all()


def test_a_curve_that_is_not_true_has_a_floor_that_is_not_sure():
    """The interval holds the floor without the narrowest widths, and grows with the misfit."""
    bent = lambda w: 0.1 + 2 * w**-0.6 + 0.004 * np.cos(2 * np.log2(w))
    suite = width_suite(measured(bent, spread=0.002), "fvu")
    fit, plain = fit_floor(suite), refits(suite)[1:, 0]
    assert fit.misfit > 3 and fit.c.high - fit.c.low > 3 * np.ptp(np.percentile(plain, [2.5, 97.5]))
    for cut in cuts(suite):
        assert fit.c.low <= refits(cut)[0, 0] <= fit.c.high
    assert [len(cut.widths) for cut in cuts(suite)] == [6, 5, 4]


def test_a_floor_at_its_bound_is_no_surer_than_the_curve():
    """Where every replicate is best at c = 0, the interval is still as wide as the misfit has it."""
    bent = lambda w: 0.1 + 0.4 * w**-0.35 + 0.02 * np.cos(1.3 * np.log2(w))
    suite = width_suite(measured(bent, spread=0.002), "fvu")
    assert (refits(suite)[:, 0] == 0).all()
    c = fit_floor(suite).c
    assert c.value == c.low == 0 and c.high > 0.1
    sure = width_suite(measured(lambda w: 0.4 * w**-0.35, spread=0.002), "fvu")
    assert fit_floor(sure).c.low == 0 and fit_floor(sure).c.high < 0.05


def test_the_floor_of_the_linear_part_is_that_of_the_difference():
    total = measured(lambda w: 0.15 + 2 * w**-0.6, spread=0.002)
    total.saes["rest"] = 0.1
    total.replicates["rest"] = np.full_like(total.replicates["fvu"], 0.1)
    linear = less(width_suite(total, "fvu"), width_suite(total, "rest"))
    c = fit_floor(linear).c
    assert c.low < 0.05 < c.high and c.value == pytest.approx(0.05, abs=0.02)


def test_too_few_widths_give_no_fit():
    suite = width_suite(measured(lambda w: w**-0.3), "fvu")
    for width in suite.widths[: 7 - WIDTHS]:
        suite = suite.without(width)
    assert not fit_floor(suite) and not left_out(suite)


def grid(l0s, *, error=0.01, replicates=2000, bend=0.0):
    """A measurement with SAEs of several L0 a width, log FVU = −0.3 log W − 0.4 t + bend t² / 2, t the log of
    L0 / 60; the first L0 of a width is the suite's."""
    rows = [(width, l0, i == 0) for width, mine in zip(WIDE, l0s, strict=True) for i, l0 in enumerate(mine)]
    saes = pd.DataFrame(rows, columns=["width", "l0", "main"]).assign(
        seed=0, kind="jumprelu", l0_target=np.nan
    )
    saes["id"] = [f"{row.width}-{row.l0}" for row in saes.itertuples()]
    t = np.log(saes["l0"] / 60)
    saes["fvu"] = saes["width"] ** -0.3 * np.exp(-0.4 * t + bend * t**2 / 2)
    documents = np.exp(error * np.random.default_rng(0).standard_normal((replicates, 1)))
    return SimpleNamespace(saes=saes, replicates={"fvu": saes["fvu"].to_numpy() * documents})


FAIR = [(50, 80, 30), (62, 45), (57, 90), (48, 90, 70), (64, 40), (60, 65, 55)]


def test_widths_at_different_l0_are_read_at_one_in_log_l0():
    made = grid(FAIR)
    l0 = one_l0(made)
    assert 55 <= l0 <= 62 and suite_l0(made) == (l0, l0)
    suite = width_suite(made, "fvu", l0=l0)
    assert suite.l0 == l0 and np.allclose(suite.values, WIDE**-0.3 * (l0 / 60) ** -0.4)
    assert np.allclose(suite.bent, 0) and np.allclose(
        suite.replicates.std(axis=0) / suite.values, 0.01, rtol=0.1
    )
    # At the SAEs' own L0 the slope over widths is another one.
    assert (
        abs(per_doubling(suite).value - (2**-0.3 - 1))
        < 1e-9
        < abs(per_doubling(width_suite(made, "fvu")).value - (2**-0.3 - 1))
    )


def test_a_bend_in_log_l0_is_read_exactly_by_three_saes_and_carried_for_two():
    made = grid(FAIR, bend=0.5)
    suite = width_suite(made, "fvu", l0=56.0)
    t, three = np.log(56 / 60), np.array([True, False, False, True, False, True])
    truth = WIDE**-0.3 * np.exp(-0.4 * t + 0.25 * t**2)
    assert np.allclose(suite.values[three], truth[three]) and not np.allclose(suite.values, truth)
    # What the line through two is off by is in the interval, for three as the same for the pair.
    off = np.abs(np.log(suite.values / truth))
    assert (off <= 2 * suite.bent)[~three].all() and (suite.bent[~three] == suite.bent.max()).all()
    assert np.allclose(np.log(suite.replicates).std(axis=0), np.hypot(0.01, suite.bent), rtol=0.1)
    assert np.allclose(suite.without(256).bent, suite.bent[[0, 2, 3, 4, 5]])


def test_a_width_is_read_between_saes_that_are_near_or_at_one_that_is_at_the_l0():
    made = grid([(50, 80), (20, 30), (57, 300), (27, 90), (61, 10), (62,)])
    assert width_suite(made, "fvu", l0=60).widths.tolist() == [128, 2048, 4096]
    assert width_suite(made, "fvu", l0=25).widths.tolist() == [256]
    alone = width_suite(made, "fvu", l0=60).values[1:] / np.array([2048, 4096]) ** -0.3
    assert np.allclose(alone, (np.array([61, 62]) / 60) ** -0.4), "as it is"
    assert (
        len(width_suite(made, "fvu", l0=5).widths)
        == 0
        == len(wide(fat(made), width_suite(made, "fvu", l0=5)).widths)
    )


def fat(made, d_model=64):
    """With a d_model."""
    made.card = {"d_model": d_model}
    return made


def test_a_claim_about_any_l0_is_asked_at_each():
    made = fat(grid([(8, 4, 16), (8, 4, 16), (8, 4, 16), (8, 4, 16), (8,), (8,)]))
    found = at_each_l0(made, "fvu")
    assert list(found) == pytest.approx([4, 4 * 2**0.5, 8, 8 * 2**0.5, 16])
    assert [len(suite.widths) for suite in found.values()] == [4, 4, 6, 4, 4]
    assert all(per_doubling(suite).value == pytest.approx(2**-0.3 - 1) for suite in found.values())
    assert [len(wide(made, suite).widths) for suite in found.values()] == [3, 3, 5, 3, 3]
    assert at_each_l0(grid([(50, 80), (20, 30), (57, 300), (48, 90), (64, 30), (60, 65)]), "fvu") == {}


def test_widths_that_share_no_l0_are_left_as_they_are():
    made = grid([(50, 80), (20, 30), (57, 300), (48, 90), (64, 30), (60, 65)])
    assert one_l0(made) is None and suite_l0(made) == (20, 64)


def test_a_suite_at_one_l0_needs_no_reading_between():
    assert one_l0(grid([(50, 80), (51, 30), (50.5, 300), (50, 90), (50, 30), (52, 65)])) is None


def test_seeds_stay_in_the_interval_between_l0s():
    made = grid([(60, 80)] * 6, replicates=500)
    twice = pd.concat([made.saes, made.saes.assign(seed=1, fvu=made.saes["fvu"] * 1.1)], ignore_index=True)
    twice["l0_target"], twice.loc[twice["main"] & (twice["width"] > 1000), "l0"] = twice["l0"], 65.0
    both = SimpleNamespace(saes=twice, replicates={"fvu": np.tile(twice["fvu"].to_numpy(), (500, 1))})
    suite = width_suite(both, "fvu", l0=one_l0(both))
    assert suite.seed_sd > 0.05 and (suite.replicates.std(axis=0) > 0.02 * suite.values).all()

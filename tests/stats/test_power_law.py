"""The power law with a floor: recovery, the comparison with no floor, intervals."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.stats.power_law import PowerLaw

WIDTHS = 128 * 2 ** np.arange(6)


def noisy(c, sigma, seed, seeds=3):
    widths = np.repeat(WIDTHS, seeds)
    return widths, c + 2 * widths**-0.4 + sigma * np.random.default_rng(seed).normal(size=len(widths))


@pytest.mark.parametrize("c, a, m", [(0.1, 2.0, 0.4), (0.0, 1.0, 0.25), (0.05, 30.0, 1.2), (0.2, 0.0, 0.5)])
@pytest.mark.parametrize("sigma", [None, 0.01])
def test_recovers_an_exact_law(c, a, m, sigma):
    law = PowerLaw.fit(WIDTHS, c + a * WIDTHS**-m, sigma=sigma)
    np.testing.assert_allclose(law(WIDTHS * 3), c + a * (WIDTHS * 3.0) ** -m, atol=1e-7)
    if a:
        assert (law.c, law.a, law.m) == (
            pytest.approx(c, abs=1e-6),
            pytest.approx(a, rel=1e-4),
            pytest.approx(m, rel=1e-4),
        )


def test_as_scipys_curve_fit():
    widths, values = noisy(0.1, 0.003, 0)
    theirs, _ = curve_fit(lambda w, c, a, m: c + a * w**-m, widths, values, p0=[0.1, 2, 0.4], maxfev=10_000)
    ours = PowerLaw.fit(widths, values)
    np.testing.assert_allclose([ours.c, ours.a, ours.m], theirs, rtol=1e-4)


def test_bounds_hold():
    falling_too_fast = np.array([1.0, 0.4, 0.1, 0.001, 0.0, 0.0])
    rising = np.linspace(0.1, 0.3, 6)
    for values in (falling_too_fast, rising):
        law = PowerLaw.fit(WIDTHS, values)
        assert law.c >= 0 and law.a >= 0 and 0.01 <= law.m <= 3
    np.testing.assert_allclose(PowerLaw.fit(WIDTHS, rising)(WIDTHS), rising.mean(), atol=1e-6)


@pytest.mark.parametrize("sigma", [None, 0.003])
def test_comparison_with_no_floor(sigma):
    needed = PowerLaw.fit(*noisy(0.1, 0.003, 1), sigma=sigma).compare()
    assert needed.p < 1e-4 and needed.aic < -10 and needed.likelihood_ratio == pytest.approx(2 - needed.aic)
    large = [PowerLaw.fit(*noisy(0.0, 0.003, seed), sigma=sigma).compare().p < 0.05 for seed in range(40)]
    assert np.mean(large) < 0.2
    without = PowerLaw.fit(*noisy(0.1, 0.003, 1), sigma=sigma, floor=False)
    with_floor = PowerLaw.fit(*noisy(0.1, 0.003, 1), sigma=sigma)
    assert without.c == 0 and without.deviance() == pytest.approx(with_floor.deviance(0.0), rel=1e-6)


@pytest.mark.parametrize("sigma", [None, 0.003])
def test_profile_interval_covers_the_floor(sigma):
    profiles = [PowerLaw.fit(*noisy(0.1, 0.003, seed), sigma=sigma).profile() for seed in range(40)]
    assert all(p.low <= p.value <= p.high for p in profiles)
    assert 0.85 <= np.mean([p.low <= 0.1 <= p.high for p in profiles])
    assert PowerLaw.fit(*noisy(0.0, 0.003, 3), sigma=sigma).profile().low == 0


def test_bootstrap_carries_seeds_and_documents():
    widths, values = noisy(0.1, 0.004, 4)
    law = PowerLaw.fit(widths, values, sigma=0.004)
    rng = np.random.default_rng(0)
    still = np.tile(values, (200, 1))
    seeds = law.bootstrap(still)["c"]
    both = law.bootstrap(still + 0.01 * rng.normal(size=(200, 18)))["c"]
    assert seeds.low < law.c < seeds.high and seeds.value == law.c
    assert both.high - both.low > 1.3 * (seeds.high - seeds.low)
    alone = PowerLaw.fit(WIDTHS, values[::3], sigma=0.004).bootstrap(still[:, ::3])["c"]
    assert alone.high - alone.low < 1e-6
    assert law.bootstrap(still, seed=1) == law.bootstrap(still, seed=1)


def test_left_out_widths_are_predicted():
    rows = PowerLaw.fit(WIDTHS, 0.1 + 2 * WIDTHS**-0.4).leave_one_width_out()
    assert [row["width"] for row in rows] == WIDTHS.tolist()
    for row in rows:
        assert row["predicted"] == pytest.approx(row["value"], abs=1e-6)


@pytest.mark.parametrize(
    "widths, values, sigma, message",
    [
        ([1, 2, 2], [1, 2, 3], None, "at least 3 different widths"),
        ([1, 2, 3], [1, 2], None, "one length"),
        ([1, 2, 3], [1, np.nan, 2], None, "finite"),
        ([0, 2, 3], [1, 3, 2], None, "above 0"),
        ([1, 2, 3], [1, 3, 2], 0.0, "above 0"),
    ],
)
def test_bad_input(widths, values, sigma, message):
    with pytest.raises(BadInput, match=message):
        PowerLaw.fit(widths, values, sigma=sigma)


def test_bad_replicates():
    with pytest.raises(BadInput, match="replicates must be"):
        PowerLaw.fit(WIDTHS, 1.0 / WIDTHS).bootstrap(np.zeros((5, 4)))

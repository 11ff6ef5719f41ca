"""The power law with a floor: recovery, against scipy, the comparison with no floor."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.stats.power_law import EXPONENTS, PowerLaw, curves

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
    assert needed.p < 1e-4 and needed.likelihood_ratio > 12
    large = [PowerLaw.fit(*noisy(0.0, 0.003, seed), sigma=sigma).compare().p < 0.05 for seed in range(40)]
    assert np.mean(large) < 0.2
    without = PowerLaw.fit(*noisy(0.1, 0.003, 1), sigma=sigma, floor=False)
    with_floor = PowerLaw.fit(*noisy(0.1, 0.003, 1), sigma=sigma)
    assert without.c == 0 and without.deviance() - with_floor.deviance() == needed.likelihood_ratio


@pytest.mark.parametrize("floor", [True, False])
def test_many_curves_at_once_are_scipys_one_by_one(floor):
    rng = np.random.default_rng(0)
    values = (0.04 + 1.2 * WIDTHS**-0.5) * np.exp(0.05 * rng.standard_normal((20, 6)))
    sigma = 0.05 * values.mean(axis=0)
    lowest = [0, 0, EXPONENTS[0]][not floor :]
    highest = [np.inf, np.inf, EXPONENTS[1]][not floor :]

    def plain(row):
        law = lambda w, *p: (p[0] if floor else 0) + p[-2] * w ** -p[-1]
        starts = [[0.02, 1.0, m][not floor :] for m in (0.1, 0.3, 1.0)]
        fits = [
            curve_fit(law, WIDTHS, row, p, sigma, bounds=(lowest, highest), xtol=1e-12)[0] for p in starts
        ]
        return min((((law(WIDTHS, *p) - row) / sigma) ** 2).sum() for p in fits)

    loss = lambda c, a, m, row: (((c + a * WIDTHS**-m - row) / sigma) ** 2).sum()
    for row, fast in zip(values, curves(WIDTHS, values, sigma=sigma, floor=floor), strict=True):
        assert loss(*fast, row) <= plain(row) * (1 + 1e-4) + 1e-6
        one = PowerLaw.fit(WIDTHS, row, sigma=sigma, floor=floor)
        assert loss(one.c, one.a, one.m, row) <= plain(row) * (1 + 1e-9)
        assert np.allclose(one(WIDTHS), fast[0] + fast[1] * WIDTHS ** -fast[2], rtol=1e-3)


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

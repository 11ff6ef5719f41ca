"""Intervals over documents: against scipy, in closed form, and how often they cover."""

import numpy as np
import pytest
from scipy import stats

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.stats.intervals import (
    bootstrap,
    bootstrap_ratio,
    interval,
    multinomial_weights,
    resampled,
    totals,
    without_each,
)


def ratio(s):
    return s["a"] / s["b"]


@pytest.fixture
def sums():
    rng = np.random.default_rng(0)
    return {"a": rng.gamma(2.0, size=200), "b": rng.gamma(5.0, size=200)}


def test_weights():
    weights = multinomial_weights(30, 500, seed=1)
    assert (weights.sum(1) == 30).all() and weights.shape == (500, 30)
    assert np.array_equal(weights, multinomial_weights(30, 500, seed=1))
    assert not np.array_equal(weights, multinomial_weights(30, 500, seed=2))
    with pytest.raises(BadInput, match="at least one document"):
        multinomial_weights(0, 5, seed=0)


def test_fast_sums_are_the_plain_ones():
    rng = np.random.default_rng(2)
    table = {"v": rng.normal(size=(9, 3, 2)), "s": rng.normal(size=9)}
    draws = rng.integers(0, 9, size=(4, 9))
    weights = np.stack([np.bincount(row, minlength=9) for row in draws]).astype(float)
    for name, value in table.items():
        np.testing.assert_allclose(resampled(table, weights)[name], [value[row].sum(0) for row in draws])
        np.testing.assert_allclose(
            without_each(table)[name], [np.delete(value, i, axis=0).sum(0) for i in range(9)]
        )
        np.testing.assert_allclose(totals(table)[name], value.sum(0))


def test_contains_scipys_bca_and_is_close_to_it(sums):
    ours = bootstrap_ratio(sums["a"], sums["b"], replicates=20_000)
    theirs = stats.bootstrap(
        (sums["a"], sums["b"]),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        random_state=0,
    ).confidence_interval
    assert ours.value == pytest.approx(sums["a"].sum() / sums["b"].sum())
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)
    assert 1.0 < (ours.high - ours.low) / width < 1.06


def test_both_tails_stay_at_five_percent_when_an_end_is_moved(sums):
    value, drawn = bootstrap(ratio, sums, replicates=4000)
    jackknife = ratio(without_each(sums))
    for shift in (2.2, 3.0, 8.0, -2.2, -8.0):
        outside = value.value + shift * drawn.std()
        low, high = interval(value.value, drawn, jackknife, include=outside)
        assert low <= min(outside, value.value) and high >= max(outside, value.value)
        tails = (drawn < low).mean() + (drawn > high).mean()
        assert tails == pytest.approx(0.05, abs=0.012)
    assert interval(value.value, drawn, jackknife, include=value.value) == (value.low, value.high)


def test_degenerate():
    same = np.full(10, 3.0)
    assert bootstrap_ratio(same, same).to_dict() == {"value": 1, "low": 1, "high": 1}
    assert np.isnan(bootstrap_ratio(same, same, replicates=0).low)
    assert np.isnan(bootstrap_ratio(same[:1], same[:1]).low)
    # A replicate that divides 0 by 0 is left out, not passed on.
    a, b = np.array([1.0, 0, 0]), np.array([2.0, 0, 0])
    assert bootstrap_ratio(a, b).to_dict() == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_covers_the_mean_of_skewed_documents():
    rng = np.random.default_rng(3)
    hits = []
    for trial in range(300):
        a = rng.gamma(1.0, size=100)
        estimate = bootstrap_ratio(a, np.ones(100), replicates=500, seed=trial)
        hits.append(estimate.low <= 1.0 <= estimate.high)
    assert 0.91 <= np.mean(hits) <= 0.98

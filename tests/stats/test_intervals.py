"""Every kind of interval: against scipy, in closed form, and how often it covers."""

import numpy as np
import pytest
from scipy import stats

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Estimate
from darkmatter_utils.stats.intervals import (
    ENOUGH,
    FEWEST,
    LEAST,
    at_most,
    bootstrap,
    bootstrap_ratio,
    doubts,
    interval,
    multinomial_weights,
    over_draws,
    over_groups,
    percentile,
    refused,
    resampled,
    share,
    stretched,
    totals,
    without_each,
)
from darkmatter_utils.stats.seeds import join, seed_effects


def ratio(s):
    return s["a"] / s["b"]


@pytest.fixture(params=[200, 5000])
def sums(request):
    rng = np.random.default_rng(0)
    return {"a": rng.gamma(2.0, size=request.param), "b": rng.gamma(5.0, size=request.param)}


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


def test_contains_scipys_bca_and_is_as_close_to_it_as_one_document_pulls(sums):
    ours = bootstrap_ratio(sums["a"], sums["b"], replicates=4_000)
    theirs = stats.bootstrap(
        (sums["a"], sums["b"]),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=4_000,
        method="BCa",
        random_state=0,
    ).confidence_interval
    assert ours.value == pytest.approx(sums["a"].sum() / sums["b"].sum())
    width, pulls = theirs.high - theirs.low, ours.value - ratio(without_each(sums))
    assert ours.low == pytest.approx(theirs.low + pulls.min(), abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high + pulls.max(), abs=0.06 * width)
    pull = (pulls.max() - pulls.min()) / width
    assert pull < 3 / len(sums["a"]) ** 0.5 and 1.0 < (ours.high - ours.low) / width < 1.06 + pull


def test_degenerate():
    same = np.full(30, 3.0)
    assert bootstrap_ratio(same, same).to_dict() == {"value": 1, "low": 1, "high": 1}
    assert np.isnan(bootstrap_ratio(same, same, replicates=0).low)
    # A replicate that divides 0 by 0 is left out, not passed on.
    a, b = np.append(1.0, np.zeros(29)), np.append(2.0, np.zeros(29))
    assert bootstrap_ratio(a, b).to_dict() == {"value": 0.5, "low": 0.5, "high": 0.5}
    # A value at the edge of what any resample can give is an end of its interval, not outside of it.
    assert interval(1.0, np.linspace(1.1, 1.2, 50), np.linspace(1.0, 1.01, 30))[0] == 1.0


def test_fewer_than_twenty_documents_are_never_bootstrapped():
    a, b = np.random.default_rng(0).gamma(2.0, size=(2, FEWEST))
    whole, few = bootstrap_ratio(a, b), bootstrap_ratio(a[1:], b[1:])
    assert whole.low < whole.value < whole.high
    assert np.isfinite(few.value) and np.isnan([few.low, few.high]).all()
    drawn = resampled({"a": a[1:]}, multinomial_weights(FEWEST - 1, 50, seed=0))["a"]
    assert np.isnan(percentile(1.0, drawn).low)  # of what has replicates only, too


def test_few_tokens_a_dimension_are_said_and_too_few_have_no_interval():
    assert not refused(100, LEAST) and "tokens per dimension" in refused(100, LEAST - 0.1)
    assert np.isnan(multinomial_weights(100, 5, seed=0, tokens_per_dimension=LEAST - 0.1)).all()
    assert "documents" in refused(FEWEST - 1) and not refused(FEWEST)
    assert doubts(100, ENOUGH) == [] and "too narrow" in doubts(100, ENOUGH - 1)[0]
    assert doubts(100, LEAST - 1) == [refused(100, LEAST - 1)]


def test_covers_the_mean_of_skewed_documents():
    rng = np.random.default_rng(3)
    hits = []
    for trial in range(300):
        a = rng.gamma(1.0, size=100)
        estimate = bootstrap_ratio(a, np.ones(100), replicates=500, seed=trial)
        hits.append(estimate.low <= 1.0 <= estimate.high)
    assert 0.95 <= np.mean(hits) <= 0.995


def test_covers_where_a_few_documents_are_loud():
    """A ratio of which loud documents have more: percentiles leave the truth out at least twice too often."""
    rng, hits, truth = np.random.default_rng(8), [], np.exp(0.5**2)
    for trial in range(300):
        loud = np.exp(0.5 * rng.standard_normal(100) - 0.5**2 / 2)
        sums = {"a": loud**2, "b": loud}
        whole, drawn = bootstrap(ratio, sums, replicates=400, seed=trial)
        weights = multinomial_weights(100, 400, seed=trial)
        plain = percentile(whole.value, ratio(resampled(sums, weights)))
        hits.append([e.low <= truth <= e.high for e in (whole, plain)])
    ours, plain = np.mean(hits, axis=0)
    assert plain < 0.9 and ours > plain + 0.05 and ours >= 0.92


def test_replicates_have_the_interval_that_the_number_has(sums):
    """So has whatever is made of them: one SAE, several, or a difference of two that are alike."""
    whole, drawn = bootstrap(ratio, sums, replicates=4_000)
    alone = percentile(whole.value, drawn)
    assert (alone.low, alone.high) == pytest.approx((whole.low, whole.high))
    order = np.argsort(ratio(resampled(sums, multinomial_weights(len(sums["a"]), 4_000, seed=0))))
    assert (np.diff(drawn[order]) >= 0).all(), "in the order in which they were drawn"
    one = join(np.array([whole.value]), drawn[:, None], np.array([0])).estimate_at(0)
    assert (one.low, one.high) == pytest.approx((whole.low, whole.high))
    twice = join(np.full(2, whole.value), np.stack([drawn, drawn], axis=1), np.array([0, 0])).estimate_at(0)
    assert (twice.low, twice.high) == pytest.approx((whole.low, whole.high)), "two seeds that are one"


def test_replicates_are_stretched_at_both_poles():
    drawn = np.random.default_rng(0).normal(size=1000)
    assert stretched(drawn, Estimate(0.0)) is drawn, "no interval"
    same = stretched(np.full(50, 2.0), Estimate(2.0, 2.0, 2.0))
    assert (same == 2.0).all(), "nothing varies"
    above = stretched(drawn, Estimate(3.0, 2.5, 4.0))  # an interval that lies off its replicates
    assert np.percentile(above, [2.5, 97.5]) == pytest.approx([2.5, 4.0])
    assert (np.diff(above[np.argsort(drawn)]) >= 0).all()


def test_over_draws_is_students_interval():
    e = over_draws([1.0, 2.0, 3.0, float("nan")])
    assert (e.value, e.high - e.value) == pytest.approx((2.0, 4.3027 / 3**0.5), rel=1e-3)
    assert np.isnan(over_draws([1.0]).low)


def test_the_jackknife_of_a_mean_is_students_interval():
    """Of K folds of one size the mean without one has the textbook standard error."""
    values = np.random.default_rng(4).normal(size=6)
    ours = over_groups(values.mean(), [np.delete(values, i).mean() for i in range(6)])
    low, high = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_groups_of_unequal_size_weigh_as_their_tokens():
    """Of a mean of groups: 1/G Σ (θ_g − θ)² / (h − 1)."""
    rng = np.random.default_rng(7)
    values, sizes = rng.normal(size=5), np.array([47.0, 40, 6, 5, 2])
    mean = lambda keep: (values * sizes)[keep].sum() / sizes[keep].sum()
    every = np.arange(5)
    ours = over_groups(mean(every), [mean(every != g) for g in every], sizes)
    variance = np.mean((values - mean(every)) ** 2 / (sizes.sum() / sizes - 1))
    assert ours.high - ours.value == pytest.approx(stats.t.ppf(0.975, 4) * variance**0.5)
    assert np.isnan(over_groups(1.0, [1.0]).low) and np.isnan(over_groups(1.0, []).low)


def test_percentiles_leave_undefined_replicates_out():
    assert percentile(0.5, np.append(np.linspace(0, 1, 1001), np.nan)).low == pytest.approx(0.025)
    assert np.isnan(percentile(0.5, np.empty(0)).low)


def test_seeds_widen_by_students_t():
    """With exact documents a target's replicates are mean + σ t_ν / √seeds, ν of all cells together."""
    rng = np.random.default_rng(5)
    values, cell = rng.normal(size=9), np.repeat([0, 1, 2], [4, 4, 1])
    made = join(values, np.tile(values, (200_000, 1)), cell)
    sd = np.sqrt(sum(((v - v.mean()) ** 2).sum() for v in (values[:4], values[4:8])) / 6)
    assert made.seed_sd == pytest.approx(sd) and made.seeds.tolist() == [4, 4, 1]
    assert np.allclose(made.values, [values[:4].mean(), values[4:8].mean(), values[8]])
    quantile = stats.t.ppf(0.975, 6) * sd / np.sqrt(made.seeds)
    for target in range(3):
        e = made.estimate_at(target)
        assert (e.high - e.low) / 2 == pytest.approx(quantile[target], rel=0.02)
    assert made.one_seed.std(axis=0) == pytest.approx(np.full(3, sd * np.sqrt(6 / 4)), rel=0.03)


def test_a_target_between_two_cells_has_the_weight_of_each():
    values, cell = np.array([0.0, 2.0, 10.0, 14.0]), np.array([0, 0, 1, 1])
    made = join(values, np.tile(values, (50_000, 1)), cell, weights=np.array([[0.25], [0.75]]))
    assert made.values == pytest.approx([0.25 * 1 + 0.75 * 12]) and made.seeds.tolist() == [4]
    size = np.sqrt(2 * 0.125**2 + 2 * 0.375**2) * made.seed_sd
    assert np.quantile(made.replicates[:, 0] - made.values, 0.975) == pytest.approx(
        stats.t.ppf(0.975, 2) * size, rel=0.05
    )


def test_one_seed_each_adds_nothing():
    values = np.array([1.0, 2.0])
    made = join(values, np.ones((10, 2)), np.array([0, 1]))
    assert np.array_equal(made.replicates, made.documents_only) and np.isnan(made.seed_sd)
    assert not seed_effects(np.array([1, 1]), 10).any()


def test_the_effect_of_a_mean_shrinks_with_its_seeds():
    drawn = seed_effects(np.array([1, 4, 16]), 100_000, seed=3)
    ends = np.quantile(drawn, 0.975, axis=1)
    assert ends == pytest.approx(stats.t.ppf(0.975, 18) / np.array([1, 2, 4]), rel=0.02)


def test_the_interval_of_a_share_and_the_most_it_can_be():
    low, high = share(3, 10)
    z, p, n = 1.959964, 0.3, 10
    middle, reach = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert [low, high] == pytest.approx([(middle + s * reach) / (1 + z**2 / n) for s in (-1, 1)], abs=1e-6)
    assert share(0, 10)[0] == 0 and share(10, 10)[1] == 1
    for count, of in ((0, 10), (3, 10), (10, 10), (7, 400)):
        exact = stats.binomtest(count, of, alternative="less").proportion_ci(0.95, method="exact")
        assert at_most(count, of) == pytest.approx(exact.high)

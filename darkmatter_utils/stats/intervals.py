"""Intervals: how every interval of the book is made, in one place.

A statistic of documents is a smooth function of sums over documents, so documents are resampled, nothing is
refitted, and a replicate costs one product of weights and sums. What is made of several numbers (`seeds`
joins those of SAEs that differ by their training seed) is made of their replicates. Independent draws, folds
and means have intervals of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri, stdtrit
from scipy.stats import binomtest

from ..base.errors import BadInput
from ..base.values import Estimate

Sums = Mapping[str, np.ndarray]
"""Per-document sums by name, each [document] or [document, ...]."""
Statistic = Callable[[dict[str, np.ndarray]], np.ndarray]
"""From totals, each [...batch] or [...batch, ...], to one value for each batch entry."""


FEWEST = 20
"""Clusters that a bootstrap needs: of fewer it covers 80-85% where it says 95%, whatever is done to it."""
ENOUGH, LEAST = 20, 5
"""Tokens per dimension of x: below the first a warning, below the second no interval (of d = 64 it covers 52%
of the time at 5)."""


def refused(documents: int, tokens_per_dimension: float = np.inf) -> str:
    """Why there is no interval over so many documents, in words; "" where there is one."""
    why = []
    if documents < FEWEST:
        why.append(f"{documents} documents are fewer than the {FEWEST} that a bootstrap needs")
    if tokens_per_dimension < LEAST:
        why.append(f"{tokens_per_dimension:.2g} tokens per dimension are fewer than {LEAST}")
    return f"no interval: {' and '.join(why)}" if why else ""


def doubts(documents: int, tokens_per_dimension: float) -> list[str]:
    """What a page has to say of a result's precision, a line each: no interval, or few tokens."""
    if why := refused(documents, tokens_per_dimension):
        return [why]
    few = f"{tokens_per_dimension:.2g} tokens per dimension, fewer than {ENOUGH}: intervals are too narrow"
    return [few] if tokens_per_dimension < ENOUGH else []


def multinomial_weights(
    documents: int, replicates: int, *, seed: int, tokens_per_dimension: float = np.inf
) -> np.ndarray:
    """How often each document is drawn in each replicate [replicate, document]; each row sums to `documents`.

    The same seed and number of documents give the same draws: SAEs scored on the same documents are paired.
    NaN, and so every replicate and interval, where an interval is `refused`.
    """
    if documents < 1:
        raise BadInput("a bootstrap over documents needs at least one document")
    if refused(documents, tokens_per_dimension):
        return np.full((replicates, documents), np.nan)
    rng, equal = np.random.default_rng(seed), np.full(documents, 1 / documents)
    return rng.multinomial(documents, equal, size=replicates).astype(np.float64)


def totals(sums: Sums) -> dict[str, np.ndarray]:
    """Each sum over all documents."""
    return {name: np.asarray(value).sum(axis=0) for name, value in sums.items()}


def resampled(sums: Sums, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each sum over each replicate's documents [replicate, ...]."""

    def product(value):
        value = np.asarray(value)
        return (weights @ value.reshape(len(value), -1)).reshape(len(weights), *value.shape[1:])

    return {name: product(value) for name, value in sums.items()}


def without_each(sums: Sums, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    """Each sum over all documents but one [document, ...], the jackknife; of some, to save memory."""
    return {name: np.asarray(value).sum(axis=0) - np.asarray(value)[rows] for name, value in sums.items()}


def interval(estimate: float, replicates: np.ndarray, jackknife: np.ndarray) -> tuple[float, float]:
    """Ends of a 95% bootstrap interval over documents: BCa, widened for few, unequal and loud documents.

    BCa: the replicates' quantile at Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z))), z₀ from the share of replicates
    below the estimate, a from the jackknife's skewness, z taken from Student's t with a variance of n/(n − 1)
    (Hesterberg's expanded percentiles). Each end is moved out to the jackknife's estimate ± t · standard
    error where that is wider, and on by the largest pull of one document that way, within the replicates'
    range: of n documents a share 1/(n + 1) lies beyond the loudest, on average, and would pull as far or on.
    Of a difference of two R² of squared norms that a few loud ones of 200 documents make, percentiles covered
    82% of the time, a bootstrap-t 85%, the hull 88%, with the pull 92%; of documents that are alike 91% and,
    the last two, 95% and 97%. data/calibration/coverage.csv has more; of many documents a pull is nothing.
    (NaN, NaN) with fewer than 2 finite replicates or `FEWEST` documents.
    Source: Efron 1987, "Better bootstrap confidence intervals"; Hesterberg 2015, "What teachers should know
    about the bootstrap".
    """
    replicates, jackknife = np.sort(replicates[np.isfinite(replicates)]), jackknife[np.isfinite(jackknife)]
    n, count = len(jackknife), len(replicates)
    if count < 2 or n < FEWEST or not np.isfinite(estimate):
        return float("nan"), float("nan")
    below = np.searchsorted(replicates, estimate, "left") + np.searchsorted(replicates, estimate, "right")
    z0 = ndtri(np.clip(below / (2 * count), 0.5 / count, 1 - 0.5 / count))
    gaps = jackknife.mean() - jackknife
    squares = float((gaps**2).sum())
    a = float((gaps**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    error = np.sqrt((n - 1) / n * squares)

    def end(tail: float) -> float:
        t = stdtrit(n - 1, tail)
        z = z0 + np.sqrt(n / (n - 1)) * t
        corrected = float(np.quantile(replicates, ndtr(z0 + z / max(1e-3, 1 - a * z))))
        low, high = sorted((corrected, estimate + t * error))
        far = low + gaps.min() if tail < 0.5 else high + gaps.max()
        return float(np.clip(far, replicates[0], replicates[-1]))  # an R² has a most that it can be

    half = (1 - 0.95) / 2
    # An estimate that is the least any resample can give (the FVU of the mean) is not left outside.
    return min(end(half), estimate), max(end(1 - half), estimate)


def stretched(replicates: np.ndarray, to: Estimate) -> np.ndarray:
    """Replicates [replicate] whose 2.5 and 97.5 percentiles are the ends of an interval, each half of them
    stretched about the median: what is made of them (`join`, a slope over widths, a difference of SAEs) has
    an interval of the same kind. As they are where there is no interval."""
    if not np.isfinite(to.low + to.high):
        return replicates
    replicates = np.where(np.isfinite(replicates), replicates, np.nan)
    (low, high), middle = ends(replicates), float(np.nanmedian(replicates))
    about = float(np.clip(middle, to.low, to.high))
    below, above = ((about - to.low) / (middle - low or 1.0), (to.high - about) / (high - middle or 1.0))
    return about + (replicates - middle) * np.where(replicates < middle, below, above)


def bootstrap(
    statistic: Statistic,
    sums: Sums,
    *,
    replicates: int = 1000,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> tuple[Estimate, np.ndarray]:
    """The statistic of all documents with its 95% interval over documents, and its replicates [replicate],
    `stretched` to it.

    Cost: replicates × documents × numbers per document.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(totals(sums)))
        if not replicates:
            return Estimate(value), np.empty(0)
        documents = len(next(iter(sums.values())))
        weights = multinomial_weights(documents, replicates, seed=seed) if weights is None else weights
        drawn = np.asarray(statistic(resampled(sums, weights)), float)
        jackknife = np.asarray(statistic(without_each(sums)), float)
    return (found := Estimate(value, *interval(value, drawn, jackknife))), stretched(drawn, found)


def paired(statistic: Statistic, sums: Sums, *, replicates: int = 1000, seed: int = 0) -> Estimate:
    """A difference of two scores on the same documents, with its 95% interval over documents: each end the
    percentile of the replicates, or the jackknife's estimate ± t · standard error where that is wider.

    What the two share cancels, and with it the loud documents that make `bootstrap` widen further: of 60 to
    600 documents of unequal length and loudness this covers 93 to 96%, percentiles alone 90 to 95%, and
    `bootstrap` 95 to 98%. Where a few documents hold most of both sums, 75 to 80%. Cost: as `bootstrap`.
    """
    documents = len(next(iter(sums.values())))
    weights = multinomial_weights(documents, replicates, seed=seed)
    value = float(statistic(totals(sums)))
    jackknife = np.asarray(statistic(without_each(sums)), float)
    error = np.sqrt((documents - 1) / documents * ((jackknife.mean() - jackknife) ** 2).sum())
    low, high = ends(np.asarray(statistic(resampled(sums, weights)), float))
    reach = stdtrit(documents - 1, 0.975) * error
    if not np.isfinite(low + high):
        return Estimate(value, np.nan, np.nan)
    return Estimate(value, float(min(low, value - reach)), float(max(high, value + reach)))


def bootstrap_ratio(
    numerator: np.ndarray, denominator: np.ndarray, *, replicates: int = 1000, seed: int = 0
) -> Estimate:
    """Σ numerator / Σ denominator, each [document], with its interval over documents."""
    sums = {"numerator": np.asarray(numerator, float), "denominator": np.asarray(denominator, float)}
    return bootstrap(lambda s: s["numerator"] / s["denominator"], sums, replicates=replicates, seed=seed)[0]


def ends(replicates, *, axis: int | None = 0):
    """The 2.5 and 97.5 percentiles of replicates [replicate, ...], NaN replicates left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all NaN: there is no interval
        return np.nanpercentile(replicates, [2.5, 97.5], axis=axis)


def percentile(value: float, replicates) -> Estimate:
    """A value with the 2.5 and 97.5 percentiles of its replicates [replicate], NaN where there are none."""
    low, high = ends(replicates) if len(replicates) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high))


def share(count: int, of: int) -> tuple[float, float]:
    """Ends of the 95% interval of a share, count / of, of independent cases (Wilson's)."""
    found = binomtest(count, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def at_most(count, of):
    """Upper end of the one-sided 95% interval of a share, count / of, numbers or arrays (Clopper-Pearson)."""
    count, of = np.asarray(count), np.asarray(of)
    return np.where(count < of, betaincinv(count + 1, np.maximum(of - count, 1), 0.95), 1.0)


def around(mean, error):
    """mean ± 1.96 standard errors (low, high): for means of many documents, where skew is past."""
    return mean - 1.96 * error, mean + 1.96 * error


def standard_error(low, high):
    """The standard error of an interval made by `around`."""
    return (high - low) / (2 * 1.96)


def over_draws(values) -> Estimate:
    """Mean over independent draws, such as worlds made anew, with Student's t interval; NaN left out."""
    values = np.asarray([v for v in values if np.isfinite(v)], float)
    if len(values) < 2:
        return Estimate(float(values[0]) if len(values) else float("nan"))
    mean = float(values.mean())
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(mean, float(mean - half), float(mean + half))


def coefficients(design: np.ndarray, y: np.ndarray) -> list[Estimate]:
    """Least squares of y [n] on the columns of a design [n, k], each coefficient with its 95% interval (t,
    n − k degrees of freedom): errors independent and of one size."""
    design, y = np.asarray(design, float), np.asarray(y, float)
    found, *_ = np.linalg.lstsq(design, y, rcond=None)
    free = len(y) - design.shape[1]
    variance = ((y - design @ found) ** 2).sum() / free * np.linalg.inv(design.T @ design).diagonal()
    reach = stdtrit(free, 0.975) * np.sqrt(variance)
    return [Estimate(float(b), float(b - r), float(b + r)) for b, r in zip(found, reach)]


def over_groups(value: float, without_each, sizes=None) -> Estimate:
    """A value with its jackknife interval over G groups (folds, sources), Student's t with G − 1 degrees of
    freedom, from the same number without each group [group].

    Groups of unequal size, sizes [group] (tokens; default all alike), with h = Σ sizes / size: var = 1/G
    Σ (h θ − (h − 1) θ₋ − θ_J)² / (h − 1), θ_J = G θ − Σ (1 − 1/h) θ₋; for a mean of groups that is
    1/G Σ (θ_g − θ)² / (h − 1). No interval of fewer than two groups.
    Source: Busing, Meijer and van der Leeden 1999, "Delete-m jackknife for unequal m".
    """
    left = np.asarray(without_each, float)
    if (g := len(left)) < 2:
        return Estimate(float(value))
    h = g * np.ones(g) if sizes is None else np.sum(sizes) / np.asarray(sizes, float)
    centre = g * value - ((1 - 1 / h) * left).sum()
    variance = ((h * value - (h - 1) * left - centre) ** 2 / (h - 1)).mean()
    reach = stdtrit(g - 1, 0.975) * np.sqrt(variance)
    return Estimate(float(value), float(value - reach), float(value + reach))


def apart(one: Estimate, other: Estimate) -> Estimate:
    """The difference of two numbers that know nothing of each other, its ends where the distances from value
    to end, √(distance² + distance²), put them. NaN where one has no interval.

    Source: Zou and Donner 2008, "Construction of confidence limits about effect measures".
    """
    value = one.value - other.value
    below = np.hypot(one.value - one.low, other.high - other.value)
    above = np.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, float(value - below), float(value + above))


def student_spread(variance: float, freedom: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """√(σ² ν / χ²_ν) [replicate]: a standard deviation known to ν degrees of freedom; 0 where ν is 0."""
    if not freedom:
        return np.zeros(replicates)
    return np.sqrt(variance * freedom / rng.chisquare(freedom, size=replicates))

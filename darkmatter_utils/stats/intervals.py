"""Intervals: how every interval of the book is made, in one place.

A statistic of documents is a smooth function of sums over documents, so documents are resampled, nothing is
refitted, and a replicate costs one product of weights and sums. Numbers of trained SAEs are joined over their
training seeds, and the interval carries both. Independent draws, folds and means have intervals of their own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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


def without_each(sums: Sums) -> dict[str, np.ndarray]:
    """Each sum over all documents but one [document, ...]: the jackknife."""
    return {name: np.asarray(value).sum(axis=0) - np.asarray(value) for name, value in sums.items()}


def interval(estimate: float, replicates: np.ndarray, jackknife: np.ndarray) -> tuple[float, float]:
    """Ends of a 95% bootstrap interval over documents: BCa, widened for few and unequal documents.

    BCa: the replicates' quantile at Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z))), z₀ from the share of replicates
    below the estimate, a from the jackknife's skewness, z taken from Student's t with a variance of n/(n − 1)
    (Hesterberg's expanded percentiles). Each end is moved out to the jackknife's estimate ± t · standard
    error where that is wider, within the replicates' range: with 100 documents of unequal error BCa alone
    covered 91-92% of the time, the hull 94-95%, and 95-96% where documents are alike.
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
        symmetric = float(np.clip(estimate + t * error, replicates[0], replicates[-1]))
        return min(corrected, symmetric) if tail < 0.5 else max(corrected, symmetric)

    half = (1 - 0.95) / 2
    # An estimate that is the least any resample can give (the FVU of the mean) is not left outside.
    return min(end(half), estimate), max(end(1 - half), estimate)


def bootstrap(
    statistic: Statistic,
    sums: Sums,
    *,
    replicates: int = 1000,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> tuple[Estimate, np.ndarray]:
    """The statistic of all documents with its 95% interval over documents, and its replicates [replicate].

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
    return Estimate(value, *interval(value, drawn, jackknife)), drawn


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


@dataclass(frozen=True)
class Joined:
    """Numbers of several targets, each joined over SAEs that differ by their training seed."""

    values: np.ndarray
    """Mean over the seeds of each target [target]."""
    replicates: np.ndarray
    """Replicates of the values [replicate, target]; one row is one draw of documents and of seeds."""
    documents_only: np.ndarray
    """The same without the draw of seeds: how much of the interval is due to documents."""
    seeds: np.ndarray
    """Trained SAEs behind each target [target]."""
    seed_sd: float
    """Standard deviation between seeds of one target; NaN where none has two seeds."""

    def estimate_at(self, target: int) -> Estimate:
        """The value of one target with its interval."""
        return percentile(self.values[target], self.replicates[:, target])

    @property
    def one_seed(self) -> np.ndarray:
        """The draw of seeds alone, with the whole spread of one seed [replicate, target]."""
        return (self.replicates - self.documents_only) * np.sqrt(self.seeds)


def join(
    values: np.ndarray, replicates: np.ndarray, cell: np.ndarray, *, weights=None, seed=0, order: str = "C"
) -> Joined:
    """Numbers of trained SAEs, values [sae] and their replicates over documents [replicate, sae], joined over
    seeds.

    SAEs of one cell [sae] (0, 1, ...) differ by their seed only. The number y of seed s in cell w is taken as
    μ_w + u_ws with u of one variance σ² for all cells, estimated over those that have several seeds with ν
    degrees of freedom. A target is the mean of a cell, or of cells by ``weights`` [cell, target]. Replicate b
    of a target Σ a y is that of one resample of documents plus σ_b z √(Σ a²), z normal and σ_b² = σ² ν /
    χ²_ν: so what was trained once gets its share of doubt from the others, and the doubt about σ itself is
    carried too. With one seed each, nothing is known of seeds and nothing is added. order: z is drawn
    replicate by replicate ("C") or target by target ("F").
    """
    share = np.eye(cell.max(initial=-1) + 1)[cell] / np.bincount(cell)[cell][:, None]
    freedom, left = len(cell) - share.shape[1], values - (values @ share)[cell]
    variance = float((left**2).sum() / freedom) if freedom else 0.0
    weights = share if weights is None else share @ weights
    documents, rng = replicates @ weights, np.random.default_rng(seed)
    spread = student_spread(variance, freedom, len(documents), rng)[:, None]
    z = rng.standard_normal(documents.size).reshape(documents.shape, order=order)
    drawn = documents + spread * z * np.sqrt((weights**2).sum(axis=0))
    seed_sd = float(np.sqrt(variance)) if freedom else float("nan")
    return Joined(values @ weights, drawn, documents, (weights != 0).sum(axis=0), seed_sd)


def student_spread(variance: float, freedom: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """√(σ² ν / χ²_ν) [replicate]: a standard deviation known to ν degrees of freedom; 0 where ν is 0."""
    if not freedom:
        return np.zeros(replicates)
    return np.sqrt(variance * freedom / rng.chisquare(freedom, size=replicates))


def seed_effects(seeds: np.ndarray, replicates: int, *, seed=0) -> np.ndarray:
    """Draws of the effect that training has on the mean over a cell's ``seeds`` [cell], in units of one
    seed's standard deviation [cell, replicate]: for numbers of pairs of SAEs, where a cell's draw must be the
    same in all of its pairs."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((len(seeds), replicates)) / np.sqrt(seeds)[:, None]
    return normal * student_spread(1.0, int((seeds - 1).sum()), replicates, rng)

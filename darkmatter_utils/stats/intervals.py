"""Intervals: documents are resampled, nothing is refitted.

A statistic is any smooth function of sums over documents, so a replicate costs one product of weights and
sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from ..base.errors import BadInput
from ..base.values import Estimate

Sums = Mapping[str, np.ndarray]
"""Per-document sums by name, each [document] or [document, ...]."""

Statistic = Callable[[dict[str, np.ndarray]], np.ndarray]
"""From totals, each [...batch] or [...batch, ...], to one value for each batch entry."""


def multinomial_weights(documents: int, replicates: int, *, seed: int) -> np.ndarray:
    """How often each document is drawn in each replicate [replicate, document]; each row sums to `documents`.

    The same seed and number of documents give the same draws, so SAEs scored on the same documents are
    paired.
    """
    if documents < 1:
        raise BadInput("a bootstrap over documents needs at least one document")
    draws = np.random.default_rng(seed).multinomial(
        documents, np.full(documents, 1 / documents), size=replicates
    )
    return draws.astype(np.float64)


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


def interval(
    estimate: float,
    replicates: np.ndarray,
    jackknife: np.ndarray,
    *,
    include: float | None = None,
    level: float = 0.95,
) -> tuple[float, float]:
    """Ends of a bootstrap interval over documents: BCa, widened for few and unequal documents.

    BCa: the replicates' quantile at Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z))), z₀ from the share of replicates
    below the estimate, a from the jackknife's skewness, z taken from Student's t with a variance of n/(n − 1)
    (Hesterberg's expanded percentiles). Each end is moved out to the jackknife's estimate ± t · standard
    error where that is wider, within the replicates' range: with 100 documents of unequal error BCa alone
    covered 91-92% of the time, the hull 94-95%, and 95-96% where documents are alike.
    Where `include` falls outside, that end moves out to it and the other moves in until both tails together
    are again 1 − level. (NaN, NaN) with fewer than 2 finite replicates or 2 documents.
    Source: Efron 1987, "Better bootstrap confidence intervals"; Hesterberg 2015, "What teachers should know
    about the bootstrap".
    """
    replicates, jackknife = np.sort(replicates[np.isfinite(replicates)]), jackknife[np.isfinite(jackknife)]
    n, count = len(jackknife), len(replicates)
    if count < 2 or n < 2 or not np.isfinite(estimate):
        return float("nan"), float("nan")
    below = np.searchsorted(replicates, estimate, "left") + np.searchsorted(replicates, estimate, "right")
    edge = 0.5 / count
    z0 = ndtri(np.clip(below / (2 * count), edge, 1 - edge))
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

    half = (1 - level) / 2
    low, high = end(half), end(1 - half)
    beyond = stdtr(n - 1, -abs(include - estimate) / error) if include is not None and error > 0 else 0.0
    if include is not None and include > high:
        low, high = end(2 * half - min(half, beyond)), include
    elif include is not None and include < low:
        low, high = include, end(1 - 2 * half + min(half, beyond))
    return low, high


def bootstrap(
    statistic: Statistic,
    sums: Sums,
    *,
    replicates: int = 1000,
    seed: int = 0,
    weights: np.ndarray | None = None,
    include: float | None = None,
) -> tuple[Estimate, np.ndarray]:
    """The statistic of all documents with its 95% interval over documents, and its replicates [replicate].

    `include`: a value, shown in the estimate's place, that the interval must contain (see `interval`).
    Cost: replicates × documents × numbers per document.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(totals(sums)))
        if not replicates:
            return Estimate(value if include is None else include), np.empty(0)
        documents = len(next(iter(sums.values())))
        weights = multinomial_weights(documents, replicates, seed=seed) if weights is None else weights
        drawn = np.asarray(statistic(resampled(sums, weights)), float)
        jackknife = np.asarray(statistic(without_each(sums)), float)
    low, high = interval(value, drawn, jackknife, include=include)
    return Estimate(value if include is None else include, low, high), drawn


def bootstrap_ratio(
    numerator: np.ndarray, denominator: np.ndarray, *, replicates: int = 1000, seed: int = 0
) -> Estimate:
    """Σ numerator / Σ denominator, each [document], with its interval over documents."""
    sums = {"numerator": np.asarray(numerator, float), "denominator": np.asarray(denominator, float)}
    return bootstrap(lambda s: s["numerator"] / s["denominator"], sums, replicates=replicates, seed=seed)[0]

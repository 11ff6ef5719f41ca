"""Regressions of one column of tokens on a few others from each document's Gram matrix of them all.

Fits are of sums over all documents and over those of other folds, scores of a document's: a fit of one or two
weights costs nothing, and documents can be resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..stats.fits import centre
from ..stats.intervals import Statistic, Sums

ROUNDING = 1e-12
"""A share of a sum of squares that is nothing."""


class Grams:
    """Each document's sums of products of columns [token], a constant first."""

    def __init__(self, columns: dict[str, np.ndarray], document: np.ndarray, fold: np.ndarray):
        self.names = {name: n + 1 for n, name in enumerate(columns)}
        found, self.where = np.unique(document, return_inverse=True)
        z = np.column_stack([np.ones(len(document)), *columns.values()])
        z[:, 1:] -= z[:, 1:].mean(axis=0)  # about the overall mean, sums of squares keep their digits
        order = np.argsort(self.where, kind="stable")
        ends = np.searchsorted(self.where[order], np.arange(len(found) + 1))
        self.sums = np.stack([z[rows].T @ z[rows] for rows in (order[a:b] for a, b in pairwise(ends))])
        self.fold = np.zeros(len(found), dtype=int)
        self.fold[self.where] = fold
        own = np.stack([self.sums[self.fold == k].sum(axis=0) for k in np.unique(fold)])
        self.others = self.sums.sum(axis=0) - own

    def residual(self, target: str, *regressors: str) -> np.ndarray:
        """Σ(y − ŷ)² of each document [document], ŷ with a constant and the best weights: the `centre` of
        those fitted on the other folds and of those fitted on all documents."""
        y, x = self.names[target], [0, *(self.names[name] for name in regressors)]
        mine, cross = self.sums[:, x][:, :, x], self.sums[:, x, y]

        def left(fitted_on):
            pairs = zip(fitted_on[:, x][:, :, x], fitted_on[:, x, y])
            weight = np.stack([np.linalg.lstsq(xx, xy, rcond=1e-12)[0] for xx, xy in pairs])[self.fold]
            fitted = np.einsum("di,dij,dj->d", weight, mine, weight)
            fitted -= 2 * np.einsum("di,di->d", weight, cross)
            return np.maximum(self.sums[:, y, y] + fitted, 0)

        every = np.broadcast_to(self.sums.sum(axis=0), self.others.shape)
        return centre(left(self.others), left(every), len(self.others))

    def r2(self, target: str, *regressors: str, over: Sequence[str] = ()) -> tuple[Statistic, Sums]:
        """1 − Σ(y − ŷ)² / Σ(y − ŷ₀)², ŷ₀ from the regressors ``over`` or a constant alone, for `bootstrap`.

        Both sums are `residual`'s: a mean, too, is off where the documents of a fold have one of their own.
        On draws of documents all weights are fitted anew, and what R² in sample has too much is taken off.
        NaN where nothing but rounding is left over: an SAE that is predicted from itself.
        """
        names = [*dict.fromkeys([*over, *regressors]), target]
        columns = [0, *(self.names[name] for name in names)]
        sums, first = {"gram": self.sums[:, columns][:, :, columns]}, 1 + len(over)
        less, more = self.residual(target, *over).sum(), self.residual(target, *regressors).sum()
        every = sums["gram"].sum(axis=0)
        best = 1 - more / less if less > ROUNDING * every[-1, -1] else np.nan
        too_much = in_sample(every, first) - best
        return lambda s: in_sample(s["gram"], first) - too_much, sums

    def moments(self, a: str, b: str) -> Sums:
        """n, Σa, Σb, Σaa, Σbb, Σab [document]."""
        i, j, s = self.names[a], self.names[b], self.sums
        columns = {"n": (0, 0), "a": (0, i), "b": (0, j), "aa": (i, i), "bb": (j, j), "ab": (i, j)}
        return {name: s[:, row, column] for name, (row, column) in columns.items()}


def in_sample(gram: np.ndarray, first: int) -> np.ndarray:
    """1 − the squares of the last column that all others leave over those that the ``first`` of them leave,
    from sums of products [..., k, k]."""
    squares, left = np.diagonal(gram, axis1=-2, axis2=-1), []
    for j in range(gram.shape[-1] - 1):  # Gauss's elimination, of many small matrices at once
        pivot = gram[..., j, j]
        told = pivot > ROUNDING * squares[..., j]
        per = np.where(told, 1 / np.where(told, pivot, 1), 0)[..., None, None]
        gram = gram - per * gram[..., :, j, None] * gram[..., None, j, :]
        left.append(gram[..., -1, -1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - left[-1] / left[first - 1]


def correlation(s: Sums) -> np.ndarray:
    """The correlation of two columns from their `Grams.moments`."""
    n, a, b = s["n"], s["a"], s["b"]
    return (s["ab"] - a * b / n) / np.sqrt((s["aa"] - a**2 / n) * (s["bb"] - b**2 / n))

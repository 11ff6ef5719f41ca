"""What simple facts about a token say of a number: its ‖x‖, position, loss, L0, token.

The means of a token or of a position come from other folds than the token's own; see `nested` for what each
fact adds to others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..stats.metrics import r2_total

SWEEPS, STILL = 100, 1e-4
"""Turns of `out_of_fold` at most, and the change, in standard deviations of the target, that ends them."""


def out_of_fold(target, fold, *, numbers=(), labels=()) -> np.ndarray:
    """What is known of a token says of a target [token]: ŷ = c + Σ b z + Σ u(label), fitted on other folds.

    numbers: columns z [token] with a weight b each, by least squares; labels: columns whose values are names
    (a token, a position) with an effect u each, shrunk where they are rare (`_shrunk`). All are fitted
    together: each of them by turns to what the others leave, until ŷ stands still. So the mean of a label has
    the noise of what is left, and none of ‖x‖, which two errors would share. Cost: some passes a fold.
    Source: Buja, Hastie and Tibshirani 1989, "Linear smoothers and additive models" (backfitting).
    """
    target, fold = np.asarray(target, float), np.unique(fold, return_inverse=True)[1]
    codes = [pd.factorize(np.asarray(label))[0] for label in labels]
    predicted = np.empty_like(target)
    for out in range(fold.max() + 1):
        test = fold == out
        known = np.column_stack([np.empty((len(target), 0)), *numbers])
        spread = known[~test].std(axis=0)
        known = (known - known[~test].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        z, seen, level = known[~test], [code[~test] for code in codes], target[~test].mean()
        inverse, y = np.linalg.pinv(z.T @ z, rcond=1e-12, hermitian=True), target[~test] - level
        count = [np.bincount(one, minlength=code.max() + 1) for one, code in zip(seen, codes)]
        effect, fitted = [np.zeros(len(n)) for n in count], np.zeros_like(y)
        weight = np.zeros(len(inverse))
        for _ in range(SWEEPS):
            before = fitted
            change = inverse @ (z.T @ (y - fitted))
            weight, fitted = weight + change, fitted + z @ change
            for i, (one, n) in enumerate(zip(seen, count)):
                left = y - fitted + effect[i][one]
                new = _shrunk(n, np.bincount(one, left, len(n)), left @ left)
                fitted, effect[i] = fitted + (new - effect[i])[one], new
            if np.std(fitted - before) <= STILL * np.std(y):
                break
        predicted[test] = level + known[test] @ weight + sum(u[code[test]] for u, code in zip(effect, codes))
    return predicted


def _shrunk(n: np.ndarray, total: np.ndarray, square: float) -> np.ndarray:
    """Means of labels [label], shrunk towards that of all: μ + (m − μ) n B / (n B + W).

    m: a label's mean over its n tokens; W and B: variances within and between labels; total: n m; square: the
    sum of squares of all tokens.
    """
    tokens, seen = n.sum(), n > 0
    mean = total.sum() / max(tokens, 1.0)
    own = np.where(seen, total / np.maximum(n, 1.0), mean)
    within = max((square - (n * own**2).sum()) / max(tokens - seen.sum(), 1.0), 0.0)
    spread = (n * (own - mean) ** 2).sum() - (seen.sum() - 1) * within
    between = max(spread / max(tokens, 1.0), 0.0)
    return mean + (own - mean) * n * between / np.maximum(n * between + within, 1e-300)


class LabelMeans:
    """The mean target of every label (a token, a position) in other folds (`_shrunk`)."""

    def __init__(self, target, label, fold):
        self.codes, ids = pd.factorize(np.asarray(label))
        self.fold, shape = fold, (int(fold.max()) + 1, len(ids))
        cell, powers = fold * len(ids) + self.codes, (np.ones_like(target), target, target**2)
        self.sums = [np.bincount(cell, weights=p, minlength=np.prod(shape)).reshape(shape) for p in powers]

    def without(self, out: int | None) -> np.ndarray:
        """The mean [token] without fold `out` and the token's own: no row is fitted on a mean it made."""
        tables = np.stack([self._table({own, out}) for own in range(len(self.sums[0]))])
        return tables[self.fold, self.codes]

    def _table(self, left_out: set[int | None]) -> np.ndarray:
        keep = [k for k in range(len(self.sums[0])) if k not in left_out]
        n, total, square = (table[keep].sum(axis=0) for table in self.sums)
        return _shrunk(n, total, square.sum())


def rest(norm: np.ndarray, tokens: pd.DataFrame) -> np.ndarray:
    """What ‖x‖, ‖x‖², position and token leave of an error norm out of fold [token]: chapter 06's."""
    return norm - out_of_fold(norm, tokens["fold"], **_facts(tokens))


def simple(error2: np.ndarray, tokens: pd.DataFrame) -> float:
    """Held-out R² of ‖SaeError‖² from chapter 03's simple predictors but L0, which some controls lack."""
    facts, loss = _facts(tokens), tokens["loss"].to_numpy(float)
    if np.isfinite(loss).any():
        facts["numbers"].append(np.where(np.isfinite(loss), loss, np.nanmean(loss)))
    return r2_total(error2[:, None], out_of_fold(error2, tokens["fold"], **facts)[:, None])


def _facts(tokens: pd.DataFrame) -> dict[str, list]:
    norm2 = tokens["norm2"].to_numpy(float)
    return {"numbers": [np.sqrt(norm2), norm2], "labels": [tokens["position"], tokens["token"]]}

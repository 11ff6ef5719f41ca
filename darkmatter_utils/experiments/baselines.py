"""What simple facts about a token say of a number: its ‖x‖, position, loss, L0, token.

The means of a token or of a position come from other folds than the token's own; see `nested` for what each
fact adds to others.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..stats.metrics import r2_total


def out_of_fold(target, fold, *, numbers=(), labels=()) -> np.ndarray:
    """What is known of a token says of a target [token] by least squares, fitted on the other folds.

    numbers: columns [token] that count as they are; labels: columns whose values are names (a token, a
    position), each of which counts by its mean target in other folds (`LabelMeans`).
    """
    target, fold = np.asarray(target, float), np.unique(fold, return_inverse=True)[1]
    means = [LabelMeans(target, label, fold) for label in labels]
    predicted = np.empty_like(target)
    for out in range(fold.max() + 1):
        test = fold == out
        known = np.column_stack([*numbers, *(mean.without(out) for mean in means)])
        spread = known[~test].std(axis=0)
        known = (known - known[~test].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        level, gram = target[~test].mean(), known[~test].T @ known[~test]
        weight = np.linalg.lstsq(gram, known[~test].T @ (target[~test] - level), rcond=1e-12)[0]
        predicted[test] = level + known[test] @ weight
    return predicted


class LabelMeans:
    """The mean target of every label (a token, a position) in other folds, shrunk towards the mean of all.

    μ + (m − μ) n B / (n B + W), with m the label's mean over its n tokens, μ that of all tokens, and W and B
    the variances within and between labels: a label seen rarely says little.
    """

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
        tokens, seen = n.sum(), n > 0
        mean = total.sum() / max(tokens, 1.0)
        own = np.where(seen, total / np.maximum(n, 1.0), mean)
        within = (square.sum() - (n * own**2).sum()) / max(tokens - seen.sum(), 1.0)
        spread = (n * (own - mean) ** 2).sum() - (seen.sum() - 1) * within
        between = max(spread / max(tokens, 1.0), 0.0)
        return mean + (own - mean) * n * between / np.maximum(n * between + within, 1e-300)


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

"""What simple facts about a token predict of its error's norm: ‖x‖, position, token, loss, L0.

Everything is out of fold: the means of a token or of a position, too, come from other folds than the one
scored.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

ALL = "all of them"
"""Name of the model that has all the predictors there are."""


def simple_predictors(target: np.ndarray, tokens: pd.DataFrame) -> dict[str, float]:
    """Out-of-fold R² of ‖SaeError‖² [token] from each simple predictor, and from `ALL` of them.

    ‖x‖ stands for the pair ‖x‖, ‖x‖²; position and token for their mean in the training folds, shrunk to the
    mean of all; loss is that of the token which follows, in nats; L0 the number of active latents. A
    predictor that ``tokens`` has not (a world has no loss) is left out. Cost: a few passes over the table, no
    activation.
    """
    norm2, loss = (tokens[name].to_numpy(float) for name in ("norm2", "loss"))
    facts = {"‖x‖": [np.sqrt(norm2), norm2]}
    if np.isfinite(loss).any():
        facts["loss"] = [np.where(np.isfinite(loss), loss, np.nanmean(loss))]
    if "l0" in tokens:
        facts["L0"] = [tokens["l0"].to_numpy(float)]
    _, fold = np.unique(tokens["fold"], return_inverse=True)
    labels = {name: LabelMeans(target, tokens[name], fold) for name in ("position", "token")}
    models = {name: [name] for name in (*facts, *labels)} | {ALL: [*facts, *labels]}
    left = dict.fromkeys(models, 0.0)
    for out in range(fold.max() + 1):
        columns = facts | {name: [means.without(out)] for name, means in labels.items()}
        test = fold == out
        for name, parts in models.items():
            regressors = np.column_stack([column for part in parts for column in columns[part]])
            left[name] += float(((target[test] - least_squares(regressors, target, test)) ** 2).sum())
    spread = float(((target - target.mean()) ** 2).sum())
    return {name: 1 - value / spread for name, value in left.items()}


def least_squares(regressors, target, test) -> np.ndarray:
    """Predictions for the rows of `test` by a fit, with intercept, to the other rows."""
    mean, spread = regressors[~test].mean(axis=0), regressors[~test].std(axis=0)
    scaled = (regressors - mean) / np.where(spread > 0, spread, 1.0)
    level = target[~test].mean()
    weight = np.linalg.lstsq(
        scaled[~test].T @ scaled[~test], scaled[~test].T @ (target[~test] - level), rcond=1e-12
    )[0]
    return level + scaled[test] @ weight


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
        predicted[test] = least_squares(known, target, test)
    return predicted


class LabelMeans:
    """The mean target of every label (a token, a position) in other folds, shrunk towards the mean of all.

    μ + (m − μ) n B / (n B + W), with m the label's mean over its n tokens, μ that of all tokens, and W and B
    the variances within and between labels: a label seen rarely says little.
    """

    def __init__(self, target, label, fold):
        self.codes, ids = pd.factorize(np.asarray(label))
        self.fold = fold
        shape = (int(fold.max()) + 1, len(ids))
        cell = fold * len(ids) + self.codes
        self.sums = [
            np.bincount(cell, weights=weights, minlength=shape[0] * shape[1]).reshape(shape)
            for weights in (np.ones_like(target), target, target**2)
        ]

    def without(self, out: int) -> np.ndarray:
        """For every token, the mean made without fold `out` and without the token's own fold [token].

        So the rows that a model is fitted on never see a mean that they are part of.
        """
        tables = np.stack([self._table({own, out}) for own in range(len(self.sums[0]))])
        return tables[self.fold, self.codes]

    def _table(self, left_out: set[int]) -> np.ndarray:
        keep = [k for k in range(len(self.sums[0])) if k not in left_out]
        n, total, square = (table[keep].sum(axis=0) for table in self.sums)
        tokens, seen = n.sum(), n > 0
        mean = total.sum() / max(tokens, 1.0)
        own = np.where(seen, total / np.maximum(n, 1.0), mean)
        within = (square.sum() - (n * own**2).sum()) / max(tokens - seen.sum(), 1.0)
        spread = (n * (own - mean) ** 2).sum() - (seen.sum() - 1) * within
        between = max(spread / max(tokens, 1.0), 0.0)
        return mean + (own - mean) * n * between / np.maximum(n * between + within, 1e-300)

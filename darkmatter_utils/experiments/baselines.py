"""What simple facts about a token predict of its error's norm: ‖x‖, position, token, loss, L0.

Everything is out of fold: the means of a token or of a position, too, come from other folds than the one
scored.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..base.values import Estimate

PREDICTORS = ("‖x‖", "position", "token", "loss", "L0")
"""The simple predictors, in the order in which charts show them."""
ALL = "all five"
"""Name of the model that has all the predictors there are."""


def simple_predictors(measurement, sae_id: str, *, bootstrap: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Out-of-fold R² of ‖SaeError‖² from each simple predictor and from all of them: predictor, r2, low,
    high.

    ‖x‖ stands for the pair ‖x‖, ‖x‖²; position and token for their mean in the training folds, shrunk to the
    mean of all; loss is that of the token which follows, in nats; L0 the number of active latents. A
    predictor that the study has not (a world has no loss) is left out. Cost: a few passes over the table, no
    activation.
    """
    tokens = measurement.tokens
    tokens = tokens[tokens["scored"]]
    target, loss = tokens[f"{sae_id}:error"].to_numpy(float), tokens["loss"].to_numpy(float)
    norm2 = tokens["norm2"].to_numpy(float)
    facts = {"‖x‖": [np.sqrt(norm2), norm2], "L0": [tokens[f"{sae_id}:l0"].to_numpy(float)]}
    if np.isfinite(loss).any():
        facts["loss"] = [np.where(np.isfinite(loss), loss, np.nanmean(loss))]
    _, fold = np.unique(tokens["fold"], return_inverse=True)
    labels = {name: LabelMeans(target, tokens[name], fold) for name in ("position", "token")}
    models = {name: [name] for name in PREDICTORS if name in facts or name in labels}
    models[ALL if len(models) == len(PREDICTORS) else f"all {len(models)}"] = list(models)
    predicted = {name: np.empty_like(target) for name in models}
    for out in range(fold.max() + 1):
        columns = facts | {name: [means.without(out)] for name, means in labels.items()}
        for name, parts in models.items():
            regressors = np.column_stack([column for part in parts for column in columns[part]])
            test = fold == out
            predicted[name][test] = least_squares(regressors, target, test)
    rows = []
    for name, prediction in predicted.items():
        e = document_r2(target, prediction, tokens["document"].to_numpy(), bootstrap=bootstrap, seed=seed)
        rows.append({"predictor": name, "r2": e.value, "low": e.low, "high": e.high})
    return pd.DataFrame(rows)


def least_squares(regressors, target, test) -> np.ndarray:
    """Predictions for the rows of `test` by a fit, with intercept, to the other rows."""
    mean, spread = regressors[~test].mean(axis=0), regressors[~test].std(axis=0)
    scaled = (regressors - mean) / np.where(spread > 0, spread, 1.0)
    level = target[~test].mean()
    weight = np.linalg.lstsq(
        scaled[~test].T @ scaled[~test], scaled[~test].T @ (target[~test] - level), rcond=1e-12
    )[0]
    return level + scaled[test] @ weight


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


def document_r2(target, prediction, document, *, bootstrap: int = 1000, seed: int = 0) -> Estimate:
    """R² = 1 − Σ residual² / Σ(target − mean)², with a percentile interval over resampled documents."""
    _, where = np.unique(document, return_inverse=True)
    sums = np.stack(
        [
            np.bincount(where, weights=w)
            for w in ((target - prediction) ** 2, np.ones_like(target), target, target**2)
        ]
    )
    draws = np.random.default_rng([seed, 0xD0C]).multinomial(
        sums.shape[1], np.full(sums.shape[1], 1 / sums.shape[1]), size=bootstrap
    )
    r2 = lambda s: 1 - s[0] / (s[3] - s[2] ** 2 / s[1])
    low, high = np.percentile(r2(sums @ draws.T), [2.5, 97.5]) if bootstrap else (np.nan, np.nan)
    return Estimate(float(r2(sums.sum(axis=1))), float(low), float(high))

"""Do two SAEs fail on the same tokens? R² and rank correlation of their error norms, token by token.

Everything follows from each document's Gram matrix of a few columns a SAE (its error norm, the norm's
residual after ‖x‖, position and token, ...): fits on other folds' sums, scores on a document's, intervals by
resampling documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ..base.values import Estimate
from ..measurement.measure import measure
from ..measurement.results import kept
from ..measurement.widths import suite_rows
from ..stats.intervals import multinomial_weights, percentile, seed_effects
from .baselines import LabelMeans, least_squares

KINDS = {
    "raw": "as they are",
    "partial": "‖x‖, position, token taken out",
    "shuffled": "the same, tokens shuffled",
    "rank": "rank correlation",
    "partial rank": "rank correlation, taken out",
    "document": "means of documents",
    "linear": "norms of LinearError, taken out",
    "nonlinear": "norms of NonlinearError, taken out",
    "added": "leftover removed by ‖NonlinearError‖",
    "added partial": "leftover removed by ‖NonlinearError‖, taken out",
    "added square": "leftover removed by the square of the norm",
}
"""What is computed for every pair of SAEs, in words. All are shares of variance (R²) but the two rank
correlations."""


def pairs(measurement, ids: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """(one row a pair of SAEs and kind: a, b, kind, value; its document replicates [row, replicate]).

    a is the narrower (earlier) of the two and predicts b; the norms are not squared. "raw": out-of-fold R² of
    b's norm from a's and a constant. "partial": the same between the residuals of both after ‖x‖, ‖x‖², and
    the shrunk out-of-fold means of position and token. "shuffled": the residuals of a permuted among the
    tokens of each document, the pole of an agreement that is about documents only. "document": squared
    correlation of the documents' means. "added": with SS₁ the squares left by a's norm and SS₂ those left by
    a's norm and a's ‖NonlinearError‖, 1 − SS₂/SS₁; "added square" has a's squared norm in its place. Kept by
    content.
    """
    ids = list(ids)
    study = measurement.study
    made = kept("neighbours", study, ["neighbours"], lambda: _compute(measurement, ids), ids=ids)
    return made["pairs"], made["replicates"].to_numpy()


def residuals(target, tokens: pd.DataFrame, fold: np.ndarray, folds: int) -> np.ndarray:
    """A number a token minus what ‖x‖, ‖x‖², position and token say of it out of fold [token]."""
    norm2 = tokens["norm2"].to_numpy(float)
    means = [LabelMeans(target, tokens[name], fold) for name in ("position", "token")]
    left = np.empty_like(target)
    for out in range(folds):
        test = fold == out
        known = np.column_stack([np.sqrt(norm2), norm2, *(mean.without(out) for mean in means)])
        left[test] = target[test] - least_squares(known, target, test)
    return left


def shuffled_within(document: np.ndarray, *, seed: int) -> np.ndarray:
    """An order of the tokens [token] that permutes them at random among those of the same document."""
    random = np.random.default_rng([seed, 0x5F1E]).random(len(document))
    order = np.empty(len(document), dtype=np.int64)
    order[np.argsort(document, kind="stable")] = np.lexsort((random, document))
    return order


class Grams:
    """Each document's sums of products of columns, a constant first; fits and scores of any few of them."""

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
        self.others = self.sums.sum(axis=0) - np.stack(
            [self.sums[self.fold == k].sum(axis=0) for k in np.unique(fold)]
        )

    def residual(self, target: str, *regressors: str) -> np.ndarray:
        """Σ(y − ŷ)² of each document [document]; ŷ has a constant and was fitted on the other folds."""
        y, x = self.names[target], [0, *(self.names[name] for name in regressors)]
        xx, xy = self.others[:, x][:, :, x], self.others[:, x, y]
        weight = np.stack([np.linalg.lstsq(a, b, rcond=1e-12)[0] for a, b in zip(xx, xy)])[self.fold]
        mine = self.sums[:, x][:, :, x]
        fitted = np.einsum("di,dij,dj->d", weight, mine, weight) - 2 * np.einsum(
            "di,di->d", weight, self.sums[:, x, y]
        )
        return np.maximum(self.sums[:, y, y] + fitted, 0)

    def moments(self, a: str, b: str) -> np.ndarray:
        """n, Σa, Σb, Σaa, Σbb, Σab of each document [6, document]."""
        i, j, s = self.names[a], self.names[b], self.sums
        return np.stack([s[:, 0, 0], s[:, 0, i], s[:, 0, j], s[:, i, i], s[:, j, j], s[:, i, j]])


def correlation(moments) -> np.ndarray:
    """The correlation of two columns from their `Grams.moments`, summed over documents [6, ...]."""
    n, a, b, aa, bb, ab = moments
    return (ab - a * b / n) / np.sqrt((aa - a**2 / n) * (bb - b**2 / n))


def _compute(measurement, ids: list[str]) -> dict[str, pd.DataFrame]:
    tokens = measurement.tokens[measurement.tokens["scored"]].reset_index(drop=True)
    document, study = tokens["document"].to_numpy(), measurement.study
    folds, fold = np.unique(tokens["fold"].to_numpy(), return_inverse=True)
    order = shuffled_within(document, seed=study.seed)
    raw, left, rank, left_rank = {}, {}, {}, {}
    for id in ids:
        for part in ("error", "linear", "nonlinear"):
            norm = np.sqrt(tokens[f"{id}:{part}"].to_numpy(float))
            raw[f"{id}:{part}"] = norm
            left[f"{id}:{part}"] = residuals(norm, tokens, fold, len(folds))
        error, rest = raw[f"{id}:error"], left[f"{id}:error"]
        raw[f"{id}:square"], left[f"{id}:shuffled"] = error**2, rest[order]
        rank[id], left_rank[id] = rankdata(error), rankdata(rest)
    grams = {"raw": Grams(raw, document, fold), "left": Grams(left, document, fold)}
    ranks = {"rank": Grams(rank, document, fold), "partial rank": Grams(left_rank, document, fold)}
    weights = multinomial_weights(len(np.unique(document)), study.bootstrap, seed=study.seed)
    rows, drawn = [], []
    for a, b in combinations(ids, 2):
        for kind, (statistic, sums) in _statistics(a, b, grams, ranks).items():
            rows.append({"a": a, "b": b, "kind": kind, "value": float(statistic(sums.sum(axis=-1)))})
            drawn.append(statistic(sums @ weights.T))
    replicates = pd.DataFrame(np.array(drawn).reshape(len(rows), len(weights)))
    return {
        "pairs": pd.DataFrame(rows, columns=["a", "b", "kind", "value"]),
        "replicates": replicates.rename(columns=str),
    }


def _statistics(a: str, b: str, grams: dict[str, Grams], ranks: dict[str, Grams]) -> dict:
    """Kind → (statistic of sums [k, ...], the sums [k, document])."""
    raw, left = grams["raw"], grams["left"]

    def share(s):
        """NaN where nothing but rounding is left over: an SAE that is predicted from itself."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(s[1] > 1e-12 * s[2], 1 - s[0] / s[1], np.nan)

    r2 = lambda s: 1 - s[0] / (s[2] - s[1] ** 2 / s[3])

    def fitted(gram: Grams, target: str, regressor: str):
        at = gram.names[target]
        return r2, np.stack(
            [gram.residual(target, regressor), gram.sums[:, 0, at], gram.sums[:, at, at], gram.sums[:, 0, 0]]
        )

    def added(gram: Grams, extra: str):
        less, more = (
            gram.residual(f"{b}:error", f"{a}:error"),
            gram.residual(f"{b}:error", f"{a}:error", f"{a}:{extra}"),
        )
        at = gram.names[f"{b}:error"]
        return share, np.stack([more, less, gram.sums[:, at, at]])

    count = raw.sums[:, 0, 0]
    means = [raw.sums[:, 0, raw.names[f"{id}:error"]] / count for id in (a, b)]
    products = (np.ones_like(count), *means, means[0] ** 2, means[1] ** 2, means[0] * means[1])
    return {
        "raw": fitted(raw, f"{b}:error", f"{a}:error"),
        "partial": fitted(left, f"{b}:error", f"{a}:error"),
        "shuffled": fitted(left, f"{b}:error", f"{a}:shuffled"),
        "rank": (correlation, ranks["rank"].moments(a, b)),
        "partial rank": (correlation, ranks["partial rank"].moments(a, b)),
        "document": (lambda s: correlation(s) ** 2, np.stack(products)),
        "linear": fitted(left, f"{b}:linear", f"{a}:linear"),
        "nonlinear": fitted(left, f"{b}:nonlinear", f"{a}:nonlinear"),
        "added": added(raw, "nonlinear"),
        "added partial": added(left, "nonlinear"),
        "added square": added(raw, "square"),
    }


@dataclass(frozen=True)
class WidthPairs:
    """Every kind of agreement for every pair of widths; a width with several seeds makes a pair with
    itself."""

    table: pd.DataFrame
    """One row a pair and kind: narrow, wide, kind, value, low, high."""
    replicates: np.ndarray
    """[row, replicate]: a column is one draw of documents and of seeds."""
    seed_sd: dict[str, float]
    """By kind, the standard deviation of a width's effect from seed to seed; NaN without several seeds."""

    def rows(self, kind: str, *, same: bool = False) -> pd.DataFrame:
        """The pairs of different widths, or of one width and two seeds (``same``)."""
        t = self.table
        return t[(t["kind"] == kind) & ((t["narrow"] == t["wide"]) == same)]

    def estimates(self, kind: str) -> dict[str, Estimate]:
        """By pair of different widths, named "128 and 256"."""
        return {
            f"{r.narrow:,} and {r.wide:,}": Estimate(r.value, r.low, r.high)
            for r in self.rows(kind).itertuples()
        }

    def mean(self, rows: pd.DataFrame) -> Estimate | None:
        """The mean of some rows with its interval; None of no row."""
        drawn = self.replicates[rows.index]
        return percentile(rows["value"].mean(), drawn.mean(axis=0)) if len(rows) else None

    def by_ratio(self, kind: str) -> pd.DataFrame:
        """Mean over the pairs of one ratio of widths: ratio, pairs, value, low, high; 1: another seed of the
        same width."""
        rows = self.table[self.table["kind"] == kind]
        made = [
            {"ratio": float(ratio), "pairs": len(some)} | self.mean(some).to_dict()
            for ratio, some in rows.groupby(rows["wide"] / rows["narrow"])
        ]
        return pd.DataFrame(made, columns=["ratio", "pairs", "value", "low", "high"])


def width_pairs(measurement, *, seed: int = 0) -> WidthPairs:
    """The width suite's pairs, joined over seeds.

    A pair's value is the mean over its seeds. A trained SAE is taken to add an effect of its own to every
    pair it is in, of one variance σ² at all widths, estimated from pairs of widths with several seeds (means
    over the partner's seeds); a replicate adds a draw of variance σ²/seeds for each of its two widths, the
    same in all pairs of that width (`seed_effects`).
    """
    saes = suite_rows(measurement).sort_values(["width", "seed"], kind="stable")
    width = dict(zip(saes["id"], saes["width"].astype(int), strict=True))
    found, drawn = pairs(measurement, list(saes["id"]))
    found = found.assign(narrow=found["a"].map(width), wide=found["b"].map(width))
    seeds = saes.groupby("width").size()
    effect = dict(zip(seeds.index, seed_effects(seeds.to_numpy(), drawn.shape[1], seed=[seed, 0x9A1])))
    spread = {kind: _spread(rows) for kind, rows in found.groupby("kind")}
    rows, replicates = [], []
    for (narrow, wide, kind), some in found.groupby(["narrow", "wide", "kind"], sort=False):
        sd = spread[kind] if np.isfinite(spread[kind]) else 0.0
        of_documents = drawn[some.index].mean(axis=0)
        replicates.append(of_documents + sd * (effect[narrow] + effect[wide]))
        e = percentile(some["value"].mean(), replicates[-1])
        rows.append({"narrow": narrow, "wide": wide, "kind": kind} | e.to_dict())
    table = pd.DataFrame(rows, columns=["narrow", "wide", "kind", "value", "low", "high"])
    return WidthPairs(table, np.array(replicates), spread)


def _spread(rows: pd.DataFrame) -> float:
    """σ: the standard deviation of an SAE's effect on its pairs, pooled over both sides of all pairs of
    widths."""
    squares = freedom = 0.0
    for (narrow, wide), some in rows.groupby(["narrow", "wide"]):
        for side in ("a", "b") if narrow != wide else ():
            means = some.groupby(side)["value"].mean()
            squares, freedom = squares + ((means - means.mean()) ** 2).sum(), freedom + len(means) - 1
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def oracle_pairs(study) -> WidthPairs | None:
    """The pairs of the simulated world's oracle SAEs, beside a study whose activations are not simulated."""
    return None if study.world or study.name == "nano" else width_pairs(measure("world"))


def same_evidence(found: WidthPairs) -> dict:
    """What the rule of claim 3 takes."""
    return {
        "partial": found.estimates("partial"),
        "shuffled": found.estimates("shuffled"),
        "seeds": found.mean(found.rows("partial", same=True)),
    }

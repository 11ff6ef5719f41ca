"""Do wide SAEs fail where narrow ones fail? Error norms of the width suite compared token by token.

Everything follows from each document's Gram matrix of a few columns a SAE: fits on other folds' sums, scores
on a document's (held out, of one or two weights, which cost nothing), intervals by resampling documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ..base.cache import kept
from ..base.values import Absent, Estimate, estimates
from ..claims import c03_same_tokens
from ..measurement.widths import first_seeds, suite_rows
from ..stats.intervals import multinomial_weights, percentile, seed_effects
from ..studies.saes import collect_anew
from .baselines import out_of_fold

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
    "added square": "leftover removed by the square of the norm",
}
"""What is computed for every pair of SAEs, in words; shares of variance but for the rank correlations."""
Rest = Callable[[np.ndarray, pd.DataFrame], np.ndarray]
"""What of an error norm [token] is compared between SAEs, given the table of its tokens."""


@kept
def same_tokens(measurement, *, rest: Rest, seed: int = 0) -> dict[str, pd.DataFrame] | Absent:
    """Every kind of agreement between the error norms of the width suite's SAEs, joined over seeds.

    ``pairs``: narrow, wide, kind, value, low, high; a width with several seeds makes a pair with itself.
    ``ratios``: means over the pairs of one ratio of widths (1: another seed): kind, ratio, pairs, value...
    ``means``: over all pairs of different widths and, ``same``, over those of one: kind, same, value...
    ``seeds``: kind and sd, the standard deviation of an SAE's own effect; NaN without several seeds.

    A pair's value is the mean over its seeds. A trained SAE is taken to add an effect of its own to every
    pair it is in, of one variance σ² at all widths, estimated from pairs of widths with several seeds (means
    over the partner's seeds); a replicate adds a draw of variance σ²/seeds for each of its two widths, the
    same in all pairs of that width (`seed_effects`).
    """
    saes = suite_rows(measurement).sort_values(["width", "seed"], kind="stable")
    if saes["width"].nunique() < 2:
        return Absent("This study has fewer than two SAEs of different width.")
    width, ids = dict(zip(saes["id"], saes["width"].astype(int), strict=True)), saes["id"].tolist()
    found, drawn = pairs(measurement, ids, rest)
    found = found.assign(narrow=found["a"].map(width), wide=found["b"].map(width))
    seeds = saes.groupby("width").size()
    effect = dict(zip(seeds.index, seed_effects(seeds.to_numpy(), drawn.shape[1], seed=[seed, 0x9A1])))
    spread = {kind: seed_spread(rows) for kind, rows in found.groupby("kind")}
    rows, replicates = [], []
    for (narrow, wide, kind), some in found.groupby(["narrow", "wide", "kind"], sort=False):
        sd = spread[kind] if np.isfinite(spread[kind]) else 0.0
        replicates.append(drawn[some.index].mean(axis=0) + sd * (effect[narrow] + effect[wide]))
        e = percentile(some["value"].mean(), replicates[-1])
        rows.append({"narrow": narrow, "wide": wide, "kind": kind} | e.to_dict())
    table, replicates = pd.DataFrame(rows), np.array(replicates)
    ratio, same = table["wide"] / table["narrow"], table["wide"] == table["narrow"]
    return {
        "pairs": table,
        "ratios": _joined(table.assign(ratio=ratio.astype(float)), replicates, "ratio"),
        "means": _joined(table.assign(same=same), replicates, "same"),
        "seeds": pd.DataFrame({"kind": list(spread), "sd": list(spread.values())}),
    }


def _joined(table: pd.DataFrame, replicates: np.ndarray, by: str) -> pd.DataFrame:
    """Means over the rows of each kind and value of ``by``: kind, by, pairs, value, low, high."""
    rows = []
    for (kind, value), some in table.groupby(["kind", by]):
        e = percentile(some["value"].mean(), replicates[some.index].mean(axis=0))
        rows.append({"kind": kind, by: value, "pairs": len(some)} | e.to_dict())
    return pd.DataFrame(rows).sort_values("kind", key=lambda k: k.map(list(KINDS).index), kind="stable")


def seed_spread(rows: pd.DataFrame) -> float:
    """σ: the standard deviation of an SAE's effect on its pairs, pooled over both sides of all pairs."""
    squares = freedom = 0.0
    for (narrow, wide), some in rows.groupby(["narrow", "wide"]):
        for side in ("a", "b") if narrow != wide else ():
            means = some.groupby(side)["value"].mean()
            squares, freedom = squares + ((means - means.mean()) ** 2).sum(), freedom + len(means) - 1
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def mean(found, kind: str, *, same: bool = False) -> Estimate | Absent:
    """The mean agreement of the pairs of different widths, or of one width and two seeds (``same``)."""
    rows = found["means"].query("kind == @kind and same == @same")
    return next(iter(estimates(rows)), Absent("No width of this study was trained from several seeds."))


def evidence(found) -> c03_same_tokens.Evidence:
    """Claim 3: agreement by pair of different widths ("128 and 256"), and of two seeds of one width."""

    def by_pair(kind):
        rows = found["pairs"].query("kind == @kind and narrow != wide")
        return {f"{row.narrow:,} and {row.wide:,}": e for row, e in zip(rows.itertuples(), estimates(rows))}

    again, kinds = mean(found, "partial", same=True), ("raw", "partial", "shuffled")
    return c03_same_tokens.Evidence(*map(by_pair, kinds), seeds=again or None)


@kept
def ladder(measurement) -> dict[str, pd.DataFrame]:
    """``steps``: R² between two error norms as more is taken out of both: pair (of first seeds), taken_out
    (each beside those before it), value, low, high, over documents. Cost: a pass of the model and one SAE;
    memory of about 30 bytes × tokens × d_model."""
    saes, (tokens, *_) = first_seeds(measurement).set_index("id")["width"], _scored(measurement)
    ids, norm2 = saes.index, tokens["norm2"].to_numpy(float)
    x = collect_anew(measurement.study, list(ids[:1]), kinds=False).x.numpy()
    size, labels = [np.sqrt(norm2), norm2], [tokens["position"], tokens["token"]]
    sets = {"nothing": None, "‖x‖": (size, []), "+ position": (size, labels[:1]), "+ token": (size, labels)}
    sets["+ all of x"] = ([*size, *x.T], labels)

    @cache
    def left(id: str, name: str) -> np.ndarray:
        norm, known = np.sqrt(tokens[f"{id}:error"].to_numpy(float)), sets[name]
        return norm - out_of_fold(norm, tokens["fold"], numbers=known[0], labels=known[1]) if known else norm

    rows = []
    for a, b in dict.fromkeys([(ids[0], ids[1]), (ids[0], ids[-1]), (ids[-2], ids[-1])]):
        for name in sets:
            e, _ = partial(measurement, left(a, name), left(b, name), lambda norm, _: norm)
            rows.append({"pair": f"{saes[a]:,.0f} and {saes[b]:,.0f}", "taken_out": name} | e.to_dict())
    return {"steps": pd.DataFrame(rows)}


def levels(measurement) -> pd.DataFrame:
    """By width, the mean norm of LinearError and of NonlinearError over the root of x's variance."""
    tokens, saes = measurement.tokens[measurement.tokens["scored"]], first_seeds(measurement)
    unit = np.sqrt(tokens[f"{saes['id'].iloc[0]}:error"].mean() / saes["fvu"].iloc[0])
    mean = lambda part: [np.sqrt(tokens[f"{id}:{part}"]).mean() / unit for id in saes["id"]]
    about = {"width": saes["width"].astype(int).tolist()}
    return pd.DataFrame(about | {"LinearError": mean("linear"), "NonlinearError": mean("nonlinear")})


def gallery(measurement, *, count: int = 40, shown: int = 100) -> pd.DataFrame:
    """Contexts from the one with the smallest mean error to the one with the largest, at evenly spaced ranks:
    one row a token (the first ``shown`` scored ones of each): context, document, level, position, text, and a
    column for each width, its error norm in multiples of that SAE's mean.

    level: the mean of these over scored tokens and widths; only contexts with the most scored tokens count.
    """
    tokens, saes = measurement.tokens[measurement.tokens["scored"]], first_seeds(measurement)
    norms = np.sqrt(tokens[[f"{id}:error" for id in saes["id"]]].to_numpy(float))
    widths = [f"{int(width):,}" for width in saes["width"]]
    about = tokens[["context", "document", "position", "token"]].reset_index(drop=True)
    table = about.join(pd.DataFrame(norms / norms.mean(axis=0), columns=widths))
    stats = table[widths].mean(axis=1).groupby(table["context"]).agg(["mean", "size"])
    ranked = stats[stats["size"] == stats["size"].max()].sort_values("mean", kind="stable")
    places = np.unique(np.linspace(0, len(ranked) - 1, count).round().astype(int))
    chosen = [table[table["context"] == c].assign(level=ranked["mean"][c]) for c in ranked.index[places]]
    frame = pd.concat([one.head(shown) for one in chosen], ignore_index=True)
    return frame.assign(text=measurement.decode(frame["token"].tolist()))


def pairs(measurement, ids: Sequence[str], rest: Rest) -> tuple[pd.DataFrame, np.ndarray]:
    """(one row a pair of SAEs and kind: a, b, kind, value; its document replicates [row, replicate]).

    a is the narrower (earlier) of the two and predicts b; the norms are not squared. "raw": out-of-fold R² of
    b's norm from a's and a constant. "partial": the same between the ``rest`` of both. "shuffled": the rest
    of a permuted among the tokens of each document, the pole of an agreement that is about documents only.
    "document": squared correlation of the documents' means. "added": 1 − SS₂/SS₁ with SS₁ the squares that
    a's norm leaves and SS₂ those that it and a's ‖NonlinearError‖ leave ("added square": it and its square).
    """
    tokens, document, fold, weights = _scored(measurement)
    order = shuffled_within(document, seed=measurement.study.seed)
    raw, left, rank, left_rank = {}, {}, {}, {}
    for id in ids:
        for part in ("error", "linear", "nonlinear"):
            norm = np.sqrt(tokens[f"{id}:{part}"].to_numpy(float))
            raw[f"{id}:{part}"], left[f"{id}:{part}"] = norm, np.asarray(rest(norm, tokens))
        error, its_rest = raw[f"{id}:error"], left[f"{id}:error"]
        raw[f"{id}:square"], left[f"{id}:shuffled"] = error**2, its_rest[order]
        rank[id], left_rank[id] = rankdata(error), rankdata(its_rest)
    grams = [Grams(columns, document, fold) for columns in (raw, left, rank, left_rank)]
    rows, drawn = [], []
    for a, b in combinations(ids, 2):
        for kind, (statistic, sums) in _statistics(a, b, *grams).items():
            rows.append({"a": a, "b": b, "kind": kind, "value": float(statistic(sums.sum(axis=-1)))})
            drawn.append(statistic(sums @ weights.T))
    return pd.DataFrame(rows), np.array(drawn)


def partial(measurement, a: np.ndarray, b: np.ndarray, rest: Rest) -> tuple[Estimate, np.ndarray]:
    """The kind "partial" of `pairs`, and its replicates, for any two error norms [scored token]."""
    tokens, document, fold, weights = _scored(measurement)
    sums = Grams({"a": rest(a, tokens), "b": rest(b, tokens)}, document, fold).fitted("b", "a")
    drawn = r2(sums @ weights.T)
    return percentile(r2(sums.sum(axis=-1)), drawn), drawn


def _scored(measurement) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """(scored tokens, their document, their fold from 0, weights of the bootstrap)."""
    tokens, study = measurement.tokens[measurement.tokens["scored"]].reset_index(drop=True), measurement.study
    ids, document = np.unique(tokens["document"].to_numpy(), return_inverse=True)
    fold = np.unique(tokens["fold"].to_numpy(), return_inverse=True)[1]
    return tokens, document, fold, multinomial_weights(len(ids), study.bootstrap, seed=study.seed)


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
        own = np.stack([self.sums[self.fold == k].sum(axis=0) for k in np.unique(fold)])
        self.others = self.sums.sum(axis=0) - own

    def residual(self, target: str, *regressors: str) -> np.ndarray:
        """Σ(y − ŷ)² of each document [document]; ŷ has a constant and was fitted on the other folds."""
        y, x = self.names[target], [0, *(self.names[name] for name in regressors)]
        xx, xy = self.others[:, x][:, :, x], self.others[:, x, y]
        weight = np.stack([np.linalg.lstsq(a, b, rcond=1e-12)[0] for a, b in zip(xx, xy)])[self.fold]
        mine, cross = self.sums[:, x][:, :, x], self.sums[:, x, y]
        fitted = np.einsum("di,dij,dj->d", weight, mine, weight) - 2 * np.einsum("di,di->d", weight, cross)
        return np.maximum(self.sums[:, y, y] + fitted, 0)

    def fitted(self, target: str, *regressors: str) -> np.ndarray:
        """Σ(y − ŷ)², n, Σy, Σyy of each document [4, document]: what `r2` takes."""
        y, s = self.names[target], self.sums
        return np.stack([self.residual(target, *regressors), s[:, 0, 0], s[:, 0, y], s[:, y, y]])

    def moments(self, a: str, b: str) -> np.ndarray:
        """n, Σa, Σb, Σaa, Σbb, Σab of each document [6, document]."""
        i, j, s = self.names[a], self.names[b], self.sums
        return np.stack([s[:, 0, 0], s[:, 0, i], s[:, 0, j], s[:, i, i], s[:, j, j], s[:, i, j]])


def r2(fitted) -> np.ndarray:
    """1 − Σ(y − ŷ)² / Σ(y − ȳ)² from `Grams.fitted`, summed over documents [4, ...]."""
    left, n, y, yy = fitted
    return 1 - left / (yy - y**2 / n)


def correlation(moments) -> np.ndarray:
    """The correlation of two columns from their `Grams.moments`, summed over documents [6, ...]."""
    n, a, b, aa, bb, ab = moments
    return (ab - a * b / n) / np.sqrt((aa - a**2 / n) * (bb - b**2 / n))


def _statistics(a: str, b: str, raw: Grams, left: Grams, rank: Grams, left_rank: Grams) -> dict:
    """Kind → (statistic of sums [k, ...], the sums [k, document])."""

    def share(s):
        """NaN where nothing but rounding is left over: an SAE that is predicted from itself."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(s[1] > 1e-12 * s[2], 1 - s[0] / s[1], np.nan)

    def added(extra: str):
        y, x = f"{b}:error", f"{a}:error"
        less, more, at = raw.residual(y, x), raw.residual(y, x, f"{a}:{extra}"), raw.names[y]
        return share, np.stack([more, less, raw.sums[:, at, at]])

    count = raw.sums[:, 0, 0]
    means = [raw.sums[:, 0, raw.names[f"{id}:error"]] / count for id in (a, b)]
    products = (np.ones_like(count), *means, means[0] ** 2, means[1] ** 2, means[0] * means[1])
    return {
        "raw": (r2, raw.fitted(f"{b}:error", f"{a}:error")),
        "partial": (r2, left.fitted(f"{b}:error", f"{a}:error")),
        "shuffled": (r2, left.fitted(f"{b}:error", f"{a}:shuffled")),
        "rank": (correlation, rank.moments(a, b)),
        "partial rank": (correlation, left_rank.moments(a, b)),
        "document": (lambda s: correlation(s) ** 2, np.stack(products)),
        "linear": (r2, left.fitted(f"{b}:linear", f"{a}:linear")),
        "nonlinear": (r2, left.fitted(f"{b}:nonlinear", f"{a}:nonlinear")),
        "added": added("nonlinear"),
        "added square": added("square"),
    }

"""Do wide SAEs fail where narrow ones fail? Error norms of the width suite compared token by token.

Everything follows from each document's `Grams` of a few columns a SAE; intervals are over documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from ..base.cache import kept
from ..base.values import Absent, Estimate, estimates
from ..claims import c03_same_tokens
from ..measurement.widths import first_seeds, suite_rows
from ..stats.intervals import (
    apart,
    bootstrap,
    interval,
    multinomial_weights,
    percentile,
    resampled,
    totals,
    without_each,
)
from ..stats.seeds import seed_effects
from ..studies.saes import collect_anew
from .baselines import out_of_fold
from .grams import Grams, correlation

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
    over the partner's seeds). An interval joins that over documents with that of seeds (`apart`): of draws of
    variance σ²/seeds for each of a pair's two widths, the same in all pairs of that width (`seed_effects`).
    """
    saes = suite_rows(measurement).sort_values(["width", "seed"], kind="stable")
    if saes["width"].nunique() < 2:
        return Absent("This study has fewer than two SAEs of different width.")
    width, ids = dict(zip(saes["id"], saes["width"].astype(int), strict=True)), saes["id"].tolist()
    found, drawn, left_out = pairs(measurement, ids, rest)
    found = found.assign(narrow=found["a"].map(width), wide=found["b"].map(width))
    seeds = saes.groupby("width").size()
    effect = dict(zip(seeds.index, seed_effects(seeds.to_numpy(), drawn.shape[1], seed=[seed, 0x9A1])))
    spread = {kind: seed_spread(rows) for kind, rows in found.groupby("kind")}
    rows, parts = [], []
    for (narrow, wide, kind), some in found.groupby(["narrow", "wide", "kind"], sort=False):
        sd = spread[kind] if np.isfinite(spread[kind]) else 0.0
        of_documents = [table[some.index].mean(axis=0) for table in (drawn, left_out)]
        parts.append((*of_documents, sd * (effect[narrow] + effect[wide])))
        e = _mean(some["value"], parts[-1:])
        rows.append({"narrow": narrow, "wide": wide, "kind": kind} | e)
    table = pd.DataFrame(rows)
    ratio, same = table["wide"] / table["narrow"], table["wide"] == table["narrow"]
    return {
        "pairs": table,
        "ratios": _joined(table.assign(ratio=ratio.astype(float)), parts, "ratio"),
        "means": _joined(table.assign(same=same), parts, "same"),
        "seeds": pd.DataFrame({"kind": list(spread), "sd": list(spread.values())}),
    }


def _mean(values: pd.Series, parts: Sequence[tuple]) -> dict[str, float]:
    """The mean of values [n] with its interval; parts: of each its replicates over documents [replicate],
    its values without each document [document], and its draws of seeds [replicate]."""
    value, (drawn, left_out, seeds) = float(values.mean()), (np.mean(z, axis=0) for z in zip(*parts))
    documents = Estimate(value, *interval(value, drawn, left_out))
    return apart(documents, percentile(0.0, seeds)).to_dict()


def _joined(table: pd.DataFrame, parts: Sequence[tuple], by: str) -> pd.DataFrame:
    """Means over the rows of each kind and value of ``by``: kind, by, pairs, value, low, high."""
    rows = []
    for (kind, value), some in table.groupby(["kind", by]):
        e = _mean(some["value"], [parts[row] for row in some.index])
        rows.append({"kind": kind, by: value, "pairs": len(some)} | e)
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


@kept
def levels(measurement) -> dict[str, pd.DataFrame]:
    """``levels``: mean norms of LinearError and NonlinearError by width, over the root of x's variance."""
    tokens, saes = measurement.tokens[measurement.tokens["scored"]], first_seeds(measurement)
    unit = np.sqrt(tokens[f"{saes['id'].iloc[0]}:error"].mean() / saes["fvu"].iloc[0])
    mean = lambda part: [np.sqrt(tokens[f"{id}:{part}"]).mean() / unit for id in saes["id"]]
    about = {"width": saes["width"].astype(int).tolist()}
    parts = {"LinearError": mean("linear"), "NonlinearError": mean("nonlinear")}
    return {"levels": pd.DataFrame(about | parts)}


@kept
def gallery(measurement, *, count: int = 40, shown: int = 100) -> dict[str, pd.DataFrame]:
    """``strips``: contexts from the one with the smallest mean error to the one with the largest, at evenly
    spaced ranks: one row a token (the first ``shown`` scored ones of each): context, document, level,
    position, text, and a column for each width, its error norm in multiples of that SAE's mean.

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
    return {"strips": frame.assign(text=measurement.decode(frame["token"].tolist()))}


def pairs(measurement, ids: Sequence[str], rest: Rest) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """(one row a pair of SAEs and kind: a, b, kind, value; its document replicates [row, replicate]; its
    values without each document [row, document]).

    a is the narrower (earlier) of the two and predicts b; the norms are not squared. "raw": R² of b's norm
    from a's and a constant. "partial": the same between the ``rest`` of both. "shuffled": the rest of a
    permuted among the tokens of each document, the pole of an agreement that is about documents only.
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
    rows, drawn, left_out = [], [], []
    for a, b in combinations(ids, 2):
        for kind, (statistic, sums) in _statistics(a, b, *grams).items():
            rows.append({"a": a, "b": b, "kind": kind, "value": float(statistic(totals(sums)))})
            drawn.append(statistic(resampled(sums, weights)))
            left_out.append(statistic(without_each(sums)))
    return pd.DataFrame(rows), np.array(drawn), np.array(left_out)


def partial(measurement, a: np.ndarray, b: np.ndarray, rest: Rest) -> tuple[Estimate, np.ndarray]:
    """The kind "partial" of `pairs`, and its replicates, for any two error norms [scored token]."""
    tokens, document, fold, weights = _scored(measurement)
    grams = Grams({"a": rest(a, tokens), "b": rest(b, tokens)}, document, fold)
    return bootstrap(*grams.r2("b", "a"), weights=weights)


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


def _statistics(a: str, b: str, raw: Grams, left: Grams, rank: Grams, left_rank: Grams) -> dict:
    """Kind → (statistic of sums, the sums of documents)."""
    error, its = f"{a}:error", f"{b}:error"
    count = raw.sums[:, 0, 0]
    one, other = (raw.sums[:, 0, raw.names[name]] / count for name in (error, its))
    means = {"n": np.ones_like(count), "a": one, "b": other, "aa": one**2, "bb": other**2, "ab": one * other}
    return {
        "raw": raw.r2(its, error),
        "partial": left.r2(its, error),
        "shuffled": left.r2(its, f"{a}:shuffled"),
        "rank": (correlation, rank.moments(a, b)),
        "partial rank": (correlation, left_rank.moments(a, b)),
        "document": (lambda s: correlation(s) ** 2, means),
        "linear": left.r2(f"{b}:linear", f"{a}:linear"),
        "nonlinear": left.r2(f"{b}:nonlinear", f"{a}:nonlinear"),
        "added": raw.r2(its, error, f"{a}:nonlinear", over=[error]),
        "added square": raw.r2(its, error, f"{a}:square", over=[error]),
    }

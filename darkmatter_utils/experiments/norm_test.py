"""The norm test of every part of x, from x and from the part itself, for every SAE; its poles; and its null.

The test: R² of the least-squares prediction of a part's size (‖z‖², unless the idea says otherwise), of the
best weights (`fits.centre`). From x it is the paper's figure; from z itself it is what its argument is about.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.cache import kept
from ..base.errors import BadInput
from ..base.values import Absent, Estimate, estimates
from ..claims import c06_norm_lowest
from ..decomposition.passes import PARTS
from ..measurement.widths import suite_rows
from ..stats.documents import assign_folds, sum_by
from ..stats.fits import centre, cross_fit, moments_by_fold
from ..stats.intervals import apart, bootstrap, multinomial_weights, percentile
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from ..worlds.known import tokens_of
from ..worlds.saes import OracleSae
from .matching import null_worlds, one_more, target_of
from .regress import Regression, of_each, over_suite, parts_of, regress

Size = Callable[[Tensor], Tensor]
"""What is predicted of a part: z [token, d_model] -> one number a token."""
NO_SAES = ("dead", "shrunk", "random", "oracle")
"""Kinds that are nulls: shown, never counted as SAEs."""
ROUNDING = 1e-20
"""A part whose Σ‖z‖² is below this share of Σ‖x‖² is rounding: it has no size to predict from itself."""
FALL = "SaeError less NonlinearError"
"""By how much R² falls from the one to the other, as if it were a part."""
CELL = ["width", "part", "source"]


class Folds:
    """Tokens in folds of documents: what an out-of-fold fit and its interval need."""

    def __init__(self, document: np.ndarray, *, folds: int, fold_of: dict | None = None):
        ids, row, counts = np.unique(document, return_inverse=True, return_counts=True)
        fold_of = fold_of or assign_folds(ids, counts, folds)
        names, fold = np.unique([fold_of[int(i)] for i in ids], return_inverse=True)
        self.document, self.fold, self.folds = document, fold[row], len(names)

    def predict(self, x: Tensor, y: Tensor) -> Tensor:
        """The out-of-fold least-squares prediction of y [token, out] from x [token, d_model]."""
        return cross_fit(moments_by_fold(x, y, self.fold)).predict(x, self.fold)

    def r2(self, x: Tensor, z: Tensor, size: Size, *, replicates: int = 200) -> Estimate:
        """R² of the size of z from x, with its interval over documents."""
        target = sizes(size, z)
        fits = cross_fit(moments_by_fold(x, target, self.fold))
        made = fits.predict(x, self.fold), fits.overall(x).to(x.device)
        left = centre(*((target - one) ** 2 for one in made), self.folds)
        t = target - target.mean()
        sums = sum_by(self.document, torch.cat([left, torch.ones_like(t), t, t**2], dim=1)).T
        r2 = lambda s: 1 - s["left"] / (s["tt"] - s["t"] ** 2 / s["n"])
        how = dict(seed=0, tokens_per_dimension=len(x) / x.shape[1])
        weights = multinomial_weights(sums.shape[1], replicates, **how)
        found = dict(zip(("left", "n", "t", "tt"), sums))
        return bootstrap(r2, found, replicates=replicates, weights=weights)[0]


def sizes(size: Size, z: Tensor) -> Tensor:
    """The size of each row [token, 1], float64; BadInput where an idea does not return one number a token."""
    made = torch.as_tensor(size(z), dtype=torch.float64, device=z.device)
    if made.numel() != len(z):
        raise BadInput(f"size must return one number a token, {len(z)}, got shape {list(made.shape)}")
    return made.reshape(len(z), 1)


def tests(x, x_hat, linear, size: Size, folds: Folds, *, replicates: int = 200) -> list[dict]:
    """Both tests of the five parts: part, source ("from x", "from itself"), value, low, high; last, from x,
    the part called `FALL`, without an interval."""
    rows, of_x = [], {}
    for part, z in parts_of(x, x_hat, linear).items():
        itself = folds.r2(z, z, size, replicates=replicates)
        from_x = itself if part == "x" else folds.r2(x, z, size, replicates=replicates)
        found = {"from itself": itself, "from x": from_x}
        rows += [{"part": part, "source": source} | e.to_dict() for source, e in found.items()]
        of_x[part] = from_x.value
    drop = Estimate(of_x["SaeError"] - of_x["NonlinearError"])
    return [*rows, {"part": FALL, "source": "from x"} | drop.to_dict()]


def poles(nonlinear: Tensor, x: Tensor, size: Size, folds: Folds) -> list[dict]:
    """NonlinearError's own test beside rows made to pass or fail it (Gaussian ones of its covariance; its own
    on other tokens; ones of its norms in random directions): pole, source, value, low, high."""
    rng = np.random.default_rng([0, 0x901E])
    centred = nonlinear - nonlinear.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    normal = lambda: torch.from_numpy(rng.standard_normal(tuple(nonlinear.shape))).to(nonlinear)
    directions = normal()
    made = {"NonlinearError": nonlinear}
    made["Gaussian, same covariance"] = (normal() * values.clamp(min=0).sqrt()) @ vectors.T
    made["same rows, other tokens"] = nonlinear[torch.from_numpy(rng.permutation(len(nonlinear)))]
    norms = nonlinear.norm(dim=1, keepdim=True)
    made["same norms, random directions"] = directions / directions.norm(dim=1, keepdim=True) * norms
    return [
        {"pole": name, "source": source} | folds.r2(given, z, size).to_dict()
        for name, z in made.items()
        for source, given in (("from x", x), ("from itself", z))
    ]


def tokens(measurement, *, contexts: int) -> tuple[Activations, Tensor, list, np.ndarray]:
    """(source, x, what SAEs are given, document) of scored tokens of contexts spread evenly over the text."""
    source = Activations(measurement.study, contexts_a_batch=contexts if measurement.study.world else MICRO)
    batches = list(source.batches(contexts=contexts, scored=True))
    x = torch.cat([batch.x for batch in batches]).double()
    return source, x, [b.source for b in batches], np.concatenate([b.document for b in batches])


@kept
def norm_test(measurement, *, size: Size, contexts: int = 200) -> dict[str, pd.DataFrame]:
    """Both tests for every SAE of the study.

    ``tests``: id, part, source, value, low, high, and what the SAE is; from x over all of the study's tokens
    (`regress`), from itself on those of contexts spread over its text. ``poles``: the same for the rows of
    `poles`, at the suite's SAE of middle width. ``tokens``: how many tokens the second has, and their Var ‖x
    − x̄‖² / mean². ``gaps``: see `gaps`. Maps are the measurement's out-of-fold maps. Cost: two passes of the
    model and the SAEs, and about a second an SAE and 40,000 tokens.
    """
    ids = measurement.saes["id"].tolist()
    maps = {id: measurement.maps(id).maps for id in ids}
    over_all = regress(measurement, of_each(maps, lambda z: sizes(size, z)))
    from_x = {part: over_all.r2(only=i)[0].set_index("id") for i, part in enumerate(PARTS)}
    source, x, given, document = tokens(measurement, contexts=contexts)
    folds = Folds(document, folds=measurement.study.folds, fold_of=measurement.fold_of())
    if folds.folds < 2:
        folds = Folds(document, folds=2)
    suite = suite_rows(measurement).sort_values("width", kind="stable")["id"]
    middle = str(suite.iloc[len(suite) // 2])
    rows, extremes = [], []
    for sae in load_saes(measurement.study, source):
        x_hat = torch.cat([sae.reconstruct(batch)[0] for batch in given]).double()
        linear = measurement.maps(sae.id).predict(x, measurement.folds_at(document))
        for part, z in parts_of(x, x_hat, linear).items():
            there = float((z**2).sum()) > ROUNDING * float((x**2).sum())
            found = {"from itself": (folds.r2(z, z, size) if there else Estimate(float("nan"))).to_dict()}
            found["from x"] = from_x[part].loc[sae.id].to_dict()
            rows += [{"id": sae.id, "part": part, "source": source} | e for source, e in found.items()]
        if sae.id == middle:
            extremes = poles(x - x_hat - linear, x, size, folds)
    about = measurement.saes[["id", "kind", "width", "seed", "main"]]
    return {
        "tests": pd.DataFrame(rows).merge(about, on="id"),
        "poles": pd.DataFrame(extremes).assign(id=middle),
        "tokens": pd.DataFrame({"cv2": [_unequal(x)], "tokens": [len(x)]}),
        "gaps": gaps(measurement, over_all),
    }


def gaps(measurement, fit: Regression) -> pd.DataFrame:
    """At each width of the suite, over its seeds: gap, width, value, low, high. gap: "NonlinearError", its R²
    from x; "LinearError", "SaeError", theirs less that, on the same documents. fit: `of_each` part.

    The ends carry the maps' own error (`owned`), too."""
    frames = []
    for gap in ("NonlinearError", "LinearError", "SaeError"):
        values, drawn, moved = fallen(fit, gap)
        suite, shift = (over_suite(measurement, fit.ids, one, drawn) for one in (values, moved))
        joined = [owned(e, by) for e, by in zip(suite.estimates().values(), shift.values)]
        frames.append(suite.frame().assign(gap=gap, **pd.DataFrame(map(Estimate.to_dict, joined))))
    return pd.concat(frames, ignore_index=True)


def fallen(fit: Regression, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R² from x of a part less that of NonlinearError (of the latter itself), of every SAE: values [SAE],
    replicates [replicate, SAE], and how far the values move where the maps' error doubles [SAE]."""
    least, more = PARTS.index("NonlinearError"), len(PARTS) + 1
    own = {"SaeError": 2, "LinearError": len(PARTS)}.get(part)
    only, noisy = ((PARTS.index(part), least), (own, more)) if own else ([least], [more])
    (table, drawn), (other, _) = (fit.r2("less" if own else "each", only=one) for one in (only, noisy))
    return table["value"].to_numpy(), drawn, (other["value"] - table["value"]).to_numpy()


def owned(estimate: Estimate, moved: float) -> Estimate:
    """An estimate whose interval reaches as far as the maps' own error has moved it: with few tokens a
    dimension NonlinearError holds a share of it, whose norm no x predicts."""
    low, high = min(estimate.low, estimate.low - moved), max(estimate.high, estimate.high - moved)
    return Estimate(estimate.value, low, high)


def null(measurement, found, *, size: Size) -> pd.DataFrame | Absent:
    """Both tests on SAEs that introduce nothing: width, part, source, value, low, high.

    In a simulated study its own oracles; elsewhere those of `matched_null`.
    """
    suite = suite_rows(measurement)
    if measurement.study.model is None:
        mine = found["tests"][found["tests"]["id"].isin(suite["id"])].query("kind == 'oracle'")
        return mine[[*CELL, "value", "low", "high"]]
    # Without a match (too few widths, or not at one L0) there is nothing to test, and it says why.
    target = target_of(measurement)
    return matched_null(measurement, size=size)["null"] if target else target


@kept
def matched_null(measurement, *, size: Size, documents: int = 60) -> dict[str, pd.DataFrame]:
    """Both tests on the matched null (`matching.matched`) at each width of the suite.

    ``draws``: world, draw, width, part, source, value. ``null``: `CELL`, the mean, and the ends of one more
    draw (`matching.one_more`); cv2, as in `norm_test`. Cost: about 4 s a draw of 15,000 tokens in 128
    dimensions.
    """
    target, rows, cv2 = target_of(measurement), [], []
    for at, draw, world in null_worlds(measurement):
        batch = tokens_of(world, documents)
        cv2.append(_unequal(batch.x))
        folds = Folds(batch.document.numpy(), folds=measurement.study.folds)
        for width in target.widths:
            x_hat = OracleSae("null", world, width, l0=target.cap).reconstruct(batch)[0]
            x_hat = x_hat + (batch.x - x_hat).mean(dim=0)  # its bias, as in `nulls.oracles`
            linear = folds.predict(batch.x, batch.x - x_hat)
            found = tests(batch.x, x_hat, linear, size, folds, replicates=0)
            rows += [{"world": at, "draw": draw, "width": width} | row for row in found]
    drawn = pd.DataFrame(rows).drop(columns=["low", "high"])
    table = drawn.pivot(index=["world", "draw"], columns=CELL, values="value")
    values = table.to_numpy().reshape(drawn["world"].nunique(), -1, table.shape[1])
    more = one_more(values, 1000, seed=[0, 0x2011]).T
    joined = [percentile(v, m).to_dict() for v, m in zip(values.mean(axis=(0, 1)), more)]
    null = pd.concat([table.columns.to_frame(index=False), pd.DataFrame(joined)], axis=1)
    return {"draws": drawn, "null": null.assign(cv2=float(np.mean(cv2)))}


def _unequal(x: Tensor) -> float:
    """Var ‖x − x̄‖² / mean² over tokens."""
    squares = ((x - x.mean(dim=0)) ** 2).sum(dim=1)
    return float(squares.var() / squares.mean() ** 2)


def lowest(tests: pd.DataFrame, source: str) -> tuple[int, int]:
    """(at how many SAEs NonlinearError has the lowest R² of all parts, of how many)."""
    mine = tests[(tests["source"] == source) & ~tests["kind"].isin(NO_SAES)]
    table = mine.pivot(index="id", columns="part", values="value")[list(PARTS)]
    others = table.drop(columns="NonlinearError").min(axis=1)
    return int((table["NonlinearError"] < others).sum()), len(table)


def by_width(measurement, found, nothing) -> pd.DataFrame:
    """R² of NonlinearError's size from itself over width: line, width, value, low, high.

    line "study": the first seed of each width of the suite's SAEs (in a simulated study, whose suite is the
    null, of those that introduce errors); "null": SAEs that introduce nothing.
    """
    keep = "part == 'NonlinearError' and source == 'from itself'"
    mine = found["tests"].query(f"{keep} and kind not in @NO_SAES")
    if measurement.study.model is not None:
        mine = mine[mine["id"].isin(suite_rows(measurement)["id"])]
    mine = mine.sort_values(["width", "seed"], kind="stable").drop_duplicates("width")
    lines = [mine.assign(line="study")]
    if nothing is not None and len(nothing):
        lines.append(nothing.query(keep).assign(line="null"))
    return pd.concat(lines, ignore_index=True)[["line", "width", "value", "low", "high"]]


def evidence(measurement, found, nothing) -> c06_norm_lowest.Evidence:
    """Claim 6: by how much R² from x falls to NonlinearError at each width, beside the null's fall; and the
    test from itself."""
    by = lambda rows: dict(zip(map(int, rows["width"]), estimates(rows)))
    gap = {name: by(rows) for name, rows in found["gaps"].groupby("gap")}
    itself = {line: by(rows) for line, rows in by_width(measurement, found, nothing).groupby("line")}
    null = by(nothing[nothing["part"] == FALL]) if nothing is not None and len(nothing) else {}
    low, saes = lowest(found["tests"], "from itself")
    return c06_norm_lowest.Evidence(
        over_linear=gap["LinearError"],
        over_error=gap["SaeError"],
        over_null={w: apart(e, null[w]) for w, e in gap["SaeError"].items() if w in null},
        nonlinear=gap["NonlinearError"],
        null=null,
        itself=itself.get("study", {}),
        null_itself=itself.get("null", {}),
        lowest_self=low,
        saes=saes,
    )

"""How much of the error vector, as the notebook defines it, is a linear map of x, and what kind of map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ..base.cache import kept
from ..base.values import Absent, Estimate, estimates, in_columns
from ..claims import c01_half_linear
from ..decomposition.released import train_rows
from ..decomposition.scores import linear_shares, rescaled
from ..measurement.measure import Measurement
from ..measurement.widths import over_l0, suite_rows
from ..stats.fits import LinearMap, centre, leave_out, merged, moments_by_fold, residual_squares
from ..stats.intervals import bootstrap, over_groups
from ..stats.moments import Moments
from ..studies.saes import Collected, collect
from .regress import Regression, of, over_suite, regress, suite_sources, told_sources

BEST, COMPONENTS = "the best map of that rank", "the top components of x"


def ranks(d: int) -> list[int]:
    """Powers of two up to d, and d."""
    return sorted({2**k for k in range(d.bit_length()) if 2**k <= d} | {d})


@kept
def ranks_of_b(measurement, *, ids: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Tables "sweep" and "shape", a row an SAE and rank, and an SAE.

    Cost: a pass of the model, and for each SAE and rank one product of tokens × d_model².
    """
    held = collect(measurement.study, ids, kinds=False)
    sweeps, shapes = [], []
    for id in ids:
        folds = moments_by_fold(held.x, held.x.double() - held.hats[id].double(), held.folds())
        about = {"id": id, "width": int(measurement.sae(id)["width"])}
        sweeps.append(sweep(held, id, folds).assign(**about))
        named = [in_columns(estimate, name) for name, estimate in shape(folds).items()]
        shapes.append(about | {key: number for columns in named for key, number in columns.items()})
    return {"sweep": pd.concat(sweeps, ignore_index=True), "shape": pd.DataFrame(shapes)}


def sweep(held: Collected, id: str, folds: list[Moments]) -> pd.DataFrame:
    """R² total of the error at each rank: kind, rank, r2, low, high; intervals over documents.

    `BEST`: reduced-rank regression, the r directions of LinearError that vary most. `COMPONENTS`: least
    squares on the first r principal components of x. Of the best map of its kind: from maps and directions of
    the other folds, and from those of all (`fits.centre`).
    """
    d = held.x.shape[1]
    mean = held.mean - held.hats[id].mean(dim=0, dtype=torch.float64)
    spread = held.per_document(held.squares(held.hats[id].double() + mean))
    fold_of, names = held.folds(), np.unique(held.folds())
    kinds = product((BEST, COMPONENTS), ranks(d))
    left = {cell: torch.zeros(len(held.x), dtype=torch.float64) for cell in kinds}

    def add(weight: float, rows: np.ndarray, fitted: Moments):
        mine = torch.from_numpy(rows)
        x = held.x[mine].double()
        x, e = x - fitted.x_mean, x - held.hats[id][mine].double() - fitted.y_mean
        full = LinearMap.fit(fitted)
        directions = torch.linalg.eigh(full.weight.T @ fitted.xx @ full.weight).eigenvectors.flip(1)
        best = _running(x @ full.weight, e, directions)
        basis = torch.linalg.eigh(fitted.xx).eigenvectors.flip(1)
        along = torch.diagonal(basis.T @ fitted.xx @ basis).clamp(min=1e-300)[:, None]
        gains, scores = basis.T @ fitted.xy / along, x @ basis
        for r in ranks(d):
            left[BEST, r][mine] += weight * best[r]
            left[COMPONENTS, r][mine] += weight * ((e - scores[:, :r] @ gains[:r]) ** 2).sum(dim=1)

    everything, total = np.array_split(np.arange(len(held.x)), len(names)), merged(folds)
    for k, rest, some in zip(names, leave_out(folds), everything):
        add(centre(1.0, 0.0, len(names)), np.flatnonzero(fold_of == k), rest)
        add(centre(0.0, 1.0, len(names)), some, total)
    r2, drawn = lambda s: 1 - s["residual"] / s["spread"], {"replicates": held.replicates, "seed": held.seed}
    rows = []
    for (kind, r), values in left.items():
        e, _ = bootstrap(r2, {"residual": held.per_document(values), "spread": spread}, **drawn)
        rows.append({"kind": kind, "rank": r, "r2": e.value, "low": e.low, "high": e.high})
    return pd.DataFrame(rows)


def _running(predicted: Tensor, e: Tensor, directions: Tensor) -> dict[int, Tensor]:
    """‖e − the prediction's first r directions [d, d, orthonormal]‖² for every r of `ranks` [token]."""
    p, q = predicted @ directions, e @ directions
    gain = (q**2 - (q - p) ** 2).cumsum(dim=1)
    total = (e**2).sum(dim=1)
    return {r: total - gain[:, r - 1] for r in ranks(p.shape[1])}


def shape(folds: list[Moments]) -> dict[str, Estimate]:
    """trace, gain, rank, top: what b is like, with jackknife intervals over folds of documents.

    trace: tr(b)/d, the mean over directions of how much of x's own direction the error takes. gain: the one
    scalar g that predicts the error best, tr cov(x, e) / tr cov(x), where loud directions count more. rank:
    the effective rank of LinearError, (Σλ)² / Σλ² with λ the eigenvalues of its covariance b' cov(x) b (d if
    all are equal, 1 if one is alone). top: the share of LinearError's variance that ten components predict.
    """
    whole, parts = _shape(merged(folds)), [_shape(rest) for rest in leave_out(folds)]
    return {name: over_groups(value, [part[name] for part in parts]) for name, value in whole.items()}


def _shape(moments: Moments) -> dict[str, float]:
    b = LinearMap.fit(moments).weight
    covariance = b.T @ moments.xx @ b
    eigenvalues = torch.linalg.eigvalsh(covariance).clamp(min=0)
    basis = torch.linalg.eigh(moments.xx).eigenvectors.flip(1)[:, :10]
    through = basis.T @ moments.xx @ b  # LinearError's covariance with the components
    inside = (through**2 / torch.diagonal(basis.T @ moments.xx @ basis)[:, None]).sum()
    return {
        "trace": float(torch.trace(b)) / len(b),
        "gain": float(torch.trace(moments.xy) / torch.trace(moments.xx)),
        "rank": float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum()),
        "top": float(inside / torch.trace(covariance)),
    }


def one_gain(held: Collected, id: str) -> Float[Tensor, "token d_model"]:
    """x̄ + s (Sae(x) − mean), with the s of least Σ‖x − x̂‖² on the other folds; float32."""
    hat, folds = held.hats[id], held.folds()
    centre, sums = hat.mean(dim=0, dtype=torch.float64), {}
    rows = {k: torch.from_numpy(folds == k) for k in np.unique(folds)}
    for k, mine in rows.items():
        centred = hat[mine].double() - centre
        sums[k] = float((centred * (held.x[mine].double() - held.mean)).sum()), float((centred**2).sum())
    out = torch.empty_like(hat)
    for k, mine in rows.items():
        together, own = (sum(s[i] for j, s in sums.items() if j != k) for i in (0, 1))
        out[mine] = (held.mean + together / own * (hat[mine].double() - centre)).float()
    return out


def one_gain_a_latent(held: Collected, id: str) -> Float[Tensor, "token d_model"] | None:
    """b_dec + Σ g_i a_i d_i, with the gains g of least Σ‖x − x̂‖² on the other folds; float32. None without
    codes.

    Normal equations (A'A ∘ D D') g = diag(A'(x − b_dec) D'), A the activations [token, d_sae] and D the
    decoder: sums a fold, which add up. A latent that is silent on the other folds keeps its gain of 1. Cost:
    tokens × L0 × d_model, and d_sae³ a fold.
    """
    sae = held.saes[id]
    if not hasattr(sae, "codes"):
        return None
    active = sae.codes(held.x).csr(sae.width)
    decoder, offset = (t.double().numpy(force=True) for t in (sae.dictionary, sae.bias))
    folds, overlap = held.folds(), decoder @ decoder.T
    rows = [np.flatnonzero(folds == k) for k in np.unique(folds)]
    grams, sides = [], []
    for mine in rows:
        some, target = active[mine], held.x.numpy()[mine] - offset
        grams.append((some.T @ some).toarray() * overlap)
        sides.append(((some.T @ target) * decoder).sum(axis=1))
    out = torch.empty_like(held.hats[id])
    for mine, gram, side in zip(rows, grams, sides):
        rest, right = sum(grams) - gram, sum(sides) - side
        silent = rest.diagonal() == 0
        rest[silent, silent], right[silent] = 1.0, 1.0
        gain = np.linalg.lstsq(rest, right, rcond=1e-10)[0] if silent.any() else np.linalg.solve(rest, right)
        out[mine] = torch.from_numpy(active[mine].multiply(gain[None]).tocsr() @ decoder + offset).float()
    return out


SHARES = {
    "gain": "a scalar gain",
    "pc1": "1 component of x",
    "pc10": "10 components of x",
    "full": "all of x",
}
"""Predictors of the error, as columns of ``shares``, in words."""
KINDS = {"r2_per_dim": "each", "r2_total": "pooled"}
"""The two R², and how they average over dimensions."""


@kept
def error_vectors(
    measurement: Measurement, *, error: Callable[[Tensor, Tensor], Tensor]
) -> dict[str, pd.DataFrame | Absent]:
    """R² of the error of every SAE from x, of the best map, and what of it simpler predictors explain.

    error: (x, Sae(x)) -> what is predicted, [token, d_model]. ``saes``: the measurement's table of SAEs with
    both R² anew, ``r2_per_dim`` and ``r2_total`` with their intervals over documents, and ``paper``, R² per
    dimension by the released code's protocol, and ``of_suite``, whether it has a width and kind of the suite;
    ``grid``: its means by width and L0. ``suite``: metric, width, value, low, high, seeds, joined over seeds.
    ``shares``: `linear_shares` of every SAE, with shrinkage undone, and ``kept``, the share of R² left then.
    ``by_width``: means of these over the seeds of each width of the suite; ``kept`` has a jackknife interval
    over folds of documents. ``sources``: R² per dimension by source and width. Cost: two passes of the model,
    one of the SAEs; sums of d_model × d_model for every SAE, fold and side.
    """
    study = measurement.study
    fit = regress(measurement, of(error), apart=train_rows(None, measurement.card["tokens"], study.seed))
    r2 = {metric: fit.r2(average) for metric, average in KINDS.items()}
    saes, main = measurement.saes, suite_rows(measurement)
    for metric, (table, _) in r2.items():
        ends = ("low", "high", "held_out")
        columns = {"value": metric} | {end: f"{metric}_{end}" for end in ends}
        saes = saes.drop(columns=list(columns.values())).merge(table.rename(columns=columns), on="id")
    of_suite = saes["width"].isin(main["width"]) & saes["kind"].isin(main["kind"])
    saes = saes.assign(paper=[_released(fit, id) for id in saes["id"]], of_suite=of_suite)
    shares = _shares(fit, fit.moments)
    suites = [
        over_suite(measurement, fit.ids, table["value"], drawn).frame().assign(metric=metric)
        for metric, (table, drawn) in r2.items()
    ]
    columns = ["fvu", *SHARES, "mean", "scale", "after", "kept"]
    mean = lambda table, columns: main[["id", "width"]].merge(table, on="id").groupby("width")[columns].mean()
    by_width = mean(shares, columns).join(mean(saes[["id", "r2_per_dim", "paper"]], ["r2_per_dim", "paper"]))
    without = [[one for one in fit.moments if one is not left] for left in fit.moments]
    left = np.array([mean(_shares(fit, some), "kept").to_numpy() for some in without])
    kept = [over_groups(*one).to_dict() for one in zip(by_width["kept"], left.T)]
    ends = {f"kept_{end}": [one[end] for one in kept] for end in ("low", "high")}
    return {
        "saes": saes,
        "grid": over_l0(saes),
        "suite": pd.concat(suites, ignore_index=True),
        "shares": shares,
        "by_width": by_width.assign(**ends).reset_index(),
        "sources": suite_sources(measurement, fit, KINDS["r2_per_dim"]),
    }


def half_linear(found: Mapping[str, pd.DataFrame]) -> c01_half_linear.Evidence:
    """Claim 1: R² of the error by width and by SAE, what shrinkage and the choice of protocol explain."""
    suite, means = found["suite"].query("metric == 'r2_per_dim'"), found["by_width"]
    saes = found["saes"].query("of_suite")
    return c01_half_linear.Evidence(
        r2=dict(zip(suite["width"], estimates(suite))),
        saes=dict(zip(saes["id"], estimates(saes, "r2_per_dim"))),
        kept=dict(zip(means["width"].tolist(), estimates(means, "kept"))),
        split=dict(zip(means["width"].tolist(), (means["r2_per_dim"] - means["paper"]).tolist())),
        sources=told_sources(found["sources"]),
    )


def _shares(fit: Regression, folds: Sequence[Moments]) -> pd.DataFrame:
    """`linear_shares` of every SAE with shrinkage undone, its fvu, and ``kept``, after / full (0 where full
    is not above 0), from the sums of some folds."""
    shares = linear_shares(folds, {id: fit.columns(id) for id in fit.ids})
    total = merged(folds)
    squares = total.yy + total.n * total.y_mean**2
    fvu = [float(squares[fit.columns(id)].sum() / total.xx.trace()) for id in fit.ids]
    shares = rescaled(shares.merge(pd.DataFrame({"id": fit.ids, "fvu": fvu}), on="id"))
    return shares.assign(kept=(shares["after"] / shares["full"].where(shares["full"] > 0)).fillna(0.0))


def _released(fit: Regression, id: str) -> float:
    """R² per dimension by the released code: a map without intercept of some tokens, scored on the others."""
    held_out, fitted = (side.targets(fit.columns(id)) for side in fit.parts)
    left = residual_squares(held_out, LinearMap.fit(fitted, intercept=False)).cpu().numpy()
    return float(np.mean(1 - left / held_out.yy.cpu().numpy()))

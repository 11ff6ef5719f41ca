"""Scores of the decomposition from sums over documents alone; and what of an SAE's error is simple."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ..base.values import Estimate
from ..stats.fits import LinearMap, centre, leave_out, merged, residual_squares
from ..stats.intervals import Sums, interval, multinomial_weights, resampled, stretched, totals, without_each
from ..stats.metrics import ratio_r2
from ..stats.moments import Moments
from .passes import PARTS, SELF_PARTS

BLOCK = 256
"""Replicates, or documents left out, scored at once: thousands would take more room than the sums."""


class Floors(NamedTuple):
    """Sums of squares that are only rounding: a target below its floor does not vary (`metrics.ratio_r2`)."""

    error: np.ndarray
    """Of each dimension of SaeError [d_model]."""
    norms: np.ndarray
    """Of the squared norm of each of PARTS [5]."""

    @classmethod
    def of(cls, n: float, x_squares: float, *means: torch.Tensor) -> Floors:
        """From the tokens' number, Σ‖x − x̄‖² and the means of x, of the error and of the parts' squared
        norms. A part of x below 1e3 eps of x is rounding."""
        x_mean, error_mean, norm_mean = (mean.cpu().numpy() for mean in means)
        eps = np.finfo(np.float64).eps
        size = x_squares / n + float(x_mean @ x_mean)
        error = n * (16 * eps) ** 2 * (size / len(x_mean) + x_mean**2 + error_mean**2)
        parts = np.array([0.0, 0.0, 1.0, 1.0, 1.0]) * (1e3 * eps) ** 2 * size
        return cls(error, n * ((64 * eps * norm_mean) ** 2 + parts**2))


def statistics(s: Sums, floors: Floors) -> dict[str, np.ndarray]:
    """Every score from totals, each [...batch] or [...batch, d_model or parts].

    n, x [d_model], xx: tokens, Σ(x − ref), Σ‖x − ref‖². error, residual: Σ‖SaeError‖², Σ‖NonlinearError‖².
    n_r2, e, ee, residual_r2 [d_model]: tokens, Σ(e − ref), Σ(e − ref)² and Σ residual² of those that R² is
    scored on. t, tt, norm [5], norm_self [4]: Σ(‖z‖² − ref), its square, and what its prediction from x and
    from z leaves.
    """
    n_r2 = np.asarray(s["n_r2"])[..., None]
    x = s["xx"] - (s["x"] ** 2).sum(axis=-1) / s["n"]
    total, residual = s["ee"] - s["e"] ** 2 / n_r2, s["residual_r2"]
    scores = {
        "fvu": s["error"] / x,
        "fvu_linear": (s["error"] - s["residual"]) / x,
        "fvu_nonlinear": s["residual"] / x,
        "r2_total": ratio_r2(residual.sum(axis=-1), total.sum(axis=-1), floor=floors.error.sum()),
        "r2_per_dim": ratio_r2(residual, total, floor=floors.error).mean(axis=-1),
    }
    spread = s["tt"] - s["t"] ** 2 / n_r2
    norms = ratio_r2(s["norm"], spread, floor=floors.norms)
    scores |= {f"norm_r2 {part}": norms[..., i] for i, part in enumerate(PARTS)}
    if "norm_self" in s:
        own = ratio_r2(s["norm_self"], spread[..., 1:], floor=floors.norms[1:])
        scores |= {"norm_r2_self x": norms[..., 0]}
        scores |= {f"norm_r2_self {part}": own[..., i] for i, part in enumerate(SELF_PARTS)}
    return scores


class Scores(NamedTuple):
    """Every score by name."""

    estimates: dict[str, Estimate]
    held_out: dict[str, float]
    per_fold: dict[str, np.ndarray]
    """Held out, of each fold alone [fold], and its tokens."""
    per_source: dict[str, np.ndarray]
    """Of each source alone [source], and its tokens."""
    without_source: dict[str, np.ndarray]
    """Of all documents but those of each source [source], and their tokens."""
    replicates: dict[str, np.ndarray]


def evaluate(
    plain: Sums,
    fair: Sums,
    *,
    fold: np.ndarray,
    source: np.ndarray,
    floors: Floors,
    replicates: int,
    seed: int,
) -> Scores:
    """Scores from per-document sums: `fair` [document, ...] gives estimates, intervals and sources; `plain`
    the held-out values.

    fold, source: each document's [document], from 0. No interval where it is `refused`, NaN then also the
    replicates. Cost: replicates × documents × d_model.
    """

    def scored(sums):
        with np.errstate(divide="ignore", invalid="ignore"):
            return statistics(sums, floors)

    def grouped(sums, weights):
        return {"tokens": (weights @ sums["n"]).astype(int)} | scored(resampled(sums, weights))

    def in_blocks(count, some):
        found = [scored(some(slice(at, at + BLOCK))) for at in range(0, count, BLOCK)]
        return {name: np.concatenate([scores[name] for scores in found]) for name in found[0]}

    numbers = lambda sums: {name: float(v) for name, v in scored(totals(sums)).items()}
    value, held_out = numbers(fair), numbers(plain)
    members = lambda label: (np.arange(label.max() + 1)[:, None] == label).astype(np.float64)
    mine = members(source)
    groups = grouped(plain, members(fold)), grouped(fair, mine), grouped(fair, 1 - mine)
    if not replicates:
        return Scores({name: Estimate(v) for name, v in value.items()}, held_out, *groups, {})
    per_dimension = plain["n"].sum() / plain["x"].shape[1]
    weights = multinomial_weights(len(fold), replicates, seed=seed, tokens_per_dimension=per_dimension)
    drawn = in_blocks(replicates, lambda rows: resampled(fair, weights[rows]))
    jackknife = in_blocks(len(fold), lambda rows: without_each(fair, rows))
    estimates = {n: Estimate(v, *interval(v, drawn[n], jackknife[n])) for n, v in value.items()}
    drawn = {n: stretched(drawn[n], estimate) for n, estimate in estimates.items()}
    return Scores(estimates, held_out, *groups, drawn)


COMPONENTS = (1, 10)
"""Numbers of principal components of x that the error is predicted from."""


def linear_shares(folds: Sequence[Moments], columns: Mapping[str, slice]) -> pd.DataFrame:
    """One row an SAE: ``mean``, the R² ``gain``, ``pc1``, ``pc10``, ``full``, and ``best_factor``.

    ``mean``: n‖mean e‖² / Σ‖e‖², the share of the squared error that is one constant vector, which no R²
    counts. The others: 1 − Σ‖e − ê‖² / Σ‖e − mean e‖² with ê = c + g x (one scalar g), ê linear in the top k
    principal components of x, or in all of x; of the best map, from held-out and in-sample ones
    (`fits.centre`). ``best_factor``: the s for which s (Sae(x) − its mean) fits x best. Closed form from the
    sums: no data. folds: sums of x and of all errors side by side; columns: those of each SAE's error.
    """
    others = leave_out(folds)
    predictors = {"gain": _gain} | {f"pc{k}": partial(_components, k) for k in COMPONENTS}
    predictors["full"] = lambda moments, basis: LinearMap.fit(moments)
    bases = [torch.linalg.eigh(some.xx)[1].flip(1) for some in (*others, merged(folds))]
    rows = []
    for id, own in columns.items():
        mine, rest = ([sums.targets(own) for sums in each] for each in (folds, others))
        total = merged(mine)
        spread = float(total.yy.sum())
        constant = float(total.n * (total.y_mean**2).sum())
        variance, shared = (float(torch.trace(matrix)) for matrix in (total.xx, total.xy))
        reconstructed = variance - 2 * shared + spread
        factor = (variance - shared) / reconstructed if reconstructed > 1e-12 * variance else np.nan
        row = {"id": id, "mean": constant / (constant + spread), "best_factor": factor}
        for name, predictor in predictors.items():
            *maps, whole = (predictor(some, basis) for some, basis in zip((*rest, total), bases))
            held_out = sum(float(residual_squares(*pair).sum()) for pair in zip(mine, maps))
            left = centre(held_out, float(residual_squares(total, whole).sum()), len(folds))
            row[name] = 1 - left / spread if spread > 0 else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def rescaled(table: pd.DataFrame) -> pd.DataFrame:
    """Shrinkage undone: `linear_shares` with its ``fvu``, and for s·Sae(x) plus a constant, the s of least
    squares, two columns more: ``scale``, s, and ``after``, R² total of the error of that reconstruction.

    In units of the variance of x, with v that of the error and g = cov(x, e): s = (1 − g) / (1 − 2g + v), so
    g = (s (1 + v) − 1) / (2s − 1), negative where the SAE writes too much. The rescaled error has the
    variance 1 − s (1 − g), and what a linear map leaves of it is s² times what it left before. At s = ½ any g
    has v = 1, and |g| is taken from the R² of the gain, g²/v.
    """
    s, v = table["best_factor"].fillna(0.0), table["fvu"] * (1 - table["mean"])
    half = (2 * s - 1).abs() < 1e-6
    g = (s * (1 + v) - 1) / (2 * s - 1).where(~half, 1.0)
    g = g.where(~half, np.sqrt(table["gain"].clip(lower=0) * v))
    spread = 1 - s * (1 - g)
    after = 1 - s**2 * v * (1 - table["full"]) / spread.clip(lower=1e-12)
    return table.assign(scale=s, after=after.where(spread > 1e-9, 0.0))


def _gain(moments: Moments, basis: torch.Tensor) -> LinearMap:
    gain = torch.trace(moments.xy) / torch.trace(moments.xx)
    weight = gain * torch.eye(moments.d_in, dtype=torch.float64, device=moments.xx.device)
    return LinearMap(weight, moments.x_mean, moments.y_mean)


def _components(k: int, moments: Moments, basis: torch.Tensor) -> LinearMap:
    top = basis[:, :k]
    weight = top @ torch.linalg.pinv(top.T @ moments.xx @ top) @ (top.T @ moments.xy)
    return LinearMap(weight, moments.x_mean, moments.y_mean)

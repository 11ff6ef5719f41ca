"""Every score of the decomposition, from sums over documents alone: values, per fold, and with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..base.values import Estimate
from ..stats.intervals import interval, multinomial_weights, resampled, totals, without_each
from ..stats.metrics import ratio_r2
from .passes import PARTS, SELF_PARTS


class Floors(NamedTuple):
    """Sums of squares that are only rounding; a target below its floor does not vary (see
    `metrics.ratio_r2`)."""

    error: np.ndarray
    """Of each dimension of SaeError [d_model]."""
    norms: np.ndarray
    """Of the squared norm of each of PARTS [5]."""

    @classmethod
    def of(
        cls, *, n: float, x_mean: np.ndarray, x_squares: float, error_mean: np.ndarray, norm_mean: np.ndarray
    ) -> Floors:
        """From the tokens' number, Σ‖x − x̄‖² and means. A part of x below 1e3 eps of x is rounding."""
        eps = np.finfo(np.float64).eps
        size = x_squares / n + float(x_mean @ x_mean)
        error = n * (16 * eps) ** 2 * (size / len(x_mean) + x_mean**2 + error_mean**2)
        parts = np.array([0.0, 0.0, 1.0, 1.0, 1.0]) * (1e3 * eps) ** 2 * size
        return cls(error, n * ((64 * eps * norm_mean) ** 2 + parts**2))


def statistics(s: Mapping[str, np.ndarray], floors: Floors) -> dict[str, np.ndarray]:
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
    """What `evaluate` returns, each by the score's name."""

    estimates: dict[str, Estimate]
    per_fold: dict[str, np.ndarray]
    population: dict[str, float]
    replicates: dict[str, np.ndarray]


def evaluate(
    plain: Mapping[str, np.ndarray],
    fair: Mapping[str, np.ndarray],
    *,
    fold: np.ndarray,
    floors: Floors,
    replicates: int,
    seed: int,
) -> Scores:
    """Scores from per-document sums: `plain` [document, ...] gives the values, `fair` the intervals.

    fold: each document's fold [document]. Cost: replicates × documents × d_model.
    """

    def scored(sums):
        with np.errstate(divide="ignore", invalid="ignore"):
            return statistics(sums, floors)

    value = {name: float(v) for name, v in scored(totals(plain)).items()}
    centre = {name: float(v) for name, v in scored(totals(fair)).items()}
    members = (np.arange(fold.max() + 1)[:, None] == fold).astype(np.float64)
    per_fold = {"tokens": (members @ plain["n"]).astype(int)} | scored(resampled(plain, members))
    if not replicates:
        return Scores({name: Estimate(v) for name, v in value.items()}, per_fold, centre, {})
    drawn = scored(resampled(fair, multinomial_weights(len(fold), replicates, seed=seed)))
    jackknife = scored(without_each(fair))
    estimates = {
        name: Estimate(v, *interval(centre[name], drawn[name], jackknife[name], include=v))
        for name, v in value.items()
    }
    return Scores(estimates, per_fold, centre, drawn)

"""What of an SAE's error is simple: its mean, a scalar gain, the top principal components of x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from ..stats.fits import LinearMap, leave_out, merged, residual_squares
from ..stats.moments import Moments

COMPONENTS = (1, 10)
"""Numbers of principal components of x that the error is predicted from."""


def linear_shares(folds: Sequence[Moments], columns: Mapping[str, slice]) -> pd.DataFrame:
    """One row an SAE: ``mean``, the held-out R² ``gain``, ``pc1``, ``pc10``, ``full``, and ``best_factor``.

    ``mean``: n‖mean e‖² / Σ‖e‖², the share of the squared error that is one constant vector, which no R²
    counts. The others: 1 − Σ‖e − ê‖² / Σ‖e − mean e‖² with ê = c + g x (one scalar g), ê linear in the top k
    principal components of x, or in all of x; maps and components from the other folds. ``best_factor``: the
    s for which s (Sae(x) − its mean) fits x best. Closed form from the sums: no data. folds: sums of x and of
    all errors side by side; columns: those of each SAE's error.
    """
    others = leave_out(folds)
    predictors = (
        {"gain": _gain}
        | {f"pc{k}": _components(k) for k in COMPONENTS}
        | {"full": lambda moments, basis: LinearMap.fit(moments)}
    )
    bases = [torch.linalg.eigh(rest.xx)[1].flip(1) for rest in others]
    rows = []
    for id, own in columns.items():
        mine = [fold.targets(own) for fold in folds]
        rest = [other.targets(own) for other in others]
        total = merged(mine)
        spread = float(total.yy.sum())
        constant = float(total.n * (total.y_mean**2).sum())
        variance, shared = (float(torch.trace(matrix)) for matrix in (total.xx, total.xy))
        reconstructed = variance - 2 * shared + spread
        row = {
            "id": id,
            "mean": constant / (constant + spread),
            "best_factor": (variance - shared) / reconstructed
            if reconstructed > 1e-12 * variance
            else np.nan,
        }
        for name, predictor in predictors.items():
            residual = 0.0
            for fold, other, basis in zip(mine, rest, bases):
                residual += float(residual_squares(fold, predictor(other, basis)).sum())
            row[name] = 1 - residual / spread if spread > 0 else np.nan
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
    return _centred(moments, gain * torch.eye(len(moments.xx), dtype=torch.float64, device=moments.xx.device))


def _components(k: int):
    def predictor(moments: Moments, basis: torch.Tensor) -> LinearMap:
        top = basis[:, :k]
        return _centred(moments, top @ torch.linalg.pinv(top.T @ moments.xx @ top) @ (top.T @ moments.xy))

    return predictor


def _centred(moments: Moments, weight: torch.Tensor) -> LinearMap:
    return LinearMap(weight=weight, x_mean=moments.x_mean, y_mean=moments.y_mean, ridge=(0.0,))

"""What is measured: pure functions of arrays.

Numerator and denominator are each summed over everything and divided once.
"""

from __future__ import annotations

import numpy as np
import torch

from .moments import as_float64


def fvu(x, reconstruction) -> float:
    """Fraction of variance unexplained: Σ‖x − x̂‖² / Σ‖x − x̄‖², pooled over dimensions; x, x̂ [token,
    d_model]. 0 for a perfect reconstruction, 1 for the mean; NaN where x does not vary at all."""
    x, reconstruction = as_float64(x), as_float64(reconstruction)
    total = float(((x - x.mean(dim=0)) ** 2).sum())
    return float(((x - reconstruction) ** 2).sum()) / total if total > 0 else float("nan")


def ratio_r2(residual: np.ndarray, total: np.ndarray, *, floor=0.0) -> np.ndarray:
    """1 − residual / total elementwise, R².

    A target that does not vary (a total within `floor` of zero) is explained exactly (R² 1) when its residual
    is zero too, else not at all (R² 0): scikit-learn's `r2_score(force_finite=True)`, with a floor for
    rounding.
    """
    residual, total = np.broadcast_arrays(np.asarray(residual, float), np.asarray(total, float))
    flat = total <= floor
    value = 1 - residual / np.where(flat, 1.0, total)
    return np.where(flat, np.where(residual <= floor, 1.0, 0.0), value)


def r2_per_dim(target, prediction) -> float:
    """R² *per dimension*: the plain mean of the d R²'s of target [token, d] (the paper's number)."""
    residual, total, floor = _squares(target, prediction)
    return float(ratio_r2(residual.sum(0).numpy(), total.sum(0).numpy(), floor=floor).mean())


def r2_total(target, prediction) -> float:
    """R² *total*: 1 − pooled residual / pooled variance of target [token, d]; large dimensions weigh more."""
    residual, total, floor = _squares(target, prediction)
    return float(ratio_r2(residual.sum().numpy(), total.sum().numpy(), floor=floor.sum()))


def _squares(target, prediction) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Squares of residual and deviation [token, d], and what rounding makes of a constant column [d]."""
    exact = [as_float64(array).cpu() for array in (target, prediction)]
    target, prediction = (array[:, None] if array.ndim == 1 else array for array in exact)
    floor = (torch.finfo(torch.float64).eps ** 2 * 64 * (target**2).sum(dim=0)).numpy()
    return (target - prediction) ** 2, (target - target.mean(dim=0)) ** 2, floor

"""What is measured: pure functions of arrays, and the number with an interval that every result is.

Numerator and denominator are each summed over everything and divided once.
"""

from __future__ import annotations

import numpy as np
import torch

from .moments import as_float64


def fvu(x, reconstruction) -> float:
    """Fraction of variance unexplained: Σ‖x − x̂‖² / Σ‖x − x̄‖², pooled over dimensions; x, x̂ [token,
    d_model].

    0 for a perfect reconstruction, 1 for the mean; NaN where x does not vary at all.
    """
    x, reconstruction = as_float64(x), as_float64(reconstruction)
    total = float(((x - x.mean(dim=0)) ** 2).sum())
    return float(((x - reconstruction) ** 2).sum()) / total if total > 0 else float("nan")


def ratio_r2(residual: np.ndarray, total: np.ndarray, *, floor=0.0) -> np.ndarray:
    """1 − residual / total elementwise, where a total within `floor` of zero counts as explained if the
    residual is.

    A target that does not vary is explained exactly (R² 1) when its residual is zero too, else not at all (R²
    0): scikit-learn's `r2_score(force_finite=True)`, with a floor for rounding.
    """
    residual, total = np.broadcast_arrays(np.asarray(residual, float), np.asarray(total, float))
    flat = total <= floor
    value = 1 - residual / np.where(flat, 1.0, total)
    return np.where(flat, np.where(residual <= floor, 1.0, 0.0), value)


def r2_per_dim(target, prediction) -> float:
    """R² *per dimension*: the plain mean of the d R²'s of target [token, d] (the paper's number)."""
    target, prediction = _two_dims(target), _two_dims(prediction)
    residual = ((target - prediction) ** 2).sum(dim=0)
    total = ((target - target.mean(dim=0)) ** 2).sum(dim=0)
    return float(ratio_r2(residual.numpy(), total.numpy(), floor=rounding_floor(target)).mean())


def r2_total(target, prediction) -> float:
    """R² *total*: 1 − pooled residual / pooled variance of target [token, d]; large dimensions weigh more."""
    target, prediction = _two_dims(target), _two_dims(prediction)
    residual = ((target - prediction) ** 2).sum()
    total = ((target - target.mean(dim=0)) ** 2).sum()
    return float(ratio_r2(residual.numpy(), total.numpy(), floor=rounding_floor(target).sum()))


def rounding_floor(target: torch.Tensor) -> np.ndarray:
    """Σ over tokens of the squared rounding error of each column: below it a column does not vary [d]."""
    return (torch.finfo(torch.float64).eps ** 2 * 64 * (target**2).sum(dim=0)).numpy()


def _two_dims(array) -> torch.Tensor:
    array = as_float64(array).cpu()
    return array[:, None] if array.ndim == 1 else array

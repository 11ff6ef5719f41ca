"""What kind of matrix b is: its trace, its effective rank, and how much of the error each rank of it
predicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.cache import kept
from ..base.values import Estimate
from ..stats.fits import LinearMap, leave_out, merged, moments_by_fold
from ..stats.intervals import bootstrap, over_folds
from ..stats.moments import Moments
from ..studies.saes import Collected, collect

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
        folds = _moments(held, id)
        width = int(measurement.sae(id)["width"])
        sweeps.append(sweep(held, id, folds).assign(id=id, width=width))
        shapes.append({"id": id, "width": width} | _ends(shape(folds)))
    return {"sweep": pd.concat(sweeps, ignore_index=True), "shape": pd.DataFrame(shapes)}


def _moments(held: Collected, id: str) -> list[Moments]:
    return moments_by_fold(held.x, held.x.double() - held.hats[id].double(), held.folds())


def sweep(held: Collected, id: str, folds: list[Moments]) -> pd.DataFrame:
    """Held-out R² total of the error at each rank: kind, rank, r2, low, high; intervals over documents.

    `BEST`: reduced-rank regression, the r directions of LinearError that vary most. `COMPONENTS`: least
    squares on the first r principal components of x. Maps and directions from the other folds. Rank 0 is the
    error's mean.
    """
    d = held.x.shape[1]
    mean = held.mean - held.hats[id].mean(dim=0, dtype=torch.float64)
    spread = held.per_document(held.squares(held.hats[id].double() + mean))
    fold_of, names = held.folds(), np.unique(held.folds())
    left = {
        (kind, r): torch.zeros(len(held.x), dtype=torch.float64)
        for kind in (BEST, COMPONENTS)
        for r in ranks(d)
    }
    for k, rest in zip(names, leave_out(folds)):
        mine = torch.from_numpy(fold_of == k)
        x = held.x[mine].double()
        x, e = x - rest.x_mean, x - held.hats[id][mine].double() - rest.y_mean
        full = LinearMap.fit(rest)
        directions = torch.linalg.eigh(full.weight.T @ rest.xx @ full.weight).eigenvectors.flip(1)
        best = _running(x @ full.weight, e, directions)
        basis = torch.linalg.eigh(rest.xx).eigenvectors.flip(1)
        gains = basis.T @ rest.xy / torch.diagonal(basis.T @ rest.xx @ basis).clamp(min=1e-300)[:, None]
        scores = x @ basis
        for r in ranks(d):
            left[BEST, r][mine] = best[r]
            left[COMPONENTS, r][mine] = ((e - scores[:, :r] @ gains[:r]) ** 2).sum(dim=1)
    rows = []
    for (kind, r), values in left.items():
        e = _r2(held, held.per_document(values), spread)
        rows.append({"kind": kind, "rank": r, "r2": e.value, "low": e.low, "high": e.high})
    return pd.DataFrame(rows)


def _running(predicted: Tensor, e: Tensor, directions: Tensor) -> dict[int, Tensor]:
    """‖e − the prediction's first r directions‖² for every r of `ranks` [token]; directions [d, d]
    orthonormal."""
    p, q = predicted @ directions, e @ directions
    gain = (q**2 - (q - p) ** 2).cumsum(dim=1)
    total = (e**2).sum(dim=1)
    return {r: total - gain[:, r - 1] for r in ranks(p.shape[1])}


def _r2(held: Collected, residual: np.ndarray, spread: np.ndarray) -> Estimate:
    return bootstrap(
        lambda s: 1 - s["residual"] / s["spread"],
        {"residual": residual, "spread": spread},
        replicates=held.replicates,
        seed=held.seed,
    )[0]


def shape(folds: list[Moments]) -> dict[str, Estimate]:
    """trace, rank, spread, gain, top: what b is like, with jackknife intervals over folds of documents.

    trace: tr(b)/d, the mean over directions of how much of x's own direction the error takes. gain: the one
    scalar g that predicts the error best, tr cov(x, e) / tr cov(x), where loud directions count more. rank:
    the effective rank of LinearError, (Σλ)² / Σλ² with λ the eigenvalues of its covariance b' cov(x) b (d if
    all are equal, 1 if one is alone). top: the share of LinearError's variance that the first ten principal
    components of x predict.
    """
    parts = [_shape(rest) for rest in leave_out(folds)]
    return {
        name: over_folds(value, [part[name] for part in parts])
        for name, value in _shape(merged(folds)).items()
    }


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


def _ends(estimates: dict[str, Estimate]) -> dict[str, float]:
    return {
        key: number
        for name, e in estimates.items()
        for key, number in ((name, e.value), (f"{name}_low", e.low), (f"{name}_high", e.high))
    }

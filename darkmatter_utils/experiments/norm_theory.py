"""When a sparse sum of features has a squared norm that is linear in it: the paper's Appendix A, with its
condition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from ..stats.intervals import over_draws
from ..worlds.world import log_spread, lognormal
from .norm_tests import Folds

SIGNS = ("positive", "symmetric")


def one_feature(p: float, spread: float) -> float:
    """R² of w² from w for one coefficient: on with probability p, then lognormal of mean 1 and deviation
    ``spread``.

    Cov(w, w²)² / (Var w · Var w²), with E w^k = p m_k and m_k = (1 + spread²)^(k(k−1)/2). As p → 0 it is
    m_3² / (m_2 m_4) = 1 / (1 + spread²): 1 for coefficients that are on or off, less the more they vary.
    """
    m = {k: (1 + spread**2) ** (k * (k - 1) / 2) for k in (1, 2, 3, 4)}
    covariance = p * m[3] - p**2 * m[1] * m[2]
    return covariance**2 / ((p * m[2] - p**2 * m[1] ** 2) * (p * m[4] - p**2 * m[2] ** 2))


def sparse_sum(
    n: int,
    *,
    d: int,
    l0: float,
    spread: float,
    tokens: int,
    orthonormal: bool = False,
    signs: str = "positive",
    seed: int = 0,
) -> torch.Tensor:
    """z = Σ w_i y_i [token, d]: n unit directions y_i, random or orthonormal (n ≤ d), each on with
    probability l0 / n."""
    rng = np.random.default_rng([seed, 0xA99A])
    rows = rng.standard_normal((n, d))
    y = np.linalg.qr(rows.T)[0].T if orthonormal else rows / np.linalg.norm(rows, axis=1, keepdims=True)
    on = rng.random((tokens, n)) < l0 / n
    w = on * lognormal(rng, log_spread(spread), on.size).reshape(on.shape)
    if signs == "symmetric":
        w *= rng.choice([-1.0, 1.0], size=w.shape)
    return torch.from_numpy(w @ y)


def checks(
    *,
    d: int = 64,
    l0: float = 4.0,
    tokens: int = 8000,
    seeds: int = 3,
    ratios=(0.25, 0.5, 1, 2, 4, 16),
    spreads=(0.0, 0.5, 1.0),
) -> pd.DataFrame:
    """R² of ‖z‖² from z, out of fold, over n/d for random directions: case, ratio, spread, value, low, high,
    theory.

    ``theory`` is `one_feature`, the value for orthonormal directions. Beside the sweep: orthonormal
    directions (n = d), coefficients of either sign, and dense Gaussian rows, where the test must fail.
    Intervals over draws.
    """
    cases = [("random directions", r, s, {}) for r in ratios for s in spreads]
    cases += [("orthonormal directions", 1, s, {"orthonormal": True}) for s in spreads]
    cases += [
        ("either sign, orthonormal", 1, s, {"orthonormal": True, "signs": "symmetric"}) for s in spreads
    ]
    document = np.arange(tokens) // 100
    folds, rows = Folds(document, folds=5), []
    for case, ratio, spread, kind in cases:
        n = int(ratio * d)
        found = []
        for seed in range(seeds):
            z = sparse_sum(n, d=d, l0=l0, spread=spread, tokens=tokens, seed=seed, **kind)
            found.append(folds.norm_r2(z, z, replicates=0).value)
        theory = one_feature(l0 / n, spread) if kind.get("signs") != "symmetric" else 0.0
        rows.append(
            {"case": case, "ratio": float(ratio), "spread": spread, "theory": theory}
            | over_draws(found).to_dict()
        )
    gaussian = [
        torch.from_numpy(np.random.default_rng([seed, 0x6A]).standard_normal((tokens, d)))
        for seed in range(seeds)
    ]
    found = [folds.norm_r2(z, z, replicates=0).value for z in gaussian]
    rows.append(
        {"case": "dense Gaussian", "ratio": np.nan, "spread": np.nan, "theory": 0.0}
        | over_draws(found).to_dict()
    )
    return pd.DataFrame(rows)

"""When a sparse sum of features has a squared norm that is linear in it (the paper's App. B.1 and C.1), and
what the probe for the norm of Sae(x) weighs: a*·d_i of each latent against how strongly it fires (App. C.2,
Fig. 14).

If the norm is a sum over latents, the probe reads each latent by the slope of its squared activation on the
activation, c_i = Cov(w_i, w_i²) / Var(w_i): about its mean activation when on, where that varies little.
App. C.1 prints E w_i² / E w_i instead; for coefficients that are on or off the two are the same. B.1 asks for
directions that are almost orthogonal and seldom on together; that there be no more of them than dimensions is
a condition of ours.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from scipy.stats import spearmanr

from ..base.cache import kept
from ..measurement.widths import first_seeds
from ..stats.fits import LinearMap
from ..stats.intervals import over_draws, percentile
from ..stats.moments import Moments
from ..studies.saes import load_saes
from ..studies.study import Study
from ..worlds.world import log_spread, lognormal
from .norm_test import Folds, Size, sizes, tokens


def one_feature(p: float, spread: float) -> float:
    """R² of w² from w for one coefficient: on with probability p, then lognormal of mean 1 and deviation
    ``spread``.

    Cov(w, w²)² / (Var w · Var w²), with E w^k = p m_k and m_k = (1 + spread²)^(k(k−1)/2). As p → 0 it is m_3²
    / (m_2 m_4) = 1 / (1 + spread²): 1 for coefficients that are on or off, less the more they vary.
    """
    m1, m2, m3, m4 = ((1 + spread**2) ** (k * (k - 1) / 2) for k in (1, 2, 3, 4))
    covariance = p * m3 - p**2 * m1 * m2
    return covariance**2 / ((p * m2 - p**2 * m1**2) * (p * m4 - p**2 * m2**2))


def poisson(rate: float) -> float:
    """R² of w² from w for a Poisson coefficient, the example of App. C.1: (2λ + 1)² / (4λ² + 6λ + 1).

    At λ = 1 it is 9/11, ρ = 3/√11 = 0.905. The paper prints ρ ≈ 0.73, with 6λ³ for 6λ² in the variance of w²:
    its argument is better than it says.
    """
    return (2 * rate + 1) ** 2 / (4 * rate**2 + 6 * rate + 1)


def sparse_sum(
    n: int, *, d: int, l0: float, spread: float, tokens: int, orthonormal=False, signs="positive", seed=0
) -> torch.Tensor:
    """z = Σ w_i y_i [token, d]: n unit directions y_i, random or orthonormal (n ≤ d), each on with
    probability l0 / n, and w_i lognormal, "positive" or of "symmetric" sign."""
    rng = np.random.default_rng([seed, 0xA99A])
    rows = rng.standard_normal((n, d))
    y = np.linalg.qr(rows.T)[0].T if orthonormal else rows / np.linalg.norm(rows, axis=1, keepdims=True)
    on = rng.random((tokens, n)) < l0 / n
    w = on * lognormal(rng, log_spread(spread), on.size).reshape(on.shape)
    if signs == "symmetric":
        w *= rng.choice([-1.0, 1.0], size=w.shape)
    return torch.from_numpy(w @ y)


@kept
def theory(
    study: Study, *, size: Size, rows=8000, seeds=3, ratios=(0.25, 0.5, 1, 2, 4, 16), spreads=(0.0, 0.5, 1.0)
) -> dict[str, pd.DataFrame]:
    """R² of the size of z from z, out of fold, over n/d for random directions, the same for every study:
    ``checks``: case, ratio, spread, value, low, high, theory.

    ``theory`` is `one_feature`, the value of the squared norm for orthonormal directions. Beside the sweep:
    orthonormal directions (n = d), coefficients of either sign, and dense Gaussian rows, where the test must
    fail. Intervals are over draws.
    """
    d, l0, orthonormal = 64, 4.0, {"orthonormal": True}
    cases = [("random directions", r, s, {}) for r in ratios for s in spreads]
    cases += [("orthonormal directions", 1, s, orthonormal) for s in spreads]
    signed = orthonormal | {"signs": "symmetric"}
    cases += [("either sign, orthonormal", 1, s, signed) for s in spreads]
    folds, found = Folds(np.arange(rows) // 100, folds=5), []

    def r2(make, **about):
        drawn = (make(seed) for seed in range(seeds))
        found.append(about | over_draws([folds.r2(z, z, size, replicates=0).value for z in drawn]).to_dict())

    for case, ratio, spread, kind in cases:
        n = int(ratio * d)
        one = 0.0 if kind is signed else one_feature(l0 / n, spread)
        make = lambda seed: sparse_sum(n, d=d, l0=l0, spread=spread, tokens=rows, seed=seed, **kind)
        r2(make, case=case, ratio=float(ratio), spread=spread, theory=one)
    normal = lambda seed: torch.from_numpy(np.random.default_rng([seed, 0x6A]).standard_normal((rows, d)))
    r2(normal, case="dense Gaussian", ratio=np.nan, spread=np.nan, theory=0.0)
    return {"checks": pd.DataFrame(found)}


def map_of_size(z: torch.Tensor, size: Size) -> torch.Tensor:
    """a*, the weights [d_model] of the least-squares prediction of the size from z, on all tokens."""
    return LinearMap.fit(Moments(z.shape[1], 1).update(z, sizes(size, z))).weight[:, 0]


@kept
def probes(measurement, *, size: Size, contexts: int = 200) -> dict[str, pd.DataFrame]:
    """What the probe weighs, a table each.

    ``latents``: every alive latent of the suite (first seed of each width): width, latent, fires, weight
    (a*·d_i), active (mean activation when on) and slope (c_i). ``curve``: `binned`; ``agreement``:
    `agreement`. Cost: the suite's SAEs on those contexts.
    """
    source, x, given, _ = tokens(measurement, contexts=contexts)
    saes = {sae.id: sae for sae in load_saes(measurement.study, source)}
    suite = first_seeds(measurement).itertuples()
    tables = [_latents(saes[row.id], given, x, size).assign(width=int(row.width)) for row in suite]
    latents = pd.concat(tables, ignore_index=True)
    return {"latents": latents, "curve": binned(latents), "agreement": agreement(latents)}


def binned(latents: pd.DataFrame, *, bins: int = 12) -> pd.DataFrame:
    """The probe's weight over the mean activation, latents of a width in bins of equal number: width, active
    (mean of the bin), weight, and weight_low and weight_high, one standard deviation away."""
    rows = []
    for width, some in latents.groupby("width"):
        order = np.argsort(some["active"].to_numpy(), kind="stable")
        for part in np.array_split(order, min(bins, len(some))):
            active, weight = (some[name].to_numpy()[part] for name in ("active", "weight"))
            mean, sd = weight.mean(), weight.std()
            rows.append((int(width), active.mean(), mean, mean - sd, mean + sd))
    return pd.DataFrame(rows, columns=["width", "active", "weight", "weight_low", "weight_high"])


def _latents(sae, given, x: torch.Tensor, size: Size) -> pd.DataFrame:
    if hasattr(sae, "codes"):
        codes = scipy.sparse.vstack([sae.codes(batch).csr(sae.width) for batch in given], format="csr")
        rows = sae.dictionary.double().numpy(force=True)
    else:  # an oracle: the fires of the features that it holds
        batch = given[0]
        row, feature, value = (t.numpy() for t in (batch.row, batch.feature, batch.value))
        mine = feature < sae.width
        codes = scipy.sparse.csr_array((value[mine], (row[mine], feature[mine])), shape=(len(x), sae.width))
        rows = sae.world.directions.numpy()[: sae.width]
    a = map_of_size(torch.from_numpy(codes @ rows), size).numpy()
    n, count = len(x), np.asarray((codes != 0).sum(axis=0)).ravel()
    first, second, third = (np.asarray((codes**k if k > 1 else codes).sum(axis=0)).ravel() for k in (1, 2, 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (third / n - first * second / n**2) / (second / n - (first / n) ** 2)
    frame = pd.DataFrame({"latent": np.arange(sae.width), "fires": count, "weight": rows @ a})
    frame = frame.assign(active=first / count.clip(1), slope=slope)
    return frame[count > 0].reset_index(drop=True)


def agreement(latents: pd.DataFrame, *, replicates: int = 500) -> pd.DataFrame:
    """At each width, how the probe's weight goes with the mean activation and with the slope: width, latents,
    against, statistic, value, low, high; the intervals resample latents.

    Both statistics are free of scale. All alive latents count alike.
    """
    rng, rows = np.random.default_rng([0, 0xE12]), []
    ranked = lambda x, y: spearmanr(x, y).statistic
    statistics = {"rank correlation": ranked, "correlation": lambda x, y: np.corrcoef(x, y)[0, 1]}
    for width, table in latents.groupby("width"):
        y, n = table["weight"].to_numpy(), len(table)
        draws = rng.integers(0, n, size=(replicates, n)) if n > 3 else []
        for against, (name, statistic) in product(("active", "slope"), statistics.items()):
            x = table[against].to_numpy()
            e = percentile(_of(statistic, x, y), [_of(statistic, x[i], y[i]) for i in draws])
            about = {"width": int(width), "latents": n, "against": against, "statistic": name}
            rows.append(about | e.to_dict())
    return pd.DataFrame(rows)


def _of(statistic, x: np.ndarray, y: np.ndarray) -> float:
    """A correlation; NaN where one of the two does not vary."""
    return float(statistic(x, y)) if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")

"""Least squares from sums: one factorisation of X'X serves every target, every SAE and every ridge.

A map is fitted on some folds' sums and scored on another's; no function here sees a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor
from torch.nn import functional as F

from ..base.errors import BadInput
from .moments import Moments, as_float64

RIDGE_GRID = (0.0,) + tuple(10.0**k for k in range(-6, 3))
"""Ridges tried by ridge="cv", in units of tr(X'X) / d_in."""
TOLERANCE = 1e-7
"""Directions of x below this share of the largest singular value are dropped."""
EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class LinearMap:
    """An affine map y ≈ x b + c, the answer of a least-squares fit; call it on x [token, d_in]."""

    weight: Tensor
    """b [d_in, d_out], float64."""
    x_mean: Tensor
    """x about which the map is evaluated [d_in]; zero without intercept."""
    y_mean: Tensor
    """The map's value at `x_mean` [d_out]; zero without intercept."""
    ridge: tuple[float, ...] = (0.0,)
    """Ridge used, one for each group of targets."""

    @property
    def bias(self) -> Tensor:
        """c [d_out]: the map's value at x = 0."""
        return self.y_mean - self.x_mean @ self.weight

    def __call__(self, x):
        """x b + c [token, d_out] in float64, as the kind of array that x is.

        Evaluated as (x − x̄) b + ȳ, which keeps digits where x̄ is large.
        """
        centred = as_float64(x, device=self.weight.device) - self.x_mean
        out = F.linear(centred, self.weight.T, self.y_mean)
        return out if isinstance(x, Tensor) else out.cpu().numpy()

    @classmethod
    def fit(cls, moments: Moments, *, ridge: float = 0.0, intercept: bool = True) -> LinearMap:
        """Minimise Σ‖y − x b − c‖² + ridge ‖b‖² over the tokens in `moments`.

        `ridge` is scikit-learn's alpha, on centred x when there is an intercept. At ridge 0 the answer is
        that of least norm, as in scikit-learn. Raises BadInput without tokens or for a negative ridge.
        """
        return Spectrum(moments, intercept=intercept).map(moments, ridge=ridge)

    def targets(self, columns: slice, *, group: int | None = None) -> LinearMap:
        """The map of a slice of the targets; `group` says which of the ridges is theirs."""
        ridge = self.ridge if group is None or len(self.ridge) == 1 else (self.ridge[group],)
        return replace(self, weight=self.weight[:, columns], y_mean=self.y_mean[columns], ridge=ridge)

    def truncate(self, moments: Moments, rank: int) -> LinearMap:
        """The best map of that rank for the same sums: reduced-rank regression.

        b_r = b V V' with V the first `rank` eigenvectors of b' X'X b, the covariance of the predictions.
        Source: Izenman 1975, "Reduced-rank regression for the multivariate linear model".
        """
        if not 0 <= rank <= min(self.weight.shape):
            raise BadInput(f"rank must be between 0 and {min(self.weight.shape)}, got {rank}")
        explained = self.weight.T @ (moments.xx @ self.weight)
        vectors = torch.linalg.eigh(explained).eigenvectors[:, self.weight.shape[1] - rank :]
        return replace(self, weight=(self.weight @ vectors) @ vectors.T)


class Spectrum:
    """X'X of some tokens, factorised once for each ridge: solves for any number of targets.

    Where x is well conditioned: Cholesky of X'X + ridge, scaled to a unit diagonal (cost d_in³/3). Otherwise,
    and without intercept, the singular values and directions of x (about 25 d_in³, once), found through the
    *correlations* of x so that dimensions of very different size keep their digits; at ridge 0 those below
    1e-7 of the largest are dropped. Squaring x puts 1e-7 at float64's edge, so collinear directions are told
    from rounding, and dropped, only down to sqrt(4 d_in eps) of the largest correlation (1.5e-7 to 2e-6 for
    d_in 24 to 4096). What is dropped gets weight zero: the answer is the one of least norm.
    """

    def __init__(self, moments: Moments, *, intercept: bool = True):
        if moments.n < 1:
            raise BadInput("a linear map needs at least one token to be fitted on, got none")
        self.intercept, self.gram = intercept, moments.xx
        # Without intercept the mean is one more row of x: Σxx' = xx + (√n x̄)(√n x̄)'.
        self.root_n, self.mean_row = moments.n**0.5, moments.n**0.5 * moments.x_mean
        # A constant column varies only by rounding: scaled up, it would pass for a direction.
        self.varies = self.gram.diagonal() > (64 * EPS * self.mean_row) ** 2
        self._factors: dict[float, tuple[Tensor, Tensor] | None] = {}

    @property
    def unit(self) -> float:
        """tr(X'X) / d_in, the unit of the ridge grid."""
        mean = 0.0 if self.intercept else float(self.mean_row @ self.mean_row)
        return (float(self.gram.trace()) + mean) / len(self.gram)

    def _cholesky(self, ridge: float) -> tuple[Tensor, Tensor] | None:
        """(lower factor of the scaled X'X + ridge, the scale), or None where directions might be dropped."""
        if ridge not in self._factors:
            diagonal = self.gram.diagonal() + ridge
            scale = diagonal.clamp(min=torch.finfo(torch.float64).tiny).sqrt()
            scaled = self.gram / scale[:, None] / scale
            scaled.diagonal().fill_(1.0)
            factor, failed = torch.linalg.cholesky_ex(scaled)
            smallest = 0.0
            if (ridge > 0 or bool(self.varies.all())) and not int(failed):
                norm = float(scaled.abs().sum(dim=0).max())
                reciprocal, _ = lapack.dpocon(factor.cpu().numpy(), norm, uplo="L")
                # LAPACK's estimate of the 1-norm is within a factor of 3 or so; 10 makes it a bound.
                smallest = reciprocal * norm / 10
            singular = (smallest / len(scaled)) ** 0.5 * float(scale.min() / scale.max())
            safe = smallest > 1e-11 and (ridge > 0 or singular > TOLERANCE)
            self._factors[ridge] = (factor, scale) if safe else None
        return self._factors[ridge]

    @cached_property
    def _svd(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(w, u, s, v): x is u s v' turned, w X'Y is Y turned alike, without directions of rounding."""
        scale = torch.where(self.varies, self.gram.diagonal(), 0.0).clamp(min=0).sqrt()
        safe, alive = torch.where(scale > 0, scale, 1.0), (scale > 0).to(torch.float64)
        values, vectors = torch.linalg.eigh(self.gram / safe[:, None] / safe * alive[:, None] * alive)
        kept = values > 4 * len(values) * EPS * values[-1].clamp(min=0)
        root, vectors = values[kept].sqrt()[:, None], vectors[:, kept].T
        rows = root * vectors * scale
        if not self.intercept:
            rows = torch.cat([rows, self.mean_row[None]])
        u, s, vh = torch.linalg.svd(rows, full_matrices=False)
        return vectors / safe / root, u, s, vh.T

    def solve(self, xy: Tensor, ridge: float, *, y_mean: Tensor | None = None) -> Tensor:
        """The weights [d_in, d_out] for X'Y about the means and, without intercept, ȳ [d_out]."""
        if not (np.isfinite(ridge) and ridge >= 0):
            raise BadInput(f"ridge must be a finite number of at least 0, or 'cv', got {ridge}")
        if self.intercept and (factored := self._cholesky(ridge)):
            factor, scale = factored
            return torch.cholesky_solve(xy / scale[:, None], factor) / scale[:, None]
        whiten, u, s, v = self._svd
        rows = whiten @ xy
        if not self.intercept:
            rows = torch.cat([rows, self.root_n * y_mean[None]])
        if ridge == 0 and len(s):
            kept = s > TOLERANCE * s[0]
            u, s, v = u[:, kept], s[kept], v[:, kept]
        return v @ ((u.T @ rows) * (s / (s * s + ridge))[:, None])

    def map(self, moments: Moments, *, ridge=0.0, groups: Sequence[slice] | None = None) -> LinearMap:
        """The map for the targets in `moments` (this factorisation's tokens): a ridge, or one a group."""
        xy, y_mean = moments.xy, moments.y_mean
        if groups is None:
            groups, ridge = [slice(0, xy.shape[1])], [ridge]
        ridges = tuple(float(value) for value in ridge)
        if len(set(ridges)) == 1:
            weight = self.solve(xy, ridges[0], y_mean=y_mean)
        else:
            weight = torch.zeros_like(xy)
            for columns, value in zip(groups, ridges, strict=True):
                weight[:, columns] = self.solve(xy[:, columns], value, y_mean=y_mean[columns])
        zero = 1.0 if self.intercept else 0.0
        return LinearMap(weight, zero * moments.x_mean, zero * moments.y_mean, ridges)


class CrossFit(NamedTuple):
    """Out-of-fold maps, `maps[k]` fitted on every fold but k, and the map of all folds."""

    maps: list[LinearMap]
    overall: LinearMap

    def both(self, k: int) -> LinearMap:
        """The map of fold k, then that of all folds, side by side: one product for the two."""
        mine, overall, mean = self.maps[k], self.overall, self.overall.x_mean
        weight = torch.cat([mine.weight, overall.weight], dim=1)
        return LinearMap(weight, mean, torch.cat([mine(mean[None])[0], overall.y_mean]))

    def predict(self, x: Tensor, fold) -> Tensor:
        """Each token's target under the map of its fold, ints [token]: [token, d_out], float64."""
        fold = torch.as_tensor(fold, device=x.device)
        out = torch.empty(len(x), self.overall.weight.shape[1], dtype=torch.float64, device=x.device)
        for k in fold.unique().tolist():
            rows = (fold == k).nonzero().squeeze(1)
            out[rows] = self.maps[k](x[rows]).to(x.device)
        return out


def centre(held_out, in_sample, folds: int):
    """The best map's squared residuals from those of K maps, each held out, and of one in sample: ((K − 1)
    held-out + K in-sample) / (2K − 1).

    To first order: with p weights for n tokens a held-out residual carries p K / ((K − 1) n) of estimation
    error, an in-sample one lacks p / n. So for whatever minimises the squares themselves on the tokens it
    was fitted on (least squares of any rank); not where anything was tuned on other ones.
    """
    return ((folds - 1) * held_out + folds * in_sample) / (2 * folds - 1)


def moments_by_fold(x: Tensor, y: Tensor, fold) -> list[Moments]:
    """The sums of each fold's tokens, folds 0 .. the last one in ``fold``, ints [token]."""
    fold = torch.as_tensor(fold, device=x.device)
    rows = [(fold == k).nonzero().squeeze(1) for k in range(int(fold.max()) + 1)]
    return [Moments(x.shape[1], y.shape[1], device=x.device).update(x[r], y[r]) for r in rows]


def merged(moments: Sequence[Moments]) -> Moments:
    """The sums of all of them together, as a new object."""
    total = moments[0].copy()
    for other in moments[1:]:
        total.merge(other)
    return total


def leave_out(folds: Sequence[Moments]) -> list[Moments]:
    """For each fold the sums of all the others, by merging from both ends.

    Subtracting a fold from the total would lose the digits of the others where that fold is much larger.
    """
    joined = lambda a, b: merged([a, b])
    before, after = list(accumulate(folds[:-1], joined)), list(accumulate(folds[:0:-1], joined))[::-1]
    between = [merged([a, b]) for b, a in zip(before, after[1:], strict=False)]
    return [after[0], *between, before[-1]]


def cross_fit(
    folds: Sequence[Moments], *, ridge: float | str = 0.0, groups: Sequence[slice] | None = None
) -> CrossFit:
    """Fit a map for every fold on the other folds, and one on all.

    With ridge="cv" each group of targets (an SAE's columns; default: all targets are one group) gets the
    ridge of {0} ∪ 10^(-6…2) · tr(X'X)/d with the least squared error, found by cross-validation over the
    *training* folds only: K(K−1)/2 + K + 1 factorisations, shared by all targets. Raises BadInput for fewer
    than 2 folds (3 with "cv"), an empty fold, or an unknown ridge.
    """
    least = 3 if ridge == "cv" else 2
    if len(folds) < least:
        raise BadInput(f"cross-fitting with ridge={ridge!r} needs at least {least} folds, got {len(folds)}")
    if empty := [k for k, moments in enumerate(folds) if not moments.n]:
        raise BadInput(f"fold {empty[0]} holds no token; use fewer folds or more documents")
    if isinstance(ridge, str) and ridge != "cv":
        raise BadInput(f"ridge must be a number of at least 0, or 'cv', got {ridge!r}")
    groups = list(groups) if groups is not None else [slice(0, folds[0].d_out)]
    # One after the other, unless all are needed: they take more room than the folds themselves.
    sums = (merged([*folds[:k], *folds[k + 1 :]]) for k in range(len(folds) + 1))
    fitted = ((moments, Spectrum(moments)) for moments in sums)
    chosen = [np.full(len(groups), ridge)] * (len(folds) + 1)
    if ridge == "cv":
        fitted = list(fitted)
        (*rest, _), (*spectra, _) = zip(*fitted)
        inner, outer = _ridge_errors(folds, rest, spectra, groups)
        chosen = [np.array(RIDGE_GRID)[errors.argmin(axis=0)] for errors in (*inner, outer)]
    maps = []
    for (moments, spectrum), ridges in zip(fitted, chosen, strict=True):
        unit = spectrum.unit if ridge == "cv" else 1.0
        maps.append(spectrum.map(moments, ridge=unit * ridges, groups=groups))
    return CrossFit(maps[:-1], maps[-1])


def _ridge_errors(folds, rest, spectra, groups) -> tuple[list[np.ndarray], np.ndarray]:
    """Squared error [grid, group] of each ridge: of every outer fold over its inner ones, and of all."""
    inner = [np.zeros((len(RIDGE_GRID), len(groups))) for _ in folds]
    outer = np.zeros((len(RIDGE_GRID), len(groups)))

    def errors(spectrum, training, scored):
        maps = (spectrum.map(training, ridge=share * spectrum.unit) for share in RIDGE_GRID)
        left = (residual_squares(scored, linear_map) for linear_map in maps)
        return np.array([[float(squares[columns].sum()) for columns in groups] for squares in left])

    for j in range(len(folds)):
        for k in range(j):
            training = merged([fold for i, fold in enumerate(folds) if i not in (j, k)])
            spectrum = Spectrum(training)
            inner[k] += errors(spectrum, training, folds[j])
            inner[j] += errors(spectrum, training, folds[k])
        outer += errors(spectra[j], rest[j], folds[j])
    return inner, outer


def residual_squares(moments: Moments, linear_map: LinearMap) -> Tensor:
    """Σ(y − x b − c)² = yy − 2 b'X'Y + b'X'X b + n (mean residual)² [d_out] over the tokens in `moments`.

    Loses digits where the residual is a tiny part of y (below about 1e-12 of it); `linear_map(x)` does not.
    """
    weight = linear_map.weight
    mean = moments.y_mean - linear_map.y_mean - (moments.x_mean - linear_map.x_mean) @ weight
    quadratic = (weight * (moments.xx @ weight - 2 * moments.xy)).sum(dim=0)
    return (moments.yy + quadratic + moments.n * mean**2).clamp(min=0)

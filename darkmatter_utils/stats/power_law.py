"""FVU against SAE width: a power law with a floor, FVU = c + a W^-m, and how much the data say about the
floor.

Seven widths pin down three numbers poorly, so the floor never comes alone: it has a profile interval, a
comparison with c = 0, an interval that carries training seeds and documents, and predictions of widths that
were left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, least_squares
from scipy.special import chdtrc, chdtri, fdtrc, fdtri

from ..base.errors import BadInput
from ..base.values import Estimate

EXPONENTS = (0.01, 3.0)
"""Bounds of m: a flatter curve is a floor, a steeper one is over after one doubling."""


class Comparison(NamedTuple):
    """The fit with a floor against the fit with c = 0."""

    likelihood_ratio: float
    """2 log of the ratio of likelihoods, at least 0; about 2.7 is what chance gives one time in twenty."""
    p: float
    """Chance of as large a ratio if c = 0: half of a tail (χ² with one degree of freedom; F where sigma is
    unknown), for 0 is the edge of what c may be."""
    aic: float
    """AIC with a floor − AIC without; negative favours a floor."""


@dataclass(frozen=True)
class PowerLaw:
    """FVU(W) = c + a W^-m fitted by bounded, weighted least squares; call it on widths."""

    c: float
    """The floor that FVU falls to, at least 0."""
    a: float
    """What lies above the floor at W = 1, at least 0."""
    m: float
    """The exponent."""
    widths: np.ndarray
    """What was fitted, several rows a width allowed [row]."""
    values: np.ndarray
    """FVU [row]."""
    sigma: np.ndarray | None
    """Standard error of each value [row]; None: unknown, equal for all, and estimated from the residuals."""
    floor: bool = True
    """Whether c was free; else it is 0."""

    def __call__(self, widths) -> np.ndarray:
        """c + a W^-m."""
        return self.c + self.a * np.asarray(widths, float) ** -self.m

    @classmethod
    def fit(cls, widths, values, *, sigma=None, floor: bool = True) -> PowerLaw:
        """Minimise Σ((FVU − c − a W^-m) / sigma)² over c ≥ 0, a ≥ 0 and m in `EXPONENTS`, from several
        starts.

        widths, values, sigma [row]: rows are SAEs, so training seeds are rows of one width. Raises BadInput
        for fewer than three different widths (two without a floor) or numbers that are not finite and
        positive.
        """
        widths, values = np.asarray(widths, float), np.asarray(values, float)
        sigma = None if sigma is None else np.broadcast_to(np.asarray(sigma, float), values.shape)
        if widths.ndim != 1 or widths.shape != values.shape:
            raise BadInput(
                f"widths and values must be two lists of one length, got {widths.shape} and {values.shape}"
            )
        if len(np.unique(widths)) < 2 + floor:
            raise BadInput(
                f"a power law {'with' if floor else 'without'} a floor needs at least {2 + floor} "
                f"different widths, got {len(np.unique(widths))}"
            )
        given = [widths, values] + ([] if sigma is None else [sigma])
        if (
            not all(np.isfinite(array).all() for array in given)
            or (widths <= 0).any()
            or (sigma is not None and (sigma <= 0).any())
        ):
            raise BadInput("widths and sigma must be finite and above 0, values finite")
        centre = np.exp(np.log(widths).mean())
        c, scale, m = _solve(widths / centre, values, sigma, None if floor else 0.0)[1]
        return cls(float(c), float(scale * centre**m), float(m), widths, values, sigma, floor)

    def deviance(self, c: float | None = None) -> float:
        """−2 log likelihood up to a constant, at the fit or, with c given, at the best fit with that
        floor."""
        if c is None:
            return self._from_loss(self._loss)
        centre = np.exp(np.log(self.widths).mean())
        start = (c, max(self.a * centre**-self.m, np.ptp(self.values)), self.m)
        return self._from_loss(_solve(self.widths / centre, self.values, self.sigma, c, start=start)[0])

    @cached_property
    def _loss(self) -> float:
        scale = 1.0 if self.sigma is None else self.sigma
        return float((((self.values - self(self.widths)) / scale) ** 2).sum())

    def _from_loss(self, loss: float) -> float:
        # With sigma unknown the likelihood is maximised over it too.
        return loss if self.sigma is not None else len(self.values) * float(np.log(max(loss, 1e-300)))

    def compare(self) -> Comparison:
        """Is a floor needed? The same rows fitted with c = 0, by likelihood ratio and AIC."""
        ratio = max(0.0, self.deviance(0.0) - self.deviance())
        free = len(self.values) - 3
        if self.sigma is None:
            tail = fdtrc(1, free, free * np.expm1(ratio / len(self.values))) if free else 1.0
        else:
            tail = chdtrc(1, ratio)
        return Comparison(ratio, 0.5 * float(tail) if ratio > 0 else 1.0, 2.0 - ratio)

    def profile(self, *, level: float = 0.95) -> Estimate:
        """c with its profile-likelihood interval: the floors whose best fit is not much worse than the best
        of all.

        "Not much": χ²(1)'s quantile, or where sigma is unknown F's, which is wide for few rows: with three
        rows everything from 0 to infinity.
        """
        best, free = self.deviance(), len(self.values) - 3
        if self.sigma is not None:
            limit = float(chdtri(1, 1 - level))
        elif free:
            limit = len(self.values) * float(np.log1p(fdtri(1, free, level) / free))
        else:
            return Estimate(self.c, 0.0, float("inf"))

        def excess(c):
            return self.deviance(c) - best - limit

        low = 0.0 if self.c == 0 or excess(0.0) <= 0 else brentq(excess, 0.0, self.c, xtol=1e-10)
        top = self.c + max(self.values.max() - self.c, 1e-12) * 2
        high = brentq(excess, self.c, top, xtol=1e-10) if excess(top) > 0 else float("inf")
        return Estimate(self.c, low, high)

    def bootstrap(self, replicates, *, seed: int = 0, level: float = 0.95) -> dict[str, Estimate]:
        """c, a and m with percentile intervals that carry documents and training seeds.

        replicates [replicate, row]: the values' bootstrap replicates over documents
        (`Decomposition.replicates`). In each, the rows of a width are drawn again with replacement (where it
        has several), so that the spread of training seeds is in the interval. Cost: one small fit for each
        replicate, about 2 ms.
        """
        replicates = np.asarray(replicates, float)
        if replicates.ndim != 2 or replicates.shape[1] != len(self.values):
            raise BadInput(
                f"replicates must be [replicate, row] = [*, {len(self.values)}], got {list(replicates.shape)}"
            )
        rng, groups = (
            np.random.default_rng(seed),
            [np.flatnonzero(self.widths == w) for w in np.unique(self.widths)],
        )
        z, centre = self.widths / np.exp(np.log(self.widths).mean()), np.exp(np.log(self.widths).mean())
        start, draws = (self.c, self.a * centre**-self.m, self.m), []
        for row in replicates:
            # Drawing k of k rows shrinks their spread by (k − 1)/k; stretching about the
            # width's mean restores it.
            values = np.concatenate(
                [
                    row[g].mean()
                    + (rng.choice(row[g], len(g)) - row[g].mean()) * np.sqrt(len(g) / max(1, len(g) - 1))
                    for g in groups
                ]
            )
            order = np.concatenate(groups)
            sigma = None if self.sigma is None else self.sigma[order]
            draws.append(_solve(z[order], values, sigma, None if self.floor else 0.0, start=start)[1])
        draws = np.array(draws) * np.ones(3)
        draws[:, 1] *= centre ** draws[:, 2]
        tails = [(1 - level) / 2, (1 + level) / 2]
        values = {"c": self.c, "a": self.a, "m": self.m}
        return {
            name: Estimate(value, *map(float, np.quantile(draws[:, i], tails)))
            for i, (name, value) in enumerate(values.items())
        }

    def leave_one_width_out(self) -> list[dict[str, float]]:
        """Each width predicted by the law fitted to the others: width, value (mean of its rows),
        predicted."""
        rows = []
        for width in np.unique(self.widths):
            rest = self.widths != width
            sigma = None if self.sigma is None else self.sigma[rest]
            law = PowerLaw.fit(self.widths[rest], self.values[rest], sigma=sigma, floor=self.floor)
            rows.append(
                {
                    "width": float(width),
                    "value": float(self.values[~rest].mean()),
                    "predicted": float(law(width)),
                }
            )
        return rows


def _solve(z, values, sigma, fixed: float | None, *, start=None):
    """(loss, (c, a, m)) of the best fit to values at widths z; `fixed` holds c, `start` replaces the grid of
    starts."""
    weight = 1.0 if sigma is None else 1 / sigma
    logs, size = np.log(z), max(float(np.abs(values).max()), 1e-12)
    free = fixed is None

    def residual(p):
        return weight * ((p[0] if free else fixed) + p[-2] * np.exp(-p[-1] * logs) - values)

    def jacobian(p):
        curve = np.exp(-p[-1] * logs)
        columns = ([np.ones_like(z)] if free else []) + [curve, -p[-2] * logs * curve]
        return (weight * np.stack(columns)).T

    bounds = ([0.0] * free + [0.0, EXPONENTS[0]], [np.inf] * free + [np.inf, EXPONENTS[1]])
    best = None
    starts = (
        [start]
        if start is not None
        else [
            (share * values.min(), max(np.ptp(values), 0.1 * size), m)
            for m in (0.1, 0.3, 1.0, 2.0)
            for share in (0.0, 0.9)
        ]
    )
    for first in starts:
        # A start on a bound stalls the solver, so it is moved inside.
        first = np.clip(
            first, [1e-4 * size, 1e-4 * size, 2 * EXPONENTS[0]], [np.inf, np.inf, 0.95 * EXPONENTS[1]]
        )
        scale = ([size] if free else []) + [size, 1.0]
        found = least_squares(
            residual,
            first if free else first[1:],
            jacobian,
            bounds=bounds,
            x_scale=scale,
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
            max_nfev=400,
        )
        if best is None or found.cost < best.cost:
            best = found
    # A trust region stops short of its bounds; a floor of a millionth of the values is none.
    c, a, m = best.x if free else (fixed, *best.x)
    if free and c < 1e-6 * size:
        loss, answer = _solve(z, values, sigma, 0.0, start=(0.0, a, m))
        if loss <= 2 * best.cost * (1 + 1e-6) + 1e-300:
            return loss, answer
    return 2 * float(best.cost), (float(c), float(a), float(m))

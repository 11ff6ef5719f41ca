"""FVU against SAE width: a power law with a floor, FVU = c + a W^-m, and how much the data say of the floor.

A few widths pin down three numbers poorly, so the floor never comes alone: it has a comparison with c = 0
here, and in `experiments.floors` an interval that carries training seeds, documents and the misfit, and
predictions of widths that were left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, fdtrc

from ..base.errors import BadInput

EXPONENTS = (0.01, 3.0)
"""Bounds of m: a flatter curve is a floor, a steeper one is over after one doubling."""


class Comparison(NamedTuple):
    """The fit with a floor against the fit with c = 0."""

    likelihood_ratio: float
    """2 log of the ratio of likelihoods, at least 0; about 2.7 is what chance gives one time in twenty."""
    p: float
    """Chance of as large a ratio if c = 0: half of a tail (χ² with one degree of freedom; F where sigma is
    unknown), for 0 is the edge of what c may be."""


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
        """Minimise Σ((FVU − c − a W^-m) / sigma)² over c ≥ 0, a ≥ 0 and m in `EXPONENTS`.

        widths, values, sigma [row]: rows are SAEs, so training seeds are rows of one width. BadInput for
        fewer than three different widths (two without a floor) or numbers not finite and positive.
        """
        widths, values = np.asarray(widths, float), np.asarray(values, float)
        sigma = None if sigma is None else np.broadcast_to(np.asarray(sigma, float), values.shape)
        if widths.ndim != 1 or widths.shape != values.shape:
            raise BadInput(
                f"widths and values must be two lists of one length, got {widths.shape} and {values.shape}"
            )
        if (different := len(np.unique(widths))) < 2 + floor:
            raise BadInput(
                f"a power law {'with' if floor else 'without'} a floor needs at least {2 + floor} "
                f"different widths, got {different}"
            )
        positive = [widths] if sigma is None else [widths, sigma]
        if not all(np.isfinite(array).all() for array in (values, *positive)) or np.min(positive) <= 0:
            raise BadInput("widths and sigma must be finite and above 0, values finite")
        ((c, a, m),) = curves(widths, values, sigma=sigma, floor=floor, steps=10)
        return cls(float(c), float(a), float(m), widths, values, sigma, floor)

    def deviance(self) -> float:
        """−2 log likelihood at the fit, up to a constant."""
        scale = 1.0 if self.sigma is None else self.sigma
        loss = float((((self.values - self(self.widths)) / scale) ** 2).sum())
        # With sigma unknown the likelihood is maximised over it too.
        return loss if self.sigma is not None else len(self.values) * float(np.log(max(loss, 1e-300)))

    def compare(self) -> Comparison:
        """Is a floor needed? The same rows fitted with c = 0, by likelihood ratio."""
        without = PowerLaw.fit(self.widths, self.values, sigma=self.sigma, floor=False)
        ratio = max(0.0, without.deviance() - self.deviance())
        free = len(self.values) - 3
        if self.sigma is None:
            tail = fdtrc(1, free, free * np.expm1(ratio / len(self.values))) if free else 1.0
        else:
            tail = chdtrc(1, ratio)
        return Comparison(ratio, 0.5 * float(tail) if ratio > 0 else 1.0)


def curves(
    widths, values, *, sigma=None, floor: bool = True, below: bool = False, steps: int = 4
) -> np.ndarray:
    """c, a, m [row, 3] of the curve fitted to each row of values [row, width], with weights 1 / sigma². c is
    at least 0, unless it may lie ``below``: as the ends of an interval may, before it is cut at 0.

    For a given m the curve is linear in c and a, so m is searched on a grid that is refined ``steps`` times
    around its best value, tenfold each time, for all rows at once: thousands of fits in well under a second,
    and no start to depend on.
    """
    values = np.atleast_2d(values)
    weight = np.ones(values.shape[1]) if sigma is None else 1 / np.asarray(sigma, float) ** 2
    centre = np.exp(np.log(np.asarray(widths, float)).mean())
    z = np.asarray(widths, float) / centre
    m = np.tile(np.linspace(*EXPONENTS, 61), (len(values), 1))
    rows = np.arange(len(values))
    for step in 0.05 * 0.1 ** np.arange(steps):
        c, a, loss = _linear(z, values, weight, m, floor, below)
        best = loss.argmin(axis=1)
        c, a, exponent = c[rows, best], a[rows, best], m[rows, best]
        m = np.clip(exponent[:, None] + step * np.linspace(-1, 1, 21), *EXPONENTS)
    return np.stack([c, a * centre**exponent, exponent], axis=1)


def _linear(z, values, weight, m, floor, below):
    """For every row and exponent, the best c, a ≥ 0 and the loss: each [row, exponent]."""
    basis = z ** -m[:, :, None]
    y, w = values[:, None, :], weight
    s1, sz, szz = w.sum(), (w * basis).sum(-1), (w * basis**2).sum(-1)
    sy, szy = (w * y).sum(-1), (w * basis * y).sum(-1)
    determinant = np.maximum(s1 * szz - sz**2, 1e-300)
    c, a = (szz * sy - sz * szy) / determinant, (s1 * szy - sz * sy) / determinant
    no_floor = ((c < 0) & (not below)) | (not floor)
    c, a = np.where(no_floor, 0.0, c), np.where(no_floor, szy / szz, a)
    flat = (a < 0) & floor
    c, a = np.where(flat, sy / s1, c), np.where(flat, 0.0, np.maximum(a, 0.0))
    return c, a, (w * (y - c[..., None] - a[..., None] * basis) ** 2).sum(-1)

"""Trends over SAE width: change per doubling, a power law with a floor, and widths predicted from the
others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..stats.intervals import ends, percentile
from ..stats.power_law import PowerLaw, curves
from .widths import WIDTHS, Suite

ZERO = 1e-4
"""A fitted floor below this FVU is on its bound: it counts as 0."""


@dataclass(frozen=True)
class FloorFit:
    """FVU = c + a W^-m over the widths of a suite, with what documents and seeds leave open."""

    c: Estimate
    """The floor; 0 is its bound."""
    a: Estimate
    """The scale: what lies above the floor at W = 1."""
    m: Estimate
    """The exponent."""
    law: PowerLaw
    """The fit to the suite's values."""
    refits: np.ndarray
    """c, a and m of the fit to each replicate [replicate, 3]."""

    def curve(self, widths) -> pd.DataFrame:
        """The curve with its 95% band: width, fvu, low, high."""
        c, a, m = (column[:, None] for column in self.refits.T)
        band = ends(c + a * np.asarray(widths, float) ** -m)
        return pd.DataFrame({"width": widths, "fvu": self.law(widths), "low": band[0], "high": band[1]})


def per_doubling(suite: Suite) -> Estimate | None:
    """Relative change of an FVU with each doubling of the width: 2^slope − 1, slope of log2 FVU on log2
    width.

    Widths are weighed by the inverse of their variance over replicates, so one that was trained once counts
    less. None with fewer than two widths.
    """
    if len(suite.widths) < 2:
        return None
    x = np.log2(suite.widths.astype(float))
    y = np.log2(np.vstack([suite.values, suite.replicates]))
    variance = y[1:].var(axis=0)
    weight = 1 / np.maximum(variance, 1e-12 + 1e-3 * variance.mean())
    centred = x - (weight * x).sum() / weight.sum()
    slopes = (y * weight * centred).sum(axis=1) / (weight * centred**2).sum()
    return percentile(2 ** slopes[0] - 1, 2 ** slopes[1:] - 1)


def steps(suite: Suite) -> tuple[dict[tuple[int, int], Estimate], Estimate | None]:
    """Relative change between neighbouring widths, per doubling: {(width, next): Estimate}; and the change
    from the narrowest to the widest SAE, all in all (None with one width).
    """
    y, x = np.log2(np.vstack([suite.values, suite.replicates])), np.log2(suite.widths.astype(float))
    change = 2 ** (np.diff(y, axis=1) / np.diff(x)) - 1
    each = {
        (int(a), int(b)): percentile(column[0], column[1:])
        for a, b, column in zip(suite.widths, suite.widths[1:], change.T)
    }
    whole = 2 ** (y[:, -1] - y[:, 0]) - 1
    return each, percentile(whole[0], whole[1:]) if len(x) > 1 else None


def fit_floor(suite: Suite) -> FloorFit | None:
    """The power law with a floor, fitted to the suite and again to each of its replicates; None with fewer
    than `rules.WIDTHS` widths.
    """
    if len(suite.widths) < WIDTHS:
        return None
    sigma = suite.replicates.std(axis=0)
    law = PowerLaw.fit(suite.widths, suite.values, sigma=sigma)
    refits = refit(suite.widths, suite.replicates, sigma=sigma)
    return FloorFit(
        *(percentile(v, r) for v, r in zip((law.c, law.a, law.m), refits.T, strict=True)), law, refits
    )


def left_out(suite: Suite) -> pd.DataFrame:
    """Every width predicted from the others, with a floor and with c = 0: width, fvu, predicted, miss,
    predicted_c0, miss_c0.

    A miss is (measured − predicted) over the standard deviation of that difference over replicates. Empty
    with fewer than `rules.WIDTHS` widths.
    """
    columns = ["width", "fvu", "predicted", "miss", "predicted_c0", "miss_c0"]
    rows = []
    for column, width in enumerate(suite.widths if len(suite.widths) >= WIDTHS else []):
        rest, measured = suite.without(width), np.append(suite.values[column], suite.replicates[:, column])
        row = [int(width), measured[0]]
        for floor in (True, False):
            c, a, m = refit(
                rest.widths,
                np.vstack([rest.values, rest.replicates]),
                sigma=rest.replicates.std(axis=0),
                floor=floor,
            ).T
            predicted = c + a * float(width) ** -m
            difference = measured - predicted
            row += [predicted[0], difference[0] / difference[1:].std()]
        rows.append(row)
    return pd.DataFrame(rows, columns=columns)


def refit(widths, values, *, sigma, floor: bool = True) -> np.ndarray:
    """c, a, m of the curve fitted to each row of values [row, width]: `curves`, with a floor that is none as
    0."""
    fitted = curves(widths, values, sigma=sigma, floor=floor)
    fitted[fitted[:, 0] < ZERO, 0] = 0.0
    return fitted

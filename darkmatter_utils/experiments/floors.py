"""A power law with a floor over SAE width, how sure the floor is, and widths predicted from the others; what
claim 5 takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..base.values import Absent, Estimate
from ..claims import c05_floor
from ..measurement.measure import Measurement
from ..measurement.widths import WIDTHS, Suite, one_l0, suite_l0, width_suite
from ..stats.intervals import ends, percentile
from ..stats.power_law import PowerLaw, curves
from .scaling import per_doubling

ZERO = 1e-4
"""A fitted floor below this FVU is on its bound: it counts as 0."""
LEFT_OUT = 2
"""Up to so many of the narrowest widths are left out, one by one, to see what the floor owes to them."""
TOO_FEW = Absent("This study has too few widths at one L0.")


@dataclass(frozen=True)
class FloorFit:
    """FVU = c + a W^-m over the widths of a suite: the floor c (0 is its bound), the scale a, the exponent m,
    with intervals as `hull` makes them; the ``law`` fitted to the suite's values; c, a and m of the fit to
    each replicate, ``refits`` [replicate, 3]; and the ``misfit``."""

    c: Estimate
    a: Estimate
    m: Estimate
    law: PowerLaw
    refits: np.ndarray
    misfit: float

    def curve(self, widths) -> pd.DataFrame:
        """The curve with its 95% band, which carries the misfit: width, value, low, high."""
        c, a, m = (column[:, None] for column in self.refits.T)
        value, times = self.law(widths), max(1.0, self.misfit)
        low, high = (value + times * (end - value) for end in ends(c + a * np.asarray(widths, float) ** -m))
        return pd.DataFrame({"width": widths, "value": value, "low": low, "high": high})


def cuts(suite: Suite) -> Iterator[Suite]:
    """The suite, and without its one, two... `LEFT_OUT` narrowest widths, as long as `WIDTHS` are left."""
    for _ in range(LEFT_OUT + 1):
        if len(suite.widths) < WIDTHS:
            return
        yield suite
        suite = suite.without(suite.widths[0])


def hull(suite: Suite, statistic: Callable[[Suite], np.ndarray], least: float = -np.inf) -> Estimate:
    """A number of a fitted curve, the whole suite's, with an interval that does not take the curve as true.
    statistic: of a suite and of each replicate [1 + replicate]; ``least``: a bound of it.

    Over documents and seeds; each end's distance times the `misfit`, where that is above 1 (Birge's ratio);
    moved out to the ends of the same for the suite without its narrowest widths (`cuts`); and cut at the
    bound, which the fits themselves must not know: at it they would all agree.
    Source: Birge 1932, "The calculation of errors by the method of least squares".
    """
    found = []
    for cut in cuts(suite):
        (value, *drawn), times = statistic(cut), max(1.0, misfit(cut))
        found.append([value, *(value + times * (end - value) for end in ends(drawn))])
    values, lows, highs = np.maximum(np.array(found), least).T
    return Estimate(float(values[0]), float(lows.min()), float(highs.max()))


def misfit(suite: Suite) -> float:
    """Root mean square of the `left_out` misses: about 1 where the curve is true."""
    return float(np.sqrt((_misses(suite)[1] ** 2).mean()))


def fit_floor(suite: Suite) -> FloorFit | Absent:
    """The power law with a floor, fitted to the suite and to each replicate; absent with too few widths."""
    if len(suite.widths) < WIDTHS:
        return TOO_FEW
    law, fitted = PowerLaw.fit(suite.widths, suite.values, sigma=_sigma(suite)), refits(suite)
    a, m = (hull(suite, lambda cut, k=k: refits(cut)[:, k], 0.0) for k in (1, 2))
    return FloorFit(hull(suite, floors, 0.0), a, m, law, fitted[1:], misfit(suite))


def floors(suite: Suite) -> np.ndarray:
    """The floor of the curve fitted to a suite and to each replicate [1 + replicate], below 0 where it fits
    best there."""
    return refits(suite, below=True)[:, 0]


def left_out(suite: Suite) -> pd.DataFrame | Absent:
    """Every width predicted from the others, with a floor and with c = 0: width, fvu, predicted, miss,
    predicted_c0, miss_c0.

    A miss is (measured − predicted) over the standard deviation of that difference over replicates. Absent
    with fewer than `WIDTHS` widths.
    """
    if len(suite.widths) < WIDTHS:
        return TOO_FEW
    table = pd.DataFrame({"width": suite.widths, "fvu": suite.values})
    for end, floor in (("", True), ("_c0", False)):
        table[f"predicted{end}"], table[f"miss{end}"] = _misses(suite, floor=floor)
    return table


def _misses(suite: Suite, *, floor: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """(what the curve fitted to the others predicts, by how many standard errors it misses) [width]."""
    rows = []
    for column, width in enumerate(suite.widths):
        c, a, m = refits(suite.without(width), floor=floor).T
        predicted = c + a * float(width) ** -m
        difference = np.append(suite.values[column], suite.replicates[:, column]) - predicted
        rows.append((predicted[0], difference[0] / difference[1:].std()))
    return tuple(np.array(rows).T)


def refits(suite: Suite, *, floor: bool = True, below: bool = False) -> np.ndarray:
    """c, a, m of the curve fitted to a suite's values and to each replicate [1 + replicate, 3]: `curves`, a
    floor that is none as 0."""
    values = np.vstack([suite.values, suite.replicates])
    fitted = curves(suite.widths, values, sigma=_sigma(suite), floor=floor, below=below)
    fitted[np.abs(fitted[:, 0]) < ZERO, 0] = 0.0
    return fitted


def _sigma(suite: Suite) -> np.ndarray | None:
    """A standard error for each width; None where nothing is known of it."""
    sigma = suite.replicates.std(axis=0)
    return sigma if np.isfinite(sigma).all() and (sigma > 0).all() else None


def floor(measurement: Measurement) -> c05_floor.Evidence:
    """Claim 5: the fall of FVU with width, the fitted floor against the nonlinear part, and the floor of what
    lies above that part."""
    l0 = one_l0(measurement)
    total, rest = (width_suite(measurement, name, l0=l0) for name in ("fvu", "fvu_nonlinear"))
    about = {"widths": len(total.widths), "l0": suite_l0(measurement)}
    if len(total.widths) < WIDTHS:
        return c05_floor.Evidence(**about)
    every = lambda suite: np.vstack([suite.values, suite.replicates])
    mean = lambda cut: every(rest)[:, -len(cut.widths) :].mean(axis=1)
    above = lambda cut: (floors(cut) - mean(cut)) / every(cut)[:, -1]
    lowest = -float(mean(total)[0] / total.values[-1])
    return c05_floor.Evidence(
        fall=per_doubling(total),
        above=hull(total, above, lowest),
        linear=hull(less(total, rest), lambda cut: floors(cut) / every(cut)[:, -1], 0.0),
        c=hull(total, floors, 0.0),
        nonlinear=percentile(mean(total)[0], mean(total)[1:]),
        misses=dict(zip(map(int, total.widths), map(float, _misses(total)[1]))),
        **about,
    )


def less(total: Suite, rest: Suite) -> Suite:
    """One suite less another of the same widths: FVU_linear of FVU and FVU_nonlinear."""
    names = ("values", "replicates", "documents_only")
    return replace(total, **{name: getattr(total, name) - getattr(rest, name) for name in names})

"""Trends over SAE width: change per doubling, a power law with a floor, and widths predicted from the
others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..base.values import Absent, Estimate
from ..claims import c04_flat, c05_floor
from ..measurement.measure import Measurement, manifest
from ..measurement.widths import WIDTHS, Suite, one_l0, suite_l0, suite_rows, width_suite
from ..stats.intervals import ends, percentile
from ..stats.power_law import PowerLaw, curves

ZERO = 1e-4
"""A fitted floor below this FVU is on its bound: it counts as 0."""
TOO_FEW = Absent("This study has too few widths at one L0.")


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
        """The curve with its 95% band: width, value, low, high."""
        c, a, m = (column[:, None] for column in self.refits.T)
        band = ends(c + a * np.asarray(widths, float) ** -m)
        return pd.DataFrame({"width": widths, "value": self.law(widths), "low": band[0], "high": band[1]})


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


def changes(suite: Suite) -> dict[str, Estimate]:
    """The change of every step, that of each doubling from the slope, and that of all of them, by name."""
    each, whole = steps(suite)
    named = {f"{a:,} to {b:,} latents": e for (a, b), e in each.items()}
    named |= {"each doubling, from the slope": per_doubling(suite), "from the narrowest to the widest": whole}
    return {name: e for name, e in named.items() if e is not None}


def fit_floor(suite: Suite) -> FloorFit | Absent:
    """The power law with a floor, fitted to the suite and again to each of its replicates; absent with fewer
    than `WIDTHS` widths."""
    if len(suite.widths) < WIDTHS:
        return TOO_FEW
    sigma = suite.replicates.std(axis=0)
    law = PowerLaw.fit(suite.widths, suite.values, sigma=sigma)
    refits = refit(suite.widths, suite.replicates, sigma=sigma)
    return FloorFit(
        *(percentile(v, r) for v, r in zip((law.c, law.a, law.m), refits.T, strict=True)), law, refits
    )


def left_out(suite: Suite) -> pd.DataFrame | Absent:
    """Every width predicted from the others, with a floor and with c = 0: width, fvu, predicted, miss,
    predicted_c0, miss_c0.

    A miss is (measured − predicted) over the standard deviation of that difference over replicates. Absent
    with fewer than `WIDTHS` widths.
    """
    if len(suite.widths) < WIDTHS:
        return TOO_FEW
    columns = ["width", "fvu", "predicted", "miss", "predicted_c0", "miss_c0"]
    rows = []
    for column, width in enumerate(suite.widths):
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


def breakdown(total: Suite, nonlinear: Suite, fit: FloorFit | Absent) -> pd.DataFrame:
    """The error's parts at each width as in the paper's Fig. 1: width, part, share; they add up to the
    measured FVU.

    Absent is what lies above the floor c, or above the nonlinear part where that is higher; LinearError is
    what is left between the floor and the nonlinear part. Without a fit, LinearError is all that is not
    nonlinear.
    """
    edge = np.clip(fit.c.value, nonlinear.values, total.values) if fit else total.values
    shares = {"NonlinearError": nonlinear.values, "LinearError": edge - nonlinear.values}
    shares |= {"absent": total.values - edge} if fit else {}
    return pd.DataFrame({"width": total.widths} | shares).melt("width", var_name="part", value_name="share")


def wedge(suite: Suite, share: float) -> pd.DataFrame:
    """Between which values lie all curves through the suite's middle that change by less than ``share`` with
    each doubling: width, low, high."""
    at = np.log2(np.geomspace(suite.widths[0], suite.widths[-1], 41))
    doublings = np.abs(at - np.log2(suite.widths).mean())
    level = np.exp(np.log(suite.values).mean())
    low, high = level * (1 - share) ** doublings, level * (1 + share) ** doublings
    return pd.DataFrame({"width": 2**at, "low": low, "high": high})


def training_curves(measurement: Measurement) -> pd.DataFrame | Absent:
    """FVU while the suite's SAEs were trained (first seed of each width), from the manifest: width,
    latents (it in words), tokens, fvu."""
    curves = manifest(measurement.study).get("sae_curves", {})
    saes = suite_rows(measurement).sort_values(["width", "seed"], kind="stable").drop_duplicates("width")
    rows = [(row.width, *point) for row in saes.itertuples() for point in curves.get(row.id, [])]
    if not rows:
        return Absent("How this study's SAEs were trained is not known, or they were not trained.")
    curves = pd.DataFrame(rows, columns=["width", "tokens", "fvu"])
    return curves.assign(latents=[f"{width:,} latents" for width in curves["width"]])


def last_third(curves: pd.DataFrame | Absent) -> float | Absent:
    """The largest relative fall of FVU over the last third of training, over widths."""
    if not len(curves):
        return curves
    late = curves[curves["tokens"] >= 2 / 3 * curves.groupby("width")["tokens"].transform("max")]
    ends = late.groupby("width")["fvu"].agg(["first", "last"])
    return float((1 - ends["last"] / ends["first"]).max())


def flat(measurement: Measurement, null: Estimate | None) -> c04_flat.Evidence:
    """Claim 4: the change of FVU_nonlinear with width; ``null``: per doubling, for an SAE that introduces
    nothing (`nulls.null_change`)."""
    suite = width_suite(measurement, "fvu_nonlinear", l0=one_l0(measurement))
    each, whole = steps(suite)
    return c04_flat.Evidence(
        change=per_doubling(suite),
        whole=whole,
        steps=[step.value for step in each.values()],
        widths=len(suite.widths),
        l0=suite_l0(measurement),
        null=null,
    )


def floor(measurement: Measurement) -> c05_floor.Evidence:
    """Claim 5: the fall of FVU with width, the fitted floor, and how well the curve predicts."""
    suite = width_suite(measurement, "fvu", l0=one_l0(measurement))
    missed = left_out(suite)
    return c05_floor.Evidence(
        fall=per_doubling(suite),
        c=fit_floor(suite).c or None,
        misses=dict(missed[["width", "miss"]].to_numpy()) if len(missed) else {},
        widest=float(suite.values[-1]) if len(suite.widths) else np.nan,
        widths=len(suite.widths),
        l0=suite_l0(measurement),
    )

"""Trends over SAE width: the change per doubling, how well a line describes it; what claim 4
takes. `floors` has the power law."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from ..base.values import Estimate
from ..claims import c04_flat
from ..measurement import sources
from ..measurement.measure import Measurement
from ..measurement.widths import (
    WIDE,
    WIDTHS,
    Suite,
    at_each_l0,
    suite_l0,
    suite_rows,
    wide,
)
from ..stats.intervals import apart, percentile

PLACE = "L0 {:.3g}".format
"""What a place is called at which widths are compared."""


def per_doubling(suite: Suite) -> Estimate | None:
    """Relative change of an FVU with each doubling of the width: 2^slope − 1, slope of log2 FVU on log2
    width, by least squares with equal weights: None with fewer than two widths.

    Equal, because documents are an error that all widths share, so that a width's own variance is no measure
    of what it says of the slope; and so that the slope of a curve is one number, for trained SAEs and for a
    null alike.
    """
    if len(suite.widths) < 2:
        return None
    x, y = _logs(suite)
    centred = x - x.mean()
    return _relative((y * centred).sum(axis=1) / (centred**2).sum())


def lack_of_fit(suite: Suite) -> tuple[float, float]:
    """(χ² per degree of freedom, its p) of the straight line through log2 FVU over log2 width, against what
    documents and seeds leave open: r' C⁻¹ r, r the residuals and C their covariance over replicates. NaN with
    fewer than three widths."""
    x, y = _logs(suite)
    free = len(x) - 2
    if free < 1:
        return float("nan"), float("nan")
    rest = np.linalg.qr(np.column_stack([np.ones_like(x), x]), mode="complete")[0][:, 2:]
    residuals, covariance = y[0] @ rest, np.cov(y[1:] @ rest, rowvar=False).reshape(free, free)
    chi2 = float(residuals @ np.linalg.solve(covariance + 1e-18 * np.eye(free), residuals))
    return chi2 / free, float(chdtrc(free, chi2))


def steps(suite: Suite) -> tuple[dict[tuple[int, int], Estimate], Estimate | None]:
    """Relative change between neighbouring widths, per doubling: {(width, next): Estimate}; and the change
    from the narrowest to the widest SAE, all in all (None with one width)."""
    x, y = _logs(suite)
    pairs = zip(suite.widths.tolist(), suite.widths[1:].tolist())
    each = {pair: _relative(slopes) for pair, slopes in zip(pairs, (np.diff(y, axis=1) / np.diff(x)).T)}
    return each, _relative(y[:, -1] - y[:, 0]) if len(x) > 1 else None


def _logs(suite: Suite) -> tuple[np.ndarray, np.ndarray]:
    """log2 of the widths [width], and of the values and their replicates [1 + replicate, width]."""
    return np.log2(suite.widths.astype(float)), np.log2(np.vstack([suite.values, suite.replicates]))


def _relative(slopes: np.ndarray) -> Estimate:
    return percentile(2 ** slopes[0] - 1, 2 ** slopes[1:] - 1)


def changes(suite: Suite) -> dict[str, Estimate]:
    """The change of every step, that of each doubling from the slope, and that of all of them, by name."""
    each, whole = steps(suite)
    named = {f"{a:,} to {b:,} latents": e for (a, b), e in each.items()}
    named |= {"each doubling, from the slope": per_doubling(suite), "from the narrowest to the widest": whole}
    return {name: e for name, e in named.items() if e is not None}


def wedge(suite: Suite, share: float) -> pd.DataFrame:
    """Between which values lie all curves through the suite's middle that change by less than ``share`` with
    each doubling: width, low, high."""
    at = np.log2(np.geomspace(suite.widths[0], suite.widths[-1], 41))
    doublings = np.abs(at - np.log2(suite.widths).mean())
    level = np.exp(np.log(suite.values).mean())
    low, high = level * (1 - share) ** doublings, level * (1 + share) ** doublings
    return pd.DataFrame({"width": 2**at, "low": low, "high": high})


def each_l0(measurement: Measurement) -> pd.DataFrame:
    """FVU_nonlinear over width at each L0 with two widths or more: l0; widths (how many of at least `WIDE` ×
    d_model), and over these change, whole, steps, misfit (χ² per degree of freedom) and p; all widths,
    change_all. Changes are estimates, per doubling and in all."""
    rows = []
    for l0, suite in at_each_l0(measurement, "fvu_nonlinear").items():
        kept = wide(measurement, suite)
        (each, whole), (misfit, p) = steps(kept), lack_of_fit(kept)
        about = (l0, len(kept.widths), per_doubling(kept), whole, [one.value for one in each.values()])
        rows.append((*about, misfit, p, len(suite.widths), per_doubling(suite)))
    names = ["l0", "widths", "change", "whole", "steps", "misfit", "p", "all widths", "change_all"]
    table = pd.DataFrame(rows, columns=names)
    return table[table["all widths"] > 1].reset_index(drop=True)


def flat(measurement: Measurement, null: Estimate | None) -> c04_flat.Evidence:
    """Claim 4, by L0: the change of FVU_nonlinear over the widths of at least `WIDE` × d_model.

    ``null``: per doubling, for an SAE that introduces nothing, at the suite's own L0, over the same widths
    and by the same slope (`matching.null_change`).
    """
    table, (low, high) = each_l0(measurement), suite_l0(measurement)
    judged = {PLACE(row.l0): row for row in table.itertuples() if row.widths >= WIDTHS}
    own, widths = judged.get(PLACE(np.sqrt(low * high))), suite_rows(measurement)["width"]
    return c04_flat.Evidence(
        change={l0: row.change for l0, row in judged.items()},
        whole={l0: row.whole for l0, row in judged.items()},
        over_null={PLACE(own.l0): apart(own.change, null)} if null and own else {},
        null=null,
        steps={l0: row.steps for l0, row in judged.items()},
        misfit={l0: (row.misfit, row.p) for l0, row in judged.items()},
        narrow=sorted({int(w) for w in widths if w < WIDE * measurement.card["d_model"]}),
        widths=int(table["widths"].max()) if len(table) else 0,
        l0=(low, high),
        sources=_by_source(measurement, "change"),
        whole_sources=_by_source(measurement, "whole"),
    )


def _by_source(measurement: Measurement, column: str) -> dict[str, dict[str, float]]:
    """A change of `each_l0` by source of text, by L0: of its documents alone."""

    def judged(view: Measurement) -> dict[str, float]:
        rows = each_l0(view).query("widths >= @WIDTHS")
        return {PLACE(row["l0"]): row[column].value for _, row in rows.iterrows()}

    return sources.each(measurement, judged)

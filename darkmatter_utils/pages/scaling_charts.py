"""The charts of the chapter on scaling: the breakdown with its fitted curve, left-out widths, the test of
flatness.
"""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from .. import charts
from ..charts.tables import Words
from ..claims.rules import FLAT
from ..measurement.measure import manifest
from ..measurement.scaling import FloorFit
from ..measurement.widths import ONE_L0, Suite, one_l0, suite_l0, suite_rows, width_suite


def breakdown_with_floor(total: Suite, nonlinear: Suite, fit: FloorFit | None) -> pd.DataFrame:
    """The error's parts at each width as in the paper's Fig. 1: width, part, share; they add up to the
    measured FVU.

    Absent is what lies above the floor c, or above the nonlinear part where that is higher; LinearError is
    what is left between the floor and the nonlinear part. Without a fit, LinearError is all that is not
    nonlinear.
    """
    rows = []
    for width, fvu, red in zip(total.widths, total.values, nonlinear.values, strict=True):
        edge = fvu if fit is None else min(max(fit.c.value, red), fvu)
        shares = {"NonlinearError": red, "LinearError": edge - red, "absent": fvu - edge}
        rows += [{"width": int(width), "part": part, "share": float(share)} for part, share in shares.items()]
    return pd.DataFrame(rows)


def floor_chart(total: Suite, nonlinear: Suite, fit: FloorFit | None, *, beyond: float = 16):
    """The stacked parts of the error with the measured FVU, and the fitted curve and its floor where there is
    a fit.
    """
    frame = breakdown_with_floor(total, nonlinear, fit)
    frame = frame if fit is not None else frame[frame["part"] != "absent"]
    areas = charts.stacked_breakdown(frame, y_title="share of the variance of x", height=340)
    if fit is None:
        return areas
    grid = np.geomspace(total.widths[0], beyond * total.widths[-1], 60)
    points = total.frame().rename(columns={"value": "fvu"})
    law = charts.power_law(
        points,
        fit.curve(grid),
        floor=fit.c.value,
        floor_low=fit.c.low,
        floor_high=fit.c.high,
        y_title="share of the variance of x",
    )
    # The curve is no part of x: its colour must not be mixed with those of the areas.
    return alt.layer(areas, law).resolve_scale(color="independent")


def left_out_chart(total: Suite, missed: pd.DataFrame):
    """Measured FVU with its interval beside the prediction from the other widths."""
    if missed.empty:
        return Words("*This study has too few widths at one L0 to leave one out.*")
    frame = total.frame().assign(
        label=[f"{width:,} latents" for width in total.widths], reference=missed["predicted"]
    )
    return charts.forest(frame, x_title="FVU", reference_title="predicted from the other widths")


def flat_chart(measurement):
    """FVU and FVU_nonlinear over width, with the wedge of lines that change by less than ±FLAT per
    doubling."""
    l0 = one_l0(measurement)
    parts = {
        "SaeError": width_suite(measurement, "fvu", l0=l0),
        "NonlinearError": width_suite(measurement, "fvu_nonlinear", l0=l0),
    }
    frame = pd.concat([suite.frame().assign(part=part) for part, suite in parts.items()])
    suite = parts["NonlinearError"]
    at = np.log2(np.geomspace(suite.widths[0], suite.widths[-1], 41))
    middle, level = np.log2(suite.widths).mean(), np.exp(np.log(suite.values).mean())
    steps = np.abs(at - middle)
    wedge = pd.DataFrame(
        {"width": 2**at, "low": level * (1 - FLAT) ** steps, "high": level * (1 + FLAT) ** steps}
    )
    under = (
        alt.Chart(wedge).mark_area(color="#94a3b8", opacity=0.28).encode(x="width:Q", y="low:Q", y2="high:Q")
    )
    lines = charts.lines(
        frame, "width", "value", low="low", high="high", color="part", y_title="share of the variance of x"
    )
    return alt.layer(under, lines)


def training_curves(measurement) -> pd.DataFrame:
    """FVU while the suite's SAEs were trained (first seed of each width), from the manifest: width, tokens,
    fvu.

    Empty where the study's data say nothing of it.
    """
    curves = manifest(measurement.study).get("sae_curves", {})
    saes = suite_rows(measurement).sort_values(["width", "seed"], kind="stable").drop_duplicates("width")
    rows = [(row.width, *point) for row in saes.itertuples() for point in curves.get(row.id, [])]
    return pd.DataFrame(rows, columns=["width", "tokens", "fvu"])


def last_third(curves: pd.DataFrame) -> float:
    """The largest relative fall of FVU over the last third of training, over widths; NaN without curves."""
    falls = []
    for _, curve in curves.groupby("width"):
        late = curve[curve["tokens"] >= 2 / 3 * curve["tokens"].max()]
        falls.append(1 - late["fvu"].iloc[-1] / late["fvu"].iloc[0])
    return max(falls, default=np.nan)


def training_chart(curves: pd.DataFrame):
    """FVU against training tokens, one line a width."""
    if curves.empty:
        return Words("*How this study's SAEs were trained is not known, or they were not trained.*")
    curves = curves.assign(latents=[f"{width:,} latents" for width in curves["width"]])
    return charts.lines(
        curves, "tokens", "fvu", color="latents", x_scale="linear", x_title="training tokens", y_title="FVU"
    )


def l0_words(measurement) -> Words:
    """At which L0 the widths are compared, and how they were brought to it where the SAEs' own differ."""
    own, (low, high) = suite_rows(measurement)["l0"], suite_l0(measurement)
    if one_l0(measurement) is not None:
        return Words(
            f"The L0 of the suite's SAEs goes from {own.min():.1f} to {own.max():.1f} here, so every "
            f"number of this chapter "
            f"is read at L0 {low:.1f}: log FVU is taken as linear in log L0 between the two SAEs of "
            f"each width that lie "
            "around it."
        )
    if high > low * (1 + ONE_L0):
        return Words(
            f"The L0 of the suite's SAEs goes from {low:.1f} to {high:.1f} here, and no L0 lies "
            f"between two SAEs of every "
            "width, so nothing can be read at one L0."
        )
    return Words(f"Here the SAEs of the suite are at one L0 as they are: {low:.2f} to {high:.2f}.")

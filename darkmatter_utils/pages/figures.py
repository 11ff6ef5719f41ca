"""What the chapters draw: frames made ready for the builders of `charts`, and the few charts that combine
them.
"""

from __future__ import annotations

import altair as alt
import pandas as pd

from .. import charts
from ..charts.tables import Words
from ..claims import c01_half_linear
from ..experiments.evidence import SHARES, shares_by_width
from ..measurement.widths import width_suite


def grid(measurement) -> pd.DataFrame:
    """SAEs on the grid of widths and target L0s, one a cell (mean over seeds): the columns of `saes` that are
    numbers.
    """
    saes = measurement.saes[measurement.saes["l0_target"].notna() & (measurement.saes["width"] > 0)]
    several = saes.groupby("width")["l0_target"].nunique()
    saes = saes[saes["width"].isin(several[several > 1].index)]
    return saes.groupby(["width", "l0_target"], as_index=False).mean(numeric_only=True)


def by_l0(measurement, metric: str, title: str):
    """A metric over L0, one line a width; where no width has several L0s, says so."""
    cells = grid(measurement)
    if cells.empty:
        return Words("*This study has no SAEs of one width and different L0.*")
    cells = cells.assign(latents=[f"{width:,} latents" for width in cells["width"]])
    return charts.lines(
        cells,
        "l0",
        metric,
        low=f"{metric}_low",
        high=f"{metric}_high",
        color="latents",
        x_title="L0 (active latents a token)",
        y_title=title,
    )


def vector_lines(measurement):
    """R² of the error vector over width, per dimension and total, with the range that counts as about
    half."""
    rows = [
        width_suite(measurement, metric).frame().assign(kind=kind)
        for metric, kind in (("r2_per_dim", "per dimension (the paper's)"), ("r2_total", "total"))
    ]
    frame = pd.concat(rows)
    low, high = c01_half_linear.THRESHOLDS.half
    band = pd.DataFrame({"low": [low], "high": [high], "what": ["about half, by the rule"]})
    shade = (
        alt.Chart(band)
        .mark_rect(color="#94a3b8", opacity=0.16)
        .encode(y="low:Q", y2="high:Q", tooltip="what:N")
    )
    lines = charts.lines(
        frame,
        "width",
        "value",
        low="low",
        high="high",
        color="kind",
        y_title="R² of the error vector",
        y_domain=(0, 1),
    )
    return alt.layer(shade, lines)


def share_lines(measurement):
    """R² of the error from dull linear predictors and from all of x, over width."""
    long = shares_by_width(measurement)[["width", *SHARES]].melt("width", var_name="share", value_name="r2")
    return charts.lines(
        long.assign(share=long["share"].map(SHARES)),
        "width",
        "r2",
        color="share",
        y_title="R² total of the error",
    )

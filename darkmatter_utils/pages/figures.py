"""What the chapters draw: frames made ready for the builders of `charts`, and the few charts that combine
them.
"""

from __future__ import annotations

import altair as alt
import pandas as pd

from .. import charts
from ..charts.tables import Words
from ..claims.evidence import SHARES, shares_by_width
from ..claims.rules import HALF
from ..measurement.widths import width_suite
from ..stats.fits import LinearMap
from ..stats.metrics import r2_total
from ..stats.moments import Moments


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


def grid_heat(measurement, metric: str, title: str):
    """A metric on the grid of widths and target L0s."""
    cells = grid(measurement)
    if cells.empty:
        return Words("*This study has no grid of widths and L0s.*")
    cells = cells.assign(
        width=cells["width"].astype(int), l0_target=cells["l0_target"].map("{:g}".format).astype(float)
    )
    cells["width"] = [f"{width:,}" for width in cells["width"]]
    cells = cells.sort_values("l0_target", ascending=False, kind="stable")
    return charts.heat(
        cells,
        "width",
        "l0_target",
        metric,
        x_title="SAE width (latents)",
        y_title="target L0",
        value_title=title,
    )


def vector_lines(measurement):
    """R² of the error vector over width, per dimension and total, with the range that counts as about
    half."""
    rows = [
        width_suite(measurement, metric).frame().assign(kind=kind)
        for metric, kind in (("r2_per_dim", "per dimension (the paper's)"), ("r2_total", "total"))
    ]
    frame = pd.concat(rows)
    band = pd.DataFrame({"low": [HALF[0]], "high": [HALF[1]], "what": ["about half, by the rule"]})
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


def rank_curve(x, error, train):
    """R² total on held-out rows of the best linear map of each rank, fitted on the rows of `train`."""
    moments = Moments(x.shape[1], x.shape[1]).update(x[train], error[train])
    full = LinearMap.fit(moments)
    ranks = sorted({0, x.shape[1], *(2**k for k in range(10) if 2**k < x.shape[1])})
    r2 = [r2_total(error[~train], full.truncate(moments, rank)(x[~train])) for rank in ranks]
    return charts.lines(
        pd.DataFrame({"rank": ranks, "r2": r2}),
        "rank",
        "r2",
        x_scale="linear",
        x_title="rank of the map",
        y_title="R² total of the error",
    )

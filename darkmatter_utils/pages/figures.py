"""What the chapters draw: frames made ready for the builders of `charts`, and the few charts that combine
them.
"""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from .. import charts
from ..charts.tables import Words
from ..claims.evidence import SHARES, shares_by_width
from ..claims.rules import HALF
from ..measurement.widths import suite_rows, width_suite
from ..stats.fits import LinearMap
from ..stats.metrics import r2_total
from ..stats.moments import Moments

TOKENS_SHOWN = 120
"""Tokens of a context that a strip shows."""


def breakdown(measurement) -> pd.DataFrame:
    """Shares of the variance of x at each width of the suite, mean over seeds: width, part, share; they sum
    to 1.
    """
    total, rest = (width_suite(measurement, metric) for metric in ("fvu", "fvu_nonlinear"))
    rows = []
    for width, fvu, nonlinear in zip(total.widths, total.values, rest.values, strict=True):
        for part, share in (
            ("Sae(x)", 1 - fvu),
            ("LinearError", fvu - nonlinear),
            ("NonlinearError", nonlinear),
        ):
            rows.append({"width": int(width), "part": part, "share": float(share)})
    return pd.DataFrame(rows)


def typical_context(measurement, sae_id: str) -> int:
    """The context whose mean squared error is the median of all (of full contexts): not picked by hand."""
    tokens = measurement.tokens[measurement.tokens["scored"]]
    mean = tokens.groupby("context")[f"{sae_id}:error"].agg(["mean", "size"])
    mean = mean[mean["size"] == mean["size"].max()]["mean"].sort_values(kind="stable")
    return int(mean.index[len(mean) // 2])


def strip(
    measurement, sae_id: str, context: int, parts: Mapping[str, str], *, unit: float, first: int | None = None
):
    """The tokens of one context with their errors in units of the variance of x, from the first scored
    position.
    """
    tokens = measurement.tokens[measurement.tokens["context"] == context]
    start = measurement.study.window[0] if first is None else first
    tokens = tokens[tokens["position"] >= start].head(TOKENS_SHOWN)
    frame = pd.DataFrame(
        {"text": measurement.decode(tokens["token"].tolist()), "position": tokens["position"]}
    )
    for part, column in parts.items():
        frame[part] = tokens[f"{sae_id}:{column}"].to_numpy() / unit
    if tokens["loss"].notna().any():
        frame["loss of the next token (nats)"] = tokens["loss"].to_numpy()
    about = [name for name in frame.columns if name not in ("text", *parts)]
    return charts.context_strip(
        frame,
        {part: part for part in parts},
        about=about,
        value_title="squared error, in units of the variance",
    )


def positions(measurement, ids, *, bins: int = 64) -> pd.DataFrame:
    """Mean squared error by position in units of the variance of x, with an interval over documents: one row
    an SAE and a bin of positions (bins of equal length; the first 16 positions one by one).
    """
    tokens = measurement.tokens
    step = max(1, int(tokens["position"].max() + 1) // bins)
    position = tokens["position"].to_numpy()
    place = np.where(position < 16, position, 16 + (position - 16) // step * step + (step - 1) / 2)
    rows = []
    for sae_id in ids:
        value = tokens[f"{sae_id}:error"] / unit_variance(measurement, sae_id)
        means = value.groupby(
            [pd.Series(place, index=tokens.index, name="position"), tokens["document"]]
        ).mean()
        stats = means.groupby(level=0).agg(["mean", "sem"]).reset_index()
        width = int(measurement.saes.set_index("id").loc[sae_id, "width"])
        rows.append(
            stats.assign(
                width=f"{width:,} latents",
                error=stats["mean"],
                low=stats["mean"] - 1.96 * stats["sem"],
                high=stats["mean"] + 1.96 * stats["sem"],
            )
        )
    return pd.concat(rows, ignore_index=True)[["position", "width", "error", "low", "high"]]


def unit_variance(measurement, sae_id: str) -> float:
    """The variance of x, mean ‖x − x̄‖² over scored tokens: Σ‖SaeError‖² / (n FVU)."""
    row = measurement.saes.set_index("id").loc[sae_id]
    tokens = measurement.tokens
    return float(tokens.loc[tokens["scored"], f"{sae_id}:error"].mean() / row["fvu"])


def grid(measurement) -> pd.DataFrame:
    """SAEs on the grid of widths and target L0s, one a cell (mean over seeds): the columns of `saes` that are
    numbers.
    """
    saes = measurement.saes[measurement.saes["l0_target"].notna() & (measurement.saes["width"] > 0)]
    several = saes.groupby("width")["l0_target"].nunique()
    saes = saes[saes["width"].isin(several[several > 1].index)]
    return saes.groupby(["width", "l0_target"], as_index=False).mean(numeric_only=True)


def concentration(measurement, sae_id: str, *, share: float = 0.1) -> float:
    """The share of the total squared error that the `share` of tokens with the largest errors holds."""
    tokens = measurement.tokens
    error = np.sort(tokens.loc[tokens["scored"], f"{sae_id}:error"].to_numpy())[::-1]
    return float(error[: max(1, round(share * len(error)))].sum() / error.sum())


def protocol_lines(measurement):
    """R² per dimension over width, strict beside paper (first seed of each width)."""
    rows = []
    for name, frame in (("strict", measurement.saes), ("paper", measurement.paper)):
        kept = frame[frame["id"].isin(suite_rows(measurement)["id"])].sort_values(
            ["width", "seed"], kind="stable"
        )
        rows.append(kept.drop_duplicates("width").assign(protocol=name))
    return charts.lines_with_intervals(
        pd.concat(rows),
        "width",
        "r2_per_dim",
        low="r2_per_dim_low",
        high="r2_per_dim_high",
        color="protocol",
        y_title="R² per dimension",
    )


def by_l0(measurement, metric: str, title: str):
    """A metric over L0, one line a width; where no width has several L0s, says so."""
    cells = grid(measurement)
    if cells.empty:
        return Words("*This study has no SAEs of one width and different L0.*")
    cells = cells.assign(latents=[f"{width:,} latents" for width in cells["width"]])
    return charts.lines_with_intervals(
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
    lines = charts.lines_with_intervals(
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
    return charts.lines_with_intervals(
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
    return charts.lines_with_intervals(
        pd.DataFrame({"rank": ranks, "r2": r2}),
        "rank",
        "r2",
        x_scale="linear",
        x_title="rank of the map",
        y_title="R² total of the error",
    )

"""What chapter 10 draws: shares of the loss against shares of the variance, over width and L0, beside their
controls."""

from __future__ import annotations

import altair as alt
import pandas as pd

from .. import charts
from ..charts.tables import Words
from ..charts.theme import MUTED, columns, finish, tip, y_axis
from ..claims import c08_proportional
from ..decomposition.passes import ERRORS
from ..experiments.cost_controls import KINDS
from ..experiments.cost_shares import recovered
from ..experiments.cost_tables import against_rows, part_shares
from ..experiments.costs import with_part
from ..experiments.loss_adapters import LEAST_SQUARES, TRAINED
from .cost_pages import SHOWN_SHARES, Found, told

HALF_WIDTH = 300
"""Pixels of one of two views side by side."""
GREYS = ["#475569", "#94a3b8", "#8a6d52", "#c9a27e"]
"""Colours of the kinds of control beside the parts of x."""
SIDEWAYS = 0.006
"""By how much of the share of FVU the points of neighbouring kinds of control are shifted, so that none hides
another."""


@told
def share_chart(found: Found):
    """Share of the loss won back against share of FVU, a point a width: both parts, and controls of
    NonlinearError."""
    rows = found.shares.merge(
        found.shares[found.shares["share"] == "variance"][["width", "part", "value"]],
        on=["width", "part"],
        suffixes=("", "_variance"),
    )
    rows = rows[(rows["share"] == "ce") & ((rows["kind"] == "") | (rows["part"] == ERRORS[2]))]
    kinds = list(KINDS)
    shift = [SIDEWAYS * (kinds.index(kind) - 1.5) * 1.6 if kind else 0.0 for kind in rows["kind"]]
    rows = rows.assign(
        series=[f"control: {kind}" if kind else part for kind, part in zip(rows["kind"], rows["part"])],
        beside=rows["value_variance"] + shift,
    )
    data = columns(rows, x="beside", y="value", low="low", high="high", color="series", label="width")
    along = alt.X("x:Q", title="share of FVU", scale=alt.Scale(zero=True))
    title = "share of the loss won back"
    dots = alt.Chart(data).encode(
        x=along,
        color=_series_colour(data),
        tooltip=[
            alt.Tooltip("color:N", title="vectors"),
            tip("label", "width"),
            tip("y", title),
            tip("low", "95% low"),
            tip("high", "95% high"),
        ],
    )
    marks = dots.mark_point(size=70).encode(y=y_axis(title))
    bars = dots.mark_rule(opacity=0.7).encode(y=y_axis(title, field="low"), y2="high")
    return finish(alt.layer(*_band(data["x"].max()), bars, marks), "", charts.WIDTH, 340)


def _series_colour(data) -> alt.Color:
    domain, found = charts.palette(data["color"])
    greys = iter(GREYS)
    found = [colour if name in charts.PARTS else next(greys) for name, colour in zip(domain, found)]
    legend = alt.Legend(columns=3, title=None, offset=30)
    return alt.Color("color:N", title=None, scale=alt.Scale(domain=domain, range=found), legend=legend)


def _band(end: float) -> list[alt.Chart]:
    low, high = c08_proportional.THRESHOLDS.near
    frame = pd.DataFrame(
        {"x": [0.0, end], "y": [0.0, end], "low": [0.0, low * end], "high": [0.0, high * end]}
    )
    base = alt.Chart(frame).encode(x="x:Q")
    shade = base.mark_area(color="#94a3b8", opacity=0.16).encode(y="low:Q", y2="high:Q")
    return [shade, base.mark_line(color=MUTED, strokeDash=[2, 3], strokeWidth=1.4).encode(y="y:Q")]


@told
def width_chart(found: Found):
    """Shares of each part over width: of the loss, the divergence, FVU and the norm."""
    rows = found.shares[(found.shares["kind"] == "") & found.shares["share"].isin(SHOWN_SHARES)]
    return _both_parts(rows, "width", None)


@told
def l0_chart(found: Found):
    """The same over L0 at one width."""
    if not found.over_l0:
        return Words("*This study has no SAEs of one width and different L0.*")
    l0 = found.measurement.saes.set_index("id")["l0"]
    rows = part_shares(found.costs, ids=found.over_l0)
    rows = rows[rows["share"].isin(SHOWN_SHARES)].assign(l0=lambda frame: frame["sae"].map(l0).round(1))
    return _both_parts(rows, "l0", "L0 (active latents a token)")


def _both_parts(rows: pd.DataFrame, x: str, x_title: str | None):
    made = []
    for part in ERRORS[1:]:
        here = rows[rows["part"] == part].assign(share=lambda frame: frame["share"].map(SHOWN_SHARES))
        made.append(
            charts.lines(
                here,
                x,
                "value",
                low="low",
                high="high",
                color="share",
                title=part,
                x_title=x_title,
                y_title="share",
                width=HALF_WIDTH,
                height=260,
            )
        )
    return charts.beside(*made)


@told
def against_chart(found: Found, measure: str = "ce"):
    """How many times more the error and its nonlinear part cost than controls of their norms, over width."""
    rows = against_rows(found.measurement, found.costs, measure=measure)
    made = []
    for part in ("SaeError", "NonlinearError"):
        here = rows[rows["part"] == part]
        made.append(
            charts.lines(
                here,
                "width",
                "value",
                low="low",
                high="high",
                color="kind",
                title=part,
                y_title="cost / cost of the control",
                reference=1.0,
                width=HALF_WIDTH,
                height=260,
            )
        )
    return charts.beside(*made)


@told
def adapter_chart(found: Found):
    """What is won back by LinearError, which reads x, and by linear maps of Sae(x), which do not."""
    if found.adapted is None:
        return Words("")
    names = {
        "Sae + LinearError": with_part("LinearError"),
        "least-squares adapter": LEAST_SQUARES,
        "adapter trained on the loss": TRAINED,
    }
    made = []
    for measure, title in (("ce", "loss (CE)"), ("kl", "divergence (KL)")):
        rows = []
        for label, replacement in names.items():
            e = found.adapted.estimate(found.shown, recovered(measure, replacement))
            rows.append({"label": label, "value": e.value, "low": e.low, "high": e.high})
        made.append(charts.forest(pd.DataFrame(rows), title=title, x_title="share won back", width=220))
    return charts.beside(*made)

"""Charts that a reader moves: the breakdown explorer over studies and L0, the sandbox of simulated worlds.

Everything is computed beforehand; a slider chooses among it.
"""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from .theme import PARTS as ALL
from .theme import builder, colour, columns, finish, tip, titled

PARTS = ("LinearError", "NonlinearError")


@builder
def explorer(frame: pd.DataFrame, *, l0: float, **view):
    """Bars of LinearError on NonlinearError over the width; the reader chooses the study and moves the L0.

    frame: a row an SAE: study, width, l0, linear and nonlinear (shares of the variance of x). Of the chosen
    study are shown the SAEs whose L0 is nearest to the slider's; it starts at ``l0`` and at the first study.
    """
    names = {name: name for name in ("study", "width", "l0")}
    data = columns(frame, **names, LinearError="linear", NonlinearError="nonlinear")
    data = data.melt(["study", "width", "l0"], list(PARTS), var_name="color", value_name="value")
    data["order"] = data["color"].map({"NonlinearError": 0, "LinearError": 1})
    studies = list(dict.fromkeys(data["study"]))
    powers = [math.log2(value) for value in data["l0"] if value > 0]
    which = alt.param("which", value=studies[0], bind=alt.binding_radio(options=studies, name="Show: "))
    slide = alt.binding_range(
        min=math.floor(min(powers)), max=math.ceil(max(powers)), step=0.5, name="log₂ L0: "
    )
    at = alt.param("at", value=round(2 * math.log2(l0)) / 2, bind=slide)
    chosen = (
        alt.Chart(data)
        .transform_filter("datum.study === which")
        .transform_calculate(far="abs(log(datum.l0) / LN2 - at)")
        .transform_joinaggregate(least="min(far)")
        .transform_filter("datum.far < datum.least + 0.15")
    )
    told = [tip("color", "part"), alt.Tooltip("width:O", title="latents", format=","), tip("value", "share")]
    told.append(alt.Tooltip("l0:Q", title="L0", format=".3~g"))
    axis = alt.Axis(labelAngle=0, format=",", labelOverlap="greedy")
    bars = chosen.mark_bar(size=34).encode(
        x=alt.X("width:O", title="SAE width (latents)", axis=axis),
        y=alt.Y("value:Q", title="share of the variance of x", stack="zero"),
        color=colour(PARTS),
        order="order:Q",
        tooltip=told,
    )
    return finish(bars, **view).add_params(which, at)


@builder
def sandbox(landing: pd.DataFrame, curve: pd.DataFrame, *, title: str = ""):
    """Where true parts land, and FVU_nonlinear over the width, in worlds of features that share directions.

    landing: superposition, held, part, linear and nonlinear (shares of a part that land there). curve:
    superposition, law, width, fvu_nonlinear. The reader moves the features a dimension, and chooses the share
    of features held and the exponent of their frequencies; shown are the worlds nearest to that.
    """
    dense = alt.binding_range(min=0, max=6, step=1, name="features a dimension, log₂: ")
    nd = alt.param("nd", value=4, bind=dense)
    shares, laws = sorted(set(landing["held"])), sorted(set(curve["law"]))
    held = alt.param(
        "held", value=shares[len(shares) // 2], bind=alt.binding_radio(options=shares, name="held: ")
    )
    law = alt.param(
        "law", value=laws[len(laws) // 2], bind=alt.binding_radio(options=laws, name="exponent: ")
    )
    # Of two worlds that are equally near, the one of fewer features: never two in one line.
    near = {"far": "abs(log(datum.superposition) / LN2 - nd) + 1e-6 * datum.superposition"}
    nearest = lambda chart: (
        chart.transform_calculate(**near)
        .transform_joinaggregate(least="min(far)")
        .transform_filter("datum.far < datum.least + 1e-7")
    )
    rows = landing.rename(columns={"linear": "LinearError", "nonlinear": "NonlinearError"})
    rows = rows.melt(["superposition", "held", "part"], list(PARTS), var_name="color", value_name="value")
    bars = nearest(alt.Chart(rows).transform_filter("datum.held === held")).mark_bar()
    told = [tip("part", "true part"), tip("color", "lands in"), tip("value", "share")]
    bars = bars.encode(
        x=alt.X("value:Q", title="share that lands in each", stack="zero", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("part:N", title=None),
        color=colour(PARTS),
        tooltip=told,
    )
    lines = nearest(alt.Chart(curve).transform_filter("datum.law === law")).mark_line(point=True)
    width = alt.X("width:Q", title="SAE width (latents)", scale=alt.Scale(type="log", base=2))
    lines = lines.encode(
        x=width,
        y=alt.Y("fvu_nonlinear:Q", title="FVU_nonlinear"),
        color=alt.value(ALL["NonlinearError"]),
        tooltip=[
            alt.Tooltip("superposition:Q", title="n / d"),
            "width:Q",
            alt.Tooltip("fvu_nonlinear:Q", format=".3f"),
        ],
    )
    size = {"width": 270, "height": 150}
    made = alt.concat(bars.properties(**size), lines.properties(**size), columns=2)
    return titled(made.resolve_scale(color="independent").add_params(nd, held, law), title)

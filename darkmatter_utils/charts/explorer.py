"""The breakdown explorer: the two parts of the error at each width, of one study and at one L0 at a time."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from .theme import builder, colour, columns, finish, tip

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

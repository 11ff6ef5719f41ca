"""Charts of many things at once: a heat map, a forest of intervals, a scatter, panels side by side."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from ..base.values import Absent
from .theme import (
    INK,
    MUTED,
    PARTS,
    RAMP,
    WIDTH,
    builder,
    colour,
    columns,
    finish,
    if_there,
    tip,
    tips,
    x_axis,
    y_axis,
)


@builder
def heat(
    frame,
    x,
    y,
    value,
    *,
    title="",
    x_title=None,
    y_title=None,
    value_title=None,
    fmt=".2f",
    domain=None,
    width=WIDTH,
    height=None,
):
    """A table in colour, the number in every cell; rows and columns in order of appearance, or ascending if
    numbers."""
    data = columns(frame, x=x, y=y, value=value)
    low, high = domain or (float(data["value"].min()), float(data["value"].max()))
    data["pale"] = ((data["value"] - low) / ((high - low) or 1.0) < 0.5).map(bool)
    numeric = {axis: pd.api.types.is_numeric_dtype(data[axis]) for axis in "xy"}
    order = {axis: None for axis in "xy"} | {
        axis: end for axis, end in zip("xy", ("ascending", "descending")) if numeric[axis]
    }
    base = alt.Chart(data).encode(
        x=alt.X(
            "x:O",
            title=x_title or str(x),
            sort=order["x"],
            axis=alt.Axis(labelAngle=0, domain=False, ticks=False),
        ),
        y=alt.Y("y:O", title=y_title or str(y), sort=order["y"], axis=alt.Axis(domain=False)),
        tooltip=[
            alt.Tooltip("x:O", title=str(x_title or x)),
            alt.Tooltip("y:O", title=str(y_title or y)),
            tip("value", value_title or value),
        ],
    )
    shade = alt.Color("value:Q", legend=None, scale=alt.Scale(range=RAMP, domain=[low, high]))
    cells = base.mark_rect(stroke="white", strokeWidth=1.5, cornerRadius=3).encode(color=shade)
    ink = alt.condition("datum.pale", alt.value(INK), alt.value("white"))
    numbers = base.mark_text(fontSize=12).encode(text=alt.Text("value:Q", format=fmt), color=ink)
    return finish(cells + numbers, title, width, height or max(90, 38 * data["y"].nunique()))


@builder
def forest(
    frame,
    *,
    label="label",
    value="value",
    low="low",
    high="high",
    reference="reference",
    color=None,
    title="",
    x_title="",
    reference_title="the paper",
    x_domain=None,
    rules=(),
    width=430,
    height=None,
):
    """One row per label: our value with its interval, and the value to compare with (column ``reference``) as
    a diamond.

    A row without an interval (NaN) shows its point alone, a row without a reference no diamond. Rows keep
    their order. rules: values of x that a dotted line marks.
    """
    there = if_there(frame, reference)
    data = columns(frame, label=label, value=value, low=low, high=high, color=color, reference=there)
    base = alt.Chart(data).encode(
        y=alt.Y(
            "label:N", sort=None, title=None, axis=alt.Axis(labelLimit=260, labelFontSize=12, labelColor=INK)
        )
    )
    shade = colour(data["color"]) if color is not None else alt.value(PARTS["SaeError"])
    scale = alt.Scale(domain=list(x_domain)) if x_domain else alt.Scale()
    x, left = (
        alt.X(f"{field}:Q", title=x_title, scale=scale, axis=alt.Axis(grid=True))
        for field in ("value", "low")
    )
    about = [tip("label", "row"), tip("value", "here"), tip("low", "95% low"), tip("high", "95% high")]
    layers = [base.mark_rule(strokeWidth=2.5).encode(x=left, x2="high", color=shade, tooltip=about)]
    layers.append(base.mark_point(size=80).encode(x=x, color=shade, tooltip=about))
    if rules:
        edges = alt.Chart(pd.DataFrame({"x": list(rules)})).mark_rule(color=MUTED, strokeDash=[2, 3])
        layers.insert(0, edges.encode(x=alt.X("x:Q", title=x_title, scale=scale)))
    if there:
        diamond = base.mark_point(shape="diamond", size=95, filled=False, color=MUTED, strokeWidth=1.8)
        told = [tip("label", "row"), tip("reference", reference_title)]
        layers.append(diamond.encode(x=alt.X("reference:Q", title=x_title, scale=scale), tooltip=told))
    return finish(alt.layer(*layers), title, width, height or 24 + 32 * len(data))


@builder
def scatter(
    frame,
    x,
    y,
    *,
    low=None,
    high=None,
    color=None,
    label=None,
    title="",
    x_title=None,
    y_title=None,
    x_scale="linear",
    y_domain=None,
    identity=False,
    band=None,
    connect=False,
    size=36,
    opacity=0.7,
    width=WIDTH,
    height=340,
):
    """Points, coloured by a column and named by another in the tooltip; ``identity`` draws y = x.

    low, high: columns of the interval of y. band: a pair (a, b); what lies between a x and b x is shaded, and
    y = x drawn from 0. connect: join the points of a colour in the order of ``label``, and write it at both
    ends (beside parts of x, only at theirs).
    """
    data = columns(frame, x=x, y=y, low=low, high=high, color=color, label=label)
    y_title = y_title or str(y)
    along, up, foot = (
        x_axis(data, x, x_title, x_scale),
        y_axis(y_title, y_domain),
        y_axis(y_title, y_domain, "low"),
    )
    about = tips(data, x=x_title or x, y=y_title, color=color)
    about += [tip("label", label)] if label is not None else []
    dots = alt.Chart(data).mark_point(size=size, opacity=opacity)
    dots = dots.encode(x=along, y=up, tooltip=about)
    shade = colour(data["color"]) if color is not None else alt.value(PARTS["SaeError"])
    layers = [dots.encode(color=shade)]
    if low is not None:
        layers.insert(0, dots.mark_rule(opacity=opacity).encode(y=foot, y2="high", color=shade))
    if connect:
        ends = data.sort_values("label", kind="stable").groupby("color", sort=False).nth([0, -1])
        ends = ends[ends["color"].isin(PARTS)] if ends["color"].isin(PARTS).any() else ends
        words = (
            alt.Chart(ends).mark_text(dy=-11, fontSize=10).encode(x=along, y=up, text="label:N", color=shade)
        )
        layers = [
            dots.mark_line(strokeWidth=1, opacity=0.5).encode(color=shade, order="label:Q"),
            *layers,
            words,
        ]
    if identity or band:
        both = data[["x", "y"]].to_numpy(dtype=float)
        ends = [0.0, float(data["x"].max())] if band else [float(np.nanmin(both)), float(np.nanmax(both))]
        line = pd.DataFrame({"x": ends, "y": ends})
        if band:
            line = line.assign(low=band[0] * line["x"], high=band[1] * line["x"])
            area = alt.Chart(line).mark_area(color="#94a3b8", opacity=0.16)
            layers.insert(0, area.encode(x=along, y=foot, y2="high"))
        line = alt.Chart(line).mark_line(color=MUTED, strokeDash=[2, 3], strokeWidth=1.4)
        layers.insert(1 if band else 0, line.encode(x=along, y=up))
    return finish(alt.layer(*layers), title, width, height)


@builder
def beside(*charts, title="", columns=2, shared=()):
    """Charts side by side, each with its own colours and axes but for those that are ``shared`` ("color",
    "x", "y"); in a narrow page one under the other."""
    scales = {axis: "shared" if axis in shared else "independent" for axis in ("color", "x", "y")}
    together = alt.concat(*charts, columns=columns).resolve_scale(**scales)
    return together.properties(title=title, description=title) if title else together


@builder
def panels(frame, by, build, *names, columns=2, shared=("color",), width=300, height=260, **settings):
    """One chart for each value of column ``by``, titled by it, each made by ``build(rows, *names,
    **settings)``; one legend for all."""
    made = [
        build(rows, *names, title=str(name), width=width, height=height, **settings)
        for name, rows in frame.groupby(by, sort=False)
    ]
    return beside(*made, columns=columns, shared=shared)


def layered(*charts):
    """One chart over another in the same axes, each with its own colours; what is absent is left out."""
    return alt.layer(*(one for one in charts if not isinstance(one, Absent))).resolve_scale(
        color="independent"
    )

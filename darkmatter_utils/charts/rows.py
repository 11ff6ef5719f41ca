"""Charts of many things at once: a heat map, a forest of intervals, panels side by side."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from ..base.values import Absent
from .theirs import series
from .theme import (
    INK,
    MUTED,
    ON_DARK,
    PARTS,
    RAMP,
    builder,
    colour,
    columns,
    finish,
    if_there,
    in_the_same_axes,
    palette,
    tip,
    titled,
)

BELOW = 7
"""Pixels between the strips of others."""
NARROW = 360
"""Pixels of a forest below which the names of its rows stand above them: beside it they take half of it."""
ABOVE = {"labelAlign": "left", "labelBaseline": "bottom", "labelPadding": 0}
LINE = 14
"""Pixels from a line of such a name to the next."""


@builder
def heat(frame, x, y, value, *, x_title=None, y_title=None, value_title=None, fmt=".2f", domain=None, **view):
    """A table in colour, the number in every cell; rows and columns in order of appearance, or ascending if
    numbers."""
    data = columns(frame, x=x, y=y, value=value)
    low, high = domain or (float(data["value"].min()), float(data["value"].max()))
    data["pale"] = ((data["value"] - low) / ((high - low) or 1.0) < 0.5).map(bool)
    numbers = pd.api.types.is_numeric_dtype
    across = {"title": str(x_title or x), "sort": "ascending" if numbers(data["x"]) else None}
    down = {"title": str(y_title or y), "sort": "descending" if numbers(data["y"]) else None}
    told = [alt.Tooltip("x:O", title=across["title"]), alt.Tooltip("y:O", title=down["title"])]
    base = alt.Chart(data).encode(
        x=alt.X("x:O", **across, axis=alt.Axis(labelAngle=0, domain=False, ticks=False)),
        y=alt.Y("y:O", **down, axis=alt.Axis(domain=False)),
        tooltip=[*told, tip("value", value_title or value)],
    )
    # In steps of the ramp's own colours, which a dark page exchanges; its middle bears neither ink nor white.
    steps = alt.Scale(type="quantize", range=[*RAMP[:3], *RAMP[4:]], domain=[low, high])
    shade = alt.Color("value:Q", legend=None, scale=steps)
    cells = base.mark_rect(stroke=ON_DARK, strokeWidth=1.5, cornerRadius=3).encode(color=shade)
    ink = alt.condition("datum.pale", alt.value(INK), alt.value(ON_DARK))
    text = base.mark_text(fontSize=12).encode(text=alt.Text("value:Q", format=fmt), color=ink)
    return finish(cells + text, **{"height": max(90, 38 * data["y"].nunique())} | view)


@builder
def forest(
    frame,
    *,
    label="label",
    value="value",
    reference="reference",
    color=None,
    x_title="",
    reference_title="the paper",
    x_domain=None,
    rules=(),
    theirs=None,
    **view,
):
    """One row per label: our value with its interval, and what to compare it with (``reference``), a diamond.

    A row without an interval (NaN) shows its point alone, a row without a reference no diamond. Rows keep
    their order; a label may have several lines. rules: values of x that a dotted line marks. theirs: points
    of the paper and of other studies at these labels, named by a column ``study``.
    """
    there = if_there(frame, reference)
    data = columns(frame, label=label, value=value, color=color, reference=there, of=value)
    most = max((str(name).count("\n") + 1 for name in data["label"]), default=1)
    size = {"width": 430} | view
    lines = {"labelExpr": "split(datum.label, '\\n')"} if most > 1 else {}
    lines |= {} if size["width"] >= NARROW else ABOVE | {"labelOffset": -6 - LINE * (most - 1)}
    axis = alt.Axis(labelLimit=260, labelFontSize=12, labelColor=INK, **lines)
    # Said: a layer leaves out rows without an interval, and rows would come in the order of the first layer.
    order = list(dict.fromkeys(data["label"]))
    base = alt.Chart(data).encode(y=alt.Y("label:N", sort=order, title=None, axis=axis))
    shade = colour(data["color"]) if color is not None else alt.value(PARTS["SaeError"])
    scale, grid = alt.Scale(domain=list(x_domain)) if x_domain else alt.Scale(), alt.Axis(grid=True)
    x, left = (alt.X(f"{name}:Q", title=x_title, scale=scale, axis=grid) for name in ("value", "low"))
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
    if theirs is not None and len(theirs):
        there = columns(theirs, label=label, value=value, name="study")
        named = series(list(dict.fromkeys(there["name"])))
        dots = alt.Chart(there).mark_point(size=60, color=MUTED, filled=False, strokeWidth=1.4)
        told = [tip("label", "row"), tip("name", "series"), tip("value", x_title)]
        layers.append(dots.encode(y=alt.Y("label:N", sort=order), x=x, tooltip=told, **named))
    tall = max(32, 18 + LINE * most)
    return finish(alt.layer(*layers), **size | {"height": size.get("height") or 24 + tall * len(data)})


@builder
def strips(frame, row, value, *, by, color, label, x_title="", theirs=None, width=215, title=""):
    """Points along one axis: a row a value of ``row``, a panel a value of ``by``, in order of appearance.

    label: what a point is, for the tooltip. theirs: the paper's and other studies', with columns value, low,
    high and the same ``by``, ``color`` and ``label``, which names them; grey, in the row that is called as
    their colour, one below the other.
    """
    data = columns(frame, row=row, value=value, by=by, color=color, label=label)
    order = {"by": data["by"].unique().tolist(), "row": data["row"].unique().tolist()}
    if theirs is not None:
        more = columns(theirs, row=color, value="value", by=by, color=color, label=label, of="value")
        data = pd.concat([data.assign(paper=False), more.assign(paper=True)])
    told = [tip("row", "row"), tip("label", "of"), tip("value", x_title)]
    across = {"title": x_title, "axis": alt.Axis(grid=True)}
    down = alt.Y("row:N", sort=order["row"], title=None, axis=alt.Axis(labelLimit=250))
    base = alt.Chart().encode(y=down, tooltip=told)
    own = base if theirs is None else base.transform_filter("!datum.paper")
    own = own.mark_point(size=45, opacity=0.7).encode(x=alt.X("value:Q", **across))
    domain, colours = palette(data["color"])
    scale = alt.Scale(domain=domain, range=colours)
    layers = [own.encode(color=alt.Color("color:N", scale=scale, legend=None))]
    if theirs is not None:
        names = list(dict.fromkeys(more["label"]))
        base, named = base.transform_calculate(name="datum.label"), series(names)
        for n, name in enumerate(names):
            grey = base.transform_filter(f"datum.paper && datum.label === {json.dumps(name)}")
            line = grey.mark_rule(color=MUTED, strokeWidth=1.2, yOffset=BELOW * n)
            layers.append(line.encode(x=alt.X("low:Q", **across), x2="high"))
            dots = grey.mark_point(filled=False, color=MUTED, size=60, strokeWidth=1.4, yOffset=BELOW * n)
            layers.append(dots.encode(x=alt.X("value:Q", **across), **named))
    step = 20 + BELOW * max(0, data["label"][data["paper"]].nunique() - 1) if theirs is not None else 20
    drawn = alt.layer(*layers, data=data).properties(width=width, height=alt.Step(step))
    return titled(drawn.facet(column=alt.Column("by:N", sort=order["by"], title=None)), title)


@builder
def beside(*charts, columns=2, shared=(), title=""):
    """Charts side by side (in a narrow page one under the other), colours, shapes and axes of their own
    unless ``shared`` ("color", "shape" with fill and stroke, "x", "y")."""
    scales = {axis: "shared" if axis in shared else "independent" for axis in ("color", "x", "y")}
    scales |= dict.fromkeys(("shape", "fill", "stroke"), "shared") if "shape" in shared else {}
    return titled(alt.concat(*charts, columns=columns).resolve_scale(**scales), title)


@builder
def panels(
    frame,
    by,
    build,
    *names,
    over=None,
    columns=2,
    shared=("color",),
    width=300,
    height=260,
    title="",
    **settings,
):
    """A chart for each value of column ``by``, titled by it, by ``build(rows, *names, **settings)``; one
    legend for all. over: what is laid over each panel, a function of its value of ``by`` (None: nothing)."""
    settings |= {"width": width, "height": height}
    made = []
    for name, rows in frame.groupby(by, sort=False):
        named, layer = {"title": str(name)}, over and over(name)
        if layer is None:
            made.append(build(rows, *names, **named, **settings))
        else:
            made.append(in_the_same_axes(build(rows, *names, **settings), layer).properties(**named))
    return beside(*made, columns=columns, shared=shared, title=title)


def layered(*charts, title=""):
    """One chart over another in the same axes, each with its own colours; what is absent is left out. Of an
    absent first chart, the reason."""
    if isinstance(charts[0], Absent):
        return charts[0]
    there = [one for one in charts if not isinstance(one, Absent)]
    return titled(in_the_same_axes(*there).resolve_scale(color="independent"), title)

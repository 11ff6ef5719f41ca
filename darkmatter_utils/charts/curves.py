"""Charts of a number along an axis: lines with intervals, positions, the stacked breakdown, a power law."""

from __future__ import annotations

import altair as alt
import pandas as pd

from ..base.values import Estimate
from .theme import (
    HEIGHT,
    MUTED,
    PARTS,
    WIDTH,
    WIDTH_TITLE,
    builder,
    colour,
    columns,
    finish,
    if_there,
    palette,
    tip,
    tips,
    x_axis,
    y_axis,
)

DASHES = [[1, 0], [6, 4], [2, 3], [8, 3, 2, 3]]
"""How the lines of one colour are told apart, first to last."""
MANY = 30
"""Points of one line above which intervals are a band and points are not drawn."""


@builder
def lines(
    frame,
    x,
    y,
    *,
    low=None,
    high=None,
    color=None,
    dash=None,
    title="",
    x_title=None,
    y_title=None,
    x_scale=None,
    y_domain=None,
    reference=None,
    reference_label="",
    band=None,
    broad=None,
    allowed=None,
    allowed_label="",
    width=WIDTH,
    height=HEIGHT,
):
    """Lines through points with 95% intervals, one line per value of ``color`` (parts of x keep their
    colours) and of ``dash`` (the first is solid).

    low, high: columns of the interval; by default y_low and y_high, or low and high, where the frame has
    them. x_scale: "linear", "log2", "log10" or "names" (in order of appearance); by default log2 for columns
    called width, l0 or d_sae. band:
    shade the interval (default when a line has more than 30 points) instead of drawing bars. reference: a y
    value to compare with, named by reference_label. broad: a column of flags; where it is true the line lies
    on a broad one. allowed: what a rule allows, shaded behind the lines and named by allowed_label: (low,
    high), or a frame of column x, low and high.
    """
    low, high = (
        given or if_there(frame, f"{y}_{edge}") or if_there(frame, edge)
        for given, edge in ((low, "low"), (high, "high"))
    )
    data = columns(frame, x=x, y=y, low=low, high=high, color=color, dash=dash, broad=broad)
    series = [name for name in ("color", "dash") if name in data]
    many = (data.groupby(series).size().max() if series else len(data)) > MANY
    along = x_axis(data, x, x_title, x_scale)
    up = y_axis(y_title or str(y), y_domain)
    base = alt.Chart(data).encode(x=along, tooltip=tips(data, x=x_title or x, y=y_title or y, color=color))
    base = base.encode(color=colour(data["color"]) if color is not None else alt.value(PARTS["SaeError"]))
    if dash is not None:
        kinds = list(dict.fromkeys(data["dash"]))
        scale = alt.Scale(domain=kinds, range=(DASHES * len(kinds))[: len(kinds)])
        shown = alt.Legend(columns=1, symbolType="stroke", symbolStrokeWidth=2, symbolSize=300)
        base = base.encode(strokeDash=alt.StrokeDash("dash:N", title=None, scale=scale, legend=shown))
    layers = [] if allowed is None else [_allowed(allowed, allowed_label, x, along)]
    if low is not None:
        shaded = many if band is None else band
        mark = base.mark_area(opacity=0.18, strokeWidth=0) if shaded else base.mark_rule(opacity=0.75)
        layers.append(mark.encode(y=y_axis(y_title or str(y), y_domain, "low"), y2="high"))
    if broad is not None:
        wide = base.transform_filter("datum.broad").mark_line(strokeWidth=10, opacity=0.25)
        layers.append(wide.encode(y=up))
    layers.append(base.mark_line().encode(y=up))
    # Invisible points still carry the tooltip.
    layers.append(base.mark_point(size=30 if many else 55, opacity=0 if many else 1).encode(y=up))
    if reference is not None:
        layers += _reference(reference, reference_label)
    return finish(alt.layer(*layers), title, width, height)


def _allowed(allowed, label: str, x: str, along: alt.X) -> alt.Chart:
    shade = {"color": "#94a3b8", "opacity": 0.2}
    if isinstance(allowed, tuple):
        data = pd.DataFrame({"low": [allowed[0]], "high": [allowed[1]], "what": [label]})
        return alt.Chart(data).mark_rect(**shade).encode(y="low:Q", y2="high:Q", tooltip=tip("what", "range"))
    data = columns(allowed, x=x, low="low", high="high").assign(what=label)
    base = alt.Chart(data).mark_area(**shade, strokeWidth=0)
    return base.encode(x=along, y="low:Q", y2="high:Q", tooltip=tip("what", "range"))


def _reference(value, label) -> list[alt.Chart]:
    base = alt.Chart(pd.DataFrame({"y": [float(value)], "label": [label]})).encode(y="y:Q")
    line = base.mark_rule(color=MUTED, strokeDash=[2, 3]).encode(
        tooltip=[tip("label", "line"), tip("y", "value")]
    )
    words = base.mark_text(align="left", baseline="middle", dx=5, color=MUTED, fontSize=11)
    return [line, words.encode(x=alt.value("width"), text="label:N")] if label else [line]


@builder
def by_position(
    frame,
    value,
    *,
    position="position",
    low=None,
    high=None,
    color=None,
    window=None,
    title="",
    x_title="position in the context (tokens)",
    y_title=None,
    y_domain=None,
    width=WIDTH,
    height=260,
):
    """A value along the context with its interval band; ``window`` = (start, stop) shades the positions that
    count."""
    drawn = lines(
        frame,
        position,
        value,
        low=low,
        high=high,
        color=color,
        x_title=x_title,
        y_title=y_title,
        x_scale="linear",
        y_domain=y_domain,
        band=True,
        width=width,
        height=height,
    )
    if window is not None:
        start, stop = window
        shade = pd.DataFrame(
            {"x": [start], "x2": [stop - 1], "what": [f"positions {start} to {stop - 1} are scored"]}
        )
        under = alt.Chart(shade).mark_rect(color="#94a3b8", opacity=0.16)
        drawn = alt.layer(
            under.encode(x=alt.X("x:Q", title=x_title), x2="x2", tooltip=tip("what", "window")), drawn
        )
    return finish(drawn, title, width, height)


@builder
def stacked_breakdown(
    frame,
    *,
    x="width",
    part="part",
    share="share",
    title="",
    x_title=WIDTH_TITLE,
    y_title="share of the variance of x",
    x_scale=None,
    y_domain=None,
    width=WIDTH,
    height=HEIGHT,
):
    """Shares of the variance stacked by part over SAE width: NonlinearError at the foot, then the parts
    before it in PARTS, then what is no part.

    The measured widths are the corners of the areas. For the same axes it can be layered with ``power_law``.
    """
    data = columns(frame, x=x, y=share, color=part)
    if (
        data["y"] < 0
    ).any():  # an SAE worse than the mean: the axis has to hold what lies below 0, however far
        y_domain = None
    domain, _ = palette(data["color"])
    order = [*reversed([name for name in domain if name in PARTS]), *(n for n in domain if n not in PARTS)]
    data["order"] = data["color"].map({name: n for n, name in enumerate(order)})
    data = data.sort_values(["order", "x"])
    base = alt.Chart(data).encode(
        x=x_axis(data, x, x_title, x_scale),
        y=y_axis(y_title, y_domain).stack("zero"),
        color=colour(data["color"]),
        order=alt.Order("order:Q"),
        tooltip=tips(data, x=x_title, y=share, color=part),
    )
    return finish(base.mark_area(opacity=0.82, line={"strokeWidth": 1}), title, width, height)


@builder
def power_law(
    points,
    curve,
    *,
    x="width",
    y="value",
    low="low",
    high="high",
    floor=None,
    series=None,
    title="",
    x_title=WIDTH_TITLE,
    y_title="FVU",
    y_domain=None,
    width=WIDTH,
    height=340,
):
    """Measured points with intervals and the fitted curve with its band, dashed where it leaves the measured
    widths.

    points, curve: frames with columns x, y and, if there, low and high; the curve on a denser grid of x that
    may go beyond the points. floor: the asymptote c, an `Estimate`, drawn with its interval. series: a column
    of both frames that names what is fitted (a part of x, for its colour).
    """
    measured = columns(points, x=x, y=y, low=if_there(points, low), high=if_there(points, high), color=series)
    fitted = columns(curve, x=x, y=y, low=if_there(curve, low), high=if_there(curve, high), color=series)
    for data in (measured, fitted):
        data["color"] = data["color"] if series is not None else "SaeError"
    whole = pd.concat([measured, fitted])
    along, up = x_axis(whole, "width", x_title, "log2"), y_axis(y_title, y_domain)
    edge = y_axis(y_title, y_domain, "low")
    shade = colour(whole["color"], legend=series is not None)
    line = {
        "x": along,
        "color": shade,
        "tooltip": tips(fitted, x=x_title, y=f"fitted {y_title}", color=series),
    }
    layers = _floor(floor, up, edge) if floor is not None else []
    if "low" in fitted:
        layers.append(
            alt.Chart(fitted).mark_area(opacity=0.16, strokeWidth=0).encode(**line, y=edge, y2="high")
        )
    last = measured["x"].max()
    within, beyond = fitted[fitted["x"] <= last], fitted[fitted["x"] >= last]
    layers.append(alt.Chart(within).mark_line().encode(**line, y=up))
    if len(beyond) > 1:
        layers.append(alt.Chart(beyond).mark_line(strokeDash=[6, 5]).encode(**line, y=up))
    dots = alt.Chart(measured).encode(
        x=along, color=shade, tooltip=tips(measured, x=x_title, y=y_title, color=series)
    )
    if "low" in measured:
        layers.append(dots.mark_rule().encode(y=edge, y2="high"))
    layers.append(dots.mark_point().encode(y=up))
    return finish(alt.layer(*layers), title, width, height)


def _floor(c: Estimate, up, edge) -> list[alt.Chart]:
    frame = pd.DataFrame(
        {"y": [c.value], "low": [c.low], "high": [c.high], "what": ["the floor c of the fit"]}
    )
    base = alt.Chart(frame).encode(
        tooltip=[tip("what", "line"), tip("y", "c"), tip("low", "low"), tip("high", "high")]
    )
    area = base.mark_rect(color=MUTED, opacity=0.12).encode(y=edge, y2="high")
    return [area, base.mark_rule(color=MUTED, strokeDash=[2, 3]).encode(y=up)]

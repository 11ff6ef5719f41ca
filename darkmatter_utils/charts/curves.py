"""Charts of a number along an axis: lines with intervals, positions, the stacked breakdown, a power law."""

from __future__ import annotations

import altair as alt
import pandas as pd

from .theme import (
    CONTROLS,
    MUTED,
    PARTS,
    WIDTH_TITLE,
    builder,
    colour,
    columns,
    finish,
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

FLATTENS = 100
"""A value so many times the median leaves nothing to see of the others on a linear axis."""


@builder
def lines(
    frame,
    x,
    y,
    *,
    color=None,
    dash=None,
    x_title=None,
    y_title=None,
    x_scale=None,
    y_domain=None,
    reference=None,
    reference_label="",
    band=False,
    broad=None,
    allowed=None,
    allowed_label="",
    near=None,
    y_log=False,
    **view,
):
    """Lines through points with 95% intervals, one line per value of ``color`` (parts of x keep their
    colours) and of ``dash`` (the first is solid).

    The interval is that of columns y_low and y_high, or low and high, where the frame has them. x_scale:
    "linear", "log2", "log10" or "names" (in order of appearance); by default log2 for columns called width,
    l0 or d_sae. band: shade the interval instead of drawing bars, as of a line of more than 30 points.
    reference: a y value to compare with, named by reference_label. broad: a column of flags; where it is true
    the line lies on a broad one. allowed: what a rule allows, shaded behind the lines and named by
    allowed_label: (low, high), or a frame of column x, low and high. near: points of a line whose x differ by
    less than this share are passed by at their mean. y_log: a logarithmic axis upwards. view: title, width,
    height.
    """
    data = columns(frame, x=x, y=y, color=color, dash=dash, broad=broad, of=y)
    series = [name for name in ("color", "dash") if name in data]
    many = (data.groupby(series).size().max() if series else len(data)) > MANY
    along = x_axis(data, x, x_title, x_scale)
    up = y_axis(y_title or str(y), y_domain, log=y_log)
    base = alt.Chart(data).encode(x=along, tooltip=tips(data, x=x_title or x, y=y_title or y, color=color))
    base = base.encode(color=colour(data["color"]) if color is not None else alt.value(PARTS["SaeError"]))
    if dash is not None:
        kinds = list(dict.fromkeys(data["dash"]))
        scale = alt.Scale(domain=kinds, range=(DASHES * len(kinds))[: len(kinds)])
        shown = alt.Legend(columns=1, symbolType="stroke", symbolStrokeWidth=2, symbolSize=300)
        base = base.encode(strokeDash=alt.StrokeDash("dash:N", title=None, scale=scale, legend=shown))
    elif color is not None and data["color"].str.startswith(CONTROLS).any():
        # No scale: its legend, or the lack of one, would be that of the colours.
        control = f"test(/^({'|'.join(CONTROLS)})/, datum.color)"
        base = base.encode(strokeDash=alt.condition(control, alt.value(DASHES[1]), alt.value(DASHES[0])))
    layers = [] if allowed is None else [_allowed(allowed, allowed_label, x, along)]
    if "low" in data:
        shaded = base.mark_area(opacity=0.18, strokeWidth=0)
        mark = shaded if many or band else base.mark_rule(opacity=0.75)
        layers.append(mark.encode(y=y_axis(y_title or str(y), y_domain, "low", log=y_log), y2="high"))
    if broad is not None:
        wide = base.transform_filter("datum.broad").mark_line(strokeWidth=10, opacity=0.25)
        layers.append(wide.encode(y=up))
    line = base if near is None else base.properties(data=_means(data, series, near))
    layers.append(line.mark_line().encode(y=up))
    # Invisible points still carry the tooltip.
    layers.append(base.mark_point(size=30 if many else 55, opacity=0 if many else 1).encode(y=up))
    if reference is not None:
        layers += _reference(reference, reference_label)
    return finish(alt.layer(*layers), **view)


def _means(data: pd.DataFrame, series: list[str], near: float) -> pd.DataFrame:
    """The mean of x and y of each line's points whose x differ by less than the share ``near``."""
    data = data.sort_values("x", kind="stable")
    group = (data["x"].div(data["x"].shift()) > 1 + near).cumsum()
    return data.groupby([*series, group.rename("group")], sort=False, as_index=False)[["x", "y"]].mean()


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
    line = base.mark_rule(color=MUTED, strokeDash=[2, 3])
    line = line.encode(tooltip=[tip("label", "line"), tip("y", "value")])
    words = base.mark_text(align="left", baseline="middle", dx=5, color=MUTED, fontSize=11)
    return [line, words.encode(x=alt.value("width"), text="label:N")] if label else [line]


@builder
def by_position(frame, value, *, color=None, window=None, y_title=None, **view):
    """A value along the context with its interval band; ``window`` = (start, stop) shades what counts. The
    axis is logarithmic where a first token's value would press all others to the ground; an interval that
    reaches 0 there ends at half the least value."""
    position = "position in the context (tokens)"
    titles = {"x_title": position, "y_title": y_title}
    data = columns(frame, y=value, of=value)
    if log := data["y"].min() > 0 and data["y"].max() > FLATTENS * data["y"].median():
        ends = [name for name in ("low", f"{value}_low") if name in frame]
        frame = frame.assign(**{name: frame[name].clip(lower=data["y"].min() / 2) for name in ends})
    drawn = lines(frame, "position", value, color=color, **titles, x_scale="linear", band=True, y_log=log)
    if window is not None:
        start, stop = window
        what = f"positions {start} to {stop - 1} are scored"
        shade = alt.Chart(pd.DataFrame({"x": [start], "x2": [stop - 1], "what": [what]}))
        shade = shade.mark_rect(color="#94a3b8", opacity=0.16)
        shade = shade.encode(x=alt.X("x:Q", title=position), x2="x2", tooltip=tip("what", "window"))
        drawn = alt.layer(shade, drawn)
    return finish(drawn, **{"height": 260} | view)


@builder
def stacked_breakdown(frame, *, y_domain=None, **view):
    """Shares of the variance (columns width, part, share) stacked by part over SAE width.

    NonlinearError is at the foot, then come the parts before it in PARTS, then what is no part. The measured
    widths are the corners of the areas. It has the axes of ``power_law``, which can be layered over it.
    """
    data = columns(frame, x="width", y="share", color="part")
    if (data["y"] < 0).any():  # of an SAE worse than the mean, the axis has to hold what lies below 0
        y_domain = None
    domain, _ = palette(data["color"])
    order = [*reversed([name for name in domain if name in PARTS]), *(n for n in domain if n not in PARTS)]
    data["order"] = data["color"].map({name: n for n, name in enumerate(order)})
    data = data.sort_values(["order", "x"])
    base = alt.Chart(data).encode(
        x=x_axis(data, "width", WIDTH_TITLE),
        y=y_axis("share of the variance of x", y_domain).stack("zero"),
        color=colour(data["color"]),
        order=alt.Order("order:Q"),
        tooltip=tips(data, x=WIDTH_TITLE, y="share", color="part"),
    )
    return finish(base.mark_area(opacity=0.82, line={"strokeWidth": 1}), **view)


@builder
def power_law(points, curve, *, y="value", floor=None, y_title="FVU", **view):
    """Measured points with intervals and the fitted curve with its band, dashed beyond the measured widths.

    points, curve: frames with columns width, y and, if there, low and high; the curve on a denser grid that
    may go beyond the points. floor: the asymptote c, an `Estimate`, drawn with its interval.
    """
    both = (columns(frame, x="width", y=y, of=y) for frame in (points, curve))
    measured, fitted = (data.assign(color="SaeError") for data in both)
    up, edge, shade = y_axis(y_title), y_axis(y_title, field="low"), colour(["SaeError"])
    along = x_axis(pd.concat([measured, fitted]), "width", WIDTH_TITLE)
    line = {"x": along, "color": shade, "tooltip": tips(fitted, x=WIDTH_TITLE, y=f"fitted {y_title}")}
    layers = []
    if floor is not None:
        ends = {"y": [floor.value], "low": [floor.low], "high": [floor.high]}
        told = [tip("what", "line"), tip("y", "c"), tip("low", "low"), tip("high", "high")]
        base = alt.Chart(pd.DataFrame(ends | {"what": ["the floor c of the fit"]})).encode(tooltip=told)
        layers.append(base.mark_rect(color=MUTED, opacity=0.12).encode(y=edge, y2="high"))
        layers.append(base.mark_rule(color=MUTED, strokeDash=[2, 3]).encode(y=up))
    if "low" in fitted:
        area = alt.Chart(fitted).mark_area(opacity=0.16, strokeWidth=0)
        layers.append(area.encode(**line, y=edge, y2="high"))
    last = measured["x"].max()
    within, beyond = fitted[fitted["x"] <= last], fitted[fitted["x"] >= last]
    layers.append(alt.Chart(within).mark_line().encode(**line, y=up))
    if len(beyond) > 1:
        layers.append(alt.Chart(beyond).mark_line(strokeDash=[6, 5]).encode(**line, y=up))
    told = tips(measured, x=WIDTH_TITLE, y=y_title)
    dots = alt.Chart(measured).encode(x=along, color=shade, tooltip=told)
    if "low" in measured:
        layers.append(dots.mark_rule().encode(y=edge, y2="high"))
    layers.append(dots.mark_point().encode(y=up))
    return finish(alt.layer(*layers), **{"height": 340} | view)

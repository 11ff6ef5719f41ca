"""How every chart of the book looks: one colour per part of x, one theme, the same axes and tooltips."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator

import altair as alt
import pandas as pd

from ..base.values import Absent

PARTS = {
    "x": "#64748b",
    "Sae(x)": "#3b82c4",
    "SaeError": "#8b5fbf",
    "absent": "#d99a1c",
    "LinearError": "#159a80",
    "NonlinearError above the floor": "#f4b8a8",
    "NonlinearError": "#dd4f3c",
    "Dense": "#7c6f64",
    "Introduced": "#b8336a",
}
"""Colour of each part of x, the same in every chart; they differ in lightness too, on white and on dark."""
SEQUENCE = ["#3b82c4", "#dd4f3c", "#159a80", "#8b5fbf", "#d99a1c", "#64748b", "#b8336a", "#5aa9c9"]
"""Colours for anything that is not a part of x."""
GREYS = ["#475569", "#94a3b8", "#8a6d52", "#c9a27e"]
"""Colours of controls, whose names begin so, beside the parts of x."""
RAMP = ["#f3f1fa", "#d6d0ee", "#b1a5de", "#8d79cb", "#6d52b1", "#4d3590", "#301d66"]
"""Low to high, for heat maps."""
VERDICTS = {
    "holds": ("#159a80", "holds"),
    "partly": ("#d99a1c", "partly"),
    "does not hold": ("#dd4f3c", "fails"),
    "cannot be told here": ("#94a3b8", "?"),
    "null": ("#c3cad6", "null"),
}
"""A verdict's word: its colour, and a shorter word where there is little room; a null is not judged."""
WIDTH, HEIGHT = 660, 300
"""Pixels of a view in a wide page; in a narrower one the book's script makes views narrower, text stays."""
FONT, MONO = "Dark Matter Sans, sans-serif", "Dark Matter Mono, monospace"
"""Families of `static/fonts`. No machine has others of that name: a picture is the same bytes everywhere."""
WIDTH_TITLE = "SAE width (latents)"
POWERS_OF_TWO = ("width", "d_sae", "l0", "l0_target")
"""Columns whose axis is logarithmic, base 2, unless said otherwise."""
_AS_POWER = (
    "datum.value >= 1048576 ? format(datum.value / 1048576, ',~r') + 'M' : "
    "datum.value >= 8192 ? format(datum.value / 1024, ',.0f') + 'k' : format(datum.value, ',')"
)
INK, MUTED, GRID = "#1f2937", "#6b7280", "#e5e7eb"


def use() -> None:
    """Make the book's theme and renderer altair's current ones."""
    alt.theme.enable("darkmatter")
    alt.renderers.enable("darkmatter")


@alt.theme.register("darkmatter", enable=False)
def theme() -> alt.theme.ThemeConfig:
    """Quiet axes, left-aligned titles, legends above; no background, for the page may be light or dark."""
    small, plain = {"labelFontSize": 12, "labelColor": INK}, {"titleFontWeight": "normal", "titleColor": INK}
    title = {"fontSize": 14, "fontWeight": 600, "color": INK, "anchor": "start", "frame": "group"}
    title |= {"offset": 10, "subtitleFontSize": 12, "subtitleColor": MUTED, "subtitlePadding": 4}
    label = {"labelFontSize": 11, "labelColor": MUTED, "labelPadding": 4, "labelFlush": False}
    lines = {"gridColor": GRID, "domainColor": "#9ca3af", "tickColor": "#9ca3af"}
    above = {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "start", "titleBaseline": "bottom"}
    above |= {"titleX": 0, "titleY": -10, "titlePadding": 0}
    symbol = {"symbolType": "circle", "symbolSize": 90, "symbolStrokeWidth": 0, "symbolOpacity": 1}
    legend = {"orient": "top", "direction": "horizontal", "title": None, "labelLimit": 260, "offset": 30}
    legend |= {"titleFontSize": 12, "columnPadding": 14}
    return {
        "background": "transparent",
        "padding": {"left": 2, "right": 8, "top": 4, "bottom": 4},
        "config": {
            "font": FONT,
            "view": {"continuousWidth": WIDTH, "continuousHeight": HEIGHT, "stroke": None},
            "range": {"category": SEQUENCE, "ramp": RAMP, "heatmap": RAMP},
            "title": title,
            "axis": label | plain | lines | {"titleFontSize": 12, "titlePadding": 8},
            "axisX": {"grid": False},
            "axisY": above | {"domain": False, "ticks": False},
            "legend": legend | small | plain | symbol,
            "header": small | {"titleColor": INK, "labelFontWeight": 600},
            "line": {"strokeWidth": 2.2, "strokeCap": "round"},
            "point": {"filled": True, "size": 55, "opacity": 1},
            "rule": {"strokeWidth": 1.6},
            "bar": {"cornerRadiusEnd": 2},
            "concat": {"spacing": 26},
            "facet": {"spacing": 22},
        },
    }


def builder(build: Callable) -> Callable:
    """A function that draws a frame, or several charts; of what is absent it shows the reason instead."""

    @functools.wraps(build)
    def built(*args, **settings):
        absent = [one for one in args if isinstance(one, Absent)]
        return absent[0] if absent else build(*args, **settings)

    return built


def palette(values) -> tuple[list[str], list[str]]:
    """A colour scale's domain and range: parts of x have theirs, "control: ..." is grey, others follow."""
    present = list(dict.fromkeys(str(value) for value in values))
    domain = [part for part in PARTS if part in present] + [name for name in present if name not in PARTS]
    spare, greys = itertools.cycle(SEQUENCE), itertools.cycle(GREYS)
    other = lambda name: next(greys if name.startswith("control:") else spare)
    return domain, [PARTS[name] if name in PARTS else other(name) for name in domain]


def columns(frame, *, of=None, **names) -> pd.DataFrame:
    """The named columns under the builder's own names; raises KeyError, naming the columns there are.

    of: a column whose interval comes along as low and high: name_low and name_high, else low and high.

    Renaming lets any name be charted: altair would read ``16k:error`` as a type and ``a.b`` as a path.
    """
    frame = pd.DataFrame(frame).reset_index(drop=True)
    for end in ("low", "high") if of is not None else ():
        names[end] = if_there(frame, f"{of}_{end}") or if_there(frame, end)
    missing = [name for name in names.values() if name is not None and name not in frame.columns]
    if missing:
        raise KeyError(f"no column {missing[0]!r}; the frame has: {', '.join(map(str, frame.columns))}")
    return pd.DataFrame({new: frame[old] for new, old in names.items() if old is not None})


def if_there(frame, name):
    """``name`` when the frame has that column, else None."""
    return name if name in pd.DataFrame(frame).columns else None


def x_axis(data, name, title, kind=None) -> alt.X:
    """The axis across: powers of two are labelled (16k), the measured values where hardly one of these lies
    among them; names keep their order."""
    kind = kind or ("log2" if name in POWERS_OF_TWO else "linear")
    title = title or (WIDTH_TITLE if name in ("width", "d_sae") else str(name))
    if kind == "linear":
        return alt.X("x:Q", title=title, scale=alt.Scale(zero=False, nice=False))
    if kind == "names":
        axis = alt.Axis(labelAngle=0, labelOverlap=False, labelLimit=160)
        return alt.X("x:N", title=title, sort=list(dict.fromkeys(data["x"])), axis=axis)
    if kind not in ("log2", "log10"):
        raise ValueError(f"x_scale is {kind!r}; it can be linear, log2, log10 or names")
    if kind == "log10":
        return alt.X("x:Q", title=title, scale=alt.Scale(type="log", base=10))
    # No domain of its own, so that charts over different widths can be layered.
    scale = alt.Scale(type="log", base=2, nice=False, padding=16)
    axis = {"labelExpr": _AS_POWER, "labelOverlap": "greedy", "labelSeparation": 8}
    measured = sorted({float(value) for value in data["x"]})
    low, high = (math.log2(value) for value in (measured[0], measured[-1]))
    powers = math.floor(high) - math.ceil(low) + 1
    if len(measured) <= 12 and powers < 2 and not low == high == int(low):
        axis["values"] = measured
    elif powers < 7:  # asked for more than twice as many ticks, vega takes round numbers: 3,000 beside 8k
        axis["tickCount"] = 2 * powers
    return alt.X("x:Q", title=title, scale=scale, axis=alt.Axis(**axis))


def in_the_same_axes(*charts) -> alt.LayerChart:
    """One chart over another, with one rule for the ticks across: each asked for those of its own values."""
    charts = [one.copy(deep=True) for one in charts]
    axes = [axis for one in charts for axis in _axes_across(one)]
    counts = [axis._kwds.get("tickCount", alt.Undefined) for axis in axes]
    told = [count for count in counts if count is not alt.Undefined]
    for axis in axes:
        axis.values = alt.Undefined  # powers of two, which suit them all
        axis.tickCount = max(told) if told and len(told) == len(axes) else alt.Undefined
    return alt.layer(*charts)


def _axes_across(chart) -> Iterator[alt.Axis]:
    for one in getattr(chart, "layer", None) or ():
        yield from _axes_across(one)
    x = getattr(getattr(chart, "encoding", None), "x", alt.Undefined)
    axis = x._kwds.get("axis") if isinstance(x, alt.X) else None
    if isinstance(axis, alt.Axis) and axis._kwds.get("labelExpr") == _AS_POWER:
        yield axis


def y_axis(title, domain=None, field="y", *, log=False) -> alt.Y:
    """The vertical axis: from zero unless a domain is given, which must hold the data; powers of ten."""
    scale = {"domain": list(domain)} if domain else {}
    scale |= {"type": "log", "base": 10} if log else {}
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(**scale))


def colour(values, *, offset: int | None = None) -> alt.Color:
    """The colour of column ``color``; where there are several, a legend in as many lines as its words need.

    offset: pixels between legend and view; the theme's leaves room for the vertical axis' title.
    """
    domain, colours = palette(values)
    scale = alt.Scale(domain=domain, range=colours)
    if len(domain) < 2:
        return alt.Color("color:N", title=None, scale=scale, legend=None)
    shown = {} if offset is None else {"offset": offset}
    most = int(WIDTH // (34 + 6.6 * max(map(len, domain))))
    if most < len(domain):
        shown["columns"] = max(1, most)
    return alt.Color("color:N", title=None, scale=scale, **({"legend": alt.Legend(**shown)} if shown else {}))


def tip(field, title) -> alt.Tooltip:
    """One line of a tooltip; numbers with four significant digits."""
    if field.startswith("about") or field in ("y", "low", "high", "value", "reference", "sum"):
        return alt.Tooltip(f"{field}:Q", title=str(title), format=".4~g")
    return alt.Tooltip(f"{field}:N", title=str(title))


def tips(data, *, x, y, color=None) -> list[alt.Tooltip]:
    """The tooltip of a point: its series, x, y and interval."""
    found = [alt.Tooltip("color:N", title=str(color))] if color is not None else []
    number = pd.api.types.is_numeric_dtype(data["x"])
    found += [alt.Tooltip("x:Q", title=str(x), format=",~f") if number else tip("x", x), tip("y", y)]
    return found + [tip(edge, f"95% {edge}") for edge in ("low", "high") if edge in data]


def finish(chart, *, title="", width=WIDTH, height=HEIGHT):
    """Title, description (what a screen reader says) and size."""
    sized = chart.properties(width=width, height=height)
    return sized.properties(title=title, description=title) if title else sized

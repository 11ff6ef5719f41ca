"""How every chart of the book looks: one colour per part of x, one theme, the same axes and tooltips."""

from __future__ import annotations

import functools
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterator

import altair as alt
import numpy as np
import pandas as pd

from ..base.values import Absent

PARTS = {
    "x": "#525b66",
    "Sae(x)": "#0072b2",
    "SaeError": "#111827",
    "absent": "#e69f00",
    "LinearError": "#009e73",
    "NonlinearError": "#d55e00",
    "Dense": "#56b4e9",
    "Introduced": "#cc79a7",
}
"""Colour of each part of x, the same in every chart: those of Okabe and Ito, the whole error in ink."""
SEQUENCE = ["#332288", "#999933", "#882255", "#44aa99", "#aa4499", "#661100", "#6699cc", "#117733"]
"""Colours of what is neither a part of x nor ordered: none is a part's (Tol's muted scheme)."""
GREYS = ["#475569", "#94a3b8", "#6b6f76", "#b4b9c1"]
"""Colours of controls, whose names begin so, and of nulls."""
RAMP = ["#edeaf6", "#cfc6e6", "#ab9dd4", "#8775be", "#674fa3", "#492f84", "#2d145e"]
"""Low to high, of what is ordered: heat maps, lines by width or L0. Where the page is dark it is reversed."""
DARK = {
    PARTS["SaeError"]: "#f3f6fa",
    PARTS["x"]: "#bcc4ce",
    GREYS[0]: "#c3cad6",
    GREYS[2]: "#8b93a0",
    SEQUENCE[0]: "#9d8df1",
    SEQUENCE[2]: "#d66fa3",
    SEQUENCE[5]: "#d98c6f",
    SEQUENCE[7]: "#5fbf7f",
    "#1f2937": "#e4e8ee",
    "#6b7280": "#a9b4c2",
    "#fffffe": "#14181e",
    "#eceff5": "#262d38",
} | dict(zip(RAMP, reversed(RAMP), strict=True))
"""What another colour takes the place of where the page is dark."""
GLYPHS = {"holds": "●", "partly": "◐", "does not hold": "○", "cannot be told here": "?", "null": "∅"}
"""A verdict's word as a mark: verdicts have no colours. A null is not judged."""
WIDTH, HEIGHT = 660, 300
"""Pixels of a view in a wide page; in a narrower one the book's script makes views narrower, text stays."""
FONT, MONO = "Dark Matter Sans, sans-serif", "Dark Matter Mono, monospace"
"""Families of `static/fonts`. No machine has others of that name: a picture is the same bytes everywhere."""
CONTROLS = ("control", "null", "the null")
"""What is called so is drawn in grey, its lines dashed."""
LETTERS = 86
"""Characters of a title in one line of a picture so wide."""
ORDERED = r"(L0 )?[\d,.]*\d( latents?| tokens?| documents?|k|M)?$"
"""What is called so is ordered: a width, an L0, a number of tokens."""
WIDTH_TITLE = "SAE width (latents)"
POWERS_OF_TWO = ("width", "d_sae", "l0", "l0_target")
"""Columns whose axis is logarithmic, base 2, unless said otherwise."""
_AS_POWER = (
    "datum.value >= 1048576 ? format(datum.value / 1048576, ',~r') + 'M' : "
    "datum.value >= 8192 || (datum.value >= 1024 && datum.value % 1024 === 0) ? "
    "format(datum.value / 1024, ',.0f') + 'k' : format(datum.value, ',')"
)
INK, MUTED, GRID, ON_DARK = "#1f2937", "#6b7280", "#e5e7eb", "#fffffe"


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
    label |= {"labelSeparation": 5}
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
    """A colour scale's domain and range: parts of x have theirs, `CONTROLS` are grey, what is all counts
    ("4,096 latents", "L0 32") is ordered along the ramp, others follow."""
    present = list(dict.fromkeys(str(value) for value in values))
    if len(present) > 1 and all(re.match(ORDERED, name) for name in present):
        present.sort(key=_amount)
        return present, [RAMP[round(place)] for place in np.linspace(2, len(RAMP) - 1, len(present))]
    domain = [part for part in PARTS if part in present] + [name for name in present if name not in PARTS]
    spare, greys = itertools.cycle(SEQUENCE), itertools.cycle(GREYS)
    other = lambda name: next(greys if name.startswith(CONTROLS) else spare)
    return domain, [PARTS[name] if name in PARTS else other(name) for name in domain]


def _amount(name: str) -> float:
    found = re.search(r"([\d,.]*\d)([kM]?)", name)
    return float(found[1].replace(",", "")) * {"k": 1e3, "M": 1e6}.get(found[2], 1.0)


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
    scale = {"domain": list(domain), "zero": False} if domain else {}  # nor from zero for a layer without one
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
    return titled(chart.properties(width=width, height=height), title)


def titled(chart, title: str):
    """A chart with what it shows above it, in lines of its picture's width, and as its description."""
    if not title:
        return chart
    lines = textwrap.wrap(title, LETTERS)
    return chart.properties(title=lines[0] if len(lines) == 1 else lines, description=title)

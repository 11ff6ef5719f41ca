"""The points of others, as a layer for a chart of ours: the paper's hollow, named by model, layer, figure;
those of other studies filled, named by theirs."""

from __future__ import annotations

import altair as alt
import pandas as pd

from .theme import MUTED, builder, columns, finish, tip, x_axis, y_axis

SHAPES = ["diamond", "square", "triangle-up", "circle", "triangle-down", "cross"]
"""How these series are told apart, first to last; colours are ours."""
PAPER = "the paper: "
HOLLOW, FILLED = "transparent", "#94a3b8"


@builder
def paper_points(
    frame,
    x,
    y="value",
    *,
    by=None,
    x_title=None,
    y_title=None,
    x_scale=None,
    connect=False,
    curve=None,
    among=None,
    **view,
):
    """Points of the paper (rows of `claims.paper.points`) and, by a column ``study``, of other studies
    (`Chapter.beside`), for `layered` to lay over a chart of ours.

    A series is a model, a layer (unless the points of a figure are at several), a figure, and a value of
    column ``by``; the legend below the chart and the tooltip say which. x_title, y_title and x_scale: those
    of the chart of ours, as in `lines`. connect: join the points of a series along x. curve: a frame of x and
    y that the paper draws through them. among: all rows that a legend speaks of which several charts share.
    view: title, width, height, of a chart that stands alone.
    """
    frame = pd.DataFrame(frame).reset_index(drop=True)
    data = pd.DataFrame({"x": frame[x], "y": frame[y], "name": paper_names(frame, by)})
    data["x"] = data["x"] if x_scale == "names" else pd.to_numeric(data["x"])
    told = [tip("name", "series"), alt.Tooltip("x", title=str(x_title or x)), tip("y", y_title or str(y))]
    for column in [name for name in ("width", "l0") if name != x]:
        data[f"about {column}"] = frame.get(column)
        there = data[f"about {column}"].notna().any()
        told += [alt.Tooltip(f"about {column}:Q", title=column, format=",~f")] if there else []
    names = list(dict.fromkeys(data["name"] if among is None else paper_names(pd.DataFrame(among), by)))
    # Labelled values of the axis are left to the chart of ours: two lists of them cannot be one axis.
    along = x_axis(data if x_scale == "names" else {"x": [1]}, x, x_title, x_scale)
    base = alt.Chart(data).encode(x=along, y=y_axis(y_title or str(y)), tooltip=told)
    dots = base.mark_point(filled=False, color=MUTED, size=42, strokeWidth=1.4, opacity=0.85)
    dots = dots.encode(**series(names))
    thin = {"color": MUTED, "strokeWidth": 1.2, "opacity": 0.8}
    layers = [base.mark_line(**thin, strokeDash=[2, 3]).encode(detail="name:N")] if connect else []
    if curve is not None:
        drawn = alt.Chart(columns(curve, x=x, y=y)).mark_line(**thin)
        layers.append(drawn.encode(x=along, y=y_axis(y_title or str(y))))
    made = alt.layer(*layers, dots)
    return finish(made, **view) if view else made


def series(names: list[str]) -> dict:
    """Encodings of the column ``name``, with one legend below the chart: the paper's symbols are hollow."""
    ranges = {
        "shape": (SHAPES * len(names))[: len(names)],
        "fill": [HOLLOW if name.startswith(PAPER) else FILLED for name in names],
        "stroke": [MUTED] * len(names),
    }
    legend = alt.Legend(orient="bottom", offset=8, columns=2, labelLimit=320, symbolStrokeWidth=1.5)
    scale = lambda channel: alt.Scale(domain=names, range=ranges[channel])
    made = {"shape": alt.Shape, "fill": alt.Fill, "stroke": alt.Stroke}
    return {key: of("name:N", title=None, scale=scale(key), legend=legend) for key, of in made.items()}


def paper_names(frame, by=None) -> list[str]:
    """The series of each row in words: "the paper: Gemma 2 9B, layer 20, Fig. 1, FVU", or "tiny: FVU"."""
    figure = frame["figure"] + frame["panel"].where(frame["panel"].isin(["a", "b"]), "")
    one = frame.groupby(["model", figure], dropna=False)["layer"].transform("nunique") == 1
    found = []
    for row, number, layered in zip(frame.to_dict("records"), figure, one, strict=True):
        if isinstance(study := row.get("study"), str):
            found.append(study if by is None else f"{study}: {row[by]}")
            continue
        said = [] if pd.isna(row["model"]) else [row["model"]]
        said += [f"layer {int(row['layer'])}"] if layered else []
        said += [number if number.startswith("Table") else f"Fig. {number}"]
        found.append(PAPER + ", ".join(said + ([str(row[by])] if by is not None else [])))
    return found

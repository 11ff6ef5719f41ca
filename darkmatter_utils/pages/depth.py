"""Error norms by place, a width at a layer: what the nested models say at each width of the suite and at each
layer."""

from __future__ import annotations

import math
import re

import altair as alt
import pandas as pd

from .. import charts
from ..base.values import Estimate
from ..base.words import interval, plain
from ..charts.tables import Table, Words
from ..charts.theme import colour, columns, finish, tips, y_axis
from ..claims import c02_norm_linear, c13_beyond_simple
from ..experiments.nested import ALL, ALONE, SIMPLE, STEPS, THREE, Nested, X, nested
from ..measurement.widths import Suite, over_widths, suite_rows, width_suite

DEPTH = "depth"
"""Name of the suite that has the same widths at every layer."""
NO_DEPTH = "*This study has no SAEs of the same widths at other layers.*"
SHORT = {STEPS[0]: "constant", STEPS[6]: "10 components"}
"""Steps whose names are too long for an axis."""


def norm_models(measurement) -> Nested:
    """The nested models of every SAE of the width suite and, where the study has one, of the depth suite."""
    suite = DEPTH if measurement.study.sites(DEPTH) else ""
    return nested(measurement, list(suite_rows(measurement)["id"]), suite=suite)


def suite_of(measurement, models: Nested, model: str, over: str | None = None) -> Suite:
    """R² of a model (or its gain over another) at each width of the suite; intervals carry documents and
    seeds."""
    rows = suite_rows(measurement)
    values, replicates = models.replicated(model, over)
    mine = [models.ids.index(id) for id in rows["id"]]
    return over_widths(rows, values[mine], replicates[:, mine], "r2")


def layers(measurement) -> pd.DataFrame:
    """One row an SAE of the depth suite, and of the width suite at the same widths (first seed): id, layer,
    width."""
    study = measurement.study
    rows = [
        (entry.id, _layer(site), entry.width)
        for site in study.sites(DEPTH)
        for entry in study.at(site, suite=DEPTH).selected()
    ]
    widths = {width for _, _, width in rows}
    first = suite_rows(measurement).sort_values(["width", "seed"], kind="stable").drop_duplicates("width")
    rows += [
        (row.id, _layer(study.site), int(row.width)) for row in first.itertuples() if row.width in widths
    ]
    return pd.DataFrame(rows, columns=["id", "layer", "width"]).sort_values(
        ["width", "layer"], ignore_index=True
    )


def _layer(site: str) -> int:
    return int(re.search(r"\d+", site)[0])


def other_layers(measurement) -> pd.DataFrame:
    """The rows of `layers` that are not of the study's own site."""
    table = layers(measurement)
    return table[~table["id"].isin(suite_rows(measurement)["id"])].reset_index(drop=True)


def by_place(measurement, models: Nested, model: str, over: str | None = None) -> dict[str, Estimate]:
    """R² of a model (or its gain) at each width of the suite, then at each other layer and width, by name."""
    found = {
        f"{width:,} latents": e for width, e in suite_of(measurement, models, model, over).estimates().items()
    }
    for row in other_layers(measurement).itertuples():
        found[f"layer {row.layer}, {row.width:,} latents"] = models.gain(row.id, model, over)
    return found


def norm_evidence(measurement, models: Nested) -> c02_norm_linear.Evidence:
    """What the rule of claim 2 takes: the R² from x and from the simple facts by width, and from x at other
    layers."""
    simple = suite_of(measurement, models, SIMPLE)
    others = other_layers(measurement)
    return c02_norm_linear.Evidence(
        r2=width_suite(measurement, "norm_error").estimates(),
        simple={width: e.value for width, e in simple.estimates().items()},
        layers={
            f"layer {row.layer}, {row.width:,} latents": models.r2(row.id, X) for row in others.itertuples()
        },
    )


def beyond_evidence(measurement, models: Nested) -> c13_beyond_simple.Evidence:
    """What the rule of claim 13 takes: by place, R² from x minus that from three facts, and the gain of x
    over all."""
    before = models.steps[-2]
    return c13_beyond_simple.Evidence(
        lead=by_place(measurement, models, X, THREE), gain=by_place(measurement, models, ALL, before)
    )


def width_lines(measurement, models: Nested, reference: float):
    """R² of the squared error norm over width: from x, from the simple facts, and from all of it."""
    rows = [width_suite(measurement, "norm_error").frame().assign(model="from x")]
    for model, name in ((SIMPLE, "all simple predictors"), (ALL, "both together")):
        rows.append(suite_of(measurement, models, model).frame().assign(model=name))
    frame = pd.concat(rows, ignore_index=True)
    return charts.lines(
        frame,
        "width",
        "value",
        low="low",
        high="high",
        color="model",
        y_title="R² of the squared error norm",
        y_domain=(min(0.0, float(frame["low"].min())), 1),
        reference=reference,
        reference_label="the paper: above this",
    )


def seed_words(measurement) -> Words:
    """How far two trainings of one width lie apart: what the intervals over depth leave out; "" without a
    depth suite."""
    spread = width_suite(measurement, "norm_error").seed_sd
    if layers(measurement).empty or math.isnan(spread):
        return Words("")
    return Words(
        f"These intervals leave out the chance of training: between seeds of one width, at the layer "
        f"of the width suite, this "
        f"R² has a standard deviation of {plain(spread, 3)}."
    )


def alone_lines(measurement, models: Nested):
    """R² of the squared error norm over width from each step alone: every line is one predictor."""
    names = [step + ALONE for step in models.steps[1:]]
    rows = [
        suite_of(measurement, models, name).frame().assign(model=name.removesuffix(ALONE)) for name in names
    ]
    frame = pd.concat(rows, ignore_index=True).replace({"model": {"x": "all of x"}})
    return charts.lines(
        frame,
        "width",
        "value",
        low="low",
        high="high",
        color="model",
        y_title="R² of the squared error norm",
        y_domain=(min(0.0, float(frame["low"].min())), max(0.1, float(frame["high"].max()))),
    )


def depth_frame(measurement, models: Nested) -> pd.DataFrame:
    """R² from x and from the simple facts at each layer: layer, width, what, value, low, high."""
    rows = []
    for row in layers(measurement).itertuples():
        for model, name in ((X, "from x"), (SIMPLE, "simple predictors")):
            e = models.r2(row.id, model)
            rows.append(
                {
                    "layer": row.layer,
                    "width": row.width,
                    "what": f"{name}, {row.width:,} latents",
                    "value": e.value,
                    "low": e.low,
                    "high": e.high,
                }
            )
    return pd.DataFrame(rows)


def depth_lines(measurement, models: Nested):
    """R² of the squared error norm over depth, nothing left out or cut off; a sentence where there is no
    depth suite."""
    frame = depth_frame(measurement, models)
    if frame.empty:
        return Words(NO_DEPTH)
    names = {f"layer {n}": f"layer {n}" for n in sorted(frame["layer"].unique())}
    named = frame.assign(at=[f"layer {n}" for n in frame["layer"]], series=frame["what"])
    return _lines(named, names, charts.WIDTH, labels=0, place="after")


def step_frame(measurement, models: Nested) -> pd.DataFrame:
    """Cumulative R² of each step at each width of the suite: step, width, value, low, high."""
    rows = [suite_of(measurement, models, step).frame().assign(step=step) for step in models.steps]
    return pd.concat(rows, ignore_index=True)


def step_chart(measurement, models: Nested):
    """R² as facts are added one after the other, one line a width."""
    frame = step_frame(measurement, models)
    frame = frame.assign(series=[f"{width:,} latents" for width in frame["width"]], at=frame["step"])
    return _lines(frame, _names(models), charts.WIDTH, labels=0)


def _names(models: Nested) -> dict[str, str]:
    """Steps as an axis shows them."""
    return {step: ("+ " if n else "") + SHORT.get(step, step) for n, step in enumerate(models.steps)}


def _lines(
    frame: pd.DataFrame,
    names: dict[str, str],
    width: int,
    *,
    labels: int,
    title: str = "",
    place: str = "after adding",
):
    """Lines with intervals over named places in a given order: columns at, series, value, low, high."""
    data = columns(frame, x="at", y="value", low="low", high="high", color="series")
    data["x"] = data["x"].map(names)
    domain = (min(0.0, float(data["low"].min())), 1)
    axis = alt.Axis(labelAngle=labels, labelOverlap=False, labelLimit=160)
    about = tips(data, x="at", y="R²", color="series")
    about[1] = alt.Tooltip("x:N", title=place)
    base = alt.Chart(data).encode(
        x=alt.X("x:N", sort=list(names.values()), title=None, axis=axis),
        color=colour(data["color"]),
        tooltip=about,
    )
    up, edge = (y_axis("R² of the squared error norm", domain, field) for field in ("y", "low"))
    layers = (
        base.mark_rule(opacity=0.6).encode(y=edge, y2="high"),
        base.mark_line().encode(y=up),
        base.mark_point().encode(y=up),
    )
    return finish(alt.layer(*layers), title, width, charts.HEIGHT)


def place_table(measurement, models: Nested) -> Table:
    """Every place: R² from x, from three facts, from all simple facts, and what x adds to all that stands
    before it."""
    wanted = {
        "from x": (X, None),
        "from ‖x‖, position, token": (THREE, None),
        "from all simple predictors": (SIMPLE, None),
        "with 10 components of x": (models.steps[-2], None),
        "x adds": (ALL, models.steps[-2]),
    }
    made = {name: by_place(measurement, models, *pair) for name, pair in wanted.items()}
    frame = pd.DataFrame({"": list(made["from x"])})
    for name, estimates in made.items():
        style = (lambda v: plain(v, 3)) if name == "x adds" else plain
        frame[name] = [interval(e, style) for e in estimates.values()]
    return Table(frame, dict.fromkeys(wanted, str))

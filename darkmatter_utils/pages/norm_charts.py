"""The charts and tables of the chapter on the norm test."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from .. import charts
from ..base.words import plain
from ..charts.tables import Table, Words
from ..decomposition.passes import PARTS
from ..experiments.norm_results import NOT_SAES
from ..experiments.norm_tests import NULLS
from ..measurement.widths import suite_rows

NULL = "NonlinearError, introduces nothing"
"""The row of the null in the figure of all parts."""
SOURCES = ("from x", "from itself")


def parts_chart(tests: pd.DataFrame, nothing: pd.DataFrame, extremes: pd.DataFrame):
    """Norm R² of every part of every SAE, one point each, with the null and the poles below; from x and from
    itself."""
    mine = tests[~tests["kind"].isin(NOT_SAES)]
    rows = mine.assign(row=mine["part"], colour=mine["part"], name=mine["id"])
    null = nothing[(nothing["part"] == "NonlinearError") & (nothing["null"] == "matched")]
    null = null.assign(row=NULL, colour="null", name=[f"{w:,} latents" for w in null["width"]])
    pole = extremes[extremes["pole"] != "NonlinearError"]
    pole = pole.assign(row=[f"pole: {name}" for name in pole["pole"]], colour="pole", name=pole["id"])
    frame = pd.concat([rows, null, pole])[["row", "colour", "name", "source", "value"]].reset_index(drop=True)
    order = [*PARTS, NULL, *dict.fromkeys(pole["row"])]
    colours = {part: charts.PARTS[part] for part in PARTS} | {
        "null": charts.PARTS["absent"],
        "pole": "#94a3b8",
    }
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    panels = []
    for source in SOURCES:
        base = alt.Chart(frame[frame["source"] == source]).encode(
            x=alt.X("value:Q", title=f"R² of the squared norm, {source}", axis=alt.Axis(grid=True)),
            y=alt.Y(
                "row:N", sort=order, title=None, axis=alt.Axis(labelLimit=250, labels=source == SOURCES[0])
            ),
            color=alt.Color("colour:N", scale=scale, legend=None),
            tooltip=[
                alt.Tooltip("row:N", title="part"),
                alt.Tooltip("name:N", title="SAE"),
                alt.Tooltip("value:Q", title="R²", format=".3f"),
            ],
        )
        zero = alt.Chart(pd.DataFrame({"x": [0]})).mark_rule(color="#9ca3af").encode(x="x:Q")
        panels.append(
            alt.layer(zero, base.mark_point(size=45, opacity=0.7)).properties(
                width=225, height=26 * len(order)
            )
        )
    return alt.hconcat(*panels).resolve_scale(x="shared")


def different(nothing: pd.DataFrame) -> dict[str, str]:
    """The nulls to show, in words: one where no scale was needed, since then the two are the same numbers."""
    return NULLS if "sigma" in nothing and (nothing["sigma"] > 0).any() else {"matched": "as matched"}


def null_lines(measurement, tests: pd.DataFrame, nothing: pd.DataFrame):
    """R² of NonlinearError from itself over width: this study's SAEs beside the nulls."""
    if nothing.empty:
        return Words("*This study has too few widths for a matched null.*")
    keep = lambda f: f[(f["part"] == "NonlinearError") & (f["source"] == "from itself")]
    mine = keep(tests[~tests["kind"].isin(NOT_SAES)])
    if measurement.study.model is not None:
        mine = mine[mine["id"].isin(suite_rows(measurement)["id"])]
    mine = (
        mine.sort_values(["width", "seed"], kind="stable")
        .drop_duplicates("width")
        .assign(line="this study's SAEs")
    )
    frames = [mine]
    for name, words in different(nothing).items():
        rows = keep(nothing[nothing["null"] == name])
        if len(rows):
            about = words if measurement.study.model is not None else "oracles"
            frames.append(rows.assign(line=f"introduces nothing: {about}"))
    frame = pd.concat(frames)
    return charts.lines(
        frame,
        "width",
        "value",
        low="low",
        high="high",
        color="line",
        y_title="R² of ‖NonlinearError‖² from NonlinearError",
        y_domain=(min(0.0, float(frame["low"].min())), 1),
    )


def null_table(tests: pd.DataFrame, nothing: pd.DataFrame) -> Table | Words:
    """Every part of the null beside the study's SAEs, from the part itself: R² over widths."""
    if nothing.empty:
        return Words("")
    span = lambda v: f"{plain(v.min())} to {plain(v.max())}" if len(v) else "–"
    own = tests[~tests["kind"].isin(NOT_SAES)]
    rows = []
    for part in PARTS:
        for source in SOURCES:
            pick = lambda f, part=part, source=source: f[(f["part"] == part) & (f["source"] == source)][
                "value"
            ]
            row = {"part": part, "predicted": source, "the study's SAEs": span(pick(own))}
            for name, words in different(nothing).items():
                if (nothing["null"] == name).any():
                    row[f"introduces nothing, {words}"] = span(pick(nothing[nothing["null"] == name]))
            rows.append(row)
    frame = pd.DataFrame(rows)
    return Table(frame, dict.fromkeys(frame.columns[2:], str))


def theory_chart(checks: pd.DataFrame):
    """R² over n/d for random directions, one line a spread of coefficients."""
    rows = checks[(checks["case"] == "random directions") & np.isfinite(checks["value"])]
    rows = rows.assign(spread=[f"spread {v:g}" for v in rows["spread"]])
    return charts.lines(
        rows,
        "ratio",
        "value",
        low="low",
        high="high",
        color="spread",
        x_scale="log2",
        x_title="features / dimensions (n / d)",
        y_title="R² of ‖z‖² from z",
    )


def theory_table(checks: pd.DataFrame) -> Table:
    """The cases beside the sweep: measured and by the formula."""
    rows = checks[checks["case"] != "random directions"]
    cell = lambda r: f"{plain(r.value)} [{plain(r.low)}, {plain(r.high)}]"
    return Table(
        pd.DataFrame(
            {
                "case": rows["case"],
                "spread of coefficients": ["–" if np.isnan(v) else f"{v:g}" for v in rows["spread"]],
                "by the formula": rows["theory"],
                "measured": [cell(r) for r in rows.itertuples()],
            }
        ),
        {"spread of coefficients": str, "by the formula": plain, "measured": str},
    )


def probe_scatter(latents: pd.DataFrame):
    """a*·d_i against the mean activation when on, every alive latent of the narrowest, a middle and the
    widest SAE."""
    widths = sorted(latents["width"].unique())
    chosen = sorted({widths[0], widths[len(widths) // 3], widths[-1]})
    panels = []
    for width in chosen:
        rows = latents[latents["width"] == width]
        frame = pd.DataFrame(
            {
                "activation": rows["active"].map(lambda v: float(f"{v:.3g}")),
                "weight": rows["weight"].map(lambda v: float(f"{v:.3g}")),
            }
        )
        panels.append(
            charts.scatter(
                frame,
                "activation",
                "weight",
                title=f"{width:,} latents",
                x_scale="log10",
                size=14,
                opacity=0.45,
                width=195,
                height=210,
                x_title="mean activation when on",
                y_title="weight a*·d",
            )
        )
    return charts.beside(*panels, columns=3)


def agreement_table(agreement: pd.DataFrame) -> Table:
    """Rank correlation and correlation of the weights with activations and with slopes, at each width."""
    cell = lambda r: (
        f"{plain(r.value)} [{plain(r.low)}, {plain(r.high)}]" if np.isfinite(r.low) else plain(r.value)
    )
    words = {"active": "mean activation", "slope": "slope of the square"}
    frame = agreement.assign(
        cell=[cell(r) for r in agreement.itertuples()],
        column=[f"{r.statistic}, {words[r.against]}" for r in agreement.itertuples()],
    )
    wide = frame.pivot(index=["width", "latents"], columns="column", values="cell").reset_index()
    wide.columns.name = None
    return Table(wide.rename(columns={"latents": "alive latents"}), {c: str for c in wide.columns[2:]})

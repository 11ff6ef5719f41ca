"""The charts and tables of the chapter on models of activations."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from .. import charts
from ..base.values import Estimate
from ..base.words import interval, percent
from ..charts.tables import Table, Words
from ..claims.rules import FLAT
from ..claims.rules_worlds import MISPLACED
from ..experiments.ablation import FIXED
from ..measurement.widths import width_suite

VARIANT_WORDS = {
    "apart": "errors of its own",
    "together": "errors read off the rest",
    "shrunk": "shrinkage only",
}
"""What the SAE introduces, as charts name the variants of `known_parts.VARIANTS`."""
NO_MODEL = Words(
    "*This study has no language model, and so no trained dictionary: its worlds, above, are the check.*"
)


def landing_chart(goes: pd.DataFrame):
    """Of each true part's variance, what lands in LinearError, with the part's own interval; the rest is
    nonlinear."""
    rows = goes[goes["part"].isin(["absent", "dense", "introduced"])]
    shared = rows["part"].isin(["absent", "dense"])
    rows = rows[~(shared & (rows["introduced"] != "apart"))]  # these two do not depend on what is introduced
    label = [
        r.part if r.part != "introduced" else f"introduced: {VARIANT_WORDS[r.introduced]}"
        for r in rows.itertuples()
    ]
    colours = {"absent": "absent", "dense": "Dense", "introduced": "Introduced"}
    frame = pd.DataFrame(
        {
            "label": label,
            "value": rows["linear"],
            "low": rows["linear_low"],
            "high": rows["linear_high"],
            "part": rows["part"].map(colours),
        }
    )
    bounds = pd.DataFrame({"x": [MISPLACED, 1 - MISPLACED]})
    edges = alt.Chart(bounds).mark_rule(color="#6b7280", strokeDash=[2, 3]).encode(x="x:Q")
    forest = charts.forest(
        frame,
        color="part",
        x_domain=(-0.1, 1.0),
        x_title="share of the true part's variance that lands in LinearError",
    )
    return alt.layer(edges, forest)


def landing_table(goes: pd.DataFrame) -> Table:
    """The 4 × 2 table: each true part, its variance, and its shares in the two estimated parts.

    The absent and the dense part do not depend on what is introduced: they are shown once.
    """
    again = (goes["introduced"] != "apart") & ~goes["part"].isin(["learned", "introduced"])
    goes = goes[~again]
    cell = lambda row, name: interval(
        Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]), lambda v: percent(v, 1)
    )
    frame = pd.DataFrame(
        {
            "true part": goes["part"],
            "the SAE introduces": goes["introduced"].map(VARIANT_WORDS),
            "variance, over that of x": [percent(v, 1) for v in goes["variance"]],
            "in LinearError": [cell(row, "linear") for _, row in goes.iterrows()],
            "in NonlinearError": [cell(row, "nonlinear") for _, row in goes.iterrows()],
        }
    )
    return Table(frame, {name: str for name in frame.columns[2:]})


def made_table(made: pd.DataFrame) -> Table:
    """What LinearError and NonlinearError are made of, as covariance shares of the variance of x."""
    cell = lambda row, name: interval(
        Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]), lambda v: percent(v, 1)
    )
    frame = pd.DataFrame(
        {
            "true part": made["part"],
            "the SAE introduces": made["introduced"].map(VARIANT_WORDS),
            "of FVU_linear": [cell(row, "linear") for _, row in made.iterrows()],
            "of FVU_nonlinear": [cell(row, "nonlinear") for _, row in made.iterrows()],
        }
    )
    return Table(frame, {name: str for name in frame.columns[2:]})


def sweep_heat(swept: pd.DataFrame, part: str, column: str):
    """A part's share in one estimated part, over n/d and the share of the features that the SAE holds."""
    frame = swept[swept["part"] == part].sort_values(["held", "superposition"], ascending=[False, True])
    frame = frame.assign(
        x=[f"{v:g}" for v in frame["superposition"]],
        y=[percent(v, 0) for v in frame["held"]],
        value=frame[column].clip(0, 1),
    )
    where = "NonlinearError" if column == "nonlinear" else "LinearError"
    return charts.heat(
        frame,
        "x",
        "y",
        "value",
        fmt=".0%",
        domain=(0, 1),
        width=270,
        x_title="features / dimensions (n / d)",
        y_title="features the SAE holds",
        value_title=f"share of {part} in {where}",
        title=f"{part} that lands in {where}",
    )


def sweep_chart(swept: pd.DataFrame):
    """Both kinds of misplacement side by side."""
    return charts.beside(sweep_heat(swept, "absent", "nonlinear"), sweep_heat(swept, "introduced", "linear"))


def null_chart(curves: pd.DataFrame, y: str, title: str, *, reference=None, y_domain=None):
    """A curve over width for each n/d, one panel a frequency law."""
    panels = []
    for law, rows in curves.groupby("law"):
        rows = rows.assign(superposition=[f"n/d = {v:g}" for v in rows["superposition"]])
        panels.append(
            charts.lines(
                rows,
                "width",
                y,
                color="superposition",
                y_title=title,
                width=190,
                height=190,
                title=f"exponent {law:g}",
                y_domain=y_domain,
                reference=reference,
            )
        )
    return alt.concat(*panels, columns=3).resolve_scale(x="shared", y="shared", color="shared")


def range_table(ranges: pd.DataFrame) -> Table:
    """Where the null's FVU_nonlinear is flat, by world."""
    words = lambda row, name: (
        f"{row[f'{name}_start']:,.0f} to {row[f'{name}_stop']:,.0f}"
        if row[f"{name}_factor"] > 1
        else "nowhere"
    )
    frame = pd.DataFrame(
        {
            "n / d": ranges["superposition"],
            "exponent": ranges["law"],
            "flat by slope": [words(row, "slope") for _, row in ranges.iterrows()],
            "a factor of": ranges["slope_factor"],
            "R² of the error there": [
                "–" if row.slope_factor == 1 else f"{row.r2_start:.2f} to {row.r2_stop:.2f}"
                for row in ranges.itertuples()
            ],
            "flat at every doubling": [words(row, "steps") for _, row in ranges.iterrows()],
        }
    )
    return Table(
        frame,
        dict.fromkeys(("flat by slope", "R² of the error there", "flat at every doubling"), str)
        | {"a factor of": lambda v: f"{v:g}"},
    )


def matched_chart(measurement, curve: pd.DataFrame, null_suite):
    """FVU and FVU_nonlinear of the study's suite beside those of the matched SAE that introduces nothing."""
    frames = []
    for metric, part in (("fvu", "FVU"), ("fvu_nonlinear", "FVU_nonlinear")):
        frames.append(width_suite(measurement, metric).frame().assign(line=f"{part}, this study"))
        frames.append(null_suite(curve, metric).assign(line=f"{part}, introduces nothing"))
    return charts.lines(
        pd.concat(frames),
        "width",
        "value",
        low="low",
        high="high",
        color="line",
        y_title="share of the variance of x",
    )


def matches_table(others: pd.DataFrame) -> Table:
    """What the worlds that match nearly as well say."""
    names = {
        "rank": "rank",
        "distance": "distance (log)",
        "features": "features",
        "exponent": "exponent",
        "l0": "fires a token",
        "spread": "spread",
        "change": "change per doubling",
        "r2_narrow": "R², narrowest",
        "r2_wide": "R², widest",
    }
    return Table(others[list(names)].rename(columns=names), {"change per doubling": lambda v: percent(v, 1)})


def ablation_lines(cells: pd.DataFrame):
    """FVU and its nonlinear part as latents are ablated, at three pairs of noise levels (isotropic)."""
    levels = sorted(set(cells["dense"]))
    pairs = {
        "no noise": (levels[0], levels[0]),
        "more on x": (levels[3], levels[1]),
        "more on Sae(x)": (levels[1], levels[3]),
    }
    panels = []
    for name, (dense, introduced) in pairs.items():
        rows = cells[
            (cells["kind"] == "isotropic") & (cells["dense"] == dense) & (cells["introduced"] == introduced)
        ]
        long = pd.concat(
            [
                rows.assign(part="SaeError", y=rows["linear"] + rows["nonlinear"]),
                rows.assign(part="NonlinearError", y=rows["nonlinear"]),
                rows.assign(part="Introduced", y=rows["introduced"] + rows["reaction"]),
            ]
        )
        panels.append(
            charts.lines(
                long,
                "ablated",
                "y",
                color="part",
                width=200,
                height=200,
                title=name,
                x_title="share of latents ablated",
                y_title="over the variance of x'",
            )
        )
    return alt.concat(*panels, columns=3).resolve_scale(y="shared", color="shared")


def ablation_heat(cells: pd.DataFrame, kind: str):
    """FVU_nonlinear over the two noise levels, at `FIXED` ablation."""
    rows = cells[(cells["kind"] == kind) & (cells["ablated"] == FIXED)].sort_values(
        ["introduced", "dense"], ascending=[False, True]
    )
    rows = rows.assign(
        x=[percent(v, 1) for v in rows["dense"]], y=[percent(v, 1) for v in rows["introduced"]]
    )
    return charts.heat(
        rows,
        "x",
        "y",
        "nonlinear",
        width=270,
        x_title="noise on x (dense)",
        y_title="noise on Sae(x)",
        value_title="nonlinear part",
        title=f"nonlinear part, {kind} noise",
    )


def ablation_grid(cells: pd.DataFrame):
    """The two heat maps side by side."""
    return charts.beside(ablation_heat(cells, "isotropic"), ablation_heat(cells, "matched"))


def table_one_table(table: pd.DataFrame) -> Table:
    """Correlation and slope of each true level with each estimated part."""
    wide = table.pivot(index=["kind", "true"], columns="estimated", values=["correlation", "slope"])
    frame = pd.DataFrame({"noise": [k for k, _ in wide.index], "true level": [t for _, t in wide.index]})
    for value in ("correlation", "slope"):
        for estimated in ("linear", "nonlinear"):
            frame[f"{value}, {estimated} part"] = wide[value, estimated].to_numpy()
    two = lambda v: f"{v:.2f}".replace("-", "−")
    return Table(frame, dict.fromkeys(frame.columns[2:], two))


def estimator_table(found: pd.DataFrame) -> Table:
    """Each estimator against its closed-form truth, over worlds and widths."""
    inside = (found["low"] <= found["truth"]) & (found["truth"] <= found["high"])
    found = found.assign(
        inside=inside, bias=found["value"] - found["truth"], size=(found["value"] - found["truth"]).abs()
    )
    names = {
        "fvu": "FVU",
        "fvu_linear": "FVU_linear",
        "fvu_nonlinear": "FVU_nonlinear",
        "r2_total": "R² total",
        "r2_per_dim": "R² per dimension",
    }
    rows = []
    for metric, name in names.items():
        mine = found[found["metric"] == metric]
        rows.append(
            {
                "estimator": name,
                "truth, mean": mine["truth"].mean(),
                "estimate, mean": mine["value"].mean(),
                "mean difference": mine["bias"].mean(),
                "largest": mine["size"].max(),
                "truth inside the interval": f"{int(mine['inside'].sum())} of {len(mine)}",
            }
        )
    three = lambda v: f"{v:.3f}".replace("-", "−")
    return Table(
        pd.DataFrame(rows),
        dict.fromkeys(("truth, mean", "estimate, mean", "mean difference", "largest"), three)
        | {"truth inside the interval": str},
    )


def readings_table(rows: pd.DataFrame) -> Table:
    """What the paper reads off a number, the number, and what is true."""
    three = lambda v: "–" if np.isnan(v) else f"{v:.3f}".replace("-", "−")
    return Table(
        rows, {"estimated": three, "true": three, "off by": lambda v: percent(v) if np.isfinite(v) else "–"}
    )


FLATNESS = percent(FLAT)
"""What counts as flat, in words."""

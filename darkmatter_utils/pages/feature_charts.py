"""The charts of chapter 09; words where a study has no component SAEs."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from .. import charts
from ..charts.tables import Words
from ..charts.theme import INK, MUTED, colour, finish, tip
from ..experiments.components import NOISE, PARTS
from ..experiments.features import MATCHED, OWN, SHUFFLED
from ..experiments.gaps import detection, fvus
from ..experiments.interp import DECILES
from ..measurement.results import Tables

NONE = Words("*No SAE of this study was trained on a part of the error.*")
DIAMOND, TICK = "noise of its spectrum", "principal components"


def overview(tables: Tables, study):
    """FVU of each part's SAEs beside matched noise, and detection accuracy by decile; what a study lacks, in
    words."""
    if not tables and study.model is None:
        return Words(
            "*This study is simulated: no SAE was trained on a part of its error, and without text no "
            "latent could be "
            "explained. The chapter shows its definitions and its rule, and no result.*"
        )
    if not tables:
        return Words(
            "*This study has no SAEs that were trained on parts of the error (a suite named "
            "components). The chapter shows "
            "its definitions and its rule, and no result.*"
        )
    return charts.beside(fvu_chart(tables["documents"]), decile_chart(tables["latents"]))


def pca_names(documents: pd.DataFrame) -> list[str]:
    """How the readings by principal components are named, fewest first."""
    return [by for by in documents["by"].unique() if by.endswith(TICK)]


def fvu_chart(documents: pd.DataFrame):
    """One row a part: its SAEs (interval, and a ring for each seed), those of matched noise, principal
    components."""
    own, noise = (fvus(documents, OWN, kind) for kind in (PARTS, NOISE))
    pca = fvus(documents, pca_names(documents)[-1], PARTS)
    frame = pd.DataFrame(
        [
            dict(label=p, color=p, value=j.value, low=j.estimate.low, high=j.estimate.high)
            for p, j in own.items()
        ]
    )
    seeds = pd.DataFrame([dict(label=p, color=p, value=v) for p, j in own.items() for v in j.seeds])
    other = [dict(label=NOISE[n], value=v, what=DIAMOND) for n, j in noise.items() for v in (j.value,)]
    other += [dict(label=p, value=j.value, what=pca_names(documents)[-1]) for p, j in pca.items()]
    y = alt.Y("label:N", sort=list(PARTS), title=None, axis=alt.Axis(labelFontSize=12, labelColor=INK))
    x, low = (
        alt.X(
            f"{field}:Q",
            title="FVU on held-out documents",
            scale=alt.Scale(zero=True),
            axis=alt.Axis(grid=True),
        )
        for field in ("value", "low")
    )
    shade = colour(frame["color"], legend=False)
    base = alt.Chart(frame).encode(
        y=y,
        color=shade,
        tooltip=[tip("label", "part"), tip("value", "FVU"), tip("low", "95% low"), tip("high", "95% high")],
    )
    rings = alt.Chart(seeds).mark_point(filled=False, size=150, strokeWidth=1.2, opacity=0.8)
    shapes = alt.Shape(
        "what:N",
        title=None,
        scale=alt.Scale(domain=[DIAMOND, pca_names(documents)[-1]], range=["diamond", "triangle-up"]),
        legend=alt.Legend(
            offset=8, symbolFillColor="transparent", symbolStrokeColor=MUTED, symbolStrokeWidth=1.8
        ),
    )
    beside = alt.Chart(pd.DataFrame(other)).mark_point(filled=False, size=95, color=MUTED, strokeWidth=1.8)
    layers = [
        base.mark_rule(strokeWidth=2.5).encode(x=low, x2="high"),
        base.mark_point(size=70).encode(x=x),
        rings.encode(y=y, x=x, color=shade, tooltip=[tip("label", "part"), tip("value", "one seed")]),
        beside.encode(
            y=y, x=x, shape=shapes, tooltip=[tip("label", "part"), tip("what", "of"), tip("value", "FVU")]
        ),
    ]
    return finish(alt.layer(*layers), "", 290, 240)


KINDS = {OWN: "its own SAE", MATCHED: "an SAE trained on its noise", SHUFFLED: "its own, text shuffled"}
"""Readings as the legends name them."""
DASHES = {OWN: [1, 0], MATCHED: [6, 4], SHUFFLED: [2, 3]}


def curves(latents: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy in each decile: one row a part, a kind of reading and a decile, with its interval and its
    seeds."""
    found = []
    for by in KINDS:
        for decile in range(1, DECILES + 1):
            found += [
                dict(
                    part=part,
                    by=by,
                    decile=decile,
                    accuracy=j.value,
                    low=j.estimate.low,
                    high=j.estimate.high,
                    seeds=j.seeds,
                )
                for part, j in detection(latents, by, deciles=[decile]).items()
            ]
    return pd.DataFrame(found)


def decile_chart(latents: pd.DataFrame):
    """Detection accuracy over the deciles of activation: a line a part and reading, thin lines for single
    seeds."""
    frame = curves(latents)
    seeds = frame.explode("seeds", ignore_index=True)
    seeds = seeds.assign(
        seed=seeds.groupby(["part", "by", "decile"]).cumcount(), accuracy=seeds["seeds"].astype(float)
    )
    names = dict(x_title="decile of activation", y_title="detection accuracy")
    base = _lines(frame, "decile", "accuracy", legend=False, **names)
    thin = _lines(seeds[seeds["by"] == OWN], "decile", "accuracy", legend=False, **names)
    thin = thin.encode(detail=["seed:N", "part:N"], color=alt.value(MUTED))
    bars = base.mark_rule(opacity=0.7).encode(y=alt.Y("low:Q", title="detection accuracy"), y2="high")
    chance = alt.Chart(pd.DataFrame({"y": [0.5]})).mark_rule(color=MUTED, strokeWidth=1).encode(y="y:Q")
    layers = [
        chance,
        thin.mark_line(strokeWidth=0.8, opacity=0.6),
        bars,
        base.mark_line(),
        base.mark_point(size=28),
    ]
    return finish(alt.layer(*layers), "", 320, 240)


def spread_chart(tables: Tables):
    """How the accuracy of latents is distributed: the share of latents that reach each value."""
    if not tables:
        return NONE
    latents, rows = tables["latents"], []
    for (by, reads), table in latents.groupby(["by", "reads"], sort=False):
        mean = table[[f"d{d}" for d in range(1, DECILES + 1)]].mean(axis=1).dropna().to_numpy()
        rows += [
            dict(part=reads, by=by, accuracy=a, share=float((mean >= a).mean()))
            for a in np.linspace(0.4, 1, 61).round(2)
        ]
    base = _lines(
        pd.DataFrame(rows),
        "accuracy",
        "share",
        x_title="mean accuracy over the deciles, at least",
        y_title="share of latents",
    )
    return finish(base.mark_line(), "", charts.WIDTH, charts.HEIGHT)


def _lines(frame: pd.DataFrame, x: str, y: str, *, x_title: str, y_title: str, legend: bool = True):
    """Encodings of lines with the colour of their part (named in a legend) and the dash of their kind of
    reading."""
    data = frame.assign(color=frame["part"], kind=frame["by"].map(KINDS)).drop(
        columns=["seeds"], errors="ignore"
    )
    kinds = {KINDS[by]: dash for by, dash in DASHES.items()}
    dash = alt.StrokeDash(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=list(kinds), range=list(kinds.values())),
        legend=alt.Legend(columns=1, symbolType="stroke", symbolStrokeWidth=2, symbolSize=300),
    )
    about = [
        alt.Tooltip("part:N"),
        alt.Tooltip("kind:N", title="read by"),
        alt.Tooltip(f"{x}:Q", title=x_title),
        alt.Tooltip(f"{y}:Q", title=y_title, format=".3f"),
    ]
    scale = alt.Scale(zero=False, nice=False)
    return alt.Chart(data).encode(
        x=alt.X(f"{x}:Q", title=x_title, scale=scale),
        y=alt.Y(f"{y}:Q", title=y_title, scale=alt.Scale(zero=False)),
        color=colour(data["color"], legend=legend),
        strokeDash=dash,
        tooltip=about,
    )

"""What the chapter on the norm test computes, kept by content, and the numbers that claim 6's rule takes."""

from __future__ import annotations

import pandas as pd

from ..base.values import Estimate
from ..claims import c06_norm_lowest
from ..decomposition.passes import PARTS
from ..measurement.results import Tables, kept
from ..measurement.widths import WIDTHS, suite_rows
from ..studies.study import Study
from . import norm_tests, norm_theory, probe_weights

NOT_SAES = ("dead", "shrunk", "random", "oracle")
"""Kinds that are nulls: shown, never counted as SAEs."""


def norms(measurement, *, contexts: int) -> Tables:
    """`norm_tests.norm_tables`, kept."""
    return kept(
        "norms",
        measurement.study,
        ["norm_tests"],
        lambda: norm_tests.norm_tables(measurement, contexts=contexts),
        contexts=contexts,
    )


def theory(study: Study) -> pd.DataFrame:
    """`norm_theory.checks`, the same for every study, kept for all together; with fewer tokens for nano."""
    settings = {"tokens": 2000, "seeds": 2} if study.name == "nano" else {}
    return kept(
        "norm-theory",
        Study.load("world"),
        ["norm_theory"],
        lambda: {"checks": norm_theory.checks(**settings)},
        **settings,
    )["checks"]


def null(measurement, found: Tables) -> pd.DataFrame:
    """Both tests on SAEs that introduce nothing: null, width, part, source, value, low, high.

    In a simulated study its own oracles at the suite's L0 (`matched` is then their name); elsewhere those of
    the matched world; empty where the study has too few widths for a match.
    """
    if measurement.study.model is None:
        suite = set(suite_rows(measurement)["id"])
        mine = found["tests"][found["tests"]["id"].isin(suite) & (found["tests"]["kind"] == "oracle")]
        return mine.assign(null="matched")[["null", "width", "part", "source", "value", "low", "high"]]
    if suite_rows(measurement)["width"].nunique() < WIDTHS:
        return pd.DataFrame(columns=["null", "width", "part", "source", "value", "low", "high", "sigma"])
    cv2 = float(found["size"]["cv2"].iloc[0])
    return kept(
        "norm-null",
        measurement.study,
        ["norm_tests"],
        lambda: {"null": norm_tests.null_tables(measurement, cv2)},
        cv2=round(cv2, 9),
    )["null"]


def probes(measurement, *, contexts: int) -> Tables:
    """Weights of the norm's probe on every alive latent of the suite, and how they agree with activations,
    kept."""

    def compute():
        latents = probe_weights.weights(measurement, contexts=contexts)
        return {"latents": latents, "agreement": probe_weights.agreement(latents)}

    return kept("probes", measurement.study, ["probe_weights"], compute, contexts=contexts)


def lowest(tests: pd.DataFrame, source: str) -> tuple[int, int]:
    """(at how many SAEs NonlinearError has the lowest R² of all parts, of how many)."""
    mine = tests[(tests["source"] == source) & ~tests["kind"].isin(NOT_SAES)]
    table = mine.pivot(index="id", columns="part", values="value")[list(PARTS)]
    others = table.drop(columns="NonlinearError").min(axis=1)
    return int((table["NonlinearError"] < others).sum()), len(table)


def numbers(measurement, found: Tables, nothing: pd.DataFrame) -> c06_norm_lowest.Evidence:
    """What claim 6's rule takes. By width: the first seed of the suite's SAEs; in a simulated study, whose
    suite is the null, of those that introduce errors."""
    tests = found["tests"]
    mine = tests[
        (tests["part"] == "NonlinearError")
        & (tests["source"] == "from itself")
        & ~tests["kind"].isin(NOT_SAES)
    ]
    if measurement.study.model is not None:
        mine = mine[mine["id"].isin(suite_rows(measurement)["id"])]
    mine = mine.sort_values(["width", "seed"], kind="stable").drop_duplicates("width")
    other = nothing[
        (nothing["null"] == "matched")
        & (nothing["part"] == "NonlinearError")
        & (nothing["source"] == "from itself")
    ]
    from_x, saes = lowest(tests, "from x")
    return c06_norm_lowest.Evidence(
        lowest=from_x,
        lowest_self=lowest(tests, "from itself")[0],
        saes=saes,
        nonlinear=_by_width(mine),
        null=_by_width(other),
    )


def _by_width(rows: pd.DataFrame) -> dict[int, Estimate]:
    return {int(r.width): Estimate(float(r.value), float(r.low), float(r.high)) for r in rows.itertuples()}

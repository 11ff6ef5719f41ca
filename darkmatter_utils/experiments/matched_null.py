"""The null of claims 4 and 6: an oracle SAE that introduces nothing, matched to a study's suite in FVU and
L0.

The rule of the match, which looks at no linear or nonlinear part and at no norm: among the worlds of `GRID`,
with features only and the study's d_model, take the one whose oracles, at the suite's widths and its L0, come
nearest to the suite's own FVU and L0, by the mean squared difference of their logarithms over widths. The
oracles hold the first W features with their true coefficients and keep the largest L0 of them on each token;
what they drop counts as absent.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..measurement.results import kept
from ..measurement.scaling import per_doubling
from ..measurement.widths import WIDTHS, one_l0, suite_rows, width_suite
from ..stats.intervals import over_draws
from ..worlds.oracle_saes import OracleSae
from ..worlds.world import World
from .known_parts import tokens_of
from .null_curves import capped_curve

GRID = {
    "features": (1, 2),
    "exponent": (1.0, 1.25, 1.5, 1.75),
    "l0": (1.5, 2.0, 3.0, 4.0),
    "spread": (0.5, 1.0, 2.0),
}
"""What is tried: features as a multiple of the widest SAE's width (of 32 d_model, where that is more); the
exponent of their frequencies; fires a token as a multiple of the suite's L0; the spread of a coefficient."""
PILOT = 3
"""Documents of each world that the match looks at."""
SEEDS = 4
"""Worlds drawn anew once the match is made."""


def match(measurement) -> pd.DataFrame:
    """Every world of `GRID`, nearest first: its dials, the distance, and fvu and l0 at each width of the
    suite (columns ``fvu 128``...). Cost: about 0.2 s a world of 8,192 features and 128 dimensions; kept by
    content."""
    return kept("null-match", measurement.study, ["matched_null"], lambda: {"match": _match(measurement)})[
        "match"
    ]


def _match(measurement) -> pd.DataFrame:
    suite, l0 = width_suite(measurement, "fvu", l0=one_l0(measurement)), _l0(measurement)
    widest, d = int(suite.widths[-1]), int(measurement.card["d_model"])
    rows = []
    for values in product(*GRID.values()):
        dials = dict(zip(GRID, values, strict=True))
        dials["features"] = int(values[0] * max(widest, 32 * d))
        dials["l0"] = float(values[2] * l0)
        if dials["l0"] > 0.3 * dials["features"]:
            continue
        batch = tokens_of(World(d_model=d, **dials), PILOT)
        spread = float(((batch.x - batch.x.mean(dim=0)) ** 2).sum())
        row, off = dict(dials), []
        for width, target in zip(suite.widths.tolist(), suite.values, strict=True):
            x_hat, active = OracleSae("pilot", World(d_model=d, **dials), width, l0=round(l0)).reconstruct(
                batch
            )
            fvu, found = float(((batch.x - x_hat) ** 2).sum()) / spread, float(active.double().mean())
            row |= {f"fvu {width}": fvu, f"l0 {width}": found}
            off.append(np.log(fvu / target) ** 2 + np.log(found / l0) ** 2)
        rows.append(row | {"distance": float(np.sqrt(np.mean(off)))})
    return pd.DataFrame(rows).sort_values("distance", kind="stable").reset_index(drop=True)


def _l0(measurement) -> float:
    """The suite's L0 as realised, mean over its SAEs; what they are brought to where they are at several."""
    return one_l0(measurement) or float(suite_rows(measurement)["l0"].mean())


def matched_world(measurement, *, seed: int = 0) -> World:
    """The nearest world, drawn from a seed."""
    best = match(measurement).iloc[0]
    return World(
        d_model=int(measurement.card["d_model"]),
        features=int(best["features"]),
        seed=seed,
        **{name: float(best[name]) for name in ("exponent", "l0", "spread")},
    )


def null_curve(measurement, *, documents: int = 60) -> pd.DataFrame:
    """The matched oracles over the suite's widths, out of sample: seed, width, l0, fvu, fvu_nonlinear, r2."""

    def compute():
        widths, cap = [int(w) for w in width_suite(measurement, "fvu").widths], round(_l0(measurement))
        rows = []
        for seed in range(SEEDS):
            world = matched_world(measurement, seed=seed)
            rows += [(seed, *row) for row in capped_curve(world, widths, cap=cap, documents=documents)]
        return {"curve": pd.DataFrame(rows, columns=["seed", "width", "l0", "fvu", "fvu_nonlinear", "r2"])}

    return kept("null-curve", measurement.study, ["matched_null"], compute, documents=documents, seeds=SEEDS)[
        "curve"
    ]


def null_change(measurement) -> Estimate | None:
    """The change of FVU_nonlinear per doubling for an SAE that introduces nothing: what claim 4's rule takes
    as `null`.

    In a simulated study whose suite holds oracles the suite is that SAE. Elsewhere from `null_curve`, the
    mean over worlds drawn anew of the slope of its logarithm, with an interval over them. None where the
    suite is no suite.
    """
    suite = width_suite(measurement, "fvu_nonlinear", l0=one_l0(measurement))
    if len(suite.widths) < WIDTHS:
        return None
    if (suite_rows(measurement)["kind"] == "oracle").all():
        return per_doubling(suite)
    return over_draws([_slope(curve) for _, curve in null_curve(measurement).groupby("seed")])


def _slope(curve: pd.DataFrame) -> float:
    return float(2 ** np.polyfit(np.log2(curve["width"]), np.log2(curve["fvu_nonlinear"]), 1)[0] - 1)


def sensitivity(measurement, *, best: int = 5, documents: int = 24) -> pd.DataFrame:
    """What other worlds that match nearly as well would say: rank, distance, dials, change of FVU_nonlinear
    per doubling, R² of the error at the narrowest and the widest SAE. One draw of each."""

    def compute():
        widths, cap, rows = (
            [int(w) for w in width_suite(measurement, "fvu").widths],
            round(_l0(measurement)),
            [],
        )
        for rank, row in match(measurement).head(best).iterrows():
            dials = {name: float(row[name]) for name in ("exponent", "l0", "spread")}
            world = World(
                d_model=int(measurement.card["d_model"]), features=int(row["features"]), seed=1, **dials
            )
            found = capped_curve(world, widths, cap=cap, documents=documents)
            curve = pd.DataFrame(found, columns=["width", "l0", "fvu", "fvu_nonlinear", "r2"])
            rows.append(
                {"rank": int(rank) + 1, "distance": row["distance"], "features": world.features}
                | dials
                | {"change": _slope(curve), "r2_narrow": curve["r2"].iloc[0], "r2_wide": curve["r2"].iloc[-1]}
            )
        return {"table": pd.DataFrame(rows)}

    return kept(
        "null-sensitivity", measurement.study, ["matched_null"], compute, best=best, documents=documents
    )["table"]


def null_suite(curve: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of `null_curve` at each width, over seeds: width, value, low, high."""
    rows = []
    for width, values in curve.groupby("width")[metric]:
        e = over_draws(values)
        rows.append({"width": int(width), "value": e.value, "low": e.low, "high": e.high})
    return pd.DataFrame(rows)

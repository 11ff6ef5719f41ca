"""SAEs that introduce nothing, over width: how flat their FVU_nonlinear is, how linear their error; and the
null of claims 4 and 6, such an SAE matched to a study.

The rule of the match looks at no linear or nonlinear part and at no norm: among the worlds of `GRID`, with
features only and the study's d_model, take the one whose oracles, at the suite's widths and its L0, come
nearest to the suite's own FVU and L0, by the mean squared difference of their logarithms over widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd

from ..base.cache import kept
from ..base.values import Absent, Estimate
from ..claims import c04_flat
from ..measurement.widths import WIDTHS as ENOUGH
from ..measurement.widths import one_l0, suite_rows, wide, width_suite
from ..stats.intervals import over_draws
from ..worlds.known import land, tokens_of
from ..worlds.saes import OracleSae
from ..worlds.world import World
from .scaling import per_doubling

FLAT = c04_flat.THRESHOLDS.flat
"""A change of at most this share per doubling is flat."""
WIDTHS = tuple(2**k for k in range(4, 13))
"""Widths of a curve, as far as the world has features."""
SUPERPOSITION = (2, 8, 32, 64)
"""n / d."""
LAWS = (0.5, 1.0, 1.5)
"""Exponents of the features' frequencies: 0.5 is nearly even; with 1.5 few features carry most variance."""
GRID = {
    "features": (1, 2),
    "exponent": (1.0, 1.25, 1.5, 1.75),
    "l0": (1.5, 2.0, 3.0, 4.0),
    "spread": (0.5, 1.0, 2.0),
}
"""What is tried: features as a multiple of the widest SAE's width (of 32 d_model, where that is more); the
exponent of their frequencies; fires a token as a multiple of the suite's L0; the spread of a coefficient."""
CURVE = ["width", "l0", "fvu", "fvu_nonlinear", "r2"]
"""Columns of a measured curve."""
DIALS = ("exponent", "l0", "spread")
"""Dials of a match beside its number of features."""


def null_world(ratio: int, exponent: float, *, seed: int = 0) -> World:
    """Features only, 16 a token: no dense part, no noise. What the SAE lacks is all of its error."""
    return World(d_model=64, features=64 * ratio, l0=16.0, exponent=exponent, spread=1.0, seed=seed)


def _worlds(superposition, laws) -> Iterator[tuple[tuple[int, float], World, list[int]]]:
    """((n/d, law), world, widths of its curve) of every world."""
    for about in product(superposition, laws):
        world = null_world(*about)
        yield about, world, [width for width in WIDTHS if width < world.features]


def unfixed(*, superposition=SUPERPOSITION, laws=LAWS) -> pd.DataFrame:
    """Over width, the exact sum of the first W features, whose L0 grows with W, in closed form:
    superposition, law, width, fvu, fvu_nonlinear, r2."""
    rows = []
    for about, world, widths in _worlds(superposition, laws):
        truths = [(width, world.truth(width)) for width in widths]
        rows += [(*about, width, t.fvu, t.fvu_nonlinear, t.r2_total) for width, t in truths]
    return pd.DataFrame(rows, columns=["superposition", "law", "width", "fvu", "fvu_nonlinear", "r2"])


def fixed(*, superposition=SUPERPOSITION, laws=LAWS) -> pd.DataFrame:
    """The same with the 4 largest coefficients of a token alone, out of sample; what is dropped counts as
    absent: superposition, law, and `CURVE`. Cost: a fraction of a second a world."""
    rows = []
    for about, world, widths in _worlds(superposition, laws):
        rows += [(*about, *row) for row in capped_curve(world, widths, cap=4, documents=24)]
    return pd.DataFrame(rows, columns=["superposition", "law", *CURVE])


def capped_curve(world: World, widths: Sequence[int], *, cap: int | None, documents: int) -> list[tuple]:
    """`CURVE` of the oracles of a world, out of sample: width, realised L0, FVU, FVU_nonlinear, R² total."""
    batch, errors, l0 = tokens_of(world, documents), {}, {}
    for width in widths:
        x_hat, active = OracleSae(str(width), world, width, l0=cap).reconstruct(batch)
        errors[str(width)], l0[width] = batch.x - x_hat, float(active.double().mean())
    landed = land(batch.x, errors, batch.document.numpy(), error={})
    rows = []
    for width in widths:
        c = landed.weights(**{str(width): 1.0})
        # FVU counts the mean of the error, too; these worlds' oracles lack positive coefficients.
        mean = float((errors[str(width)].mean(dim=0) ** 2).sum() * len(batch.x) / landed.x.sum())
        fvu, nonlinear = float(landed.variance(c)) + mean, float(landed.nonlinear(c))
        rows.append((width, l0[width], fvu, nonlinear, float(landed.shares(c)[0])))
    return rows


def flat_ranges(curves: pd.DataFrame) -> pd.DataFrame:
    """By world, the longest range of widths over which FVU_nonlinear is flat, in two senses.

    ``slope``: the slope of its logarithm over the range is inside ±FLAT per doubling, claim 4's own measure
    (a curve that rises and falls can pass); ``steps``: every single doubling is. Columns superposition, law,
    then for each of the two start, stop and factor = stop / start (1 where no doubling is flat), and for the
    slope's range its change per doubling and R² of the error at both ends.
    """
    rows = []
    for (ratio, law), curve in curves.groupby(["superposition", "law"]):
        width, y, r2 = (curve[name].to_numpy(float) for name in ("width", "fvu_nonlinear", "r2"))
        x, y = np.log2(width), np.log2(y)
        ranges = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x))]
        slopes = {(i, j): 2 ** np.polyfit(x[i : j + 1], y[i : j + 1], 1)[0] - 1 for i, j in ranges}
        steps = np.abs(2 ** (np.diff(y) / np.diff(x)) - 1) <= FLAT
        level = {"slope": [r for r in ranges if abs(slopes[r]) <= FLAT]}
        level["steps"] = [(i, j) for i, j in ranges if steps[i:j].all()]
        factor = lambda r: width[r[1]] / width[r[0]]
        best = {name: max(found, key=factor, default=(0, 0)) for name, found in level.items()}
        row = {"superposition": ratio, "law": law}
        for name, (i, j) in best.items():
            row |= {f"{name}_start": int(width[i]), f"{name}_stop": int(width[j])}
            row[f"{name}_factor"] = factor((i, j))
        i, j = best["slope"]
        rows.append(row | {"change": slopes.get((i, j), np.nan), "r2_start": r2[i], "r2_stop": r2[j]})
    return pd.DataFrame(rows)


@kept
def matched(measurement, *, seeds: int = 4, documents: int = 60, best: int = 5) -> dict | Absent:
    """The null of a study's suite.

    ``match``: every world of `GRID`, nearest first: its dials, the distance, and fvu and l0 at each width
    (columns ``fvu 128``...), on 3 documents. ``curve``: the nearest world's oracles over the suite's widths,
    out of sample, in ``seeds`` worlds drawn anew: seed and `CURVE`. ``suite``: their mean over those worlds:
    metric, width, value, low, high. ``others``: what the ``best`` matches would say, on one draw of each:
    rank, distance, dials, change of FVU_nonlinear per doubling, R² of the error at the narrowest and the
    widest SAE. Absent where the suite itself consists of such SAEs, or has too few widths. Cost: about 0.2 s
    a world of 8,192 features and 128 dimensions.
    """
    suite = width_suite(measurement, "fvu", l0=one_l0(measurement))
    if len(suite.widths) < ENOUGH or (suite_rows(measurement)["kind"] == "oracle").all():
        return Absent("No match is made here: the study's suite consists of such SAEs, or is no suite.")
    table, widths, cap = _match(measurement, suite), suite.widths.tolist(), round(_l0(measurement))

    def curve(row, seed, documents):
        world = _world(measurement, row, seed=seed)
        return pd.DataFrame(capped_curve(world, widths, cap=cap, documents=documents), columns=CURVE)

    drawn = pd.concat([curve(table.iloc[0], s, documents).assign(seed=s) for s in range(seeds)])
    cells = drawn.melt("width", ["fvu", "fvu_nonlinear"], "metric").groupby(["metric", "width"])["value"]
    means = [dict(zip(("metric", "width"), cell)) | over_draws(values).to_dict() for cell, values in cells]
    others = []
    for rank, row in table.head(best).iterrows():
        one = curve(row, 1, 24)
        about = {"rank": rank + 1, "distance": row["distance"], "features": int(row["features"])}
        about |= {name: row[name] for name in DIALS} | {"change": _slope(one)}
        others.append(about | {"r2_narrow": one["r2"].iloc[0], "r2_wide": one["r2"].iloc[-1]})
    return {
        "match": table,
        "curve": drawn.reset_index(drop=True),
        "suite": pd.DataFrame(means),
        "others": pd.DataFrame(others),
    }


def _match(measurement, suite) -> pd.DataFrame:
    l0, d, rows = _l0(measurement), int(measurement.card["d_model"]), []
    for many, exponent, fires, spread in product(*GRID.values()):
        features = int(many * max(int(suite.widths[-1]), 32 * d))
        dials = {"features": features, "exponent": exponent, "l0": float(fires * l0), "spread": spread}
        if dials["l0"] > 0.3 * features:
            continue
        world = World(d_model=d, **dials)
        batch = tokens_of(world, 3)
        total = float(((batch.x - batch.x.mean(dim=0)) ** 2).sum())
        row, off = dict(dials), []
        for width, target in zip(suite.widths.tolist(), suite.values, strict=True):
            x_hat, active = OracleSae("pilot", world, width, l0=round(l0)).reconstruct(batch)
            fvu, found = float(((batch.x - x_hat) ** 2).sum()) / total, float(active.double().mean())
            row |= {f"fvu {width}": fvu, f"l0 {width}": found}
            off.append(np.log(fvu / target) ** 2 + np.log(found / l0) ** 2)
        rows.append(row | {"distance": float(np.sqrt(np.mean(off)))})
    return pd.DataFrame(rows).sort_values("distance", kind="stable").reset_index(drop=True)


def _l0(measurement) -> float:
    """The suite's realised L0, mean over its SAEs; what they are brought to where they are at several."""
    return one_l0(measurement) or float(suite_rows(measurement)["l0"].mean())


def _world(measurement, row: pd.Series, *, seed: int) -> World:
    dials, features = {name: float(row[name]) for name in DIALS}, int(row["features"])
    return World(d_model=int(measurement.card["d_model"]), features=features, seed=seed, **dials)


def matched_world(measurement, *, seed: int = 0) -> World:
    """The nearest world of `matched`, drawn from a seed."""
    return _world(measurement, matched(measurement)["match"].iloc[0], seed=seed)


def null_change(measurement) -> Estimate | None:
    """The change of FVU_nonlinear per doubling for an SAE that introduces nothing, over the widths of claim 4
    and by its slope: that claim's `null`.

    In a simulated study whose suite holds oracles the suite is that SAE. Elsewhere from `matched`, the mean
    over worlds drawn anew of the slope of its logarithm, with an interval. None with too few widths.
    """
    suite = wide(measurement, width_suite(measurement, "fvu_nonlinear", l0=one_l0(measurement)))
    if len(suite.widths) < ENOUGH:
        return None
    if found := matched(measurement):
        there = found["curve"][found["curve"]["width"].isin(suite.widths)]
        return over_draws([_slope(curve) for _, curve in there.groupby("seed")])
    return per_doubling(suite)


def _slope(curve: pd.DataFrame) -> float:
    return float(2 ** np.polyfit(np.log2(curve["width"]), np.log2(curve["fvu_nonlinear"]), 1)[0] - 1)

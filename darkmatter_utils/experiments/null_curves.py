"""An SAE that introduces nothing, over width: how flat its FVU_nonlinear is, and how linear its error.

Two kinds. *Unfixed*: the exact sum of the first W features, whose L0 grows with W; its curve is in closed
form. *Fixed L0*: only the largest few coefficients of a token are kept, the same number at each width; its
curve is measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..claims.rules import FLAT
from ..worlds.landing import land
from ..worlds.oracle_saes import OracleSae
from ..worlds.world import World
from .known_parts import tokens_of

D_MODEL = 64
WIDTHS = tuple(2**k for k in range(4, 13))
"""Widths of a curve, as far as the world has features."""
SUPERPOSITION = (2, 8, 32, 64)
"""n / d."""
LAWS = (0.5, 1.0, 1.5)
"""Exponents of the features' frequencies: 0.5 is nearly even, 1.5 lets few features carry most of the
variance."""
L0 = 16.0
"""Features that fire on a token of these worlds, on average."""
CAP = 4
"""Active latents of the SAEs at fixed L0."""


def null_world(ratio: int, exponent: float, *, seed: int = 0, spread: float = 1.0) -> World:
    """Features only: no dense part, no noise, no structure. What the SAE lacks is all of its error."""
    return World(
        d_model=D_MODEL, features=D_MODEL * ratio, l0=L0, exponent=exponent, spread=spread, seed=seed
    )


def unfixed(*, superposition=SUPERPOSITION, laws=LAWS, seed: int = 0) -> pd.DataFrame:
    """Population values over width: superposition, law, width, fvu, fvu_nonlinear, r2. No sampling, no
    interval."""
    rows = []
    for ratio in superposition:
        for law in laws:
            world = null_world(ratio, law, seed=seed)
            for width in (w for w in WIDTHS if w < world.features):
                truth = world.truth(width)
                rows.append((ratio, law, width, truth.fvu, truth.fvu_nonlinear, truth.r2_total))
    return pd.DataFrame(rows, columns=["superposition", "law", "width", "fvu", "fvu_nonlinear", "r2"])


def fixed(
    *, superposition=SUPERPOSITION, laws=LAWS, documents: int = 24, cap: int = CAP, seed: int = 0
) -> pd.DataFrame:
    """The same at fixed L0, out of sample: superposition, law, width, l0 (realised), fvu, fvu_nonlinear, r2.

    Cost: a fraction of a second a world.
    """
    rows = []
    for ratio in superposition:
        for law in laws:
            world = null_world(ratio, law, seed=seed)
            widths = [w for w in WIDTHS if w < world.features]
            for row in capped_curve(world, widths, cap=cap, documents=documents):
                rows.append((ratio, law, *row))
    return pd.DataFrame(rows, columns=["superposition", "law", "width", "l0", "fvu", "fvu_nonlinear", "r2"])


def capped_curve(world: World, widths: Sequence[int], *, cap: int | None, documents: int) -> list[tuple]:
    """(width, realised L0, FVU, FVU_nonlinear, R² total) of the oracles of a world, out of sample."""
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


def step_changes(curves: pd.DataFrame) -> pd.DataFrame:
    """The change of FVU_nonlinear from each width to the next, per doubling: superposition, law, width (the
    middle of the two, geometric), change, flat (inside ±FLAT)."""
    rows = []
    for (ratio, law), curve in curves.groupby(["superposition", "law"]):
        width, y = curve["width"].to_numpy(float), curve["fvu_nonlinear"].to_numpy()
        change = (y[1:] / y[:-1]) ** (1 / np.diff(np.log2(width))) - 1
        middle = np.sqrt(width[1:] * width[:-1])
        rows += [(ratio, law, w, float(c), bool(abs(c) <= FLAT)) for w, c in zip(middle, change, strict=True)]
    return pd.DataFrame(rows, columns=["superposition", "law", "width", "change", "flat"])


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
        flat = {
            "slope": [r for r in ranges if abs(slopes[r]) <= FLAT],
            "steps": [(i, j) for i, j in ranges if steps[i:j].all()],
        }
        best = {
            name: max(found, key=lambda r: width[r[1]] / width[r[0]], default=(0, 0))
            for name, found in flat.items()
        }
        row = {"superposition": ratio, "law": law}
        for name, (i, j) in best.items():
            row |= {
                f"{name}_start": int(width[i]),
                f"{name}_stop": int(width[j]),
                f"{name}_factor": width[j] / width[i],
            }
        i, j = best["slope"]
        rows.append(row | {"change": slopes.get((i, j), np.nan), "r2_start": r2[i], "r2_stop": r2[j]})
    return pd.DataFrame(rows)


def half_linear_widths(curves: pd.DataFrame, *, low: float = 0.3, high: float = 0.7) -> pd.DataFrame:
    """By world: at how many of its widths the error is about half linear, R² between ``low`` and ``high``."""
    inside = curves.assign(inside=curves["r2"].between(low, high))
    return inside.groupby(["superposition", "law"], as_index=False).agg(
        inside=("inside", "sum"), widths=("width", "size")
    )

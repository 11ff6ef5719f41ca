"""SAEs that introduce nothing, over width: how flat their FVU_nonlinear is, how linear their error; and
simulated studies whose suite consists of them. `matching` has the one that is matched to a study.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from torch import Tensor

from ..base.values import in_columns
from ..claims import c04_flat
from ..decomposition.decompose import SCALARS, score
from ..decomposition.passes import FirstPass, SecondPass, ThirdPass
from ..measurement.harvest import NORMS
from ..stats.documents import assign_folds
from ..worlds.curved import CurvedTruth, CurvedWorld
from ..worlds.known import WorldBatch, tokens_of
from ..worlds.saes import OracleSae
from ..worlds.world import World

FLAT = c04_flat.THRESHOLDS.flat
"""A change of at most this share per doubling is flat."""
WIDTHS = tuple(2**k for k in range(4, 13))
"""Widths of a curve, as far as the world has features."""
SUPERPOSITION = (2, 8, 32, 64)
"""n / d."""
LAWS = (0.5, 1.0, 1.5)
"""Exponents of the features' frequencies: 0.5 is nearly even; with 1.5 few features carry most variance."""
CURVE = ["width", "l0", "fvu", "fvu_nonlinear", "r2_total"]
"""Columns of a measured curve."""


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
    superposition, law, width, fvu, fvu_nonlinear, r2_total."""
    rows = []
    for about, world, widths in _worlds(superposition, laws):
        truths = [(width, world.truth(width)) for width in widths]
        rows += [(*about, width, t.fvu, t.fvu_nonlinear, t.r2_total) for width, t in truths]
    return pd.DataFrame(rows, columns=["superposition", "law", "width", "fvu", "fvu_nonlinear", "r2_total"])


def fixed(*, superposition=SUPERPOSITION, laws=LAWS) -> pd.DataFrame:
    """The same with the 4 largest coefficients of a token alone, out of sample; what is dropped counts as
    absent: superposition, law, and `CURVE`. Cost: a fraction of a second a world."""
    rows = []
    for about, world, widths in _worlds(superposition, laws):
        curve = oracles(world, widths, l0=4, documents=24).saes[CURVE]
        rows.append(curve.assign(superposition=about[0], law=about[1]))
    return pd.concat(rows, ignore_index=True)[["superposition", "law", *CURVE]]


@dataclass(frozen=True)
class Simulated:
    """Of SAEs of one world, what a `Measurement` has of a suite: enough for `widths` and for the evidence
    of rules over widths."""

    world: World
    saes: pd.DataFrame
    """A row a width: what the SAE is, its realised L0, and every score, with its interval where asked for."""
    replicates: dict[str, np.ndarray]
    """Score → replicates over documents [replicate, SAE]."""

    @property
    def card(self) -> dict:
        """The facts that do not need a model."""
        return {"d_model": self.world.d_model}

    @property
    def documents(self) -> pd.DataFrame:
        """Its documents are from no source of text."""
        return pd.DataFrame({"source": [], "tokens": []})


def oracles(
    world: World, widths: Sequence[int], *, l0: int | None, documents: int, replicates: int = 0
) -> Simulated:
    """The suite of a world's oracles, each with the ``l0`` largest coefficients of a token (None: all), on
    its first documents, as `scored`. The mean of what an oracle lacks is its bias: it counts as no error, as
    in a trained SAE."""
    batch, made = tokens_of(world, documents), []
    for width in widths:
        x_hat, fired = OracleSae(id := f"w{width}", world, width, l0=l0).reconstruct(batch)
        about = {"id": id, "width": int(width), "seed": 0, "l0_target": l0}
        made.append((about, x_hat + (batch.x - x_hat).mean(dim=0), fired))
    return scored(world, batch, made, replicates=replicates)


def scored(
    world: World, batch: WorldBatch, made: Sequence[tuple[dict, Tensor, Tensor]], *, replicates: int = 0
) -> Simulated:
    """A suite of SAEs of a world, each (id, width, seed and l0_target; its reconstructions [token, d_model];
    active latents [token]), scored as a study's SAEs are.

    Cost: about as measuring so many tokens; 3 s for 15,000 tokens of 128 dimensions and six SAEs.
    """
    hats = {about["id"]: x_hat for about, x_hat, _ in made}
    ids, counts = np.unique(batch.document.numpy(), return_counts=True)
    tokens = (batch.x, hats, batch.document.numpy())
    first = FirstPass(world.d_model, list(hats), assign_folds(ids, counts, 5), self_norms=False)
    third = ThirdPass(SecondPass(first.update(*tokens)).update(*tokens)).update(*tokens)
    names = dict.fromkeys(SCALARS) | NORMS
    rows, drawn = [], {name: [] for name in names}
    for about, _, active in made:
        found = score(third, about["id"], replicates=replicates)
        row = {"kind": "simulated", "main": True} | about | {"l0": float(active.double().mean())}
        for name, part in names.items():
            row |= in_columns(found.norm_r2[part] if part else getattr(found, name), name)
            if replicates:
                drawn[name].append(found.replicates[f"norm_r2 {part}" if part else name])
        rows.append(row)
    stacked = {name: np.stack(columns, axis=1) for name, columns in drawn.items() if columns}
    return Simulated(world, pd.DataFrame(rows), stacked)


def flat_ranges(curves: pd.DataFrame) -> pd.DataFrame:
    """By world, the longest range of widths over which FVU_nonlinear is flat, in two senses.

    ``slope``: the slope of its logarithm over the range is inside ±FLAT per doubling, claim 4's own measure
    (a curve that rises and falls can pass); ``steps``: every single doubling is. Columns superposition, law,
    then for each of the two start, stop and factor = stop / start (1 where no doubling is flat), and for the
    slope's range its change per doubling and R² of the error at both ends.
    """
    rows = []
    for (ratio, law), curve in curves.groupby(["superposition", "law"]):
        width, y, r2 = (curve[name].to_numpy(float) for name in ("width", "fvu_nonlinear", "r2_total"))
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


BENT = ((0, 1), (45, 1), (90, 1), (90, 4))
"""Degrees of a feature's arc, and latents a feature."""


def curved_curves() -> pd.DataFrame:
    """Over width, oracles of worlds whose features are arcs, by `BENT`: arc, pieces, width (held features ×
    pieces), fvu, fvu_nonlinear, curvature (`CurvedTruth`); in closed form, so with every fire kept."""
    flat, rows = World(d_model=64, features=2048, l0=8.0, exponent=1.5), []
    for arc, pieces in BENT:
        world = CurvedWorld(flat, np.radians(arc))
        held = 2 ** np.arange(4, 12)
        rows += [(arc, pieces, n * pieces, *world.truth(n, pieces=pieces)) for n in held]
    return pd.DataFrame(rows, columns=["arc", "pieces", "width", *CurvedTruth._fields])

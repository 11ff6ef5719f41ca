"""A world matched to a suite of SAEs: its oracles, which introduce nothing, have the suite's FVU at its
widths and L0, and its x a squared norm that is as linear in x.

The rule of the match looks at no linear or nonlinear part of an error and at no norm of one. It was written
before a slope of its own was seen, and after a review had reported one (−4.8%, all widths) of a fit by FVU
and L0 alone. Nelder-Mead over the four `DIALS`, once from each of `STARTS`, `EVALUATIONS` worlds each, on

    distance² = mean over widths of log(FVU / the suite's)² + log(L0 / the suite's)²  +  (R² − the study's)²

with R² that of ‖x‖² from x. Near are the worlds visited that miss no FVU, L0 and R² by more than `MISS`. Some
of them, as far apart as they lie, are drawn anew, and every interval is that of one more draw of one more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize

from ..base.cache import kept
from ..base.values import Absent, Estimate
from ..measurement.widths import WIDTHS, Suite, one_l0, suite_rows, wide, width_suite
from ..stats.fits import centre, cross_fit, moments_by_fold
from ..stats.intervals import apart, student_spread
from ..worlds.known import tokens_of
from ..worlds.saes import OracleSae
from ..worlds.world import World
from .nulls import oracles
from .scaling import per_doubling

DIALS = {"exponent": (1.5, 0.15), "l0": (2.0, 0.3), "spread": (0.7, 0.15), "common": (0.2, 0.1)}
"""Where each dial of a world starts and its first step; l0 is a multiple of the suite's L0."""
BOUNDS = {"exponent": (0.3, 3.0), "l0": (1.0, 6.0), "spread": (0.05, 3.0), "common": (0.0, 1.0)}
STARTS = (1.5, 2.0, 4.0)
"""Numbers of features, as multiples of the widest SAE's width (of 32 d_model, where that is more)."""
EVALUATIONS = 45
"""Worlds looked at from each start."""
SEEDS, DOCUMENTS = 4, 8
"""A world is looked at in so many draws of its directions, with so many documents of each: two draws differ
by 0.8% in FVU, however many documents there are."""
MISS = 0.02
"""How far a near world may be from the suite: as a share of FVU and of L0, and in R²."""
DRAWN = 6
"""At most so many of the near worlds stand for all of them."""
DROP = "norm_drop"
"""R² of ‖SaeError‖² from x less that of ‖NonlinearError‖², as the name of a metric."""


class Target(NamedTuple):
    """What is matched."""

    d_model: int
    widths: tuple[int, ...]
    fvu: tuple[float, ...]  # by width
    l0: float
    linear: float  # R² of ‖x‖² from x

    @property
    def cap(self) -> int:
        """Latents that an oracle may use on a token."""
        return max(1, round(self.l0))

    def world(self, features: int, dials: dict[str, float], *, seed: int) -> World:
        """The world of a number of features and of `DIALS`, drawn from a seed."""
        given = {name: float(dials[name]) for name in DIALS} | {"l0": float(dials["l0"]) * self.l0}
        return World(d_model=self.d_model, features=int(features), seed=seed, **given)


def r2_from_x(x: torch.Tensor, y: torch.Tensor, fold: np.ndarray) -> np.ndarray:
    """R² [column] of the least-squares prediction of y [token, column] from x, `centre` of held out and in
    sample over folds [token]."""
    fits = cross_fit(moments_by_fold(x, y, fold))
    held_out, in_sample = (y - fits.predict(x, fold)) ** 2, (y - fits.overall(x)) ** 2
    left = centre(held_out, in_sample, int(fold.max()) + 1).sum(dim=0)
    return (1 - left / ((y - y.mean(dim=0)) ** 2).sum(dim=0)).numpy()


def look(target: Target, features: int, dials: dict[str, float]) -> dict[str, float]:
    """What the match sees of a world, mean over `SEEDS` draws: "fvu 128"..., "l0 128"... and linear. The mean
    of what an oracle lacks is taken as its bias: it counts as no error, as in a trained SAE."""
    drawn = []
    for seed in range(SEEDS):
        world = target.world(features, dials, seed=seed)
        batch, row = tokens_of(world, DOCUMENTS), {}
        total = ((batch.x - batch.x.mean(dim=0)) ** 2).sum()
        for width in target.widths:
            x_hat, active = OracleSae("", world, width, l0=target.cap).reconstruct(batch)
            error = batch.x - x_hat
            row[f"fvu {width}"] = float(((error - error.mean(dim=0)) ** 2).sum() / total)
            row[f"l0 {width}"] = float(active.double().mean())
        square = (batch.x**2).sum(dim=1, keepdim=True)
        row["linear"] = float(r2_from_x(batch.x, square, batch.document.numpy() % 4)[0])
        drawn.append(row)
    return pd.DataFrame(drawn).mean().to_dict()


def misses(target: Target, seen) -> dict[str, float]:
    """How far a world is off: "missed 128"..., FVU over the suite's − 1; missed, the largest of these, of the
    same for L0 and of |R² − the study's|; and distance, of the module's rule."""
    fvu = np.array([seen[f"fvu {width}"] for width in target.widths]) / np.array(target.fvu)
    l0 = np.array([seen[f"l0 {width}"] for width in target.widths]) / target.l0
    linear = seen["linear"] - target.linear
    distance = np.sqrt((np.log(fvu) ** 2 + np.log(l0) ** 2).mean() + linear**2)
    each = {f"missed {width}": miss for width, miss in zip(target.widths, fvu - 1)}
    largest = max(np.abs(fvu - 1).max(), np.abs(l0 - 1).max(), abs(linear))
    return each | {"missed": float(largest), "distance": float(distance)}


def search(target: Target, *, starts=STARTS, evaluations: int = EVALUATIONS) -> pd.DataFrame:
    """Every world looked at, nearest first: start, features, `DIALS`, what `look` and `misses` say, and near.

    Cost: `SEEDS` × `DOCUMENTS` documents and an oracle a width for each: 0.8 s at 128 dimensions and 8,192
    features.
    """
    widest, rows = max(target.widths[-1], 32 * target.d_model), []
    first, step = (np.array(column) for column in zip(*DIALS.values()))
    simplex = np.vstack([first, first + np.diag(step)])
    for start, many in enumerate(starts):
        features = int(many * widest)

        def far(point) -> float:
            dials = dict(zip(DIALS, map(float, point)))
            seen = look(target, features, dials)
            rows.append({"start": start, "features": features} | dials | seen | misses(target, seen))
            return rows[-1]["distance"]

        budget = {"maxfev": evaluations, "xatol": 0, "fatol": 0, "initial_simplex": simplex}
        minimize(far, first, method="Nelder-Mead", bounds=list(BOUNDS.values()), options=budget)
    table = pd.DataFrame(rows).sort_values("distance", kind="stable", ignore_index=True)
    return table.assign(near=table["missed"] <= MISS)


def spread_out(visited: pd.DataFrame, *, most: int = DRAWN) -> pd.DataFrame:
    """The near worlds that stand for all: the nearest to the suite, then always the one whose dials lie
    farthest from those chosen (in units of `DIALS`' steps, features in doublings). Without a near world, the
    best of each start."""
    near = visited[visited["near"]]
    if not len(near):
        return visited.drop_duplicates("start").reset_index(drop=True)
    at = np.column_stack([near[name] / step for name, (_, step) in DIALS.items()])
    at = np.column_stack([at, np.log2(near["features"])])
    chosen, gap = [0], np.linalg.norm(at - at[0], axis=1)
    while len(chosen) < min(most, len(near)) and gap.max() > 0:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(at - at[chosen[-1]], axis=1))
    return near.iloc[chosen].reset_index(drop=True)


def target_of(measurement) -> Target | Absent:
    """What is matched to a study; absent where its suite consists of null SAEs, or has too few widths."""
    suite = width_suite(measurement, "fvu", l0=(l0 := one_l0(measurement)))
    if len(suite.widths) < WIDTHS or (suite_rows(measurement)["kind"] == "oracle").all():
        return Absent("No match is made here: the study's suite consists of such SAEs, or is no suite.")
    rows = suite_rows(measurement)
    at = {"l0": l0 or float(rows["l0"].mean()), "linear": float(rows["norm_x"].iloc[0])}
    d, fvu = int(measurement.card["d_model"]), tuple(map(float, suite.values))
    return Target(d_model=d, widths=tuple(map(int, suite.widths)), fvu=fvu, **at)


COLUMNS = ["width", "l0", "fvu", "fvu_nonlinear", "r2_total"]
COLUMNS += ["norm_x", "norm_error", "norm_linear", "norm_nonlinear"]
"""What is kept of a drawn oracle; the last four are R² of ‖z‖² from x."""


@kept
def matched(measurement, *, draws: int = 3, documents: int = 60, evaluations=EVALUATIONS) -> dict | Absent:
    """The null of a study's suite.

    ``visited``: `search`. ``worlds``: the rows of `spread_out`, and null: true; last, with null false, the
    first of them without its common part, for comparison. ``draws``: ``draws`` new draws of each, a row a
    width, as `nulls.oracles` scores them: world (row of ``worlds``), draw, seed, `COLUMNS`, and `DROP`. No
    seed of the search is used again. What a world's draws say, on average, is in ``worlds``: linear_anew (R²
    of ‖x‖²), missed_anew (largest miss of FVU), change (of FVU_nonlinear per doubling, widths alike),
    r2_narrow and r2_wide (of the error); and fires, on a token. Absent as `target_of`. Cost: for 128
    dimensions and 6,144 to 16,384 features 135 × 1.1 s and 21 × 3.6 s.
    """
    target = target_of(measurement)
    if not target:
        return target
    visited = search(target, evaluations=evaluations)
    worlds = spread_out(visited).assign(null=True)
    worlds = pd.concat([worlds, worlds.head(1).assign(common=0.0, null=False)], ignore_index=True)
    drawn = []
    for at, draw, world in _anew(target, worlds, draws):
        saes = oracles(world, target.widths, l0=target.cap, documents=documents).saes
        drawn.append(saes[COLUMNS].assign(world=at, draw=draw, seed=world.seed))
    table = pd.concat(drawn, ignore_index=True)
    table[DROP] = table["norm_error"] - table["norm_nonlinear"]
    said = pd.DataFrame([_said(target, rows) for _, rows in table.groupby("world")])
    worlds = worlds.assign(fires=worlds["l0"] * target.l0, **said)
    return {"visited": visited, "worlds": worlds, "draws": table}


def _anew(target: Target, worlds: pd.DataFrame, draws: int) -> Iterator[tuple[int, int, World]]:
    for at, row in enumerate(worlds.to_dict("records")):
        for draw in range(draws):
            yield at, draw, target.world(row["features"], row, seed=SEEDS + at * draws + draw)


def _said(target: Target, rows: pd.DataFrame) -> dict[str, float]:
    """What one world's draws say, on average."""
    mean = rows.groupby("width").mean(numeric_only=True)
    slope = np.polyfit(np.log2(mean.index.to_numpy(float)), np.log2(mean["fvu_nonlinear"]), 1)[0]
    missed = float(np.abs(mean["fvu"].to_numpy() / np.array(target.fvu) - 1).max())
    anew = {"linear_anew": float(mean["norm_x"].iloc[0]), "missed_anew": missed}
    r2 = mean["r2_total"].to_numpy()
    return anew | {"change": float(2**slope - 1), "r2_narrow": r2[0], "r2_wide": r2[-1]}


def null_worlds(measurement, *, draws: int = 3) -> Iterator[tuple[int, int, World]]:
    """(world, draw, the world drawn anew) of every draw of `matched` that the null consists of."""
    worlds = matched(measurement)["worlds"]
    yield from _anew(target_of(measurement), worlds[worlds["null"]], draws)


def one_more(values, replicates: int, *, seed=0) -> np.ndarray:
    """Draws [replicate, ...] of what one more draw of one more group would be, from draws of several groups
    [group, draw, ...], such as worlds of several settings, each made anew some times.

    mean + √((1 + 1/G) ν / χ²_ν) (b + w): b and w normal, with the covariance of the groups' means, and 1 −
    1/S of that of S draws within a group; Student's t with ν = G − 1 degrees of freedom. So not the doubt
    about the groups' mean: that of a single case. With one group its draws stand for groups.
    """
    values = np.asarray(values, float)
    values = values.reshape(-1, 1, *values.shape[2:]) if len(values) < 2 else values
    groups, draws, *rest = values.shape
    if groups < 2:
        return np.full((replicates, *rest), np.nan)
    rng, means = np.random.default_rng(seed), values.mean(axis=1)
    between, within = means - means.mean(axis=0), (values - means[:, None]).reshape(groups * draws, -1)
    drawn = rng.standard_normal((replicates, groups)) @ between.reshape(groups, -1) / np.sqrt(groups - 1)
    noise = rng.standard_normal((replicates, groups * draws)) @ within
    drawn += noise * np.sqrt((1 - 1 / draws) / max(1, groups * (draws - 1)))
    scale = np.sqrt(1 + 1 / groups) * student_spread(1.0, groups - 1, replicates, rng)[:, None]
    return means.mean(axis=0) + (scale * drawn).reshape(replicates, *rest)


def own_suite(measurement, metric: str) -> Suite:
    """The study's own suite; its metric may be `DROP`."""
    of = ("norm_error", "norm_nonlinear") if metric == DROP else (metric, None)
    return width_suite(measurement, of[0], l0=one_l0(measurement), minus=of[1])


def null_suite(measurement, metric: str) -> Suite | Absent:
    """A metric of SAEs that introduce nothing, over the widths of the study's suite: the mean of the null's
    draws (geometric for an FVU), with replicates of one more draw (`one_more`), as many as the
    study has. In a simulated study whose suite holds oracles the suite itself.

    metric: "fvu", "fvu_nonlinear", "r2_total", "norm_x", "norm_error", "norm_linear", "norm_nonlinear", or
    `DROP`. Absent where there are too few widths.
    """
    found, own = matched(measurement), own_suite(measurement, "fvu")
    if not found:
        return own_suite(measurement, metric) if len(own.widths) >= WIDTHS else found
    return drawn_suite(found, metric, like=own)


def drawn_suite(found: dict, metric: str, *, like: Suite) -> Suite:
    """`null_suite` from the tables of `matched`, with the widths of another and as many replicates."""
    cells = found["draws"][found["draws"]["world"].map(found["worlds"]["null"]).to_numpy(bool)]
    table = cells.pivot(index=["world", "draw"], columns="width", values=metric)
    forward, back = (np.log, np.exp) if metric.startswith("fvu") else (np.asarray, np.asarray)
    y = forward(table.to_numpy()).reshape(-1, cells["draw"].nunique(), table.shape[1])
    values, more = back(y.mean(axis=(0, 1))), one_more(y, len(like.replicates), seed=[0, 0x2011])
    count, alone = np.full(len(values), len(table)), np.broadcast_to(values, more.shape)
    return Suite(values, back(more), alone, count, float("nan"), metric, like.widths, like.l0)


def null_change(measurement, *, all_widths: bool = False) -> Estimate | None:
    """The change of FVU_nonlinear per doubling for an SAE that introduces nothing, over the widths of claim 4
    (or all of the suite's), by its slope: that claim's `null`. None with too few widths."""
    null = null_suite(measurement, "fvu_nonlinear")
    null = null if all_widths or not null else wide(measurement, null)
    return per_doubling(null) if null and len(null.widths) >= WIDTHS else None


def beyond_null(measurement, *, all_widths: bool = False) -> Estimate | None:
    """The study's change of FVU_nonlinear per doubling less the null's, with both intervals: the two know
    nothing of each other. None as `null_change`, and in a simulated study, which is its own null."""
    null, own = null_change(measurement, all_widths=all_widths), own_suite(measurement, "fvu_nonlinear")
    if null is None or not matched(measurement):
        return None
    return apart(per_doubling(own if all_widths else wide(measurement, own)), null)

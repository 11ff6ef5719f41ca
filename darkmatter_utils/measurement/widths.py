"""The width suite: SAEs that differ in width at one L0, as one number a width.

Its interval carries documents and seeds: two SAEs of one width, trained from different seeds, can differ by
several document standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..base.values import Absent, Estimate
from ..stats.seeds import Joined, join

WIDTHS = 4
"""Claims 4 and 5: with fewer widths than this, a trend is not tested."""
ONE_L0 = 0.05
"""Claims 4 and 5: SAEs whose L0 differ by more than this share are not at one L0."""
WIDE = 4
"""Claim 4: widths below this multiple of d_model are left out. The paper's SAEs have many more latents than x
has dimensions (§3: m ≫ d; its narrowest 4.6 times as many)."""
BRACKET = 2.0
"""A width is read between two of its SAEs whose L0 differ by at most this factor."""


@dataclass(frozen=True)
class Suite(Joined):
    """A metric over the widths of the suite: what `Joined` has, by width (means are geometric, and the
    standard deviation between seeds is relative, for an FVU)."""

    metric: str
    """The metric's column in `Measurement.saes`."""
    widths: np.ndarray
    """Ascending [width]."""
    l0: float | None = None
    """The L0 that every width was brought to; None: its own."""
    bent: np.ndarray | None = None
    """How far a straight line in log L0 would have read each width elsewhere, in logarithms (an FVU; else as
    it is) [width]: it is in the replicates; None: nothing was read."""

    def estimate(self, width: int) -> Estimate:
        """The value at a width with its 95% interval."""
        return self.estimate_at(int(np.flatnonzero(self.widths == width)[0]))

    def estimates(self) -> dict[int, Estimate]:
        """The value at every width with its interval."""
        return {int(width): self.estimate(width) for width in self.widths}

    def frame(self) -> pd.DataFrame:
        """One row a width: width, seeds, value, low, high."""
        rows = [{"width": width} | e.to_dict() for width, e in self.estimates().items()]
        return pd.DataFrame(rows, columns=["width", "value", "low", "high"]).assign(seeds=self.seeds)

    def without(self, width: int) -> Suite:
        """The suite with one width left out."""
        return self.at(self.widths[self.widths != width])

    def at(self, widths) -> Suite:
        """The suite at some of its widths."""
        keep = np.isin(self.widths, widths)
        by_width = {name: getattr(self, name)[keep] for name in ("values", "seeds", "widths")}
        by_width["bent"] = None if self.bent is None else self.bent[keep]
        drawn = {name: getattr(self, name)[:, keep] for name in ("replicates", "documents_only")}
        return replace(self, **by_width, **drawn)


def suite_rows(measurement, saes: pd.DataFrame | None = None) -> pd.DataFrame:
    """The suite's SAEs; where a study has no suite, all SAEs that have a width."""
    saes = measurement.saes if saes is None else saes
    main = saes[saes["main"].astype(bool)]
    return main if len(main) else saes[saes["width"] > 0]


def over_l0(saes: pd.DataFrame) -> pd.DataFrame | Absent:
    """SAEs of the widths that have several target L0s, a row a width and target: means over seeds of the
    columns that are numbers, and ``latents``, the width in words."""
    saes = saes[saes["l0_target"].notna() & (saes["width"] > 0)]
    several = saes.groupby("width")["l0_target"].nunique()
    cells = saes[saes["width"].isin(several[several > 1].index)]
    if not len(cells):
        return Absent("This study has no SAEs of one width and different L0.")
    cells = cells.groupby(["width", "l0_target"], as_index=False).mean(numeric_only=True)
    return cells.assign(latents=[f"{width:,} latents" for width in cells["width"]])


def one_l0(measurement) -> float | None:
    """The L0 at which the suite's widths are compared; None where its own SAEs are at one, or cannot be.

    It is the L0 nearest to the suite's mean (on a log scale) that lies between two SAEs of every width; there
    is none where the SAEs of some width all lie above, or all below, those of another.
    """
    saes = suite_rows(measurement)
    if not len(saes) or saes["l0"].max() <= saes["l0"].min() * (1 + ONE_L0) or saes["l0"].min() <= 0:
        return None
    ranges = _comparable(measurement).groupby("width")["l0"].agg(["min", "max"])
    low, high = float(ranges["min"].max()), float(ranges["max"].min())
    return float(np.clip(np.exp(np.log(saes["l0"]).mean()), low, high)) if low <= high else None


def at_each_l0(measurement, metric: str) -> dict[float, Suite]:
    """The widths compared at several L0s: at the suite's own, as it is or read at `one_l0`, and at that times
    powers of √2, as far as SAEs of its widths and kinds go. A width that cannot be read at an L0 is left out.
    {} where nothing can be brought to one L0."""
    low, high = suite_l0(measurement)
    if not 0 < high <= low * (1 + ONE_L0):
        return {}
    own, edge = float(np.sqrt(low * high)), np.log2(1 + ONE_L0)
    others = np.log2(_comparable(measurement)["l0"]) - np.log2(own)
    first, last = np.ceil(2 * (others.min() - edge)), np.floor(2 * (others.max() + edge))
    levels = {step: own * 2 ** (step / 2) for step in np.arange(first, last + 1)}
    read = lambda step, l0: width_suite(measurement, metric, l0=l0 if step else one_l0(measurement))
    return {l0: read(step, l0) for step, l0 in levels.items()}


def wide(measurement, suite: Suite) -> Suite:
    """A suite without the widths below `WIDE` × d_model."""
    return suite.at(suite.widths[suite.widths >= WIDE * measurement.card["d_model"]])


def suite_l0(measurement) -> tuple[float, float]:
    """The smallest and the largest realised L0 of what the widths are compared at."""
    l0, found = one_l0(measurement), suite_rows(measurement)["l0"]
    return (l0, l0) if l0 is not None else (float(found.min()), float(found.max()))


def reference_sae(measurement, *, factor: int = 8) -> str:
    """Id of the suite's SAE of a width nearest to `factor` × d_model: the one single figures show."""
    saes = suite_rows(measurement)
    off = np.abs(np.log2(saes["width"].to_numpy(float) / (factor * measurement.card["d_model"])))
    return str(saes["id"].iloc[int(np.argmin(off))])


def first_seeds(measurement) -> pd.DataFrame:
    """The suite's SAEs, the first seed of each width, narrow to wide."""
    return suite_rows(measurement).sort_values(["width", "seed"], kind="stable").drop_duplicates("width")


def ends(measurement) -> tuple[str, str]:
    """Ids of the narrowest and the widest SAE of the suite (first seed)."""
    ids = first_seeds(measurement)["id"]
    return str(ids.iloc[0]), str(ids.iloc[-1])


def _comparable(measurement) -> pd.DataFrame:
    """The SAEs of the suite's widths and kinds, whatever their L0."""
    saes, main = measurement.saes.reset_index(drop=True), suite_rows(measurement)
    there = saes[["width", "kind"]].apply(tuple, axis=1).isin(set(zip(main["width"], main["kind"])))
    return saes[there & (saes["l0"] > 0)]


def width_suite(measurement, metric: str, *, l0: float | None = None, minus: str | None = None) -> Suite:
    """The suite's SAEs joined over seeds by `over_widths`, for a metric with document replicates, or for what
    it is more than another, ``minus``; with ``l0`` the SAEs of its widths and kinds, whatever their L0, read
    at that one."""
    all_saes = measurement.saes.reset_index(drop=True)
    saes = suite_rows(measurement, all_saes) if l0 is None else _comparable(measurement)
    of = lambda name: (saes[name].to_numpy(float), np.asarray(measurement.replicates[name])[:, saes.index])
    values, replicates = of(metric)
    if minus is not None:
        values, replicates, metric = values - of(minus)[0], replicates - of(minus)[1], f"less {minus}"
    return over_widths(saes, values, replicates, metric, l0=l0)


def over_widths(saes: pd.DataFrame, values, replicates, metric: str, *, l0=None, seed: int = 0) -> Suite:
    """A number of each SAE, values [sae] with replicates over documents [replicate, sae], as one a width:
    joined over seeds as `join` says, with y the log of an FVU and any other number itself. saes: one row
    each, width and seed (with ``l0``, also l0 and l0_target).

    With ``l0``, y is read at it by the parabola in log L0 through a width's three nearest SAEs, or the line
    through two; a width without two around it (`BRACKET`) or one at it (`ONE_L0`) is left out. Each replicate
    also gets a normal draw, its standard deviation the distance from parabola to line (of two SAEs: the
    largest of the others): the line's own error, were the parabola true.
    """
    saes = saes.reset_index(drop=True).sort_values(["width", "seed"], kind="stable")
    forward, back = (np.log, np.exp) if metric.startswith("fvu") else (np.asarray, np.asarray)
    # A cell is what differs by its training seed only; without l0 that is a width.
    cell_of = ["width"] if l0 is None else ["width", "l0_target" if saes["l0_target"].notna().all() else "l0"]
    cell = saes.groupby(cell_of).ngroup().to_numpy()
    widths, first = np.unique(saes.groupby(cell)["width"].first().to_numpy(), return_inverse=True)
    y, drawn = forward(values[saes.index]), forward(replicates[:, saes.index])
    if l0 is None:
        made, bent, added = join(y, drawn, cell, seed=[seed, 0x5EED]), None, 0.0
    else:
        at = np.log(saes.groupby(cell)["l0"].mean().to_numpy() / l0)
        widths, weights, lines = _readings(at, first, widths)
        bent = pd.Series(y).groupby(cell).mean().to_numpy() @ (lines - weights)
        bent = np.where((weights != 0).sum(axis=0) == 2, np.abs(bent).max(initial=0.0), np.abs(bent))
        made = join(y, drawn, cell, weights=weights, seed=[seed, 0x5EED])
        added = bent * np.random.default_rng([seed, 0xBE27]).standard_normal(made.replicates.shape)
    scaled = (back(a) for a in (made.values, made.replicates + added, made.documents_only))
    return Suite(*scaled, made.seeds, made.seed_sd, metric, widths, l0, bent)


def _readings(at: np.ndarray, first, widths) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the widths that can be read, their weights [cell, width], those of the line through two cells), from
    log (L0 / the wanted one) of every cell."""
    found = {}
    for column, width in enumerate(widths):
        mine = np.flatnonzero(first == column)
        mine = mine[np.abs(at[mine]).argsort(kind="stable")]
        if len(pair := _pair(at[mine])):
            third = [k for k in range(len(mine)) if all(_differ(at[mine], k, p) for p in pair)]
            third = third[: len(pair) == 2]
            found[width] = [_lagrange(at, mine[[*pair, *more]]) for more in (third, [])]
    read, lines = (np.zeros((len(at), len(found))) for _ in range(2))
    for column, both in enumerate(found.values()):
        read[:, column], lines[:, column] = both
    return np.array(list(found), widths.dtype), read, lines


def _pair(at: np.ndarray) -> list[int]:
    """Which of a width's cells, the nearest first, a line is drawn through: the two nearest around 0; where
    the first lies at it, it and the next if that is near; else none."""
    if abs(at[0]) < 1e-9:
        return [0]
    near = [k for k in range(1, len(at)) if abs(at[k] - at[0]) <= np.log(BRACKET) + 1e-9]
    if around := [k for k in near if at[k] * at[0] <= 0]:
        return [0, around[0]]
    if abs(at[0]) > np.log(1 + ONE_L0):
        return []
    return [0, *[k for k in near if _differ(at, 0, k)][:1]]


def _differ(at: np.ndarray, one: int, other: int) -> bool:
    """Whether two cells are not at one L0."""
    return abs(at[one] - at[other]) > np.log(1 + ONE_L0)


def _lagrange(at: np.ndarray, cells) -> np.ndarray:
    """Weights [cell] of the value at 0 of the polynomial through ``cells``."""
    weights = np.zeros(len(at))
    for cell in cells:
        weights[cell] = np.prod([-at[k] / (at[cell] - at[k]) for k in cells if k != cell])
    return weights

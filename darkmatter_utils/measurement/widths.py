"""The width suite: SAEs that differ in width at one L0, as one number a width.

Its interval carries documents and seeds: two SAEs of one width, trained from different seeds, can differ by
several document standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..base.errors import BadInput
from ..base.values import Absent, Estimate
from ..stats.intervals import Joined, join

WIDTHS = 4
"""Claims 4 and 5: with fewer widths than this, a trend is not tested."""
ONE_L0 = 0.05
"""Claims 4 and 5: SAEs whose L0 differ by more than this share are not at one L0."""


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
        keep = self.widths != width
        by_width = {"values": self.values[keep], "seeds": self.seeds[keep], "widths": self.widths[keep]}
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


def width_suite(measurement, metric: str, *, l0: float | None = None) -> Suite:
    """The suite's SAEs joined over seeds by `over_widths`, for a metric with document replicates. With ``l0``
    (of `one_l0`), y is linear in log L0 between a width's nearest SAEs; BadInput where one side has none."""
    all_saes = measurement.saes.reset_index(drop=True)
    saes = suite_rows(measurement, all_saes) if l0 is None else _comparable(measurement)
    replicates = np.asarray(measurement.replicates[metric])[:, saes.index]
    return over_widths(saes, saes[metric].to_numpy(float), replicates, metric, l0=l0)


def over_widths(saes: pd.DataFrame, values, replicates, metric: str, *, l0=None, seed: int = 0) -> Suite:
    """A number of each SAE, values [sae] with replicates over documents [replicate, sae], as one a width:
    joined over seeds as `join` says, with y the log of an FVU and any other number itself. saes: one row
    each, width and seed (with ``l0``, also l0 and l0_target)."""
    saes = saes.reset_index(drop=True).sort_values(["width", "seed"], kind="stable")
    forward, back = (np.log, np.exp) if metric.startswith("fvu") else (np.asarray, np.asarray)
    # A cell is what differs by its training seed only; without l0 that is a width.
    cell_of = ["width"] if l0 is None else ["width", "l0_target" if saes["l0_target"].notna().all() else "l0"]
    cell = saes.groupby(cell_of).ngroup().to_numpy()
    widths, first = np.unique(saes.groupby(cell)["width"].first().to_numpy(), return_inverse=True)
    y, drawn = forward(values[saes.index]), forward(replicates[:, saes.index])
    weights = None if l0 is None else _between(saes, cell, widths, first, l0)
    made = join(y, drawn, cell, weights=weights, seed=[seed, 0x5EED])
    scaled = (back(a) for a in (made.values, made.replicates, made.documents_only))
    return Suite(*scaled, made.seeds, made.seed_sd, metric, widths, l0)


def _between(saes: pd.DataFrame, cell, widths, first, l0: float) -> np.ndarray:
    """Weights [cell, width] that read each width at ``l0``, linearly in log L0 between two cells."""
    at, wanted = np.log(saes.groupby(cell)["l0"].mean().to_numpy()), np.log(l0)
    weights = np.zeros((len(at), len(widths)))
    for column, width in enumerate(widths):
        mine = np.flatnonzero(first == column)
        mine = mine[np.argsort(at[mine])]
        right = int(np.searchsorted(at[mine], wanted))
        nearest = mine[min(right, len(mine) - 1)]
        if 0 < right < len(mine):
            low, high = mine[right - 1], mine[right]
            share = (wanted - at[low]) / (at[high] - at[low])
            weights[low, column], weights[high, column] = 1 - share, share
        elif np.isclose(at[nearest], wanted):
            weights[nearest, column] = 1.0
        else:
            raise BadInput(f"no two SAEs of {width:,} latents lie around an L0 of {l0:.3g}")
    return weights

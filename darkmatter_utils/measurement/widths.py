"""The width suite: SAEs that differ in width at one L0, as one number a width whose interval carries
documents and seeds.

Documents alone give too short an interval for a trend over widths: two SAEs of one width, trained from
different seeds, can differ by several document standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..base.errors import BadInput
from ..base.values import Estimate

WIDTHS = 4
"""Claims 4 and 5: with fewer widths than this, a trend is not tested."""
ONE_L0 = 0.05
"""Claims 4 and 5: SAEs whose L0 differ by more than this share are not at one L0."""


@dataclass(frozen=True)
class Suite:
    """A metric over the widths of the suite."""

    metric: str
    """The metric's column in `Measurement.saes`."""
    widths: np.ndarray
    """Ascending [width]."""
    values: np.ndarray
    """Mean over the seeds of each width [width] (geometric for an FVU)."""
    replicates: np.ndarray
    """Bootstrap replicates of the values [replicate, width]; one row is one draw of documents and of seeds.
    """
    documents_only: np.ndarray
    """The same without the draw of seeds: how much of the interval is due to documents."""
    seeds: np.ndarray
    """Trained SAEs at each width [width]."""
    seed_sd: float
    """Standard deviation between seeds of one width: relative for an FVU; NaN where no width has two seeds.
    """
    l0: float | None = None
    """The L0 that every width was brought to; None: its own."""

    def estimate(self, width: int) -> Estimate:
        """The value at a width with its 95% interval."""
        column = int(np.flatnonzero(self.widths == width)[0])
        return estimate(self.values[column], self.replicates[:, column])

    def estimates(self) -> dict[int, Estimate]:
        """The value at every width with its interval."""
        return {int(width): self.estimate(width) for width in self.widths}

    def frame(self) -> pd.DataFrame:
        """One row a width: width, seeds, value, low, high."""
        rows = [
            {"width": width, "value": e.value, "low": e.low, "high": e.high}
            for width, e in self.estimates().items()
        ]
        return pd.DataFrame(rows, columns=["width", "value", "low", "high"]).assign(seeds=self.seeds)

    def without(self, width: int) -> Suite:
        """The suite with one width left out."""
        keep = self.widths != width
        return Suite(
            self.metric,
            self.widths[keep],
            self.values[keep],
            self.replicates[:, keep],
            self.documents_only[:, keep],
            self.seeds[keep],
            self.seed_sd,
            self.l0,
        )


def suite_rows(measurement, saes: pd.DataFrame | None = None) -> pd.DataFrame:
    """The suite's SAEs; where a study has no suite, all SAEs that have a width."""
    saes = measurement.saes if saes is None else saes
    main = saes[saes["main"].astype(bool)]
    return main if len(main) else saes[saes["width"] > 0]


def estimate(value: float, replicates: np.ndarray) -> Estimate:
    """A value with the 2.5 and 97.5 percentiles of its replicates."""
    low, high = np.nanpercentile(replicates, [2.5, 97.5])
    return Estimate(float(value), float(low), float(high))


def one_l0(measurement) -> float | None:
    """The L0 at which the suite's widths are compared, where its own SAEs are not at one; None: they are, or
    cannot be.

    Widths cannot be brought to one L0 where the SAEs of some width all lie above, or all below, those of
    another. Else it is the L0 nearest to the suite's mean (on a log scale) that lies between two SAEs of
    every width.
    """
    saes = suite_rows(measurement)
    if not len(saes) or saes["l0"].max() <= saes["l0"].min() * (1 + ONE_L0) or saes["l0"].min() <= 0:
        return None
    ranges = _comparable(measurement).groupby("width")["l0"].agg(["min", "max"])
    low, high = float(ranges["min"].max()), float(ranges["max"].min())
    return float(np.clip(np.exp(np.log(saes["l0"]).mean()), low, high)) if low <= high else None


def suite_l0(measurement) -> tuple[float, float]:
    """The smallest and the largest realised L0 of what the widths are compared at: one number, where they are
    brought to one."""
    if (l0 := one_l0(measurement)) is not None:
        return l0, l0
    found = suite_rows(measurement)["l0"]
    return float(found.min()), float(found.max())


def _comparable(measurement) -> pd.DataFrame:
    """The SAEs of the suite's widths and kinds, whatever their L0."""
    saes, main = measurement.saes.reset_index(drop=True), suite_rows(measurement)
    there = saes[["width", "kind"]].apply(tuple, axis=1).isin(set(zip(main["width"], main["kind"])))
    return saes[there & (saes["l0"] > 0)]


def width_suite(measurement, metric: str, *, l0: float | None = None, seed: int = 0) -> Suite:
    """The `main` SAEs of a measurement, joined over seeds, for a metric with document replicates.

    y = log FVU (or R² itself) of seed s at width w is taken as μ_w + u_ws with u of one variance σ² for all
    widths, estimated over the widths that have several seeds with ν degrees of freedom. Replicate b of a
    width is the mean of the seeds' y on one resample of documents, plus σ_b z / sqrt(seeds), σ_b² = σ² ν /
    χ²_ν: so a width trained once gets its share of doubt from the others, and the doubt about σ itself is
    carried too. With ``l0`` (of `one_l0`), y of a width is linear in log L0 between its two nearest SAEs;
    BadInput where a width has none on one side.
    """
    all_saes = measurement.saes.reset_index(drop=True)
    saes = suite_rows(measurement, all_saes) if l0 is None else _comparable(measurement)
    saes = saes.sort_values(["width", "seed"], kind="stable")
    log = metric.startswith("fvu")
    forward, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    values = forward(saes[metric].to_numpy(float))
    replicates = forward(np.asarray(measurement.replicates[metric])[:, saes.index])
    # A cell is what differs by its training seed only; without l0 that is a width.
    cell_of = ["width"] if l0 is None else ["width", "l0_target" if saes["l0_target"].notna().all() else "l0"]
    cell = saes.groupby(cell_of).ngroup().to_numpy()
    count = np.bincount(cell)
    seeds = np.zeros((len(values), len(count)))
    seeds[np.arange(len(values)), cell] = 1 / count[cell]
    widths, first = np.unique(saes.groupby(cell)["width"].first().to_numpy(), return_inverse=True)
    join = seeds @ (np.eye(len(widths))[first] if l0 is None else _between(saes, cell, widths, first, l0))
    mean, documents = values @ join, replicates @ join
    freedom = int((count - 1).sum())
    variance = float(((values - (values @ seeds)[cell]) ** 2).sum() / freedom) if freedom else 0.0
    rng = np.random.default_rng([seed, 0x5EED])
    spread = (
        np.sqrt(variance * freedom / rng.chisquare(freedom, size=(len(documents), 1))) if freedom else 0.0
    )
    drawn = documents + spread * rng.standard_normal(documents.shape) * np.sqrt((join**2).sum(axis=0))
    return Suite(
        metric,
        widths,
        back(mean),
        back(drawn),
        back(documents),
        (join > 0).sum(axis=0),
        float(np.sqrt(variance)) if freedom else float("nan"),
        l0,
    )


def _between(
    saes: pd.DataFrame, cell: np.ndarray, widths: np.ndarray, first: np.ndarray, l0: float
) -> np.ndarray:
    """Weights [cell, width] that read each width at ``l0``: linear in log L0 between its two nearest
    cells."""
    at = np.log(saes.groupby(cell)["l0"].mean().to_numpy())
    weights = np.zeros((len(at), len(widths)))
    for column, width in enumerate(widths):
        mine = np.flatnonzero(first == column)
        mine = mine[np.argsort(at[mine])]
        right = int(np.searchsorted(at[mine], np.log(l0)))
        if right == 0 and np.isclose(at[mine[0]], np.log(l0)):
            weights[mine[0], column] = 1.0
        elif right == len(mine) and np.isclose(at[mine[-1]], np.log(l0)):
            weights[mine[-1], column] = 1.0
        elif right in (0, len(mine)):
            raise BadInput(f"no two SAEs of {width:,} latents lie around an L0 of {l0:.3g}")
        else:
            low, high = mine[right - 1], mine[right]
            share = (np.log(l0) - at[low]) / (at[high] - at[low])
            weights[low, column], weights[high, column] = 1 - share, share
    return weights

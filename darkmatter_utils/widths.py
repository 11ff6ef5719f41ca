"""The width suite: SAEs that differ in width at one L0, as one number a width whose interval carries
documents and seeds.

Documents alone give too short an interval for a trend over widths: two SAEs of one width, trained from
different seeds, can differ by several document standard errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .metrics import Estimate


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


def width_suite(measurement, metric: str, *, seed: int = 0) -> Suite:
    """The `main` SAEs of a measurement, joined over seeds, for a metric with document replicates.

    y = log FVU (or R² itself) of seed s at width w is taken as μ_w + u_ws with u of one variance σ² for all
    widths, estimated over the widths that have several seeds with ν degrees of freedom. Replicate b of a
    width is the mean of the seeds' y on one resample of documents, plus σ_b z / sqrt(seeds), σ_b² = σ² ν /
    χ²_ν: so a width trained once gets its share of doubt from the others, and the doubt about σ itself is
    carried too.
    """
    saes = suite_rows(measurement, measurement.saes.reset_index(drop=True))
    saes = saes.sort_values(["width", "seed"], kind="stable")
    log = metric.startswith("fvu")
    forward, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    values = forward(saes[metric].to_numpy(float))
    replicates = forward(np.asarray(measurement.replicates[metric])[:, saes.index])
    widths, group = np.unique(saes["width"].to_numpy(), return_inverse=True)
    count = np.bincount(group, minlength=len(widths))
    join = np.zeros((len(values), len(widths)))
    join[np.arange(len(values)), group] = 1 / count[group]
    mean, documents = values @ join, replicates @ join
    freedom = int((count - 1).sum())
    variance = float(((values - mean[group]) ** 2).sum() / freedom) if freedom else 0.0
    rng = np.random.default_rng([seed, 0x5EED])
    spread = (
        np.sqrt(variance * freedom / rng.chisquare(freedom, size=(len(documents), 1))) if freedom else 0.0
    )
    drawn = documents + spread * rng.standard_normal(documents.shape) / np.sqrt(count)
    return Suite(
        metric,
        widths,
        back(mean),
        back(drawn),
        back(documents),
        count,
        float(np.sqrt(variance)) if freedom else float("nan"),
    )

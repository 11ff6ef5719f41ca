"""Numbers of trained SAEs, joined over their training seeds: the interval carries documents and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..base.values import Estimate
from .intervals import percentile, student_spread


@dataclass(frozen=True)
class Joined:
    """Numbers of several targets, each joined over SAEs that differ by their training seed."""

    values: np.ndarray
    """Mean over the seeds of each target [target]."""
    replicates: np.ndarray
    """Replicates of the values [replicate, target]; one row is one draw of documents and of seeds."""
    documents_only: np.ndarray
    """The same without the draw of seeds: how much of the interval is due to documents."""
    seeds: np.ndarray
    """Trained SAEs behind each target [target]."""
    seed_sd: float
    """Standard deviation between seeds of one target; NaN where none has two seeds."""

    def estimate_at(self, target: int) -> Estimate:
        """The value of one target with its interval."""
        return percentile(self.values[target], self.replicates[:, target])

    @property
    def one_seed(self) -> np.ndarray:
        """The draw of seeds alone, with the whole spread of one seed [replicate, target]."""
        return (self.replicates - self.documents_only) * np.sqrt(self.seeds)


def join(
    values: np.ndarray, replicates: np.ndarray, cell: np.ndarray, *, weights=None, seed=0, order: str = "C"
) -> Joined:
    """Numbers of trained SAEs, values [sae] and their replicates over documents [replicate, sae], those of
    `bootstrap`, joined over seeds.

    SAEs of one cell [sae] (0, 1, ...) differ by their seed only. The number y of seed s in cell w is taken as
    μ_w + u_ws with u of one variance σ² for all cells, estimated over those that have several seeds with ν
    degrees of freedom. A target is the mean of a cell, or of cells by ``weights`` [cell, target]. Replicate b
    of a target Σ a y is that of one resample of documents plus σ_b z √(Σ a²), z normal and σ_b² = σ² ν /
    χ²_ν: so what was trained once gets its share of doubt from the others, and the doubt about σ itself is
    carried too. With one seed each, nothing is known of seeds and nothing is added. order: z is drawn
    replicate by replicate ("C") or target by target ("F").
    """
    share = np.eye(cell.max(initial=-1) + 1)[cell] / np.bincount(cell)[cell][:, None]
    freedom, left = len(cell) - share.shape[1], values - (values @ share)[cell]
    variance = float((left**2).sum() / freedom) if freedom else 0.0
    weights = share if weights is None else share @ weights
    documents, rng = replicates @ weights, np.random.default_rng(seed)
    spread = student_spread(variance, freedom, len(documents), rng)[:, None]
    z = rng.standard_normal(documents.size).reshape(documents.shape, order=order)
    drawn = documents + spread * z * np.sqrt((weights**2).sum(axis=0))
    seed_sd = float(np.sqrt(variance)) if freedom else float("nan")
    return Joined(values @ weights, drawn, documents, (weights != 0).sum(axis=0), seed_sd)


def seed_effects(seeds: np.ndarray, replicates: int, *, seed=0) -> np.ndarray:
    """Draws of the effect that training has on the mean over a cell's ``seeds`` [cell], in units of one
    seed's standard deviation [cell, replicate]: for numbers of pairs of SAEs, where a cell's draw must be the
    same in all of its pairs."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((len(seeds), replicates)) / np.sqrt(seeds)[:, None]
    return normal * student_spread(1.0, int((seeds - 1).sum()), replicates, rng)

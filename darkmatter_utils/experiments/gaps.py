"""Numbers of trained SAEs joined over their seeds, and differences between them, with intervals that carry
both.

A replicate resamples what the number is a mean over (documents, or latents) and adds a draw of the difference
between seeds: its variance is taken as one for all targets of a kind, since three seeds say little of one
target alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..measurement.results import Tables
from ..stats.intervals import join, multinomial_weights, percentile
from .components import NOISE, PARTS
from .features import MATCHED, OWN

REPLICATES = 2000
PAIR = ("LinearError", "NonlinearError")
"""The two parts that claim 7 compares."""


@dataclass(frozen=True)
class Number:
    """A number of one target: the mean over its seeds."""

    value: float
    replicates: np.ndarray
    """[replicate]"""
    seeds: tuple[float, ...]
    """The number of each seed alone."""

    @property
    def estimate(self) -> Estimate:
        """The value with its 95% interval."""
        return percentile(self.value, self.replicates)

    def __sub__(self, other: Number) -> Number:
        """The difference, replicate by replicate."""
        return Number(self.value - other.value, self.replicates - other.replicates, ())


def by_target(
    values: Mapping[str, np.ndarray], replicates: Mapping[str, np.ndarray], *, seed=0
) -> dict[str, Number]:
    """Targets of a kind, each with its seeds: ``values`` [seed], ``replicates`` [replicate, seed].
    Joined over seeds by `join`, with one variance between seeds for all targets of a kind.
    """
    cell = np.repeat(np.arange(len(values)), [len(v) for v in values.values()])
    drawn = np.hstack([replicates[name] for name in values])
    made = join(np.concatenate(list(values.values())), drawn, cell, seed=seed, order="F")
    return {
        name: Number(float(made.values[i]), made.replicates[:, i], tuple(map(float, v)))
        for i, (name, v) in enumerate(values.items())
    }


def fvus(documents: pd.DataFrame, by: str, targets, *, seed: int = 0) -> dict[str, Number]:
    """FVU of ``targets`` of a kind read ``by`` something, over documents (the same draws for all kinds) and
    seeds."""
    values, replicates = {}, {}
    mine = documents[(documents["by"] == by) & documents["reads"].isin(targets)]
    weights = multinomial_weights(mine["document"].nunique(), REPLICATES, seed=seed) if len(mine) else None
    for target, table in mine.groupby("reads", sort=False):
        sums = [g.sort_values("document")[["residual", "total"]].to_numpy() for _, g in table.groupby("seed")]
        drawn = [weights @ s for s in sums]
        values[target] = np.array([s[:, 0].sum() / s[:, 1].sum() for s in sums])
        replicates[target] = np.stack([d[:, 0] / d[:, 1] for d in drawn], axis=1)
    return by_target(values, replicates, seed=own_seed(seed, by, *targets)) if values else {}


def detection(latents: pd.DataFrame, by: str, *, deciles=range(1, 11), seed: int = 0) -> dict[str, Number]:
    """Mean accuracy over ``deciles`` of each target's scored latents read ``by`` something: a latent counts
    once, whatever its windows, and latents are what is resampled (within each seed); seeds as in
    `by_target`. A seed with no scored latent is left out, and so is a target with no such seed."""
    values, replicates = {}, {}
    rng = np.random.default_rng(own_seed(seed, by))
    for target, table in latents[latents["by"] == by].groupby("reads", sort=False):
        each = [
            g[[f"d{d}" for d in deciles]].mean(axis=1).dropna().to_numpy() for _, g in table.groupby("seed")
        ]
        if not (each := [e for e in each if len(e)]):
            continue
        values[target] = np.array([e.mean() for e in each])
        drawn = [multinomial_weights(len(e), REPLICATES, seed=rng) @ e / len(e) for e in each]
        replicates[target] = np.stack(drawn, axis=1)
    return by_target(values, replicates, seed=own_seed(seed, by, "seeds")) if values else {}


def evidence(tables: Tables) -> dict:
    """The numbers that the rule of claim 7 takes; ``seeds`` alone, 0, where there are no component SAEs."""
    if not tables:
        return {"seeds": 0}
    linear, nonlinear = PAIR
    own, noise = (fvus(tables["documents"], OWN, kind) for kind in (PARTS, NOISE))
    gap = own[nonlinear] - own[linear]
    noise_gap = noise[f"noise like {nonlinear}"] - noise[f"noise like {linear}"]
    found, control = (detection(tables["latents"], by) for by in (OWN, MATCHED))
    numbers = {
        "fvu_gap": gap.estimate,
        "fvu_excess": (gap - noise_gap).estimate,
        "fvu": {part: own[part].value for part in PAIR},
        "seeds": min(len(j.seeds) for j in own.values()),
    }
    if all(part in d for part in PAIR for d in (found, control)):
        accuracy, control_gap = (d[linear] - d[nonlinear] for d in (found, control))
        numbers |= {"accuracy_gap": accuracy.estimate, "accuracy_excess": (accuracy - control_gap).estimate}
    return numbers


def own_seed(seed: int, *names: str) -> list[int]:
    """A seed of its own for what is named: draws of different kinds are independent."""
    return [seed, *hashlib.sha256("|".join(names).encode()).digest()[:8]]

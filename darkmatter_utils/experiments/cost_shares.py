"""Shares of the loss against shares of the variance: ratios of sums over documents, with paired intervals.

Every statistic here takes sums by name ("ce Sae", "square LinearError", ...) and is what `bootstrap`
resamples: one draw of documents for all replacements, all SAEs and all controls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ..base.values import Estimate
from ..claims import c08_proportional
from ..measurement.widths import Suite, over_widths, suite_rows
from ..stats.intervals import bootstrap, multinomial_weights, percentile
from .cost_contexts import OTHER
from .costs import CLEAN, KINDS, SAE, control, with_part

Statistic = Callable[[dict[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Costs:
    """The tables of `costs.cost_tables`, and how their intervals are made."""

    losses: pd.DataFrame
    sizes: pd.DataFrame
    replicates: int = 1000
    """Resamples of documents behind an interval."""
    seed: int = 0

    @cached_property
    def documents(self) -> np.ndarray:
        """The documents that the contexts are of, ascending."""
        return np.sort(self.losses["document"].unique())

    @cached_property
    def saes(self) -> list[str]:
        """Ids of the SAEs, in the order in which they were run."""
        return self.sizes["sae"].drop_duplicates().tolist()

    @cached_property
    def controlled(self) -> dict[str, list[str]]:
        """{SAE: kinds of control that were run for it}."""
        made = self.losses[["sae", "replacement"]].drop_duplicates()
        names = made.groupby("sae")["replacement"].apply(set).to_dict()
        kinds = {id: [k for k in KINDS if control(k, "SaeError") in names.get(id, ())] for id in self.saes}
        return {id: found for id, found in kinds.items() if found}

    def sums(self, sae: str) -> dict[str, np.ndarray]:
        """Every sum that an SAE's statistics take, each [document]."""
        losses = self.losses[self.losses["sae"].isin(["", sae])]
        table = losses.pivot(
            index="document", columns="replacement", values=["tokens", "ce", "kl"]
        ).sort_index()
        found = {f"{measure} {name}": table[measure, name].to_numpy(float) for measure, name in table.columns}
        sizes = self.sizes[self.sizes["sae"] == sae]
        sizes = sizes.pivot(index="document", columns="part", values=["square", "norm"]).sort_index()
        return found | {f"{what} {part}": sizes[what, part].to_numpy(float) for what, part in sizes.columns}

    def score(self, sae: str, statistic: Statistic) -> tuple[Estimate, np.ndarray]:
        """A statistic of one SAE with its interval over documents, and its replicates [replicate]."""
        return bootstrap(statistic, self._sums[sae], weights=self._weights)

    def estimate(self, sae: str, statistic: Statistic) -> Estimate:
        """A statistic of one SAE with its interval over documents."""
        return self.score(sae, statistic)[0]

    def with_losses(self, more: pd.DataFrame) -> Costs:
        """The same with further replacements of the same contexts."""
        return Costs(
            pd.concat([self.losses, more], ignore_index=True), self.sizes, self.replicates, self.seed
        )

    @cached_property
    def _sums(self) -> dict[str, dict[str, np.ndarray]]:
        return {sae: self.sums(sae) for sae in self.saes}

    @cached_property
    def _weights(self) -> np.ndarray:
        return multinomial_weights(len(self.documents), self.replicates, seed=self.seed)


def recovered(measure: str, replacement: str) -> Statistic:
    """Share of the loss lost to Sae(x) that another replacement wins back: (L_sae − L) / (L_sae −
    L_clean)."""
    return lambda s: (
        (s[f"{measure} {SAE}"] - s[f"{measure} {replacement}"])
        / (s[f"{measure} {SAE}"] - s[f"{measure} {CLEAN}"])
    )


def won_back(measure: str, part: str, kind: str = "") -> Statistic:
    """Share of the lost ``measure`` ("ce" or "kl") that adding ``part`` to Sae(x) wins back: the paper's
    percentage.

    With a ``kind`` of control all vectors are replaced by controls of their norms: x + control of SaeError
    stands for Sae(x), x + control of the other part for Sae(x) + part.
    """
    if not kind:
        return recovered(measure, with_part(part))
    whole, rest = (f"{measure} {control(kind, name)}" for name in ("SaeError", OTHER[part]))
    return lambda s: (s[whole] - s[rest]) / (s[whole] - s[f"{measure} {CLEAN}"])


def alone(measure: str, part: str, kind: str = "") -> Statistic:
    """Share of the lost ``measure`` that is lost when ``part`` alone is taken from x."""
    if not kind:
        other = won_back(measure, OTHER[part])
        return lambda s: 1 - other(s)
    whole, own = (f"{measure} {control(kind, name)}" for name in ("SaeError", part))
    clean = f"{measure} {CLEAN}"
    return lambda s: (s[own] - s[clean]) / (s[whole] - s[clean])


def both_orders(measure: str, part: str, kind: str = "") -> Statistic:
    """The mean of `won_back` and `alone`: shares that add up to 1 over the parts (Shapley's value)."""
    first, last = won_back(measure, part, kind), alone(measure, part, kind)
    return lambda s: (first(s) + last(s)) / 2


def of_size(what: str, part: str) -> Statistic:
    """Share of Σ‖e‖² ("square": of FVU) or of Σ‖e‖ ("norm") that adding ``part`` to Sae(x) removes."""
    return lambda s: 1 - s[f"{what} {OTHER[part]}"] / s[f"{what} SaeError"]


def relative(measure: str, part: str, kind: str = "", share=won_back) -> Statistic:
    """Share of the loss over share of the variance: 1 where a part costs its proportional share."""
    loss, variance = share(measure, part, kind), of_size("square", part)
    return lambda s: loss(s) / variance(s)


def lost(measure: str, replacement: str) -> Statistic:
    """Nats per token that a replacement costs."""
    return lambda s: (s[f"{measure} {replacement}"] - s[f"{measure} {CLEAN}"]) / s[f"tokens {CLEAN}"]


def against_control(measure: str, part: str, kind: str) -> Statistic:
    """The cost of taking a part from x over that of its control: how many times worse than a vector of its
    norm."""
    own = SAE if part == "SaeError" else with_part(OTHER[part])
    return lambda s: (
        (s[f"{measure} {own}"] - s[f"{measure} {CLEAN}"])
        / (s[f"{measure} {control(kind, part)}"] - s[f"{measure} {CLEAN}"])
    )


def by_width(measurement, costs: Costs, statistic: Statistic, *, only: Sequence[str] | None = None) -> Suite:
    """A statistic over the widths of the suite, with intervals that carry documents and training seeds."""
    saes = suite_rows(measurement)
    saes = saes[saes["id"].isin(costs.saes if only is None else only)]
    scores = [costs.score(id, statistic) for id in saes["id"]]
    replicates = (
        np.stack([drawn for _, drawn in scores], axis=1) if scores else np.empty((costs.replicates, 0))
    )
    values = np.array([score.value for score, _ in scores])
    return over_widths(saes, values, replicates, "share", seed=costs.seed)


def slopes(
    measurement, costs: Costs, *, measure: str = "ce", share=won_back, part: str = "NonlinearError"
) -> c08_proportional.Evidence:
    """What the rule of claim 8 takes: slope, and by kind of control its slope and how far it is from the
    error's.

    Slope through the origin of the share of the loss on the share of the variance V over the widths w:
    Σ V_w² ρ_w / Σ V_w² with ρ_w = share / V_w, the mean over seeds. Seeds enter the interval as in
    `over_widths`; a difference between error and control, both on the first seed, gets the whole spread of
    one seed.
    """
    whole = by_width(measurement, costs, relative(measure, part, share=share))
    if not len(whole.widths):
        return c08_proportional.Evidence(None, {}, {})
    weight = by_width(measurement, costs, of_size("square", part)).values ** 2
    found = c08_proportional.Evidence(_weighted(whole.values, whole.replicates, weight), {}, {})
    for kind in KINDS:
        ids = [id for id, kinds in costs.controlled.items() if kind in kinds]
        own, other = (
            by_width(measurement, costs, relative(measure, part, k, share), only=ids) for k in ("", kind)
        )
        here = np.isin(whole.widths, own.widths)
        if not here.any():
            continue
        apart = own.documents_only - other.documents_only + whole.one_seed[:, here]
        found.controls[kind] = _weighted(other.values, other.documents_only, weight[here])
        found.apart[kind] = _weighted(own.values - other.values, apart, weight[here])
    return found


def _weighted(values: np.ndarray, replicates: np.ndarray, weight: np.ndarray) -> Estimate:
    weight = weight / weight.sum()
    return percentile(values @ weight, replicates @ weight)

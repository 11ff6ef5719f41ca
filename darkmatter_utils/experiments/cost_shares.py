"""Shares of the loss against shares of the variance: ratios of sums over documents, with paired intervals.

Every statistic here takes sums by name ("ce Sae", "square LinearError", ...) and is what `bootstrap`
resamples: one draw of documents for all replacements, all SAEs and all controls. Values and intervals are
held out: of the parts under maps of other folds, since what a loss would be under the best map is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from ..base.values import Estimate, in_columns
from ..decomposition.passes import ERRORS
from ..measurement.widths import Suite, over_widths, suite_rows
from ..stats.intervals import bootstrap, multinomial_weights, percentile
from .cost_controls import KINDS
from .replacements import CLEAN, SAE, control, with_part

Statistic = Callable[[dict[str, np.ndarray]], np.ndarray]
OTHER = {"LinearError": "NonlinearError", "NonlinearError": "LinearError"}
"""What is left of SaeError without a part."""
FIRST, LAST, AVERAGE = "added first, as in the paper", "added last", "mean of both orders"
ORDERS = (FIRST, LAST, AVERAGE)
"""When a part is given back: to Sae(x), or to Sae(x) with the other part, which takes it from x. The mean of
the two adds up to 1 over the parts (Shapley's value); neither order does."""


@dataclass(frozen=True)
class Costs:
    """The tables of `replacements.cost_tables`, and how their intervals are made."""

    losses: pd.DataFrame
    sizes: pd.DataFrame
    replicates: int = 1000
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
        names = self.losses.groupby("sae")["replacement"].apply(set).to_dict()
        kinds = {id: [k for k in KINDS if control(k, "SaeError") in names.get(id, ())] for id in self.saes}
        return {id: found for id, found in kinds.items() if found}

    def score(self, sae: str, statistic: Statistic) -> tuple[Estimate, np.ndarray]:
        """A statistic of one SAE with its interval over documents, and its replicates [replicate]."""
        return bootstrap(statistic, self._sums[sae], weights=self._weights)

    def estimate(self, sae: str, statistic: Statistic) -> Estimate:
        """A statistic of one SAE with its interval over documents."""
        return self.score(sae, statistic)[0]

    def with_losses(self, more: pd.DataFrame) -> Costs:
        """The same with further replacements of the same contexts."""
        return replace(self, losses=pd.concat([self.losses, more], ignore_index=True))

    def _sums_of(self, sae: str) -> dict[str, np.ndarray]:
        losses, sizes = self.losses[self.losses["sae"].isin(["", sae])], self.sizes[self.sizes["sae"] == sae]
        paid = losses.pivot(index="document", columns="replacement", values=["tokens", "ce", "kl"])
        size = sizes.pivot(index="document", columns="part", values=["square", "norm"])
        tables = (paid.sort_index(), size.sort_index())
        return {f"{what} {of}": t[what, of].to_numpy(float) for t in tables for what, of in t.columns}

    @cached_property
    def _sums(self) -> dict[str, dict[str, np.ndarray]]:
        """Every sum that an SAE's statistics take, each [document]."""
        return {sae: self._sums_of(sae) for sae in self.saes}

    @cached_property
    def _weights(self) -> np.ndarray:
        return multinomial_weights(len(self.documents), self.replicates, seed=self.seed)


def recovered(measure: str, replacement: str, whole: str = SAE) -> Statistic:
    """Share of the loss under ``whole`` that another one wins back: (L_whole − L) / (L_whole − L_x)."""
    most, rest, clean = (f"{measure} {name}" for name in (whole, replacement, CLEAN))
    return lambda s: (s[most] - s[rest]) / (s[most] - s[clean])


def without(part: str, kind: str = "") -> str:
    """The name of the replacement x − part, or of x + a control with its norm."""
    return control(kind, part) if kind else SAE if part == "SaeError" else with_part(OTHER[part])


def won_back(measure: str, part: str, kind: str = "") -> Statistic:
    """Share of the lost ``measure`` ("ce" or "kl") that adding ``part`` to Sae(x) wins back.

    With a ``kind`` of control all vectors are replaced by controls of their norms: x + control of SaeError
    stands for Sae(x), x + control of the other part for Sae(x) + part.
    """
    return recovered(measure, without(OTHER[part], kind), without("SaeError", kind))


def alone(measure: str, part: str, kind: str = "") -> Statistic:
    """Share of the lost ``measure`` that is lost when ``part`` alone is taken from x: what it wins back when
    it is added last."""
    if not kind:
        other = won_back(measure, OTHER[part])
        return lambda s: 1 - other(s)
    whole, own, clean = (f"{measure} {n}" for n in (control(kind, "SaeError"), control(kind, part), CLEAN))
    return lambda s: (s[own] - s[clean]) / (s[whole] - s[clean])


def _in_order(order: str, first: Statistic, last: Statistic) -> Statistic:
    return {FIRST: first, LAST: last, AVERAGE: lambda s: (first(s) + last(s)) / 2}[order]


def of_loss(measure: str, part: str, kind: str = "", *, order: str) -> Statistic:
    """Share of the lost ``measure`` that a part wins back in one of `ORDERS`."""
    return _in_order(order, won_back(measure, part, kind), alone(measure, part, kind))


def of_size(what: str, part: str, *, order: str = FIRST) -> Statistic:
    """Share of Σ‖e‖² ("square": of FVU) or of Σ‖e‖ ("norm") that adding ``part`` removes, in one of `ORDERS`:
    first 1 − Σ‖other part‖² / Σ‖e‖², last Σ‖part‖² / Σ‖e‖²; equal where the parts are orthogonal."""
    other, own, whole = (f"{what} {name}" for name in (OTHER[part], part, "SaeError"))
    return _in_order(order, lambda s: 1 - s[other] / s[whole], lambda s: s[own] / s[whole])


def relative(measure: str, part: str, kind: str = "", *, order: str = AVERAGE) -> Statistic:
    """Share of the loss over share of the variance: 1 where a part costs its proportional share. In every
    order it is 1 for a loss that is a quadratic form of one size in all directions."""
    loss, variance = of_loss(measure, part, kind, order=order), of_size("square", part, order=order)
    return lambda s: loss(s) / variance(s)


def lost(measure: str, replacement: str) -> Statistic:
    """Nats per token that a replacement costs."""
    return lambda s: (s[f"{measure} {replacement}"] - s[f"{measure} {CLEAN}"]) / s[f"tokens {CLEAN}"]


def against_control(part: str, kind: str) -> Statistic:
    """The loss by taking a part from x over that by its control: how much worse than a vector of its norm."""
    own, other, clean = f"ce {without(part)}", f"ce {without(part, kind)}", f"ce {CLEAN}"
    return lambda s: (s[own] - s[clean]) / (s[other] - s[clean])


def by_width(measurement, costs: Costs, statistic: Statistic, *, only: Sequence[str] | None = None) -> Suite:
    """A statistic over the widths of the suite, with intervals that carry documents and training seeds."""
    saes = suite_rows(measurement)
    saes = saes[saes["id"].isin(costs.saes if only is None else only)]
    scores = [costs.score(id, statistic) for id in saes["id"]]
    replicates = [drawn for _, drawn in scores]
    replicates = np.stack(replicates, axis=1) if scores else np.empty((costs.replicates, 0))
    values = np.array([score.value for score, _ in scores])
    return over_widths(saes, values, replicates, "share", seed=costs.seed)


def slopes(measurement, costs: Costs, *, measure: str = "ce", order: str = AVERAGE) -> dict[str, Estimate]:
    """{kind of control, "" the error: slope of NonlinearError} in one of `ORDERS`; empty without a suite.

    Slope through the origin of the share of the loss on the share of the variance V over the widths w:
    Σ V_w² ρ_w / Σ V_w² with ρ_w = share / V_w, the mean over seeds. Seeds enter as in `over_widths`.
    """
    found, part = {}, "NonlinearError"
    for kind in ("", *KINDS):
        ids = [id for id in costs.saes if not kind or kind in costs.controlled.get(id, ())]
        ratio = by_width(measurement, costs, relative(measure, part, kind, order=order), only=ids)
        if len(ratio.widths):
            size = by_width(measurement, costs, of_size("square", part, order=order), only=ids)
            found[kind] = _weighted(ratio.values, ratio.replicates, size.values**2)
    return found


def over_controls(measurement, costs: Costs, part: str = "NonlinearError") -> dict[str, Estimate]:
    """{kind: `against_control` of a part, mean over the widths}, by documents and seeds."""
    found = {}
    for kind in KINDS:
        ids = [id for id, kinds in costs.controlled.items() if kind in kinds]
        ratio = by_width(measurement, costs, against_control(part, kind), only=ids)
        if len(ratio.widths):
            found[kind] = _weighted(ratio.values, ratio.replicates, np.ones(len(ratio.widths)))
    return found


def _weighted(values: np.ndarray, replicates: np.ndarray, weight: np.ndarray) -> Estimate:
    weight = weight / weight.sum()
    return percentile(values @ weight, replicates @ weight)


SHARES = {
    "variance": lambda part, order: of_size("square", part, order=order),
    "norm": lambda part, order: of_size("norm", part, order=order),
    "ce": lambda part, order: of_loss("ce", part, order=order),
    "kl": lambda part, order: of_loss("kl", part, order=order),
    "relative": lambda part, order: relative("ce", part, order=order),
}
"""Shares of one part by name: of FVU, of the norm, of the loss and of the divergence, and of the loss over
that of FVU."""


def part_shares(costs: Costs, ids: Sequence[str]) -> pd.DataFrame:
    """Every share of both parts of some SAEs in every order: sae, part, share (a name in `SHARES`), order,
    value, low, high."""
    rows = [
        {"sae": id, "part": part, "share": name, "order": order}
        | in_columns(costs.estimate(id, statistic(part, order)))
        for id in ids
        for part in ERRORS[1:]
        for name, statistic in SHARES.items()
        for order in ORDERS
    ]
    return pd.DataFrame(rows, columns=["sae", "part", "share", "order", "value", "low", "high"])

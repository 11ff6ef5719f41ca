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
from ..claims import c08_proportional
from ..decomposition.passes import ERRORS
from ..measurement.widths import Suite, over_widths, suite_rows
from ..stats.intervals import bootstrap, multinomial_weights, percentile
from .costs import CLEAN, KINDS, SAE, control, with_part

Statistic = Callable[[dict[str, np.ndarray]], np.ndarray]
OTHER = {"LinearError": "NonlinearError", "NonlinearError": "LinearError"}
"""What is left of SaeError without a part."""


@dataclass(frozen=True)
class Costs:
    """The tables of `costs.cost_tables`, and how their intervals are made."""

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
    """Share of the lost ``measure`` that is lost when ``part`` alone is taken from x."""
    if not kind:
        other = won_back(measure, OTHER[part])
        return lambda s: 1 - other(s)
    whole, own, clean = (f"{measure} {n}" for n in (control(kind, "SaeError"), control(kind, part), CLEAN))
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


def slopes(measurement, costs: Costs, *, measure: str = "ce", share=won_back) -> c08_proportional.Evidence:
    """What the rule of claim 8 takes: slopes of NonlinearError and its controls, and how far they are apart.

    Slope through the origin of the share of the loss on the share of the variance V over the widths w:
    Σ V_w² ρ_w / Σ V_w² with ρ_w = share / V_w, the mean over seeds. Seeds enter the interval as in
    `over_widths`; a difference between error and control, both on the first seed, gets the whole spread of
    one seed.
    """
    ratio = lambda kind: relative(measure, "NonlinearError", kind, share)
    whole = by_width(measurement, costs, ratio(""))
    if not len(whole.widths):
        return c08_proportional.Evidence(None, {}, {})
    weight = by_width(measurement, costs, of_size("square", "NonlinearError")).values ** 2
    found = c08_proportional.Evidence(_weighted(whole.values, whole.replicates, weight), {}, {})
    for kind in KINDS:
        ids = [id for id, kinds in costs.controlled.items() if kind in kinds]
        own, other = (by_width(measurement, costs, ratio(k), only=ids) for k in ("", kind))
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


QUANTITIES = {
    "variance": lambda part: of_size("square", part),
    "norm": lambda part: of_size("norm", part),
    "ce": lambda part: won_back("ce", part),
    "kl": lambda part: won_back("kl", part),
    "ce_alone": lambda part: alone("ce", part),
    "ce_both_orders": lambda part: both_orders("ce", part),
    "relative": lambda part: relative("ce", part),
    "relative_kl": lambda part: relative("kl", part),
}
"""Shares of one part by name: of FVU, of the norm, of the loss and of the divergence won back..."""


def part_shares(costs: Costs, ids: Sequence[str]) -> pd.DataFrame:
    """Every share of both parts of some SAEs: sae, part, share (a name in `QUANTITIES`), value, low, high."""
    rows = [
        {"sae": id, "part": part, "share": name} | in_columns(costs.estimate(id, statistic(part)))
        for id in ids
        for part in ERRORS[1:]
        for name, statistic in QUANTITIES.items()
    ]
    return pd.DataFrame(rows, columns=["sae", "part", "share", "value", "low", "high"])


def share_rows(measurement, costs: Costs) -> pd.DataFrame:
    """Shares at every width of the suite, mean over seeds: width, part, share, kind (of control; "" the
    error), value, low, high."""
    rows, with_kind = [], {}
    for kind in KINDS:
        if ids := [id for id, found in costs.controlled.items() if kind in found]:
            with_kind[kind] = ids
    for part in ERRORS[1:]:
        made = [(name, "", statistic(part), None) for name, statistic in QUANTITIES.items()]
        made += [("ce", kind, won_back("ce", part, kind), ids) for kind, ids in with_kind.items()]
        for name, kind, statistic, only in made:
            frame = by_width(measurement, costs, statistic, only=only).frame()
            rows.append(frame.assign(part=part, share=name, kind=kind))
    return pd.concat(rows, ignore_index=True)


def against_rows(measurement, costs: Costs) -> pd.DataFrame:
    """`against_control` of every part and kind: sae, width, part, kind, value, low, high."""
    widths = measurement.saes.set_index("id")["width"]
    rows = [
        {"sae": id, "width": int(widths[id]), "part": part, "kind": kind}
        | in_columns(costs.estimate(id, against_control(part, kind)))
        for id, kinds in costs.controlled.items()
        for part in ERRORS
        for kind in kinds
    ]
    return pd.DataFrame(rows, columns=["sae", "width", "part", "kind", "value", "low", "high"])


def claim8_table(costs: Costs) -> pd.DataFrame:
    """What claim 8 is about, one row an SAE, each number with ``_low`` and ``_high``.

    lost: nats per token that Sae(x) costs; lost_kl; variance: NonlinearError's share of FVU; won_back and
    won_back_kl: its share of the loss; relative and relative_kl: those over ``variance``; and for every kind
    of control that was run ``relative_<kind>`` and ``against_<kind>`` (`against_control`).
    """
    rows, part = [], "NonlinearError"
    for id in costs.saes:
        wanted = {"lost": lost("ce", SAE), "lost_kl": lost("kl", SAE), "variance": of_size("square", part)}
        wanted |= {"won_back": won_back("ce", part), "won_back_kl": won_back("kl", part)}
        wanted |= {"relative": relative("ce", part), "relative_kl": relative("kl", part)}
        for kind in costs.controlled.get(id, ()):
            wanted[f"relative_{kind}"] = relative("ce", part, kind)
            wanted[f"against_{kind}"] = against_control(part, kind)
        row = {"sae": id}
        for name, statistic in wanted.items():
            row |= in_columns(costs.estimate(id, statistic), name)
        rows.append(row)
    return pd.DataFrame(rows)

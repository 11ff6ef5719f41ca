"""The costs of replacements as tables: shares by part and by width, and one row an SAE for any list of
SAEs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..decomposition.passes import ERRORS
from ..measurement.widths import suite_rows
from .cost_controls import KINDS
from .cost_shares import (
    Costs,
    against_control,
    alone,
    both_orders,
    by_width,
    lost,
    of_size,
    relative,
    won_back,
)
from .costs import CLEAN, MEAN, SAE

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


def part_shares(
    costs: Costs, *, parts: Sequence[str] = ERRORS[1:], ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Every share of every part, tidy: sae, part, share (a name in `QUANTITIES`), value, low, high."""
    rows = []
    for id in costs.saes if ids is None else ids:
        for part in parts:
            for name, statistic in QUANTITIES.items():
                e = costs.estimate(id, statistic(part))
                rows.append(
                    {"sae": id, "part": part, "share": name, "value": e.value, "low": e.low, "high": e.high}
                )
    return pd.DataFrame(rows, columns=["sae", "part", "share", "value", "low", "high"])


def claim8_table(costs: Costs, *, part: str = "NonlinearError") -> pd.DataFrame:
    """What claim 8 is about, one row an SAE, each number with ``_low`` and ``_high``.

    lost: nats per token that Sae(x) costs; lost_kl; variance: the part's share of FVU; won_back and
    won_back_kl: its share of the loss; relative and relative_kl: those over ``variance``; and for every kind
    of control that was run ``relative_<kind>`` and ``against_<kind>`` (the part's cost over that of a vector
    of its norm).
    """
    rows = []
    for id in costs.saes:
        wanted = {
            "lost": lost("ce", SAE),
            "lost_kl": lost("kl", SAE),
            "variance": of_size("square", part),
            "won_back": won_back("ce", part),
            "won_back_kl": won_back("kl", part),
            "relative": relative("ce", part),
            "relative_kl": relative("kl", part),
        }
        for kind in costs.controlled.get(id, ()):
            wanted |= {
                f"relative_{kind}": relative("ce", part, kind),
                f"against_{kind}": against_control("ce", part, kind),
            }
        row = {"sae": id}
        for name, statistic in wanted.items():
            e = costs.estimate(id, statistic)
            row |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
        rows.append(row)
    return pd.DataFrame(rows)


def share_rows(measurement, costs: Costs) -> pd.DataFrame:
    """Shares at every width of the suite, mean over seeds: width, part, share, kind (of control; "" the
    error), value, low, high.
    """
    rows = []
    for part in ERRORS[1:]:
        statistics = {(name, ""): make(part) for name, make in QUANTITIES.items()}
        kinds = [kind for kind in KINDS if any(kind in found for found in costs.controlled.values())]
        statistics |= {("ce", kind): won_back("ce", part, kind) for kind in kinds}
        for (name, kind), statistic in statistics.items():
            only = [id for id, found in costs.controlled.items() if kind in found] if kind else None
            frame = by_width(measurement, costs, statistic, only=only).frame()
            rows.append(frame.assign(part=part, share=name, kind=kind))
    return pd.concat(rows, ignore_index=True)


def against_rows(measurement, costs: Costs, *, measure: str = "ce") -> pd.DataFrame:
    """How many times more a part costs than a control of its norm, by width: width, part, kind, value, low,
    high."""
    widths = measurement.saes.set_index("id")["width"]
    rows = []
    for id, kinds in costs.controlled.items():
        for part in ERRORS:
            for kind in kinds:
                e = costs.estimate(id, against_control(measure, part, kind))
                rows.append(
                    {
                        "sae": id,
                        "width": int(widths[id]),
                        "part": part,
                        "kind": kind,
                        "value": e.value,
                        "low": e.low,
                        "high": e.high,
                    }
                )
    return pd.DataFrame(rows, columns=["sae", "width", "part", "kind", "value", "low", "high"])


def main_ids(measurement, *, l0_width: int | None = None) -> tuple[list[str], list[str], list[str]]:
    """(SAEs of the width suite, the first seed of each width, SAEs of one width over L0).

    ``l0_width``: the width whose L0s are taken; by default the one with the most, and of those the widest.
    """
    suite = suite_rows(measurement).sort_values(["width", "seed"], kind="stable")
    saes = measurement.saes[(measurement.saes["width"] > 0) & measurement.saes["l0_target"].notna()]
    saes = saes[saes["seed"] == saes["seed"].min()]
    count = saes.groupby("width")["l0_target"].nunique()
    over: list[str] = []
    if len(count) and count.max() > 1:
        width = l0_width or int(count[count == count.max()].index.max())
        over = saes[saes["width"] == width].sort_values("l0_target")["id"].tolist()
    return suite["id"].tolist(), suite.drop_duplicates("width")["id"].tolist(), over


def mean_and_clean(costs: Costs) -> dict[str, float]:
    """Nats per token of the clean model and of mean ablation: CE of both, KL of the latter."""
    some = costs.losses[costs.losses["sae"] == ""].groupby("replacement")[["tokens", "ce", "kl"]].sum()
    per = some[["ce", "kl"]].div(some["tokens"], axis=0)
    return {
        "clean": float(per.loc[CLEAN, "ce"]),
        "mean": float(per.loc[MEAN, "ce"]),
        "mean_kl": float(per.loc[MEAN, "kl"]),
    }

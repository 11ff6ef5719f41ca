"""What chapter 10 shows of the costs of replacements, as tidy frames: shares by part and width, over L0,
beside their controls and adapters."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..base.cache import kept
from ..base.values import Absent, estimates, in_columns
from ..claims.c08_proportional import Evidence
from ..decomposition.passes import ERRORS
from ..measurement.widths import reference_sae, suite_rows
from .cost_shares import (
    Costs,
    against_control,
    alone,
    both_orders,
    by_width,
    lost,
    of_size,
    recovered,
    relative,
    slopes,
    won_back,
)
from .costs import CLEAN, KINDS, MEAN, SAE, WITHOUT_MODEL, Loss, costs_of, with_part
from .loss_adapters import LEAST_SQUARES, TRAINED, adapters

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
ORDERS = ("added to Sae(x) (the paper's)", "taken from x", "mean of both")
"""In which order a part is given back: what `SHARES` computes."""
SHARES = dict(zip(ORDERS, (won_back, alone, both_orders)))
ADAPTED = {
    with_part("LinearError"): "Sae + LinearError",
    LEAST_SQUARES: "least-squares adapter",
    TRAINED: "adapter trained on the loss",
}
"""Replacements that win back some of the loss by a linear map, in words."""


@kept
def costs(
    measurement,
    *,
    loss: Loss,
    sae: str | None = None,
    contexts: int,
    training: int,
    steps: int,
) -> dict[str, pd.DataFrame | Absent] | Absent:
    """Everything that chapter 10 shows; absent where there is no language model.

    ``loss``: what the model pays, see `costs.Loss`; ``sae``: the one whose adapters are made. Tables: shares
    (`share_rows`), against_variance, over_l0 (`part_shares`, with l0), lost and together (over widths),
    against (`against_rows`), slopes (`slope_rows`), adapted, by_sae (`claim8_table`), about (one row).
    """
    if measurement.study.model is None:
        return WITHOUT_MODEL
    suite, first, over = main_ids(measurement)
    shown = sae or reference_sae(measurement)
    ids = list(dict.fromkeys([*suite, *over, shown]))
    made = Costs(
        **costs_of(measurement, loss=loss, ids=ids, contexts=contexts, controlled=first),
        replicates=measurement.study.bootstrap,
        seed=measurement.study.seed,
    )
    l0 = measurement.saes.set_index("id")["l0"]
    over_l0 = part_shares(made, ids=over).assign(l0=lambda rows: rows["sae"].map(l0).round(1))
    more = adapters(measurement, loss=loss, sae=shown, contexts=contexts, training=training, steps=steps)
    return {
        "shares": (shares := share_rows(measurement, made)),
        "against_variance": _against_variance(shares),
        "over_l0": over_l0 if over else Absent("This study has no SAEs of one width and different L0."),
        "lost": _lost(measurement, made),
        "together": by_width(measurement, made, _together).frame(),
        "against": against_rows(measurement, made),
        "slopes": slope_rows(measurement, made),
        "adapted": more["losses"] if isinstance(more, Absent) else _adapted(made, shown, more["losses"]),
        "by_sae": claim8_table(made),
        "about": _about(measurement, made, shown),
    }


def _against_variance(shares: pd.DataFrame) -> pd.DataFrame:
    """Shares of the loss of both parts, and of NonlinearError's controls, beside their ``variance``: vectors,
    the part or "control: kind", width, value, low, high."""
    variance = shares[shares["share"] == "variance"].rename(columns={"value": "variance"})
    rows = shares[(shares["share"] == "ce") & ((shares["kind"] == "") | (shares["part"] == ERRORS[2]))]
    rows = rows.merge(variance[["width", "part", "variance"]], on=["width", "part"])
    return rows.assign(vectors=rows["part"].where(rows["kind"] == "", "control: " + rows["kind"]))


def _lost(measurement, costs: Costs) -> pd.DataFrame:
    """Nats per token that a replacement costs: what ("Sae(x), KL"), width, seeds, value, low, high."""
    names = {
        SAE: "Sae(x)",
        with_part("LinearError"): "Sae(x) + LinearError",
        with_part("NonlinearError"): "Sae(x) + NonlinearError",
    }
    frames = [
        by_width(measurement, costs, lost(measure, name)).frame().assign(what=words + end)
        for measure, end in (("ce", ""), ("kl", ", KL"))
        for name, words in names.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _together(sums):
    return sum(won_back("ce", part)(sums) for part in ERRORS[1:])


def _adapted(costs: Costs, shown: str, losses: pd.DataFrame) -> pd.DataFrame:
    """What is won back by linear maps, of x and of Sae(x): measure, name, label, value, low, high."""
    joined = costs.with_losses(losses)
    rows = [
        {"measure": measure, "name": f"{measure} {name}", "label": label}
        | in_columns(joined.estimate(shown, recovered(measure, name)))
        for measure in ("ce", "kl")
        for name, label in ADAPTED.items()
    ]
    return pd.DataFrame(rows)


def slope_rows(measurement, costs: Costs) -> pd.DataFrame:
    """`slopes` in every order, by loss and by divergence: measure, order, what, kind, value, low, high.

    what: "slope" (kind "": of the error), "control" or "apart", with the kind of control.
    """
    rows = []
    for measure in ("ce", "kl"):
        for order, share in SHARES.items():
            found = slopes(measurement, costs, measure=measure, share=share)
            about = {"measure": measure, "order": order}
            told = [("slope", "", found.slope)] if found.slope is not None else []
            told += [("control", kind, e) for kind, e in found.controls.items()]
            told += [("apart", kind, e) for kind, e in found.apart.items()]
            rows += [about | {"what": what, "kind": kind} | in_columns(e) for what, kind, e in told]
    return pd.DataFrame(rows, columns=["measure", "order", "what", "kind", "value", "low", "high"])


def evidence(found, *, measure: str = "ce", order: str = ORDERS[0]) -> Evidence | Absent:
    """What the rule of claim 8 takes, from the ``slopes`` of `costs`."""
    rows = found["slopes"]
    if isinstance(rows, Absent):
        return rows
    rows = rows[(rows["measure"] == measure) & (rows["order"] == order)]
    kinds = {what: dict(zip(here["kind"], estimates(here))) for what, here in rows.groupby("what")}
    return Evidence(
        slope=kinds.get("slope", {}).get(""),
        controls=kinds.get("control", {}),
        apart=kinds.get("apart", {}),
    )


def _about(measurement, costs: Costs, shown: str) -> pd.DataFrame:
    """One row: what was run, the SAE that is shown, and what it, the clean model and mean ablation cost."""
    start, stop = measurement.study.window
    clean = costs.losses[costs.losses["replacement"] == CLEAN]
    about = {
        "measured": measurement.card["contexts"],
        "documents": len(clean),
        "tokens": int(clean["tokens"].sum()),
        "first": max(start, 1),
        "last": min(stop, measurement.card["context"] - 1) - 1,
        "sae": shown,
    }
    about |= in_columns(costs.estimate(shown, lost("ce", SAE)), "lost") | mean_and_clean(costs)
    return pd.DataFrame([about])


def part_shares(
    costs: Costs, *, parts: Sequence[str] = ERRORS[1:], ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Every share of every part, tidy: sae, part, share (a name in `QUANTITIES`), value, low, high."""
    rows = []
    for id in costs.saes if ids is None else ids:
        for part in parts:
            for name, statistic in QUANTITIES.items():
                e = costs.estimate(id, statistic(part))
                rows.append({"sae": id, "part": part, "share": name} | in_columns(e))
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
            row |= in_columns(costs.estimate(id, statistic), name)
        rows.append(row)
    return pd.DataFrame(rows)


def share_rows(measurement, costs: Costs) -> pd.DataFrame:
    """Shares at every width of the suite, mean over seeds: width, part, share, kind (of control; "" the
    error), value, low, high."""
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
                rows.append({"sae": id, "width": int(widths[id]), "part": part, "kind": kind} | in_columns(e))
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

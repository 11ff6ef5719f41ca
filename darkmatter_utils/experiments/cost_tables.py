"""What chapter 10 shows of the costs of replacements, as tidy frames."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pandas as pd

from ..base.cache import kept
from ..base.values import Absent, Estimate, estimates, in_columns
from ..claims.c08_proportional import Evidence
from ..decomposition.passes import ERRORS
from ..measurement.widths import first_seeds, reference_sae, suite_rows
from ..studies.activations import Activations
from ..studies.stored import LARGE
from .cost_adapters import LEAST_SQUARES, TRAINED, adapters
from .cost_controls import KINDS
from .cost_shares import (
    AVERAGE,
    FIRST,
    LAST,
    ORDERS,
    SHARES,
    Costs,
    against_control,
    by_width,
    lost,
    of_loss,
    of_size,
    over_controls,
    part_shares,
    recovered,
    relative,
    slopes,
    won_back,
)
from .replacements import (
    CLEAN,
    MEAN,
    SAE,
    WITHOUT_MODEL,
    Loss,
    cost_tables,
    with_part,
)

ADAPTED = {
    with_part("LinearError"): "Sae + LinearError",
    LEAST_SQUARES: "least-squares adapter",
    TRAINED: "adapter trained on the loss",
}
"""Replacements that win back some of the loss by a linear map, in words."""
OF_SOURCE = 10
"""Contexts of each source that replacements of a large model are run on, at least."""


@kept
def costs(
    measurement, *, loss: Loss, sae: str | None = None, contexts: int, training: int, steps: int
) -> dict[str, pd.DataFrame | Absent] | Absent:
    """Everything that chapter 10 shows; absent where there is no language model.

    ``loss``: what the model pays, see `replacements.Loss`; ``sae``: the one whose adapters are made. Tables:
    shares (`share_rows`), against_variance, over_l0 (`part_shares`, with l0), ratios, lost and together (over
    widths), against (`against_rows`), specific (`over_controls`), slopes (`slope_rows`), adapted, by_sae
    (`claim8_table`: widths and L0s), about (one row).
    """
    study = measurement.study
    if study.model is None:
        return WITHOUT_MODEL
    suite, over = main_ids(measurement)
    suite, controlled, contexts = runs(measurement, suite, contexts)
    shown = sae or reference_sae(measurement)
    judged = list(dict.fromkeys([*suite, *over]))
    ids = list(dict.fromkeys([*judged, shown]))
    tables = cost_tables(measurement, loss=loss, ids=ids, contexts=contexts, controlled=controlled)
    made = Costs(**tables, replicates=study.bootstrap, seed=study.seed)
    l0 = measurement.saes.set_index("id")["l0"]
    over_l0 = part_shares(made, over).assign(l0=lambda rows: rows["sae"].map(l0).round(1))
    more = adapters(measurement, loss=loss, sae=shown, contexts=contexts, training=training, steps=steps)
    together = lambda s: sum(won_back("ce", part)(s) for part in ERRORS[1:])
    return {
        "shares": (shares := share_rows(measurement, made)),
        "against_variance": against_variance(shares),
        "over_l0": over_l0 if over else Absent("This study has no SAEs of one width and different L0."),
        "ratios": _ratios(shares, over_l0),
        "lost": _lost(measurement, made),
        "together": by_width(measurement, made, together).frame(),
        "against": against_rows(measurement, made),
        "specific": _by_kind(over_controls(measurement, made)),
        "slopes": slope_rows(measurement, made),
        "adapted": more["losses"] if isinstance(more, Absent) else _adapted(made, shown, more["losses"]),
        "by_sae": claim8_table(made, judged),
        "about": _about(measurement, made, shown),
    }


def runs(measurement, suite: list[str], contexts: int) -> tuple[list[str], list[str], int]:
    """(SAEs of the suite that are run, those of them with controls, contexts): every SAE with all controls.

    Of a model of `LARGE` parameters, where each of an SAE's 3 runs and 12 of controls counts: one seed a
    width, controls at the narrowest, the widest and 8 d_model, on `OF_SOURCE` contexts of each source.
    """
    if Activations(measurement.study).model.parameters < LARGE:
        return suite, suite, contexts
    first = first_seeds(measurement)["id"].tolist()
    controlled = list(dict.fromkeys([first[0], reference_sae(measurement), first[-1]]))
    return first, controlled, max(contexts, OF_SOURCE * measurement.documents["source"].nunique())


def against_variance(shares: pd.DataFrame) -> pd.DataFrame:
    """Shares of the loss of both parts, and of NonlinearError's controls, beside their ``variance``: order,
    vectors, the part or "control: kind", width, value, low, high."""
    variance = shares[shares["share"] == "variance"].rename(columns={"value": "variance"})
    rows = shares[(shares["share"] == "ce") & ((shares["kind"] == "") | (shares["part"] == ERRORS[2]))]
    rows = rows.merge(variance[["width", "part", "order", "variance"]], on=["width", "part", "order"])
    return rows.assign(vectors=rows["part"].where(rows["kind"] == "", "control: " + rows["kind"]))


def _ratios(shares: pd.DataFrame, over_l0: pd.DataFrame) -> pd.DataFrame:
    """NonlinearError's share of the loss over its share of FVU: sweep ("over width", "over L0"), at, order,
    value, low, high."""
    found = [shares.assign(sweep="over width", at=shares["width"])]
    found.append(over_l0.assign(sweep="over L0", at=over_l0["l0"], kind=""))
    rows = pd.concat([one for one in found if len(one)], ignore_index=True)
    rows = rows[(rows["share"] == "relative") & (rows["part"] == ERRORS[2]) & (rows["kind"] == "")]
    return rows[["sweep", "at", "order", "value", "low", "high"]].reset_index(drop=True)


def _lost(measurement, costs: Costs) -> pd.DataFrame:
    """Nats per token that a replacement costs: what ("Sae(x), KL"), width, seeds, value, low, high."""
    names = {SAE: "Sae(x)"} | {with_part(part): f"Sae(x) + {part}" for part in ERRORS[1:]}
    frames = [
        by_width(measurement, costs, lost(measure, name)).frame().assign(what=words + end)
        for measure, end in (("ce", ""), ("kl", ", KL"))
        for name, words in names.items()
    ]
    return pd.concat(frames, ignore_index=True)


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


def _by_kind(found: dict[str, Estimate]) -> pd.DataFrame:
    rows = [{"kind": kind} | in_columns(e) for kind, e in found.items()]
    return pd.DataFrame(rows, columns=["kind", "value", "low", "high"])


def share_rows(measurement, costs: Costs) -> pd.DataFrame:
    """Shares at every width of the suite, mean over seeds, in every order: width, part, share, order, kind
    (of control; "" the error; of the loss alone), value, low, high."""
    rows = []
    for part, order in product(ERRORS[1:], ORDERS):
        made = [(name, "", statistic(part, order), None) for name, statistic in SHARES.items()]
        for kind in KINDS:
            if ids := [id for id, found in costs.controlled.items() if kind in found]:
                made.append(("ce", kind, of_loss("ce", part, kind, order=order), ids))
        for name, kind, statistic, only in made:
            frame = by_width(measurement, costs, statistic, only=only).frame()
            rows.append(frame.assign(part=part, share=name, order=order, kind=kind))
    return pd.concat(rows, ignore_index=True)


def against_rows(measurement, costs: Costs) -> pd.DataFrame:
    """`against_control` over the widths: width, seeds, part, kind, value, low, high."""
    rows = []
    for part, kind in product(ERRORS, KINDS):
        ids = [id for id, kinds in costs.controlled.items() if kind in kinds]
        frame = by_width(measurement, costs, against_control(part, kind), only=ids).frame()
        rows.append(frame.assign(part=part, kind=kind))
    return pd.concat(rows, ignore_index=True)


def claim8_table(costs: Costs, ids: Sequence[str]) -> pd.DataFrame:
    """What claim 8 is about, one row an SAE, each number with ``_low`` and ``_high``.

    lost: nats per token that Sae(x) costs; lost_kl; variance: NonlinearError's share of FVU, share: of the
    loss, relative and relative_kl: of the loss and of the divergence over ``variance``, all means of both
    orders; relative_first, relative_last: each order alone; and for every kind of control that was run
    ``against_<kind>`` (`against_control`).
    """
    rows, part = [], "NonlinearError"
    for id in ids:
        wanted = {"lost": lost("ce", SAE), "lost_kl": lost("kl", SAE)}
        wanted |= {
            "variance": of_size("square", part, order=AVERAGE),
            "share": of_loss("ce", part, order=AVERAGE),
        }
        wanted |= {"relative": relative("ce", part), "relative_kl": relative("kl", part)}
        wanted["relative_first"] = relative("ce", part, order=FIRST)
        wanted["relative_last"] = relative("ce", part, order=LAST)
        for kind in costs.controlled.get(id, ()):
            wanted[f"against_{kind}"] = against_control(part, kind)
        row = {"sae": id}
        for name, statistic in wanted.items():
            row |= in_columns(costs.estimate(id, statistic), name)
        rows.append(row)
    return pd.DataFrame(rows)


def slope_rows(measurement, costs: Costs) -> pd.DataFrame:
    """`slopes` in every order, by loss and by divergence: measure, order, kind (of control; "" the error),
    value, low, high."""
    frames = []
    for measure, order in product(("ce", "kl"), ORDERS):
        found = _by_kind(slopes(measurement, costs, measure=measure, order=order))
        frames.append(found.assign(measure=measure, order=order))
    return pd.concat(frames, ignore_index=True)


def evidence(found) -> Evidence | Absent:
    """What the rule of claim 8 takes, from `costs`: by the loss (cross-entropy)."""
    if isinstance(found, Absent):
        return found
    rows = found["slopes"][found["slopes"]["measure"] == "ce"]
    named = lambda rows, key: dict(zip(rows[key], estimates(rows)))
    slope = named(rows[rows["order"] == AVERAGE], "kind")
    orders = named(rows[(rows["kind"] == "") & (rows["order"] != AVERAGE)], "order")
    saes = dict(zip(found["by_sae"]["sae"], estimates(found["by_sae"], "relative")))
    return Evidence(slope.pop("", None), orders, saes, named(found["specific"], "kind"), slope)


def _about(measurement, costs: Costs, shown: str) -> pd.DataFrame:
    """One row: what was run, the SAE that is shown, and what it, the clean model and mean ablation cost."""
    start, stop = measurement.study.window
    clean = costs.losses[costs.losses["replacement"] == CLEAN]
    some = costs.losses[costs.losses["sae"] == ""].groupby("replacement")[["tokens", "ce", "kl"]].sum()
    per = some[["ce", "kl"]].div(some["tokens"], axis=0)
    about = {
        "measured": measurement.card["contexts"],
        "documents": len(clean),
        "tokens": int(clean["tokens"].sum()),
        "first": max(start, 1),
        "last": min(stop, measurement.card["context"] - 1) - 1,
        "sae": shown,
        "controlled": _controlled(measurement, costs),
    }
    about |= in_columns(costs.estimate(shown, lost("ce", SAE)), "lost")
    about |= {"clean": per.loc[CLEAN, "ce"], "mean": per.loc[MEAN, "ce"], "mean_kl": per.loc[MEAN, "kl"]}
    return pd.DataFrame([about])


def _controlled(measurement, costs: Costs) -> str:
    """Which SAEs of the suite have controls, in words."""
    widths = measurement.saes.set_index("id")["width"]
    mine = [f"{widths[id]:,}" for id, kinds in costs.controlled.items() if kinds]
    if len(mine) == len(suite_rows(measurement)):
        return "every SAE of the suite"
    return f"the SAEs of {', '.join(mine)} latents, one seed each, as every other replacement was"


def main_ids(measurement) -> tuple[list[str], list[str]]:
    """(SAEs of the width suite, SAEs of one width over L0: the width with the most L0s, and of those the
    widest)."""
    suite = suite_rows(measurement).sort_values(["width", "seed"], kind="stable")
    saes = measurement.saes[(measurement.saes["width"] > 0) & measurement.saes["l0_target"].notna()]
    saes = saes[saes["seed"] == saes["seed"].min()]
    count = saes.groupby("width")["l0_target"].nunique()
    over: list[str] = []
    if len(count) and count.max() > 1:
        widest = saes[saes["width"] == count[count == count.max()].index.max()]
        over = widest.sort_values("l0_target")["id"].tolist()
    return suite["id"].tolist(), over

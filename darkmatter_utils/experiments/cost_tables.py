"""What chapter 10 shows of the costs of replacements, as tidy frames; and linear maps of Sae(x) alone.

LinearError is a map of x, so it knows what the SAE did not write down. An adapter reads Sae(x) only: what of
LinearError's gain could be had without looking at x? One is the least-squares map of Sae(x) to x; the other
starts at the identity and is trained on the model's own loss (Karvonen, 2503.17272, finetunes the model
instead, to the same end).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..adapters.interventions import logits_after
from ..adapters.models import LanguageModel
from ..base.cache import kept
from ..base.errors import BadInput
from ..base.values import Absent, Estimate, estimates, in_columns
from ..claims.c08_proportional import Evidence
from ..decomposition.passes import ERRORS
from ..measurement.measure import Measurement
from ..measurement.widths import reference_sae, suite_rows
from ..stats.fits import LinearMap
from ..stats.moments import Moments
from ..studies.activations import MICRO, Activations, spread
from ..studies.saes import load_saes
from .cost_shares import (
    AVERAGE,
    ORDERS,
    Costs,
    against_rows,
    by_width,
    claim8_table,
    lost,
    over_controls,
    part_shares,
    recovered,
    share_rows,
    slopes,
    won_back,
)
from .costs import (
    CLEAN,
    MEAN,
    SAE,
    WITHOUT_MODEL,
    Loss,
    Taken,
    cost_rows,
    cost_tables,
    loss_frame,
    model_after,
    read,
    take,
    with_part,
)

LEAST_SQUARES, TRAINED = "adapter, least squares", "adapter, trained on the loss"
"""Names of the two replacements by an adapter."""
ADAPTED = {
    with_part("LinearError"): "Sae + LinearError",
    LEAST_SQUARES: "least-squares adapter",
    TRAINED: "adapter trained on the loss",
}
"""Replacements that win back some of the loss by a linear map, in words."""


@kept
def costs(
    measurement, *, loss: Loss, sae: str | None = None, contexts: int, training: int, steps: int
) -> dict[str, pd.DataFrame | Absent] | Absent:
    """Everything that chapter 10 shows; absent where there is no language model.

    ``loss``: what the model pays, see `costs.Loss`; ``sae``: the one whose adapters are made. Tables: shares
    (`share_rows`), against_variance, over_l0 (`part_shares`, with l0), ratios, lost and together (over
    widths), against (`against_rows`), specific (`over_controls`), slopes (`slope_rows`), adapted, by_sae
    (`claim8_table`: widths and L0s), about (one row).
    """
    study = measurement.study
    if study.model is None:
        return WITHOUT_MODEL
    suite, over = main_ids(measurement)
    shown = sae or reference_sae(measurement)
    judged = list(dict.fromkeys([*suite, *over]))
    ids = list(dict.fromkeys([*judged, shown]))
    tables = cost_tables(measurement, loss=loss, ids=ids, contexts=contexts, controlled=suite)
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
    }
    about |= in_columns(costs.estimate(shown, lost("ce", SAE)), "lost")
    about |= {"clean": per.loc[CLEAN, "ce"], "mean": per.loc[MEAN, "ce"], "mean_kl": per.loc[MEAN, "kl"]}
    return pd.DataFrame([about])


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


def train_adapter(
    model: LanguageModel, taken: Taken, x_hat: Tensor, *, steps: int, lr: float = 1e-3
) -> Callable[[Tensor], Tensor]:
    """The adapter x_hat W + b [context, kept, d_model] that lowers the loss of the next tokens.

    From the identity, by Adam with a learning rate that falls to 0; contexts in random order, again from the
    start when they are used up. The bias is in units of the reconstruction's standard deviation. Cost:
    ``steps`` runs forward and back through what follows the site.
    """
    like = {"dtype": x_hat.dtype, "device": x_hat.device}
    d, unit = x_hat.shape[-1], float(x_hat.std())
    weight = torch.eye(d, **like).requires_grad_(True)
    bias = torch.zeros(d, **like).requires_grad_(True)
    optimiser = torch.optim.Adam([weight, bias], lr=lr)
    rng, order = np.random.default_rng(0), np.empty(0, int)
    for step in range(steps):
        if len(order) < MICRO:
            order = rng.permutation(len(x_hat))
        rows, order = torch.from_numpy(order[:MICRO]), order[MICRO:]
        value = taken.x[rows].to(x_hat.dtype, copy=True)
        value[:, taken.positions] = x_hat[rows] @ weight + bias * unit
        logits = logits_after(model, taken.site, taken.tokens[rows], value, taken.positions)
        target = taken.tokens[rows][:, taken.positions + 1]
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimiser.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    weight, bias = weight.detach(), bias.detach() * unit
    return lambda x_hat: x_hat @ weight + bias


def left_over(
    measurement: Measurement, scored: Int[np.ndarray, "document"]
) -> tuple[Activations, Int[np.ndarray, "context"]]:
    """(a text, its rows whose documents are not scored): of the text "component", where there is one."""
    study = replace(measurement.study, contexts=None, dtype="float32")
    try:
        source = Activations(replace(study, text="component"))
        return source, source.rows()
    except BadInput:  # no such text: the documents of the study's own text that are left
        source = Activations(study)
        return source, np.flatnonzero(~np.isin(source.contexts.document, scored))


@kept
def adapters(
    measurement: Measurement, *, loss: Loss, sae: str, contexts: int, training: int, steps: int
) -> dict[str, pd.DataFrame] | Absent:
    """Both adapters of an SAE on the contexts of `cost_tables`: ``losses``, as there.

    They are made on ``training`` contexts of `left_over`, and absent where there is none; the one is trained
    on cross-entropy, both are scored by ``loss``. Cost: those contexts up to the site, and ``steps`` runs
    forward and back through what follows it.
    """
    study = measurement.study
    taken = take(measurement, contexts)
    source, left = left_over(measurement, taken.document)
    if not len(left):
        none = "Every document of this study is scored, so none is left to make an adapter on: it takes more "
        return Absent(none + "documents.")
    other = read(source, left[spread(len(left), training)])
    (loaded,) = load_saes(replace(study, saes=(study.sae(sae),)))
    x_hat, scored = (_reconstruct(loaded, one) for one in (other, taken))
    d, x = x_hat.shape[-1], other.flat
    fit = LinearMap.fit(Moments(d, d, device=study.device).update(x_hat.flatten(0, 1), x))
    model = model_after(study)
    trained = train_adapter(model, other, x_hat.float(), steps=steps)
    rows = []
    for chunk in torch.arange(len(taken.rows)).split(MICRO):
        run, where, hat = taken.run(model, chunk, loss), taken.document[chunk.numpy()], scored[chunk]
        rows += cost_rows(sae, LEAST_SQUARES, where, *run.of(fit(hat.flatten(0, 1)).view_as(hat)))
        rows += cost_rows(sae, TRAINED, where, *run.of(trained(hat.float())))
    return {"losses": loss_frame(rows)}


def _reconstruct(sae, taken: Taken) -> Float[Tensor, "context kept d_model"]:
    x_hat = sae.reconstruct(taken.flat)[0].double()
    return x_hat.view(len(taken.rows), len(taken.positions), -1)

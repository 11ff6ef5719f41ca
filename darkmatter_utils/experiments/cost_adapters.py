"""Linear maps of Sae(x) alone, in the place of LinearError, which is a map of x.

LinearError knows what the SAE did not write down. An adapter reads Sae(x) only: what of LinearError's gain
could be had without looking at x? One is the least-squares map of Sae(x) to x; the other starts at the
identity and is trained on the model's own loss (Karvonen, 2503.17272, finetunes the model instead, to the
same end).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
from ..base.values import Absent
from ..measurement.measure import Measurement
from ..stats.fits import LinearMap
from ..stats.moments import Moments
from ..studies.activations import MICRO, Activations, spread
from ..studies.saes import load_saes
from .replacements import Loss, Taken, cost_rows, loss_frame, model_after, read, take

LEAST_SQUARES, TRAINED = "adapter, least squares", "adapter, trained on the loss"
"""Names of the two replacements by an adapter."""


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

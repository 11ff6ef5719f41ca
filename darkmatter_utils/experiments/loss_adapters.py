"""Linear maps of Sae(x) alone: what of LinearError's gain could be had without looking at x.

LinearError is a map of x, so it knows what the SAE did not write down. An adapter reads Sae(x) only. One is
the least-squares map of Sae(x) to x; the other starts at the identity and is trained on the model's own loss
(Karvonen, 2503.17272, finetunes the model instead, to the same end).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
from .cost_contexts import Taken, model_after, read, take
from .costs import Loss, cost_rows, loss_frame

LEAST_SQUARES, TRAINED = "adapter, least squares", "adapter, trained on the loss"
"""Names of the two replacements."""


@dataclass(frozen=True)
class Adapter:
    """Sae(x) -> Sae(x) weight + bias."""

    weight: Float[Tensor, "d_model d_model"]
    bias: Float[Tensor, "d_model"]

    def __call__(self, x_hat: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        """The adapted reconstruction."""
        return x_hat @ self.weight + self.bias


def train_adapter(
    model: LanguageModel,
    site: str,
    taken: Taken,
    x_hat: Float[Tensor, "context kept d_model"],
    *,
    steps: int = 150,
    batch: int = MICRO,
    lr: float = 1e-3,
    seed: int = 0,
) -> tuple[Adapter, list[float]]:
    """The adapter that lowers the loss of the next tokens when it is put after the SAE, and the loss of every
    step.

    From the identity, by Adam with a learning rate that falls to 0; contexts in random order, again from the
    start when they are used up. The bias is in units of the reconstruction's standard deviation. Cost:
    ``steps`` runs forward and back through what follows the site.
    """
    d = x_hat.shape[-1]
    unit = float(x_hat.std())
    weight = torch.eye(d, dtype=x_hat.dtype, device=x_hat.device).requires_grad_(True)
    bias = torch.zeros(d, dtype=x_hat.dtype, device=x_hat.device).requires_grad_(True)
    optimiser = torch.optim.Adam([weight, bias], lr=lr)
    rng, order, losses = np.random.default_rng(seed), np.empty(0, int), []
    for step in range(steps):
        if len(order) < batch:
            order = rng.permutation(len(x_hat))
        rows, order = torch.from_numpy(order[:batch]), order[batch:]
        value = taken.x[rows].to(x_hat.dtype, copy=True)
        value[:, taken.positions] = x_hat[rows] @ weight + bias * unit
        logits = logits_after(model, site, taken.tokens[rows], value, taken.positions)
        target = taken.tokens[rows][:, taken.positions + 1]
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimiser.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return Adapter(weight.detach(), bias.detach() * unit), losses


def left_over(
    measurement: Measurement, scored: Int[np.ndarray, "document"]
) -> tuple[Activations, Int[np.ndarray, "context"]]:
    """(a text, the rows of it whose documents are not scored): of the text "component", where there is
    one."""
    study = replace(measurement.study, contexts=None, dtype="float32")
    try:
        source = Activations(replace(study, text="component"))
        return source, source.rows()
    except BadInput:  # no such text: the documents of the study's own text that are left
        source = Activations(study)
        return source, np.flatnonzero(~np.isin(source.contexts.document, scored))


def elsewhere(measurement: Measurement, scored: Int[np.ndarray, "document"], contexts: int) -> Taken:
    """``contexts`` contexts of `left_over`. Raises BadInput where none is left."""
    source, left = left_over(measurement, scored)
    if not len(left):
        raise BadInput(
            f"study {measurement.study.name}: every document is scored, so none is left to train on; give "
            "more documents"
        )
    return read(source, left[spread(len(left), contexts)])


@kept
def adapters(
    measurement: Measurement,
    *,
    loss: Loss,
    sae: str,
    contexts: int,
    training: int = 600,
    steps: int = 150,
    lr: float = 1e-3,
    seed: int = 0,
) -> dict[str, pd.DataFrame] | Absent:
    """Both adapters of an SAE on the contexts of `cost_tables`: ``losses``, as there, and ``curve`` (step,
    loss).

    They are made on ``training`` other contexts; the one is trained on cross-entropy, both are scored by
    ``loss``. Cost: those contexts up to the site, and ``steps`` runs forward and back through what follows
    it.
    """
    study = measurement.study
    taken = take(measurement, contexts)
    if not len(left_over(measurement, taken.document)[1]):
        return Absent(
            "Every document of this study is scored, so none is left to make an adapter on: it takes more "
            "documents."
        )
    other = elsewhere(measurement, taken.document, training)
    (loaded,) = load_saes(replace(study, saes=(study.sae(sae),)))
    x_hat, scored = (_reconstruct(loaded, one) for one in (other, taken))
    d, x = x_hat.shape[-1], other.flat
    fit = LinearMap.fit(Moments(d, d).update(x_hat.flatten(0, 1), x))
    model = model_after(study)
    trained, curve = train_adapter(model, study.site, other, x_hat.float(), steps=steps, lr=lr, seed=seed)
    rows = []
    for chunk in torch.arange(len(taken.rows)).split(MICRO):
        run = taken.run(model, chunk, loss)
        where = taken.document[chunk.numpy()]
        rows += cost_rows(
            sae, LEAST_SQUARES, where, *run.of(fit(scored[chunk].flatten(0, 1)).view_as(scored[chunk]))
        )
        rows += cost_rows(sae, TRAINED, where, *run.of(trained(scored[chunk].float())))
    return {
        "losses": loss_frame(rows),
        "curve": pd.DataFrame({"step": np.arange(1, steps + 1), "loss": curve}),
    }


def _reconstruct(sae, taken: Taken) -> Float[Tensor, "context kept d_model"]:
    x_hat = sae.reconstruct(taken.flat)[0].double()
    return x_hat.view(len(taken.rows), len(taken.positions), -1)

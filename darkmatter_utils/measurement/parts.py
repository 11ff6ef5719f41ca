"""The parts of x, token by token, under the maps of a measurement: what chapters read that go beyond sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..base.errors import BadInput
from ..studies.saes import load_saes
from ..studies.streams import Batch, Source
from .measure import Measurement


@dataclass(frozen=True)
class Parts:
    """x = Sae(x) + LinearError + NonlinearError of one SAE, exactly, for every token."""

    sae: Float[Tensor, "token d_model"]
    linear: Float[Tensor, "token d_model"]
    nonlinear: Float[Tensor, "token d_model"]
    l0: Int[Tensor, "token"]
    """Active latents."""

    @property
    def error(self) -> Float[Tensor, "token d_model"]:
        """SaeError = LinearError + NonlinearError."""
        return self.linear + self.nonlinear


def stream_parts(
    measurement: Measurement,
    saes: Sequence[str],
    *,
    text: str | None = None,
    scored: bool = True,
    contexts: int | None = None,
    contexts_a_batch: int = 16,
) -> Iterator[tuple[Batch, dict[str, Parts]]]:
    """(batch, {SAE: its parts}) over a study's tokens, in stream order, in float64.

    On the text that was measured each document is split by the map that was fitted on the other folds. On
    another ``text`` of the same data, whose documents no map has seen, by the map of all folds. ``scored``
    keeps the tokens inside the window only (batch included); ``contexts`` stops after so many. Raises
    BadInput for an unknown SAE, or another text in a simulated world. Cost: one pass of the model and of
    these SAEs; memory of one batch.
    """
    study = measurement.study
    if text is not None and study.model is None:
        raise BadInput(f"study {study.name} is simulated: it has no text '{text}'")
    chosen = replace(
        study,
        saes=tuple(study.sae(id) for id in saes),
        text=text or study.text,
        contexts=contexts or study.contexts,
    )
    source = Source(chosen, contexts_a_batch=contexts_a_batch)
    loaded = load_saes(chosen, source) if saes else []
    maps = {id: measurement.maps(id) for id in saes}
    own = text in (None, study.text)
    fold = measurement.fold_of() if own else {}
    done = 0
    for batch in source.batches():
        if contexts is not None and done >= contexts:
            break
        done += len(np.unique(batch.context))
        made = {sae.id: sae.reconstruct(batch.source) for sae in loaded}
        if scored:
            keep = torch.from_numpy(batch.scored)
            made = {id: (x_hat[keep], l0[keep]) for id, (x_hat, l0) in made.items()}
            batch = only(batch, batch.scored)
        x = batch.x.double()
        folds = np.array([fold[int(d)] for d in batch.document]) if own else None
        yield batch, {id: _split(x, x_hat.double(), l0, maps[id], folds) for id, (x_hat, l0) in made.items()}


def only(batch: Batch, keep: np.ndarray) -> Batch:
    """The tokens of a batch where ``keep`` is true; its ``source`` is then x."""
    x = batch.x[torch.from_numpy(keep)]
    names = ("context", "document", "position", "token", "loss", "scored")
    return Batch(x=x, source=x, **{name: getattr(batch, name)[keep] for name in names})


def _split(x: Tensor, x_hat: Tensor, l0: Tensor, maps, folds: np.ndarray | None) -> Parts:
    error = x - x_hat
    if folds is None:
        linear = maps.overall(x)
    else:
        linear = torch.empty_like(x)
        for k in np.unique(folds):
            rows = torch.from_numpy(np.flatnonzero(folds == k))
            linear[rows] = maps.maps[k](x[rows])
    return Parts(x_hat, linear, error - linear, l0)

"""The parts of x, token by token, under the maps of a measurement: what chapters read that go beyond sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor

from ..base.errors import BadInput
from ..studies.activations import Activations, Batch
from ..studies.saes import load_saes, reconstructions
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
    keeps the tokens inside the window only (batch included); ``contexts``: only so many, spread evenly.
    Raises BadInput for an unknown SAE, or another text in a simulated world. Cost: one pass of the model and
    of these SAEs; memory of one batch.
    """
    study = measurement.study
    if text is not None and study.model is None:
        raise BadInput(f"study {study.name} is simulated: it has no text '{text}'")
    chosen = replace(study, saes=tuple(study.sae(id) for id in saes), text=text or study.text)
    source = Activations(chosen, contexts_a_batch=contexts_a_batch)
    loaded = load_saes(chosen, source) if saes else []
    maps = {id: measurement.maps(id) for id in saes}
    own = text in (None, study.text)
    for batch, made in reconstructions(source, loaded, scored=scored, contexts=contexts):
        x, parts = batch.x.double(), {}
        folds = measurement.folds_at(batch.document) if own else None
        for id, (x_hat, l0) in made.items():
            error = x - x_hat.double()
            linear = maps[id].predict(x, folds) if own else maps[id].overall(x)
            parts[id] = Parts(x_hat.double(), linear, error - linear, l0)
        yield batch, parts

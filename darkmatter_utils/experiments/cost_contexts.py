"""The contexts on which a replacement is paid for: a study's own, by index, with the activations that were
encoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..adapters.models import LanguageModel, load_model
from ..base.errors import BadInput
from ..measurement.measure import Measurement
from ..stats.fits import CrossFit, cross_fit
from ..stats.moments import Moments
from ..studies.streams import MICRO, Source
from ..studies.study import Study

PARTS = ("SaeError", "LinearError", "NonlinearError")
"""Parts of x that an SAE leaves out, the whole first."""
OTHER = {"LinearError": "NonlinearError", "NonlinearError": "LinearError"}
"""What is left of SaeError without a part."""


@dataclass(frozen=True)
class Taken:
    """Some contexts of a study, whole, and the positions at which x is replaced and the loss is counted."""

    rows: Int[np.ndarray, "context"]
    """Index of each context in the study's text."""
    tokens: Int[Tensor, "context position"]
    document: Int[np.ndarray, "context"]
    x: Float[Tensor, "context position d_model"]
    """Activations at the study's site, in the study's dtype."""
    positions: Int[Tensor, "kept"]
    """Positions inside the study's window that have a next token."""

    @property
    def flat(self) -> Float[Tensor, "token d_model"]:
        """x at the positions, token after token, float64."""
        return self.x[:, self.positions].flatten(0, 1).double()

    @property
    def token_document(self) -> Int[np.ndarray, "token"]:
        """The document of each row of `flat`."""
        return np.repeat(self.document, len(self.positions))


def spread(total: int, wanted: int) -> Int[np.ndarray, "context"]:
    """``wanted`` of ``total`` contexts at equal distances: a sample that no one picked by hand."""
    return np.unique(np.linspace(0, total - 1, min(wanted, total)).round().astype(int))


def take(measurement: Measurement, contexts: int) -> Taken:
    """``contexts`` contexts of the text that was measured, at equal distances, checked token by token against
    it.

    Raises BadInput for a simulated study, and where the text is not the one that was encoded. Cost: one pass
    of the model up to the site.
    """
    study = measurement.study
    if study.model is None:
        raise BadInput(f"study {study.name} is simulated: it has no language model to run on")
    source = Source(study)
    rows = spread(len(source.contexts.tokens), contexts)
    tokens = source.contexts.tokens[rows].astype(np.int64)
    table = pd.read_parquet(measurement.tokens_path, columns=["context", "token"])
    encoded = table.loc[table["context"].isin(rows), "token"].to_numpy()
    if not np.array_equal(encoded, tokens[:, 1:].ravel()):
        raise BadInput(f"study {study.name}: the text is not the one that was measured; measure it again")
    return read(source, rows, tokens, source.contexts.document[rows])


def read(source: Source, rows: np.ndarray, tokens: np.ndarray, document: np.ndarray) -> Taken:
    """The contexts with their activations. Cost: one pass of the model up to the site."""
    study, ids = source.study, torch.from_numpy(tokens).to(source.study.device)
    x = torch.cat([source.model.activations(part, study.site) for part in ids.split(MICRO)])
    start, stop = max(study.window[0], 1), min(study.window[1], tokens.shape[1] - 1)
    if start >= stop:
        raise BadInput(
            f"study {study.name}: no position of its window has a next token whose loss could be counted"
        )
    return Taken(rows, ids, document, x, torch.arange(start, stop, device=study.device))


def folds_at(measurement: Measurement, taken: Taken) -> Int[np.ndarray, "token"]:
    """The fold of each row of `Taken.flat`."""
    table = pd.read_parquet(measurement.tokens_path, columns=["document", "fold"]).drop_duplicates("document")
    fold_of = table.set_index("document")["fold"]
    return fold_of.loc[taken.token_document].to_numpy()


def model_after(study: Study) -> LanguageModel:
    """The study's model in float32, in which everything after the site is run, the clean model too."""
    model = load_model(
        study.data_folder() / study.model,
        name=study.name,
        dtype="float32",
        device=study.device,
        random_weights=study.random_weights,
    )
    for weight in model.bridge.original_model.parameters():
        weight.requires_grad_(False)
    return model


def split(
    x: Float[Tensor, "token d_model"],
    x_hat: Float[Tensor, "token d_model"],
    maps: CrossFit,
    fold: Int[np.ndarray, "token"],
) -> dict[str, Float[Tensor, "token d_model"]]:
    """The parts of SaeError, each document split by the map that was fitted on the other folds."""
    error = x - x_hat
    linear = torch.empty_like(x)
    for k in np.unique(fold):
        rows = torch.from_numpy(np.flatnonzero(fold == k))
        linear[rows] = maps.maps[k](x[rows])
    return {"SaeError": error, "LinearError": linear, "NonlinearError": error - linear}


def maps_for(
    x: Float[Tensor, "token d_model"],
    x_hat: Float[Tensor, "token d_model"],
    fold: Int[np.ndarray, "token"],
    folds: int,
) -> CrossFit:
    """Maps for a reconstruction that no measurement knows, cross-fitted on the tokens at hand."""
    d = x.shape[1]
    moments = []
    for k in range(folds):
        rows = torch.from_numpy(np.flatnonzero(fold == k))
        moments.append(Moments(d, d).update(x[rows], (x - x_hat)[rows]))
    return cross_fit(moments)

"""The contexts on which a replacement is paid for: a study's own, by index, with the activations that were
encoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..adapters.interventions import Intervention
from ..adapters.models import LanguageModel
from ..base.errors import BadInput
from ..decomposition.passes import ERRORS
from ..measurement.measure import Measurement
from ..stats.fits import CrossFit, cross_fit, moments_by_fold
from ..studies.activations import Activations
from ..studies.study import Study

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
    site: str
    """Where x is read, and replaced."""

    @property
    def flat(self) -> Float[Tensor, "token d_model"]:
        """x at the positions, token after token, float64."""
        return self.x[:, self.positions].flatten(0, 1).double()

    @property
    def token_document(self) -> Int[np.ndarray, "token"]:
        """The document of each row of `flat`."""
        return np.repeat(self.document, len(self.positions))

    def run(self, model: LanguageModel, chunk: Int[Tensor, "context"], loss) -> Intervention:
        """Some of the contexts, ready for their activations to be replaced."""
        x = self.x[chunk].float()
        return Intervention(model, self.site, self.tokens[chunk], x, self.positions, loss=loss)

    def among(self, tokens: pd.DataFrame) -> Bool[np.ndarray, "row"]:
        """Which rows of a measurement's table of tokens `flat` has, in the same order."""
        here = tokens["context"].isin(self.rows) & tokens["position"].isin(self.positions.tolist())
        return np.array(here)


def take(measurement: Measurement, contexts: int) -> Taken:
    """``contexts`` contexts of the text that was measured, at equal distances, checked token by token against
    it.

    Raises BadInput for a simulated study, and where the text is not the one that was encoded. Cost: one pass
    of the model up to the site.
    """
    study = measurement.study
    if study.model is None:
        raise BadInput(f"study {study.name} is simulated: it has no language model to run on")
    source = Activations(study)
    rows = source.rows(contexts)
    table = pd.read_parquet(measurement.tokens_path, columns=["context", "token"])
    encoded = table.loc[table["context"].isin(rows), "token"].to_numpy()
    if not np.array_equal(encoded, source.contexts.tokens[rows, 1:].ravel()):
        raise BadInput(f"study {study.name}: the text is not the one that was measured; measure it again")
    return read(source, rows)


def read(source: Activations, rows: np.ndarray) -> Taken:
    """The contexts with their activations. Cost: one pass of the model up to the site."""
    study, length = source.study, source.contexts.tokens.shape[1]
    start, stop = max(study.window[0], 1), min(study.window[1], length - 1)
    if start >= stop:
        raise BadInput(
            f"study {study.name}: no position of its window has a next token whose loss could be counted"
        )
    tokens, x = source.whole(rows)
    positions = torch.arange(start, stop, device=study.device)
    return Taken(rows, tokens, source.contexts.document[rows], x, positions, study.site)


def model_after(study: Study) -> LanguageModel:
    """The study's model in float32, in which everything after the site is run, the clean model too."""
    return Activations(study.at(dtype="float32", model_dtype=None)).model


def split(
    x: Float[Tensor, "token d_model"],
    x_hat: Float[Tensor, "token d_model"],
    maps: CrossFit | None,
    fold: Int[np.ndarray, "token"],
) -> dict[str, Float[Tensor, "token d_model"]]:
    """`ERRORS`, each document split by the map that was fitted on the other folds.

    maps None: of a reconstruction that no measurement knows; they are fitted on the tokens at hand.
    """
    error = x - x_hat
    linear = (maps or cross_fit(moments_by_fold(x, error, fold))).predict(x, fold)
    return dict(zip(ERRORS, (error, linear, error - linear), strict=True))

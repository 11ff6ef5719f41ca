"""A few contexts of a study as plain arrays: for the cells that show an idea on data one can hold in hand."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from .saes import load_saes
from .streams import MICRO, Source
from .study import Study


class Sample(NamedTuple):
    """Scored tokens of some contexts, float64."""

    x: np.ndarray
    """Activations [token, d_model]."""
    reconstruction: np.ndarray
    """Sae(x) [token, d_model]."""
    document: np.ndarray
    """Document id [token]."""
    position: np.ndarray
    """Position in the context [token]."""


def sample(study: Study | str, sae: str, *, contexts: int = 64) -> Sample:
    """The scored tokens of `contexts` contexts, spread evenly over the study's text, and one SAE's
    reconstruction.

    Cost: the model on those contexts. Raises BadInput for an SAE that the study has not.
    """
    study = Study.load(study)
    study = replace(study, saes=(study.sae(sae),))
    if study.world:
        study = replace(study, world=study.world | {"documents": min(contexts, study.world["documents"])})
    source = Source(study)
    (loaded,) = load_saes(study, source)
    batches = source.batches() if study.world else _spread(source, contexts)
    parts = []
    for x, given, document, position in map(_fields, batches):
        keep = (position >= study.window[0]) & (position < study.window[1])
        hat = loaded.reconstruct(given)[0]
        arrays = (x, hat, torch.as_tensor(document), torch.as_tensor(position))
        parts.append([array.cpu().numpy()[keep] for array in arrays])
    x, hat, document, position = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Sample(x.astype(np.float64), hat.astype(np.float64), document, position)


def _fields(batch):
    return batch if isinstance(batch, tuple) else (batch.x, batch.source, batch.document, batch.position)


def _spread(source: Source, contexts: int):
    tokens, length = source.contexts.tokens, source.contexts.tokens.shape[1]
    rows = np.unique(np.linspace(0, len(tokens) - 1, contexts).round().astype(int))
    for some in np.array_split(rows, -(-len(rows) // MICRO)):
        ids = torch.from_numpy(tokens[some].astype(np.int64)).to(source.study.device)
        x = source.model.activations(ids, source.study.site)[:, 1:].flatten(0, 1)
        yield (
            x,
            x,
            np.repeat(source.contexts.document[some], length - 1),
            np.tile(np.arange(1, length), len(some)),
        )

"""A study's scored tokens as arrays in memory: for chapters that look at the same activations in several
ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..adapters.text import Contexts
from ..stats.documents import assign_folds
from .saes import load_saes
from .streams import Source
from .study import Study


class Light(Source):
    """A source for those who need activations only: the model stops at the site, and losses are NaN.

    ``stride`` keeps every so many-th context, so that few contexts still come from all of a text's documents.
    """

    def __init__(self, study: Study, *, stride: int = 1, contexts_a_batch: int = 16):
        super().__init__(study, contexts_a_batch=contexts_a_batch)
        self.stride = stride

    @cached_property
    def contexts(self) -> Contexts | None:
        """The contexts that are kept."""
        if self.study.model is None or self.stride == 1:
            return super().contexts
        whole = super().contexts
        return replace(whole, tokens=whole.tokens[:: self.stride], document=whole.document[:: self.stride])

    def _forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.activations(tokens, self.study.site), torch.full(tokens.shape, torch.nan)


@dataclass(frozen=True)
class Collected:
    """The scored tokens of a study, in stream order."""

    x: Float[Tensor, "token d_model"]
    document: Int[np.ndarray, "token"]
    fold: dict[int, int]
    """Of each document, as `measure` assigns it."""
    seed: int
    replicates: int
    saes: dict[str, object]
    """The loaded SAEs by id."""
    hats: dict[str, Float[Tensor, "token d_model"]] = field(repr=False)
    """Sae(x), float32."""
    l0: dict[str, float]
    """Mean number of active latents."""

    @cached_property
    def mean(self) -> Tensor:
        """Of x [d_model]."""
        return self.x.mean(dim=0, dtype=torch.float64)

    def squares(self, hat: Tensor) -> Float[np.ndarray, "token"]:
        """‖x − x̂‖² of each token."""
        pairs = zip(self.x.split(8192), hat.split(8192))
        return torch.cat([((x.double() - y.double()) ** 2).sum(dim=1) for x, y in pairs]).numpy()

    def folds(self) -> Int[np.ndarray, "token"]:
        """Each token's fold."""
        ids, inverse = np.unique(self.document, return_inverse=True)
        return np.array([self.fold[int(i)] for i in ids])[inverse]

    def per_document(self, values) -> np.ndarray:
        """Sums over each document's tokens of values [token] or [token, ...], documents ascending."""
        values = torch.as_tensor(values)
        ids, inverse = np.unique(self.document, return_inverse=True)
        sums = torch.zeros(len(ids), *values.shape[1:], dtype=torch.float64)
        return sums.index_add_(0, torch.from_numpy(inverse), values.double()).numpy()


def collect(study: Study, saes: Sequence[str], *, kinds: bool = True) -> Collected:
    """One pass of the model over the study's text, with the SAEs named and, if ``kinds``, those of the suite
    "kinds".

    Model and SAEs run in float32 (7 digits, in half the time); sums made of the result are float64. The last
    result is kept, so that a further look at some of its SAEs costs nothing. Cost: that pass; memory 4 bytes
    for each number of x and of every reconstruction.
    """
    kinds = kinds and not study.suite and study.site in study.sites("kinds")
    wanted = set(saes) | ({entry.id for entry in study.at(suite="kinds").selected()} if kinds else set())
    key = (study.fingerprint(), str(study.data))
    for last, found in _LAST.items():
        if last == key and wanted <= set(found.hats):
            return found
    _LAST.clear()
    _LAST[key] = made = collect_anew(replace(study, dtype="float32"), saes, kinds)
    return made


_LAST: dict[tuple, Collected] = {}


def collect_anew(study: Study, saes: Sequence[str], kinds: bool) -> Collected:
    """As `collect`, in the study's dtype, and neither looked up nor kept."""
    own = replace(study, saes=tuple(study.sae(id) for id in saes))
    source = Light(own)
    loaded = load_saes(own, source) + (load_saes(study.at(suite="kinds"), source) if kinds else [])
    counts = source.document_tokens()
    fold = assign_folds(list(counts), list(counts.values()), study.folds, seed=study.seed)
    xs, documents = [], []
    hats: dict[str, list] = {sae.id: [] for sae in loaded}
    active = dict.fromkeys(hats, 0.0)
    for batch in source.batches():
        keep = torch.from_numpy(batch.scored)
        xs.append(batch.x[keep].float())
        documents.append(batch.document[batch.scored])
        for sae in loaded:
            x_hat, l0 = sae.reconstruct(batch.source)
            hats[sae.id].append(x_hat[keep].float())
            active[sae.id] += float(l0[keep].sum())
    x = torch.cat(xs)
    return Collected(
        x,
        np.concatenate(documents),
        fold,
        study.seed,
        study.bootstrap,
        {s.id: s for s in loaded},
        {id: torch.cat(parts) for id, parts in hats.items()},
        {id: total / len(x) for id, total in active.items()},
    )

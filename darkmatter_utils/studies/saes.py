"""The SAEs of a study, loaded, and what they make of its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..adapters.saes import Active, Sae, load_sae
from ..base.errors import BadInput, nearest
from ..stats.documents import sum_by
from ..worlds.saes import KINDS, null_sae
from .activations import Activations, Batch
from .study import Study


def load_saes(study: Study, source: Activations | None = None) -> list:
    """The study's SAEs, trained and null ones; ``source``: its activations, where at hand already. Raises
    BadInput for an unknown kind, or where none is at the study's site."""
    source, loaded = source or Activations(study), []
    how = dict(d_model=source.d_model, dtype=study.dtype, device=study.device)
    for entry in study.selected():
        id, kind = entry.id, entry.kind
        if entry.path is not None:
            loaded.append(load_sae(id, study.data_folder() / entry.path, **how))
        elif kind in KINDS:
            known = dict(world=source.world, mean=None if source.world is not None else source.mean)
            loaded.append(null_sae(kind, id=id, width=entry.width, **known, **entry.dials))
        else:
            raise BadInput(f"SAE {id}: kind '{kind}' needs a path to weights; {nearest(kind, KINDS)}")
    if not loaded:
        none = f"none of its SAEs of suite '{study.suite}' is at the site '{study.site}'"
        raise BadInput(f"study {study.name}: {none}")
    return loaded


def reconstruct(source: Activations, sae, batch: Batch) -> tuple[Tensor, Tensor]:
    """(Sae(x), active latents) of a batch of the source."""
    if not hasattr(sae, "codes"):
        return sae.reconstruct(batch.source)
    codes = codes_of(source, sae, batch)
    return sae.decode(codes), codes.l0


def codes_of(source: Activations, sae: Sae, batch: Batch) -> Active:
    """An SAE's active latents of a batch's tokens; those of a large model are made once for all passes."""
    there = source.on_disk
    return sae.codes(batch.source) if there is None else there.codes(sae, batch.source)


def reconstructions(
    source: Activations, saes: Sequence, *, scored: bool = True, **how
) -> Iterator[tuple[Batch, dict[str, tuple[Tensor, Tensor]]]]:
    """(batch, {SAE: (Sae(x), active latents)}) over `Activations.batches`, of the window if ``scored``."""
    for batch in source.batches(**how):
        made = {sae.id: reconstruct(source, sae, batch) for sae in saes}
        if scored:
            keep = torch.from_numpy(batch.scored)
            made = {id: (x_hat[keep], l0[keep]) for id, (x_hat, l0) in made.items()}
            batch = batch.where(batch.scored)
        yield batch, made


class Sample(NamedTuple):
    """Scored tokens of some contexts as plain arrays, float64."""

    x: Float[np.ndarray, "token d_model"]
    reconstruction: Float[np.ndarray, "token d_model"]
    document: Int[np.ndarray, "token"]
    position: Int[np.ndarray, "token"]


def sample(study: Study | str, sae: str, *, contexts: int = 64) -> Sample:
    """The scored tokens of ``contexts`` contexts, spread evenly over the text, and one SAE's reconstruction,
    for cells that show an idea. Cost: the model on those. Raises BadInput for an SAE that the study lacks."""
    study = Study.load(study)
    source = Activations(study)
    loaded = load_saes(replace(study, saes=(study.sae(sae),)), source)
    made = reconstructions(source, loaded, contexts=contexts)
    x, x_hat, document, position = zip(*((b.x, hats[sae][0], b.document, b.position) for b, hats in made))
    x, x_hat = (torch.cat(parts).double().numpy(force=True) for parts in (x, x_hat))
    return Sample(x, x_hat, np.concatenate(document), np.concatenate(position))


@dataclass(frozen=True)
class Collected:
    """A study's scored tokens in memory, in stream order, for several looks at the same activations."""

    x: Float[Tensor, "token d_model"]
    document: Int[np.ndarray, "token"]
    fold: dict[int, int]
    """Of each document, as `measure` assigns it."""
    seed: int
    replicates: int
    saes: dict[str, object]
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
        left = [((x.double() - y.double()) ** 2).sum(dim=1) for x, y in pairs]
        return torch.cat(left).numpy(force=True)

    def folds(self) -> Int[np.ndarray, "token"]:
        """Each token's fold."""
        ids, inverse = np.unique(self.document, return_inverse=True)
        return np.array([self.fold[int(i)] for i in ids])[inverse]

    def per_document(self, values) -> np.ndarray:
        """Sums over each document's tokens of values [token] or [token, ...], documents ascending."""
        return sum_by(self.document, values)


def collect(study: Study, saes: Sequence[str], *, kinds: bool = True) -> Collected:
    """One pass over the study's text with the SAEs named and, if ``kinds``, those of the suite "kinds".

    Model and SAEs run in float32 (7 digits, in half the time); sums made of the result are float64. The last
    result is kept, so that a further look at some of its SAEs costs nothing. Cost: that pass; memory 4 bytes
    for each number of x and of every reconstruction.
    """
    kinds = kinds and not study.suite and study.site in study.sites("kinds")
    wanted = set(saes) | ({entry.id for entry in study.at(suite="kinds").selected()} if kinds else set())
    key = (study.fingerprint(), str(study.data), study.device)
    if (found := _LAST.get(key)) is not None and wanted <= set(found.hats):
        return found
    _LAST.clear()
    _LAST[key] = made = collect_anew(study, saes, kinds)
    return made


_LAST: dict[tuple, Collected] = {}


def collect_anew(study: Study, saes: Sequence[str], kinds: bool) -> Collected:
    """As `collect`, neither looked up nor kept."""
    study = replace(study, dtype="float32")
    source = Activations(study)
    loaded = load_saes(replace(study, saes=tuple(study.sae(id) for id in saes)), source)
    loaded += load_saes(study.at(suite="kinds"), source) if kinds else []
    xs, documents = [], []
    hats: dict[str, list] = {sae.id: [] for sae in loaded}
    active = dict.fromkeys(hats, 0.0)
    for batch, made in reconstructions(source, loaded):
        xs.append(batch.x.float().cpu())
        documents.append(batch.document)
        for id, (x_hat, l0) in made.items():
            hats[id].append(x_hat.float().cpu())
            active[id] += float(l0.sum())
    x = torch.cat(xs)
    return Collected(
        x,
        np.concatenate(documents),
        source.folds(),
        study.seed,
        study.bootstrap,
        {sae.id: sae for sae in loaded},
        {id: torch.cat(parts) for id, parts in hats.items()},
        {id: total / len(x) for id, total in active.items()},
    )


class Kept:
    """Batches and reconstructions of a source, kept in memory up to a budget and made again beyond it.

    A pass over a study is the same numbers either way. An SAE's codes are kept rather than its
    reconstruction: at an L0 of 8 they are a sixteenth of its size.
    """

    def __init__(self, source: Activations, saes: list, *, memory: int, losses: bool = False):
        self.source, self.saes, self.losses = source, saes, losses
        wide = (source.study.model_dtype or source.study.dtype) == "float64"
        whole = source.tokens * source.d_model * (8 if wide else 4)
        self.activations = memory if whole <= memory else 0
        self.room = memory - whole if self.activations else memory
        self.codes: dict[tuple[int, str], object] = {}

    def __iter__(self) -> Iterator[tuple[Batch, Callable[[], Iterator[tuple]]]]:
        """(batch, function that yields (SAE id, reconstruction, L0)) for each batch of the study."""
        for index, batch in enumerate(self.source.batches(losses=self.losses, keep=self.activations)):
            yield batch, partial(self._reconstructions, index, batch)

    def _reconstructions(self, index: int, batch: Batch) -> Iterator[tuple]:
        for sae in self.saes:
            if not hasattr(sae, "codes"):
                yield sae.id, *sae.reconstruct(batch.source)
                continue
            codes = self.codes.get((index, sae.id)) or codes_of(self.source, sae, batch)
            if (index, sae.id) not in self.codes and codes.nbytes <= self.room:
                self.codes[index, sae.id] = codes
                self.room -= codes.nbytes
            yield sae.id, sae.decode(codes), codes.l0

"""The one reader of activations: a study's tokens in batches, from its model or its simulated world."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..adapters.models import LanguageModel, load_model, token_losses
from ..adapters.texts import Contexts, read_contexts
from ..base.cache import kept
from ..base.errors import BadInput
from ..stats.documents import assign_folds
from ..worlds.known import WorldBatch
from ..worlds.world import World
from .stored import LOSSES, Stored, stored
from .study import Study

MICRO = 4
"""Contexts of one forward pass: fixed, as numbers may not depend on the batch; few, to stay in cache."""
SAMPLE = 64
"""Contexts, at equal distances, that a median norm is computed on: thousands of tokens, so to a percent."""


@dataclass(frozen=True)
class Batch:
    """Tokens of some contexts in stream order, <bos> left out."""

    x: Float[Tensor, "token d_model"]
    context: Int[np.ndarray, "token"]
    document: Int[np.ndarray, "token"]
    position: Int[np.ndarray, "token"]
    token: Int[np.ndarray, "token"]
    loss: Float[np.ndarray, "token"]
    """Nats of predicting the *next* token; NaN where there is none, or where losses were not asked for."""
    scored: Bool[np.ndarray, "token"]
    """Fitted and scored: see `Activations.counts`."""
    source: object
    """What an SAE is given: x, or the world's batch, which knows its own features."""
    sites: dict[str, Float[Tensor, "token d"]]
    """The activations at each site; x is those at the study's own."""

    def where(self, keep: Bool[np.ndarray, "token"]) -> Batch:
        """The tokens where ``keep`` is true."""
        if keep.all():
            return self
        rows = torch.from_numpy(keep)
        x = self.x[rows]
        sites = {name: x if one is self.x else one[rows] for name, one in self.sites.items()}
        source = self.source.where(rows) if isinstance(self.source, WorldBatch) else x
        columns = ("context", "document", "position", "token", "loss", "scored")
        return Batch(x=x, source=source, sites=sites, **{name: getattr(self, name)[keep] for name in columns})


class Activations:
    """Where a study's activations come from. `batches` can be called again and yields the same numbers."""

    def __init__(self, study: Study, *, contexts_a_batch: int = 16):
        self.study, self.contexts_a_batch = study, contexts_a_batch
        self._kept: dict[tuple, list[Batch]] = {}

    @cached_property
    def world(self) -> World | None:
        """The simulated world, if the study has one."""
        dials = {k: v for k, v in self.study.world.items() if k != "documents"}
        return World.of(dials) if self.study.world else None

    @cached_property
    def model(self) -> LanguageModel | None:
        """The language model, if the study has one."""
        if (study := self.study).model is None:
            return None
        dtype = study.model_dtype or study.dtype
        how = dict(name=study.name, dtype=dtype, device=study.device, random_weights=study.random_weights)
        model = load_model(study.model_source(), **how)
        model.check_site(study.site)
        return model

    @cached_property
    def contexts(self) -> Contexts | None:
        """Token contexts with their documents, if the study has a model."""
        if (study := self.study).model is None:
            return None
        contexts = read_contexts(study.data_folder(), study.text, limit=study.contexts)
        if (has := contexts.tokens.shape[1]) <= (start := study.window[0]) + 1:
            late = f"but the window starts at {start}; start it earlier"
            raise BadInput(f"study {study.name}: contexts have {has} tokens, {late}")
        return contexts

    @cached_property
    def on_disk(self) -> Stored | None:
        """What earlier passes of a large model left there."""
        return stored(self.study, self.model, self.contexts.tokens) if self.model is not None else None

    @property
    def d_model(self) -> int:
        """Dimensions of x."""
        return self.width(self.study.site)

    def width(self, site: str) -> int:
        """Dimensions of the activation at a site."""
        return self.world.d_model if self.world is not None else self.model.width(site)

    def document_tokens(self) -> dict[int, int]:
        """Tokens of each document inside the window, special ones left out: what folds are balanced by. All
        are scored, but for loud ones."""
        start, stop = self.study.window
        if self.world is not None:
            length = max(0, min(stop, self.world.context) - start)
            return dict.fromkeys(range(self.study.world["documents"]), length)
        tokens = self.contexts.tokens[:, max(start, 1) : stop]
        counts = (~np.isin(tokens, self.special)).sum(axis=1)
        ids, rows = np.unique(self.contexts.document, return_inverse=True)
        return dict(zip(ids.tolist(), np.bincount(rows, counts).astype(int).tolist()))

    def folds(self) -> dict[int, int]:
        """The fold of each document, as `measure` assigns it; BadInput for fewer documents than folds."""
        counts = self.document_tokens()
        return assign_folds(list(counts), list(counts.values()), self.study.folds, seed=self.study.seed)

    @cached_property
    def special(self) -> list[int]:
        """Token ids that never count, wherever they stand."""
        return self.model.special if self.model is not None else []

    @cached_property
    def typical(self) -> float:
        """The median norm of x inside the window, over `SAMPLE` contexts of the text "component" where there
        is one, so that what is loud is not decided by what is scored. Cost: a pass of those, once, kept."""
        same = dict(folds=5, seed=0, bootstrap=1000, ridge=0.0, suite="", saes=(), dtype="float32", loud=None)
        plain, files = replace(self.study, **same), {}
        if plain.model is not None:
            folder, mine = plain.data_folder(), (f"{plain.model}/", "tokens.npz")
            with suppress(BadInput):  # no such text
                read_contexts(folder, "component", limit=1)
                plain = replace(plain, text="component", contexts=None)
            listed = json.loads((folder / "manifest.json").read_text()).get("files", {})
            files = {name: about["sha256"] for name, about in listed.items() if name.startswith(mine)}
        return float(typical_norm(plain, files=files)["typical"]["norm"].iloc[0])

    def counts(
        self, x: Float[Tensor, "token d_model"], token: np.ndarray, position: np.ndarray
    ) -> Bool[np.ndarray, "token"]:
        """Which tokens are fitted and scored: those inside the window, but special ones, and those louder
        than the study allows."""
        start, stop = self.study.window
        counts = (position >= start) & (position < stop) & ~np.isin(token, self.special)
        if self.study.loud is not None:
            norm = x.double().norm(dim=1).numpy(force=True)
            counts &= norm <= self.study.loud * self.typical
        return counts

    @cached_property
    def mean(self) -> Float[Tensor, "d_model"]:
        """The mean of x over the scored tokens. Cost: a pass, once."""
        total, count = 0.0, 0
        for batch in self.batches(scored=True):
            total, count = total + batch.x.double().sum(dim=0), count + len(batch.x)
        return total / count

    @property
    def tokens(self) -> int:
        """Tokens of a pass, scored or not."""
        if self.world is not None:
            return self.study.world["documents"] * self.world.context
        return self.contexts.tokens[:, 1:].size

    def __len__(self) -> int:
        return -(-len(self.rows()) // self.contexts_a_batch)

    def rows(self, contexts: int | None = None, *, every: int = 1) -> Int[np.ndarray, "context"]:
        """Which contexts (worlds: documents) a pass reads: every so many-th, or so many, by `spread`."""
        total = self.study.world["documents"] if self.world is not None else len(self.contexts.tokens)
        return np.arange(0, total, every) if contexts is None else spread(total, contexts)

    def batches(
        self,
        *,
        sites: Sequence[str] = (),
        contexts: int | None = None,
        every: int = 1,
        scored: bool = False,
        losses: bool = False,
        keep: int = 0,
    ) -> Iterator[Batch]:
        """The study's tokens, ``contexts_a_batch`` contexts at a time: those of `rows`, in order.

        ``sites``: others to read beside the study's own, in the same pass. ``scored``: only tokens inside the
        window. ``losses``: run the model to its end, too. ``keep``: bytes of activations that may stay in
        memory, if all fit, so that a further call costs nothing. Raises BadInput for another site in a
        simulated world, and for a NaN or infinite activation, naming site and document. Cost: one pass of the
        model, as far as the last site; memory of one batch.
        """
        names = list(dict.fromkeys((self.study.site, *sites)))
        if self.world is not None and names[1:]:
            raise BadInput(f"study {self.study.name} is simulated: it has no site '{names[1]}'")
        asked = (tuple(names), contexts, every, scored, losses)
        if asked in self._kept:
            yield from self._kept[asked]
            return
        kept, size, rows = [], 0, self.rows(contexts, every=every)
        for some in np.split(rows, range(self.contexts_a_batch, len(rows), self.contexts_a_batch)):
            batch = self._simulated(some) if self.world is not None else self._read(some, names, losses)
            _check(batch)
            batch = batch.where(batch.scored) if scored else batch
            size += sum(x.nbytes for x in batch.sites.values())
            kept = [*kept, batch] if size <= keep else []
            yield batch
        if kept:
            self._kept[asked] = kept

    def whole(self, rows: Int[np.ndarray, "context"]) -> tuple[Tensor, Tensor]:
        """(token ids [context, position], x [context, position, d_model]) of contexts, <bos> and all."""
        tokens, found, _ = self._run(rows, [self.study.site], losses=False)
        return tokens, found[self.study.site]

    def _run(self, rows, sites: list[str], *, losses: bool) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """(token ids, {site: activations [context, position, d]}, losses [context, position])."""
        tokens = torch.from_numpy(self.contexts.tokens[rows].astype(np.int64)).to(self.study.device)
        there, names = self.on_disk, [*sites, *([LOSSES] if losses else ())]
        found = there.read(rows, names) if there is not None else None
        if found is None:
            more = there.others(self.study, sites) if losses and there is not None else []
            made = []
            for some in tokens.split(MICRO if there is None else 1):  # a large one reads a context at a time
                if losses:
                    one, logits = self.model.run(some, [*sites, *more])
                    made.append(one | {LOSSES: token_losses(logits, some)})
                else:
                    made.append(self.model.read(some, sites))
            found = {name: torch.cat([one[name] for one in made]) for name in made[0]}
            if there is not None:
                there.write(rows, found)
        found = {name: x.to(self.study.device) for name, x in found.items()}
        nats = found[LOSSES] if losses else torch.full(tokens.shape, torch.nan)
        return tokens, {site: found[site] for site in sites}, nats

    def _read(self, rows: np.ndarray, sites: list[str], losses: bool) -> Batch:
        tokens, found, nats = self._run(rows, sites, losses=losses)
        length = tokens.shape[1]
        position = np.tile(np.arange(1, length), len(rows))
        at = {site: x[:, 1:].flatten(0, 1) for site, x in found.items()}
        x, token = at[self.study.site], tokens[:, 1:].flatten().cpu().numpy()
        return Batch(
            x=x,
            context=np.repeat(rows, length - 1),
            document=np.repeat(self.contexts.document[rows], length - 1),
            position=position,
            token=token,
            loss=nats[:, 1:].flatten().cpu().numpy(),
            scored=self.counts(x, token, position),
            source=x,
            sites=at,
        )

    def _simulated(self, rows: np.ndarray) -> Batch:
        made = WorldBatch.join([self.world.document(int(row)) for row in rows])
        document, position, token = (of.numpy() for of in (made.document, made.position, made.token))
        return Batch(
            x=made.x,
            context=document,
            document=document,
            position=position,
            token=token,
            loss=np.full(len(made.x), np.nan),
            scored=self.counts(made.x, token, position),
            source=made,
            sites={self.study.site: made.x},
        )


@kept
def typical_norm(study: Study, *, files: dict[str, str]) -> dict[str, pd.DataFrame]:
    """``typical``: one row, the median norm of x over the scored tokens of `SAMPLE` contexts. files: sha256
    of what the study is read from."""
    batches = Activations(study).batches(contexts=SAMPLE, scored=True)
    norm = [batch.x.double().norm(dim=1).numpy(force=True) for batch in batches]
    return {"typical": pd.DataFrame({"norm": [np.median(np.concatenate(norm))]})}


def spread(total: int, wanted: int) -> Int[np.ndarray, "wanted"]:
    """``wanted`` of ``total`` at equal distances, each one once: a sample that no one picked by hand."""
    return np.unique(np.linspace(0, total - 1, min(wanted, total)).round().astype(int))


def _check(batch: Batch) -> None:
    for site, x in batch.sites.items():
        if (bad := ~torch.isfinite(x).all(dim=1)).any():
            row = int(bad.nonzero()[0])
            where = f"document {batch.document[row]} (position {batch.position[row]})"
            todo = "use a wider dtype or leave that document out"
            raise BadInput(f"activation at {site} is NaN or infinite in {where}; {todo}")

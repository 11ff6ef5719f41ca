"""Generators of activation batches: from a language model's contexts, or from a simulated world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..adapters.models import LanguageModel, load_model, token_losses
from ..adapters.text import Contexts, read_contexts
from ..base.errors import BadInput
from ..worlds.world import World
from .study import Study

MICRO = 4
"""Contexts of one forward pass; fixed, so that numbers do not depend on the batch size, and small, so that it
stays in cache."""


@dataclass(frozen=True)
class Batch:
    """Tokens of whole contexts in stream order, <bos> left out."""

    x: Float[Tensor, "token d_model"]
    context: Int[np.ndarray, "token"]
    document: Int[np.ndarray, "token"]
    position: Int[np.ndarray, "token"]
    token: Int[np.ndarray, "token"]
    loss: Float[np.ndarray, "token"]
    """Nats of predicting the *next* token; NaN where there is none."""
    scored: Bool[np.ndarray, "token"]
    """Inside the study's window."""
    source: object
    """What an SAE is given: x, or the world's batch, which knows its own features."""


class Source:
    """Where a study's activations come from. ``batches()`` can be called again and yields the same
    numbers."""

    def __init__(self, study: Study, *, contexts_a_batch: int = 16):
        self.study, self.contexts_a_batch = study, contexts_a_batch

    @cached_property
    def world(self) -> World | None:
        """The simulated world, if the study has one."""
        dials = {k: v for k, v in self.study.world.items() if k != "documents"}
        return World.of(dials) if self.study.world else None

    @cached_property
    def model(self) -> LanguageModel | None:
        """The language model, if the study has one."""
        if self.study.model is None:
            return None
        folder = self.study.data_folder() / self.study.model
        model = load_model(
            folder,
            name=self.study.name,
            dtype=self.study.model_dtype or self.study.dtype,
            device=self.study.device,
            random_weights=self.study.random_weights,
        )
        model.check_site(self.study.site)
        return model

    @cached_property
    def contexts(self) -> Contexts | None:
        """Token contexts with their documents, if the study has a model."""
        if self.study.model is None:
            return None
        contexts = read_contexts(self.study.data_folder(), self.study.text, limit=self.study.contexts)
        if contexts.tokens.shape[1] <= self.study.window[0] + 1:
            raise BadInput(
                f"study {self.study.name}: contexts have {contexts.tokens.shape[1]} tokens, but the "
                f"window starts at "
                f"{self.study.window[0]}; start it earlier"
            )
        return contexts

    @cached_property
    def d_model(self) -> int:
        """Dimensions of the activation."""
        if self.world is not None:
            return self.world.d_model
        heads = self.study.site.endswith("hook_z")
        cfg = self.model.bridge.cfg
        return cfg.n_heads * cfg.d_head if heads else cfg.d_model

    def document_tokens(self) -> dict[int, int]:
        """Scored tokens of each document: what folds are balanced by."""
        start, stop = self.study.window
        if self.world is not None:
            length = max(0, min(stop, self.world.context) - start)
            return dict.fromkeys(range(self.study.world["documents"]), length)
        length = min(stop, self.contexts.tokens.shape[1]) - max(start, 1)
        ids, counts = np.unique(self.contexts.document, return_counts=True)
        return {int(i): int(c) * length for i, c in zip(ids, counts)}

    @property
    def tokens(self) -> int:
        """Tokens of a pass, scored or not."""
        if self.world is not None:
            return self.study.world["documents"] * self.world.context
        return self.contexts.tokens[:, 1:].size

    def __len__(self) -> int:
        """Batches of a pass."""
        total = self.study.world["documents"] if self.world is not None else len(self.contexts.tokens)
        return -(-total // self.contexts_a_batch)

    def batches(self) -> Iterator[Batch]:
        """Every token of the study, in order. Raises BadInput for a NaN or infinite activation, naming site
        and document."""
        for batch in self._simulated() if self.world is not None else self._read():
            bad = ~torch.isfinite(batch.x).all(dim=1)
            if bad.any():
                row = int(bad.nonzero()[0])
                raise BadInput(
                    f"activation at {self.study.site} is NaN or infinite in document {batch.document[row]} "
                    f"(position {batch.position[row]}); use a wider dtype or leave that document out"
                )
            yield batch

    def _window(self, position: np.ndarray) -> np.ndarray:
        return (position >= self.study.window[0]) & (position < self.study.window[1])

    def _simulated(self) -> Iterator[Batch]:
        for made in self.world.documents(0, self.study.world["documents"], batch=self.contexts_a_batch):
            document, position = made.document.numpy(), made.position.numpy()
            yield Batch(
                made.x,
                document,
                document,
                position,
                made.token.numpy(),
                np.full(len(made.x), np.nan),
                self._window(position),
                made,
            )

    def _read(self) -> Iterator[Batch]:
        length = self.contexts.tokens.shape[1]
        for first in range(0, len(self.contexts.tokens), self.contexts_a_batch):
            rows = np.arange(first, min(first + self.contexts_a_batch, len(self.contexts.tokens)))
            tokens = torch.from_numpy(self.contexts.tokens[rows].astype(np.int64)).to(self.study.device)
            xs, losses = zip(*(self._forward(micro) for micro in tokens.split(MICRO)))
            x = torch.cat(xs)[:, 1:].flatten(0, 1)
            position = np.tile(np.arange(1, length), len(rows))
            yield Batch(
                x=x,
                context=np.repeat(rows, length - 1),
                document=np.repeat(self.contexts.document[rows], length - 1),
                position=position,
                token=self.contexts.tokens[rows][:, 1:].ravel().astype(np.int64),
                loss=torch.cat(losses)[:, 1:].flatten().cpu().numpy(),
                scored=self._window(position),
                source=x,
            )

    def _forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        found, logits = self.model.run(tokens, [self.study.site])
        return found[self.study.site], token_losses(logits, tokens)


class Kept:
    """Batches and reconstructions of a source, kept in memory up to a budget and made again beyond it.

    A pass over a study is the same numbers either way. An SAE's codes are kept rather than its
    reconstruction: at an L0 of 8 they are a sixteenth of its size.
    """

    def __init__(self, source: Source, saes: list, *, memory: int):
        self.source, self.saes = source, saes
        whole = source.tokens * source.d_model * 8
        self.keeps = (
            whole <= memory
        )  # all activations or none: a pass that lacks one batch runs the model for all
        self.room = memory - whole if self.keeps else memory
        self.batches: dict[int, Batch] = {}
        self.codes: dict[tuple[int, str], object] = {}

    def __iter__(self) -> Iterator[tuple[Batch, Callable[[], Iterator[tuple[str, Tensor, Tensor]]]]]:
        """(batch, function that yields (SAE id, reconstruction, L0) for every SAE or ``only`` one) for each
        batch of the study."""
        whole = len(self.batches) == len(self.source)
        stream = (self.batches[i] for i in range(len(self.source))) if whole else self.source.batches()
        for index, batch in enumerate(stream):
            if self.keeps:
                self.batches[index] = batch
            yield batch, partial(self._reconstructions, index, batch)

    def _reconstructions(self, index: int, batch: Batch, *, only: str | None = None) -> Iterator[tuple]:
        for sae in self.saes:
            if only is not None and sae.id != only:
                continue
            if not hasattr(sae, "codes"):
                yield sae.id, *sae.reconstruct(batch.source)
                continue
            codes = self.codes.get((index, sae.id)) or sae.codes(batch.source)
            if (index, sae.id) not in self.codes and self._fits(codes.nbytes):
                self.codes[index, sae.id] = codes
            yield sae.id, sae.decode(codes), codes.l0

    def _fits(self, size: int) -> bool:
        if size > self.room:
            return False
        self.room -= size
        return True


def shuffled_rows(rows: np.ndarray, batch: int, *, seed: int, start: int = 0) -> Iterator[np.ndarray]:
    """Endless batches [batch, d] of ``rows`` in random order, a new order each pass; ``start`` skips
    batches."""
    per_pass = len(rows) // batch
    step = start
    while True:
        order = np.random.default_rng([seed, step // per_pass]).permutation(len(rows))
        for i in range(step % per_pass, per_pass):
            yield rows[np.sort(order[i * batch : (i + 1) * batch])]
            step += 1

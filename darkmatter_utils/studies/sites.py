"""Activations at several sites of a model in one pass, at the scored tokens; kept in memory where they
fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .streams import Source
from .study import Study


class Sites(Source):
    """A study's text at several sites. `batches` holds them side by side in x and leaves the losses out
    (NaN).

    The blocks after the last site are not run, nor is the unembedding, a large part of a small model's cost.
    """

    def __init__(
        self, study: Study, sites: Sequence[str], *, contexts_a_batch: int = 16, memory: int = 1_500_000_000
    ):
        super().__init__(study, contexts_a_batch=contexts_a_batch)
        self.sites, self.memory = list(sites), memory
        self._widths: list[int] = []
        self._kept: list[tuple[slice, np.ndarray, dict[str, Tensor]]] = []
        self._whole = False

    def scored(self) -> Iterator[tuple[slice, np.ndarray, dict[str, Tensor]]]:
        """(rows among the scored tokens, their token ids, {site: x [token, d_model]}), batch by batch.

        Can be called again: from memory if all of it fits, else the model runs once more. Same numbers either
        way.
        """
        if self._whole:
            yield from self._kept
            return
        done, size, keeping = 0, 0, True
        self._kept = []
        for batch in self.batches():
            keep = torch.from_numpy(batch.scored)
            rows = slice(done, done + int(keep.sum()))
            done = rows.stop
            if rows.start == rows.stop:
                continue
            x = batch.x[keep]
            parts = x.split(self._widths, dim=1) if self._widths else [x]
            made = (rows, batch.token[batch.scored], dict(zip(self.sites, parts, strict=True)))
            size += x.nbytes
            if keeping := keeping and size <= self.memory:
                self._kept.append(made)
            else:
                self._kept = []
            yield made
        self._whole = keeping

    @torch.no_grad()
    def _forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        self.model.check_tokens(tokens)
        last = max(self.model.check_site(site) for site in self.sites)
        _, cache = self.model.bridge.run_with_cache(
            tokens, names_filter=list(self.sites), stop_at_layer=last + 1
        )
        parts = [cache[site].flatten(2) for site in self.sites]
        self._widths = [part.shape[2] for part in parts]
        return torch.cat(parts, dim=2), torch.full(tokens.shape, torch.nan, dtype=torch.float64)

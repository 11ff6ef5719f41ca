"""An SAE at its model, for a diagnosis: the same tokens at many sites, with <bos> and without."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..adapters.models import SITES, place
from ..base.errors import BadInput
from ..studies.recipes import Request
from .mistakes import Setup
from .one_sae import Plan

POSITIONS = 256
"""At most so many count in a document, where nothing is asked."""


def shortened(planned: Plan, request: Request) -> Plan:
    """The plan with a window short enough for a diagnosis, and a position left for a <bos> that it lacks."""
    reading, (start, stop) = planned.reading, planned.reading.window
    stop = min(stop, planned.model.context - 1, stop if request.positions else start + POSITIONS)
    length, tokens = np.minimum(reading.length, stop), reading.tokens[:, :stop]
    if not (kept := length > start).any():
        raise BadInput(f"positions {start}:{stop} leave no token of a document; start earlier")
    about = dict(tokens=tokens[kept], length=length[kept], document=reading.document[kept])
    about |= dict(window=(start, stop), source=tuple(np.array(reading.source, dtype=object)[kept]))
    return replace(planned, reading=replace(reading, **about))


class Patient:
    """A plan's SAE, and the activations of its counted tokens."""

    def __init__(self, planned: Plan, tell, others: dict[str, tuple[Tensor, Tensor]] | None = None) -> None:
        """others: by name, what other models compute at the SAE's sites (read, written)."""
        self.plan, self.tell, self.others = planned, tell, others or {}
        bos, model = planned.reading.bos, planned.request.model
        self.given = Setup(planned.sae, model, bos, planned.reads, planned.writes)
        self.sites: list[str] = []
        """Read with the first that is asked for."""
        self._known: dict[tuple[bool, str], Tensor] = {}

    @property
    def can_open(self) -> bool:
        """Whether the tokenizer has a <bos>."""
        return self.plan.model.tokenizer.bos_token_id is not None

    def has(self, site: str) -> bool:
        """Whether the model's family has a site: some lack one of the list."""
        return site.split(".", 2)[2] in self._names

    @cached_property
    def _names(self) -> set[str]:
        tokens, layer = self._tokens(self.given.bos)[0][:1, :2], place(self.given.reads)[0]
        there = set()
        for name in SITES:
            with contextlib.suppress(KeyError):
                self.plan.model.read(tokens, [f"blocks.{layer}.{name}"])
                there.add(name)
        return there

    def measured(self, setup: Setup) -> tuple[float, float]:
        """(FVU, L0) of a setup."""
        return setup.measured(*self.activations(setup))

    def activations(self, setup: Setup) -> tuple[Tensor, Tensor]:
        """What a setup's SAE reads and writes [token, d]. Cost: a run of the model where it is not known."""
        if setup.model in self.others:
            return self.others[setup.model]
        sites = (setup.reads, setup.writes)
        if any((setup.bos, site) not in self._known for site in sites):
            wanted = dict.fromkeys(sites) | (dict.fromkeys(self.sites) if setup.bos == self.given.bos else {})
            self._read(setup.bos, list(wanted))
        return tuple(self._known[setup.bos, site] for site in sites)

    def _read(self, bos: bool, sites: list[str]) -> None:
        tokens, length, counts = self._tokens(bos)
        parts = {site: [] for site in sites}
        for row in range(len(tokens)):
            if row % 8 == 0:
                word = "with" if bos else "without"
                self.tell(f"activations of {len(sites)} sites, {word} <bos>: document {row} of {len(tokens)}")
            found = self.plan.model.read(tokens[row : row + 1, : length[row]], sites)
            for site, x in found.items():
                parts[site].append(x[0][counts[row, : length[row]]].float().cpu())
        self._known |= {(bos, site): torch.cat(part) for site, part in parts.items()}
        for site in (self.given.reads, self.given.writes):
            if site in parts and not torch.isfinite(self._known[bos, site]).all():
                raise BadInput(f"the activation at {site} is NaN or infinite; use a wider dtype")

    def _tokens(self, bos: bool) -> tuple[Tensor, np.ndarray, Tensor]:
        """(token ids, length, which count) with <bos> or without: the same tokens count."""
        reading = self.plan.reading
        tokens, length, counts = reading.tokens, reading.length, reading.counts
        if bos and not reading.bos:
            first = np.full((len(tokens), 1), self.plan.model.tokenizer.bos_token_id)
            tokens, length = np.concatenate([first, tokens], axis=1), length + 1
            counts = np.concatenate([first < 0, counts], axis=1)
        elif reading.bos and not bos:
            tokens, length, counts = tokens[:, 1:], length - 1, counts[:, 1:]
        device = self.plan.request.device
        return torch.from_numpy(tokens).to(device), length, torch.from_numpy(counts).to(device)

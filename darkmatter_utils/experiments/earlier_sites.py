"""Activations and SAE outputs of the sites before the one that is decomposed, token by token beside the
error's parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..adapters.models import place
from ..adapters.saes import Sae, load_sae
from ..base.errors import BadInput
from ..measurement.measure import Measurement
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from ..studies.study import SaeEntry, Study

BLOCKS, MOST = 2, 6
"""Streams of so many blocks before the target's are read, and no more than so many sites in all, the latest
ones."""


Predictors = Callable[[Tensor, Tensor | None], dict[str, Tensor | None]]
"""(activations of a site [token, d], what its SAE makes of them [token, d] or None) -> inputs by kind [token,
inputs]; the last kind is what a claim is about, the first what it has to beat; None: the site lacks it."""


@dataclass(frozen=True)
class Earlier:
    """A site that is computed before the one that is decomposed."""

    site: str
    sae: SaeEntry | None
    """The SAE there, of the width nearest to the target's; None where the study has none."""


def earlier_sites(study: Study, width: int) -> list[Earlier]:
    """The sites before the study's own, first to last: the residual streams of the blocks before it,
    attention and MLP of its own block, and whatever else has an SAE of x; none in a simulated world. SAEs are
    of the width nearest to ``width``."""
    target = place(study.site)
    if study.model is None or target is None:
        return []
    block = target[0]
    named = [f"blocks.{i}.hook_resid_post" for i in range(max(0, block - BLOCKS), block)]
    named += [f"blocks.{block}.{site}" for site in ("attn.hook_z", "hook_mlp_out")]
    usable = [e for e in study.saes if e.site and e.path and e.width and e.target == "x"]
    before = {site for site in (*named, *(e.site for e in usable)) if (at := place(site)) and at < target}
    found = []
    for site in sorted(before, key=place)[-MOST:]:
        there = [e for e in usable if e.site == site]
        nearest = min(there, key=lambda e: (abs(np.log2(e.width / max(1, width))), e.id), default=None)
        found.append(Earlier(site, nearest))
    return found


@dataclass(frozen=True)
class Tokens:
    """The scored tokens of one context."""

    inputs: Float[Tensor, "token inputs"]
    """Blocks of columns side by side: see `Inputs.columns`."""
    errors: Float[Tensor, "token errors"]
    """SaeError of each target SAE, side by side."""
    document: int
    fold: int
    context: int


@dataclass(frozen=True)
class Inputs:
    """What predicts: x and Sae(x) at the study's own site, and what ``predictors`` takes from each earlier
    one."""

    measurement: Measurement
    targets: tuple[str, ...]
    """Ids of the SAEs whose error parts are predicted; the first one's Sae(x) is an input, for the pole."""
    sites: tuple[Earlier, ...]
    contexts: int
    predictors: Predictors

    @property
    def d_model(self) -> int:
        """Dimensions of the activation that is decomposed."""
        return int(self.measurement.card["d_model"])

    def of(self, raw: Tensor, output: Tensor | None) -> dict[str, Tensor]:
        """The inputs that a site gives, by kind."""
        return {kind: made for kind, made in self.predictors(raw, output).items() if made is not None}

    @cached_property
    def sizes(self) -> dict[str, dict[str, int]]:
        """How many inputs of each kind each site gives."""
        found = {}
        for one in self.sites:
            x = torch.zeros(1, self.source.width(one.site), dtype=torch.float64)
            made = self.of(x, x if one.sae else None)
            found[one.site] = {kind: inputs.shape[1] for kind, inputs in made.items()}
        return found

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of input, of all sites."""
        return list(dict.fromkeys(kind for kinds in self.sizes.values() for kind in kinds))

    def columns(self) -> dict[str, slice]:
        """Columns of each block of `Tokens.inputs`: "x", "Sae(x)", then "<kind> <site>"."""
        sizes = {"x": self.d_model, "Sae(x)": self.d_model}
        for site, kinds in self.sizes.items():
            sizes |= {f"{kind} {site}": size for kind, size in kinds.items()}
        edges = np.cumsum([0, *sizes.values()])
        return {name: slice(int(a), int(b)) for name, a, b in zip(sizes, edges, edges[1:])}

    @cached_property
    def source(self) -> Activations:
        """Where they come from."""
        return Activations(self.measurement.study, contexts_a_batch=MICRO)

    def stream(self) -> Iterator[Tokens]:
        """The contexts, spread evenly over the text, in stream order; the same at every call. Cost: one pass
        of the model and of every SAE."""
        study, source = self.measurement.study, self.source
        if self.contexts < study.folds:
            raise BadInput(f"contexts is {self.contexts}; give at least {study.folds}, the number of folds")
        targets = load_saes(replace(study, saes=tuple(study.sae(id) for id in self.targets)), source)
        fold_of = self.measurement.fold_of()
        saes = {e.site: _load(study, e.sae, source.width(e.site)) for e in self.sites if e.sae}
        for batch in source.batches(sites=[e.site for e in self.sites], contexts=self.contexts):
            made = [sae.reconstruct(batch.source)[0].double() for sae in targets]
            blocks = [batch.x.double(), made[0]]
            for earlier in self.sites:
                x = batch.sites[earlier.site]
                output = saes[earlier.site].reconstruct(x)[0].double() if earlier.sae else None
                blocks += self.of(x.double(), output).values()
            inputs = torch.cat(blocks, dim=1)
            for context in np.unique(batch.context):
                rows = torch.from_numpy(np.flatnonzero((batch.context == context) & batch.scored))
                document = int(batch.document[int(rows[0])])
                errors = torch.cat([blocks[0][rows] - hat[rows] for hat in made], dim=1)
                yield Tokens(inputs[rows], errors, document, fold_of[document], int(context))


def _load(study: Study, entry: SaeEntry, d: int) -> Sae:
    return load_sae(
        entry, study.data_folder() / entry.path, d_model=d, dtype=study.dtype, device=study.device
    )


def with_others(stream: Iterable[Tokens], d: int, seed: int) -> Iterator[tuple[Tokens, Tensor]]:
    """(tokens, pairs [token, 4 d]) for every context: (error of the first SAE, x) of a token of another
    document of the same fold, then of a random token of the same context.

    The other document is the one that came last before it in the stream, or for the first ones of a fold, the
    last of all.
    """
    recent: dict[int, list[tuple[int, Tensor]]] = {}
    waiting: list[tuple[Tokens, Tensor]] = []
    for tokens in stream:
        mine = torch.cat([tokens.errors[:, :d], tokens.inputs[:, :d]], dim=1)
        before = recent.get(tokens.fold, [])
        other = next((pair for document, pair in before if document != tokens.document), None)
        recent[tokens.fold] = [
            (tokens.document, mine),
            *(one for one in before if one[0] != tokens.document),
        ][:2]
        if other is None:
            waiting.append((tokens, mine))
        else:
            yield tokens, _pairs(tokens, mine, other, seed)
    for tokens, mine in waiting:
        others = [pair for document, pair in recent[tokens.fold] if document != tokens.document]
        yield tokens, _pairs(tokens, mine, others[0] if others else mine, seed)


def _pairs(tokens: Tokens, mine: Tensor, other: Tensor, seed: int) -> Tensor:
    rng, n = np.random.default_rng([seed, tokens.context]), len(mine)
    drawn = torch.from_numpy(rng.choice(len(other), size=n, replace=len(other) < n))
    return torch.cat([other[drawn], mine[torch.from_numpy(rng.permutation(n))]], dim=1)

"""Reconstructions whose faults are known: oracles that only lack features, oracles with dialled errors, and nulls.

All of them answer `reconstruct(batch) -> (x_hat [token, d_model], l0 [token])` and carry `id`, `kind` and `width`.
Those that need no world (dead, shrunk, random) also take a plain array of activations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .errors import BadInput, nearest
from .simulate import DENSE, World, WorldBatch

KINDS = ("oracle", "introduced", "dead", "shrunk", "random")
"""Kinds of null SAE that `null_sae` makes."""
_LATENTS, _TOKENS = 3, 4
"""Streams of random numbers: what an SAE is, what it does on a document."""


@runtime_checkable
class Reconstructor(Protocol):
    """What every SAE of this package is to those who measure it."""

    id: str
    kind: str
    width: int

    def reconstruct(self, batch) -> tuple[Float[Tensor, "token d_model"], Int64[Tensor, "token"]]: ...


@dataclass(frozen=True)
class WorldParts:
    """How an SAE splits a world: x = learned + absent + dense, and x_hat = learned + introduced."""

    learned: Float64[Tensor, "token d_model"]
    """The mean and the features that the SAE holds, with their true coefficients."""
    absent: Float64[Tensor, "token d_model"]
    """Features that the SAE does not hold, or leaves out because its L0 is capped."""
    dense: Float64[Tensor, "token d_model"]
    """Manifold, linear dense part, curved dense part and noise."""
    introduced: Float64[Tensor, "token d_model"]
    """What the SAE itself adds: wrong, missed and false coefficients. SaeError = absent + dense - introduced."""


@dataclass(frozen=True)
class OracleSae:
    """The exact sum of a world's first `width` features, and, where a dial is turned, errors of the SAE's own.

    x_hat = mean + Σ_{i < width} ẑ_i f_i, with ẑ = z at the default dials: then it introduces nothing and only lacks
    features. Deterministic for each document, whatever the batch. Raises `BadInput` for a width outside the world.
    O(fires × d_model).
    """

    id: str
    world: World
    width: int
    l0: int | None = None
    """At most this many features on a token, those of the largest coefficients; the others count as absent."""
    gain: float = 1.0
    """Every coefficient is multiplied by this: shrinkage where it is below 1."""
    gain_spread: float = 0.0
    """Standard deviation of the log of a further gain of each latent, of mean 1."""
    wrong: float = 0.0
    """Standard deviation of the relative error of each coefficient that fires; what falls below zero is zero."""
    missed: float = 0.0
    """Share of fires that the SAE misses."""
    false_fires: float = 0.0
    """Expected false fires on a token: a latent drawn by frequency, with a coefficient of mean 1."""
    interference: float = 0.0
    """From 0 to 1: how far a coefficient moves from the true one to what a linear encoder reads, (x - mean)·f_i at
    least 0. It makes an introduced error that correlates with the absent and the dense part."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.width <= self.world.features:
            raise BadInput(f"SAE {self.id}: width {self.width} is outside 1 .. {self.world.features} features")
        for name in ("missed", "interference"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"SAE {self.id}: {name} is {getattr(self, name)}; give a share between 0 and 1")
        for name in ("gain_spread", "wrong", "false_fires"):
            if getattr(self, name) < 0:
                raise BadInput(f"SAE {self.id}: {name} is {getattr(self, name)}; give 0 or more")

    @property
    def kind(self) -> str:
        return "introduced" if self.introduces else "oracle"

    @property
    def introduces(self) -> bool:
        """Whether any dial makes an error of the SAE's own."""
        return self.gain != 1 or any((self.gain_spread, self.wrong, self.missed, self.false_fires, self.interference))

    @cached_property
    def _gains(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, _LATENTS])
        sigma = self.gain_spread
        return self.gain * np.exp(sigma * rng.standard_normal(self.width) - sigma**2 / 2)

    @cached_property
    def _false_law(self) -> np.ndarray:
        return np.cumsum(self.world.frequency[: self.width]) / self.world.frequency[: self.width].sum()

    def _kept(self, batch: WorldBatch) -> Tensor:
        kept = batch.feature < self.width
        if self.l0 is not None:
            row, value = batch.row[kept].numpy(), batch.value[kept].numpy()
            order = np.lexsort((-value, row))
            start = np.searchsorted(row, row)  # first fire of the token; rows ascend
            rank = np.arange(row.size) - start[order]
            within = np.zeros(row.size, dtype=bool)
            within[order] = rank < self.l0
            kept[kept.clone()] = torch.from_numpy(within)
        return kept

    def _sum(self, tokens: int, row: Tensor, feature: Tensor, value: Tensor) -> Tensor:
        out = torch.zeros(tokens, self.world.d_model, dtype=torch.float64)
        return out.index_add_(0, row, value[:, None] * self.world.directions[feature])

    def _codes(self, batch: WorldBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Row, feature and coefficient of everything that the SAE fires."""
        kept = self._kept(batch)
        row, feature, value = batch.row[kept], batch.feature[kept], batch.value[kept]
        if not self.introduces:
            return row, feature, value
        if self.interference:
            read = ((batch.x - batch.parts["mean"])[row] * self.world.directions[feature]).sum(1).clamp(min=0)
            value = (1 - self.interference) * value + self.interference * read
        document = batch.document[row]
        pieces = []
        for index in torch.unique_consecutive(batch.document).tolist():
            here, tokens = document == index, torch.nonzero(batch.document == index).squeeze(1)
            rng = np.random.default_rng([self.seed, _TOKENS, index])
            hit, made = feature[here], value[here].numpy() * self._gains[feature[here].numpy()]
            made = made * (1 + self.wrong * rng.standard_normal(made.size)) * (rng.random(made.size) >= self.missed)
            extra = np.repeat(np.arange(len(tokens)), rng.poisson(self.false_fires, len(tokens)))
            latent = np.searchsorted(self._false_law, rng.random(extra.size)).clip(max=self.width - 1)
            size = rng.lognormal(-math.log1p(self.world.spread**2) / 2, math.sqrt(math.log1p(self.world.spread**2)),
                                 extra.size)
            pieces += [(row[here], hit, torch.from_numpy(made).clamp(min=0)),
                       (tokens[torch.from_numpy(extra)], torch.from_numpy(latent), torch.from_numpy(size))]
        row, feature, value = (torch.cat(column) for column in zip(*pieces))
        return row[value > 0], feature[value > 0], value[value > 0]

    def reconstruct(self, batch: WorldBatch) -> tuple[Tensor, Tensor]:
        """x_hat and the number of latents that fire on each token."""
        tokens = len(batch.x)
        row, feature, value = self._codes(batch)
        fired = torch.unique(row * self.width + feature) // self.width  # a false fire may hit a latent that is on
        return batch.parts["mean"] + self._sum(tokens, row, feature, value), torch.bincount(fired, minlength=tokens)

    def parts(self, batch: WorldBatch) -> WorldParts:
        """The true parts of x and of x_hat for this SAE."""
        kept, tokens = self._kept(batch), len(batch.x)
        learned = batch.parts["mean"] + self._sum(tokens, batch.row[kept], batch.feature[kept], batch.value[kept])
        absent = self._sum(tokens, batch.row[~kept], batch.feature[~kept], batch.value[~kept])
        return WorldParts(learned=learned, absent=absent, dense=sum(batch.parts[name] for name in DENSE),
                          introduced=self.reconstruct(batch)[0] - learned)


@dataclass(frozen=True)
class DeadSae:
    """An SAE none of whose latents fires: x_hat = mean. Its error is wholly linear, and that means nothing."""

    id: str
    mean: Float[Tensor, "d_model"]
    width: int = 0
    kind = "dead"

    def reconstruct(self, batch) -> tuple[Tensor, Tensor]:
        """The mean for every token; no latent fires."""
        x = _activations(batch)
        return self.mean.to(x.dtype).expand(len(x), -1).clone(), torch.zeros(len(x), dtype=torch.int64)


@dataclass(frozen=True)
class ShrunkSae:
    """Pure shrinkage, x_hat = mean + gain (x - mean): FVU is (1 - gain)², and the error is wholly linear."""

    id: str
    mean: Float[Tensor, "d_model"]
    gain: float = 0.5
    """A number, or one gain for each dimension of x [d_model]."""
    width: int = 0
    kind = "shrunk"

    def reconstruct(self, batch) -> tuple[Tensor, Tensor]:
        """The shrunk activation; l0 is d_model, since every dimension is used."""
        x = _activations(batch)
        mean = self.mean.to(x.dtype)
        return mean + self.gain * (x - mean), torch.full((len(x),), x.shape[1])


@dataclass(frozen=True)
class RandomSae:
    """A dictionary of random unit vectors that was never trained.

    The `l0` largest positive inner products with x - mean are kept as the codes a, and the reconstruction is
    mean + step · a D with the step that fits x best, <aD, x - mean> / |aD|². O(token × width × d_model).
    """

    id: str
    mean: Float[Tensor, "d_model"]
    width: int
    l0: int = 16
    seed: int = 0
    kind = "random"

    @cached_property
    def dictionary(self) -> Float64[Tensor, "d_sae d_model"]:
        """Unit rows, drawn from the seed."""
        rng = np.random.default_rng([self.seed, _LATENTS])
        rows = rng.standard_normal((self.width, len(self.mean)))
        return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def reconstruct(self, batch) -> tuple[Tensor, Tensor]:
        """The reconstruction and the number of kept codes that are positive."""
        x = _activations(batch)
        mean, rows = self.mean.to(x.dtype), self.dictionary.to(x.dtype)
        y = x - mean
        value, index = (y @ rows.T).clamp(min=0).topk(min(self.l0, self.width), dim=1)
        raw = torch.einsum("tk,tkd->td", value, rows[index])
        step = (raw * y).sum(1) / (raw * raw).sum(1).clamp(min=torch.finfo(x.dtype).tiny)
        return mean + step[:, None] * raw, (value > 0).sum(1)


def null_sae(kind: str, *, id: str, width: int = 0, world: World | None = None, mean=None, **dials) -> Reconstructor:
    """The null SAE of a study's entry: oracle and introduced ones need ``world``, the others a ``mean`` [d_model].

    Without ``mean`` the world's expected activation is taken. Raises `BadInput` for an unknown kind or dial.
    """
    if kind not in KINDS:
        raise BadInput(f"SAE {id}: unknown kind '{kind}'; {nearest(kind, KINDS)}")
    if mean is None:
        if world is None:
            raise BadInput(f"SAE {id}: kind '{kind}' needs a world or a mean activation; give one")
        mean = world.truth(0).mean
    made = {"oracle": OracleSae, "introduced": OracleSae, "dead": DeadSae, "shrunk": ShrunkSae, "random": RandomSae}
    base = {"world": world} if kind in ("oracle", "introduced") else {"mean": torch.as_tensor(mean)}
    if kind in ("oracle", "introduced") and world is None:
        raise BadInput(f"SAE {id}: kind '{kind}' needs a simulated world; only a study without a model has one")
    if kind in ("dead", "shrunk"):
        dials.pop("seed", None)
    allowed = [name for name in made[kind].__dataclass_fields__ if name not in ("id", "world", "mean", "width")]
    for name in dials:
        if name not in allowed:
            raise BadInput(f"SAE {id}: unknown dial '{name}' for kind '{kind}'; {nearest(name, allowed)}")
    sae = made[kind](id=id, width=width, **base, **dials)
    if sae.kind != kind:
        wrong = "turns no dial, so it introduces nothing" if kind == "introduced" else "turns a dial that introduces errors"
        raise BadInput(f"SAE {id}: kind '{kind}' {wrong}; make it kind '{sae.kind}'")
    return sae


def _activations(batch) -> Tensor:
    x = batch if isinstance(batch, (Tensor, np.ndarray)) else batch.x
    return torch.as_tensor(x)

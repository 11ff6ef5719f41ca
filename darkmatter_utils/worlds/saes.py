"""SAEs that need no training: oracles, which hold a world's true features; and those that learned nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ..base.config import checked
from ..base.errors import BadInput, nearest
from .known import DENSE, WorldBatch
from .world import LATENTS, TOKENS, World, log_spread, lognormal


@dataclass(frozen=True)
class WorldParts:
    """How an SAE splits a world: x = learned + absent + dense, x_hat = learned + introduced.

    So SaeError = absent + dense - introduced.
    """

    learned: Float64[Tensor, "token d_model"]
    """The mean and the features that the SAE holds, with their true coefficients."""
    absent: Float64[Tensor, "token d_model"]
    """Features that the SAE does not hold, or leaves out because its L0 is capped."""
    dense: Float64[Tensor, "token d_model"]
    """Manifold, linear dense part, curved dense part and noise."""
    introduced: Float64[Tensor, "token d_model"]
    """What the SAE itself adds: wrong, missed and false coefficients."""


@dataclass(frozen=True)
class OracleSae:
    """The exact sum of a world's first `width` features, and, where a dial is turned, errors of its own.

    x_hat = mean + Σ_{i < width} ẑ_i f_i, with ẑ = z at the default dials: then it introduces nothing and only
    lacks features. Deterministic for each document, whatever the batch. Raises `BadInput` for a width outside
    the world. O(fires × d_model).
    """

    id: str
    world: World
    width: int
    l0: int | None = None
    """At most this many features on a token, the largest coefficients; the others count as absent."""
    gain: float = 1.0
    """Every coefficient is multiplied by this: shrinkage where it is below 1."""
    gain_spread: float = 0.0
    """Standard deviation of the log of a further gain of each latent, of mean 1."""
    wrong: float = 0.0
    """Standard deviation of the relative error of each coefficient that fires; none falls below zero."""
    missed: float = 0.0
    """Share of fires that the SAE misses."""
    false_fires: float = 0.0
    """Expected false fires on a token: a latent drawn by frequency, with a coefficient of mean 1."""
    interference: float = 0.0
    """From 0 to 1: how far a coefficient moves to what a linear encoder reads, (x - mean)·f_i at least 0.
    The error that this introduces correlates with the absent and the dense part."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.width <= self.world.features:
            raise BadInput(f"SAE {self.id}: width is {self.width}; give 1 .. {self.world.features} features")
        for name in ("missed", "interference"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"SAE {self.id}: {name} is {getattr(self, name)}; give a share from 0 to 1")
        for name in ("gain_spread", "wrong", "false_fires"):
            if getattr(self, name) < 0:
                raise BadInput(f"SAE {self.id}: {name} is {getattr(self, name)}; give 0 or more")

    @property
    def kind(self) -> str:
        return "introduced" if self.introduces else "oracle"

    @property
    def introduces(self) -> bool:
        """Whether any dial makes an error of the SAE's own."""
        dials = (self.gain_spread, self.wrong, self.missed, self.false_fires, self.interference)
        return self.gain != 1 or any(dials)

    @cached_property
    def _gains(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, LATENTS])
        return self.gain * lognormal(rng, self.gain_spread, self.width)

    @cached_property
    def _false_law(self) -> np.ndarray:
        frequency = self.world.frequency[: self.width]
        return np.cumsum(frequency) / frequency.sum()

    def _kept(self, batch: WorldBatch) -> np.ndarray:
        kept = batch.feature.numpy() < self.width
        if self.l0 is not None:
            fires = np.flatnonzero(kept)
            row, value = batch.row.numpy()[fires], batch.value.numpy()[fires]
            order = np.lexsort((-value, row))
            start = np.searchsorted(row, row)  # first fire of the token; rows ascend
            kept[fires[order]] = np.arange(row.size) - start[order] < self.l0
        return kept

    def _codes(self, batch: WorldBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, feature and coefficient of everything that the SAE fires."""
        kept = self._kept(batch)
        row, feature, value = (a.numpy()[kept] for a in (batch.row, batch.feature, batch.value))
        if not self.introduces:
            return row, feature, value
        if self.interference:
            y, directions = (batch.x - batch.parts["mean"]).numpy(), self.world.directions.numpy()
            read = (y[row] * directions[feature]).sum(1).clip(min=0)
            value = (1 - self.interference) * value + self.interference * read
        documents = batch.document.numpy()
        pieces = []
        for index in np.unique(documents).tolist():
            here, tokens = documents[row] == index, np.flatnonzero(documents == index)
            rng = np.random.default_rng([self.seed, TOKENS, index])
            hit, made = feature[here], value[here] * self._gains[feature[here]]
            made *= 1 + self.wrong * rng.standard_normal(made.size)
            made *= rng.random(made.size) >= self.missed
            extra = np.repeat(np.arange(len(tokens)), rng.poisson(self.false_fires, len(tokens)))
            latent = np.searchsorted(self._false_law, rng.random(extra.size)).clip(max=self.width - 1)
            size = lognormal(rng, log_spread(self.world.spread), extra.size)
            pieces += [(row[here], hit, made), (tokens[extra], latent, size)]
        row, feature, value = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return row[value > 0], feature[value > 0], value[value > 0]

    def reconstruct(self, batch: WorldBatch) -> tuple[Tensor, Tensor]:
        """x_hat and the number of latents that fire on each token."""
        tokens = len(batch.x)
        row, feature, value = self._codes(batch)
        # a false fire may hit a latent that is on: count each latent once
        fired = np.unique(row * self.width + feature) // self.width
        x_hat = batch.parts["mean"] + torch.from_numpy(self.world.combine(tokens, row, feature, value))
        return x_hat, torch.from_numpy(np.bincount(fired, minlength=tokens))

    def parts(self, batch: WorldBatch) -> WorldParts:
        """The true parts of x and of x_hat for this SAE."""
        kept, fires = self._kept(batch), [a.numpy() for a in (batch.row, batch.feature, batch.value)]
        combine = lambda which: self.world.combine(len(batch.x), *(a[which] for a in fires))
        learned = batch.parts["mean"] + torch.from_numpy(combine(kept))
        absent, dense = torch.from_numpy(combine(~kept)), sum(batch.parts[name] for name in DENSE)
        return WorldParts(learned, absent, dense, introduced=self.reconstruct(batch)[0] - learned)


@dataclass(frozen=True)
class DeadSae:
    """An SAE none of whose latents fires: x_hat = mean. Its error is wholly linear, which means nothing."""

    id: str
    mean: Float[Tensor, " d_model"]
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
    mean: Float[Tensor, " d_model"]
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
    mean: Float[Tensor, " d_model"]
    width: int
    l0: int = 16
    seed: int = 0
    kind = "random"

    @cached_property
    def dictionary(self) -> Float64[Tensor, "d_sae d_model"]:
        """Unit rows, drawn from the seed."""
        rng = np.random.default_rng([self.seed, LATENTS])
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


KINDS = {"oracle": OracleSae, "introduced": OracleSae}
KINDS |= {"dead": DeadSae, "shrunk": ShrunkSae, "random": RandomSae}
"""Kinds of SAE that `null_sae` makes."""


def null_sae(
    kind: str, *, id: str, width: int = 0, world: World | None = None, mean=None, seed: int = 0, **dials
) -> OracleSae | DeadSae | ShrunkSae | RandomSae:
    """The null SAE of a study's entry: oracle and introduced ones need ``world``, the others a ``mean``.

    Without ``mean`` [d_model] the world's expected activation is taken. Raises `BadInput` for an unknown kind
    or dial, and where the kind and the dials contradict each other.
    """
    where, given = f"SAE {id}", {"id": id, "width": width}
    if kind not in KINDS:
        raise BadInput(f"{where}: unknown kind '{kind}'; {nearest(kind, KINDS)}")
    if kind in ("oracle", "introduced", "random"):
        given["seed"] = seed
    if kind in ("oracle", "introduced"):
        if world is None:
            raise BadInput(f"{where}: kind '{kind}' needs a simulated world; this study has a model")
        given["world"] = world
    elif mean is None and world is None:
        raise BadInput(f"{where}: kind '{kind}' needs the mean activation, or a world; give one")
    else:
        given["mean"] = torch.as_tensor(world.truth(0).mean if mean is None else mean)
    sae = checked(KINDS[kind], dials, where=where, given=given)
    if sae.kind != kind:
        oracle = kind == "oracle"
        does = "has a dial that introduces errors" if oracle else "introduces nothing as its dials stand"
        raise BadInput(f"{where}: kind '{kind}' {does}; turn a dial back or make it kind '{sae.kind}'")
    return sae


def _activations(batch) -> Tensor:
    return torch.as_tensor(batch if isinstance(batch, (Tensor, np.ndarray)) else batch.x)

"""Reconstructions that learned nothing: what every claim about SAEs has to be held against.

An SAE of this package answers `reconstruct(batch) -> (x_hat [token, d_model], l0 [token])` and carries `id`,
`kind` and `width`. Those here need no world: they take a batch or a plain array of activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..base.dials import with_dials
from ..base.errors import BadInput, nearest
from .oracle_saes import OracleSae
from .world import LATENTS, World


@runtime_checkable
class Reconstructor(Protocol):
    """What every SAE of this package is to those who measure it."""

    id: str
    kind: str
    width: int

    def reconstruct(self, batch) -> tuple[Float[Tensor, "token d_model"], Int64[Tensor, " token"]]: ...


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


KINDS = {
    "oracle": OracleSae,
    "introduced": OracleSae,
    "dead": DeadSae,
    "shrunk": ShrunkSae,
    "random": RandomSae,
}
"""Kinds of SAE that `null_sae` makes."""


def null_sae(
    kind: str, *, id: str, width: int = 0, world: World | None = None, mean=None, seed: int = 0, **dials
) -> Reconstructor:
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
    sae = with_dials(KINDS[kind], dials, where=where, given=given)
    if sae.kind != kind:
        does = "introduces nothing as its dials stand"
        if kind == "oracle":
            does = "has a dial that introduces errors"
        raise BadInput(f"{where}: kind '{kind}' {does}; turn a dial back or make it kind '{sae.kind}'")
    return sae


def _activations(batch) -> Tensor:
    x = batch if isinstance(batch, (Tensor, np.ndarray)) else batch.x
    return torch.as_tensor(x)

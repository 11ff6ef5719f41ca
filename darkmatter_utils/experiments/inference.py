"""An SAE's dictionary, and searches for codes on it that have no more active latents than its encoder's."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..adapters.saes import Active
from ..stats.pursuit import Codes, gradient_pursuit, refit
from ..worlds.saes import OracleSae

ENCODER = "own encoder"
"""Name of the SAE's own inference, beside those that a chapter compares with it."""
BATCH = 1024
"""Tokens that are searched at a time."""


class Dictionary(NamedTuple):
    """What any inference on an SAE's dictionary needs: x ≈ bias + Σ_j values_j · atoms_j."""

    atoms: Float[Tensor, "d_sae d_model"]
    bias: Float[Tensor, " d_model"]
    encode: Callable[[object], Codes]
    """A batch to the codes that the SAE's own encoder gives its tokens."""

    def decode(self, codes: Codes) -> Float[Tensor, "token d_model"]:
        """The reconstruction from codes, made in their precision."""
        return codes.decode(self.atoms.to(codes.values)).double() + self.bias.double()


def dictionary_of(sae) -> Dictionary | None:
    """The dictionary of a loaded SAE; None where it has none, or its codes speak of normalised tokens."""
    if isinstance(sae, OracleSae):
        mean = sae.world.document(0).parts["mean"][0]  # what every token has, not the expected activation
        return Dictionary(sae.world.directions[: sae.width], mean, lambda batch: _oracle_codes(sae, batch))
    if getattr(sae, "needs_x", True):
        return None
    return Dictionary(sae.dictionary, sae.bias, lambda batch: Codes(*sae.codes(batch).padded()))


def _oracle_codes(sae: OracleSae, batch) -> Codes:
    row, feature, value = (torch.from_numpy(array) for array in sae._codes(batch))
    # a false fire may hit a latent that is on
    key, where = torch.unique(row * sae.width + feature, return_inverse=True)
    summed = value.new_zeros(len(key)).index_add_(0, where, value)
    l0 = torch.bincount(key // sae.width, minlength=len(batch.x))
    return Codes(*Active(key % sae.width, summed, l0).padded())


def over_complete(own: Codes, d_model: int) -> bool:
    """Whether a token has, on average, as many active latents as x has dimensions: then any support fits."""
    return len(own.values) > 0 and float(own.l0.double().mean()) >= d_model


def lengthened(signal, atoms, steps: Codes, l0: Int[Tensor, " token"]) -> Codes:
    """The gradient pursuit ``steps``, with up to 32 more steps where its realised L0 is short of ``l0``."""
    short = (steps.l0 < l0).nonzero().squeeze(1)
    if not len(short):
        return steps
    longer = gradient_pursuit(signal[short], atoms, l0[short], extra=32, batch=BATCH)
    indices, values, width = steps.indices.clone(), steps.values.clone(), longer.indices.shape[1]
    indices[short], values[short] = 0, 0
    indices[short, :width], values[short, :width] = longer.indices, longer.values
    return Codes(indices, values)


def warm_start(signal, atoms, own: Codes, *, rounds: int = 1) -> Codes:
    """Non-negative subspace pursuit from the SAE's own support.

    Refit the support; then, each round: join to it as many atoms as the token's L0, those of the highest
    scores r·d with what is left; refit; keep the L0 largest coefficients (by their length |d|); refit. What a
    round makes is kept where it leaves less. Source: Dai & Milenkovic (2009), made non-negative. Cost:
    ``rounds`` products of token × d_sae × d_model and twice as many refits, of up to twice the L0.
    """
    l0 = own.l0
    indices = l0.new_zeros(len(signal), int(l0.max()) if len(l0) else 0)
    values = signal.new_zeros(indices.shape)
    for rows in l0.argsort(descending=True, stable=True).split(BATCH):
        most, x = int(l0[rows].max()) if len(rows) else 0, signal[rows]
        if not most:
            continue
        codes = refit(x, atoms, own.support[rows][:, :most], batch=BATCH)
        left = (x - codes.decode(atoms)).square().sum(1)
        for _ in range(rounds):
            made = _exchange(x, atoms, codes, l0[rows])
            remaining = (x - made.decode(atoms)).square().sum(1)
            better = remaining < left
            if not better.any():
                break
            left = torch.where(better, remaining, left)
            pairs = ((made.indices, codes.indices), (made.values, codes.values))
            codes = Codes(*(torch.where(better[:, None], new, old) for new, old in pairs))
        width = codes.indices.shape[1]
        indices[rows, :width], values[rows, :width] = codes.indices, codes.values
    return Codes(indices, values)


def _exchange(x, atoms, codes: Codes, l0) -> Codes:
    most = codes.indices.shape[1]
    score = (x - codes.decode(atoms)) @ atoms.T
    held = codes.support
    score.scatter_(1, codes.indices, torch.where(held >= 0, -torch.inf, score.gather(1, codes.indices)))
    top, new = score.topk(min(most, score.shape[1]), dim=1)
    among = lambda table: torch.arange(table.shape[1], device=x.device) < l0[:, None]
    wanted = (top > 0) & among(top)
    union = refit(x, atoms, torch.cat([held, torch.where(wanted, new, -1)], dim=1), batch=BATCH)
    size = union.values * atoms.norm(dim=1)[union.indices]
    order = size.argsort(dim=1, descending=True, stable=True)[:, :most]
    kept = torch.where(among(order), union.support.gather(1, order), -1)
    return refit(x, atoms, kept, batch=BATCH)

"""Shrinkage undone: Sae(x) rescaled by the scalar, or by one gain for each latent, that fits x best on other
documents."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..studies.saes import Collected


def rescaled(held: Collected, id: str) -> Float[Tensor, "token d_model"]:
    """x̄ + s (Sae(x) − mean), with the s of least Σ‖x − x̂‖² on the other folds; float32."""
    hat, folds = held.hats[id], held.folds()
    centre, sums = hat.mean(dim=0, dtype=torch.float64), {}
    for k in np.unique(folds):
        mine = torch.from_numpy(folds == k)
        centred = hat[mine].double() - centre
        sums[k] = float((centred * (held.x[mine].double() - held.mean)).sum()), float((centred**2).sum())
    out = torch.empty_like(hat)
    for k in sums:
        mine = torch.from_numpy(folds == k)
        scale = sum(sums[j][0] for j in sums if j != k) / sum(sums[j][1] for j in sums if j != k)
        out[mine] = (held.mean + scale * (hat[mine].double() - centre)).float()
    return out


def one_gain_a_latent(held: Collected, id: str) -> Float[Tensor, "token d_model"] | None:
    """b_dec + Σ g_i a_i d_i, with the gains g of least Σ‖x − x̂‖² on the other folds; float32. None without
    codes.

    Normal equations (A'A ∘ D D') g = diag(A'(x − b_dec) D'), A the activations [token, d_sae] and D the
    decoder: sums a fold, which add up. A latent that is silent on the other folds keeps its gain of 1.
    Cost: tokens × L0 × d_model, and d_sae³ a fold.
    """
    sae = held.saes[id]
    if not hasattr(sae, "codes"):
        return None
    active = sae.codes(held.x).csr(sae.width)
    decoder, offset = (t.double().numpy(force=True) for t in (sae.dictionary, sae.bias))
    folds = held.folds()
    overlap = decoder @ decoder.T
    names = np.unique(folds)
    grams, sides = [], []
    for k in names:
        some, target = active[np.flatnonzero(folds == k)], held.x.numpy()[folds == k] - offset
        grams.append((some.T @ some).toarray() * overlap)
        sides.append(((some.T @ target) * decoder).sum(axis=1))
    out = torch.empty_like(held.hats[id])
    for k, gram, side in zip(names, grams, sides):
        rest, right = sum(grams) - gram, sum(sides) - side
        silent = rest.diagonal() == 0
        rest[silent, silent], right[silent] = 1.0, 1.0
        gain = np.linalg.lstsq(rest, right, rcond=1e-10)[0] if silent.any() else np.linalg.solve(rest, right)
        mine = np.flatnonzero(folds == k)
        out[mine] = torch.from_numpy((active[mine].multiply(gain[None]).tocsr() @ decoder + offset)).float()
    return out

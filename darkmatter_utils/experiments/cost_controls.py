"""Controls of equal norm: an error of the same size in any direction costs the model something.

The directions are those that have been asked for: Gurnee (2024) compared with isotropic ones; Heimersheim and
Lee (2410.12555) show that real activations' matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..base.errors import BadInput, nearest

KINDS = {
    "isotropic": "a random direction, all equally likely",
    "covariance": "a random direction with the covariance of x",
    "difference": "towards the activation of another token, of another document",
    "permuted": "the same part of the error at another token, of another document",
}
"""Kinds of control and the direction that each takes."""


def donors(document: Int[np.ndarray, "token"], *, seed: int) -> Int[np.ndarray, "token"]:
    """For each token another one, drawn from all of other documents. Raises BadInput where there are none."""
    if len(np.unique(document)) < 2:
        raise BadInput("a token of another document needs at least two documents")
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(document), size=len(document))
    while len(same := np.flatnonzero(document[chosen] == document)):
        chosen[same] = rng.integers(len(document), size=len(same))
    return chosen


class Controls:
    """Directions of every kind for the tokens at hand, drawn once for all SAEs, so that these are paired.

    One direction a token for all parts, so that what differs between their costs is the norm; only a permuted
    part has its own for each. Raises BadInput for an unknown kind.
    """

    def __init__(self, x: Tensor, document: np.ndarray, kinds: Sequence[str], *, seed: int):
        """x [token, d_model] and the document of each token."""
        for kind in kinds:
            if kind not in KINDS:
                raise BadInput(f"unknown kind of control '{kind}'; {nearest(kind, KINDS)}")
        self.kinds, self.x = tuple(kinds), x.float()
        paired = {"difference", "permuted"} & set(kinds)
        self.other = torch.from_numpy(donors(document, seed=seed)) if paired else None
        drawn = {kind: self._draw(kind, x.double(), seed) for kind in kinds if kind != "permuted"}
        self.shared = {kind: _unit(vectors).float() for kind, vectors in drawn.items()}

    def direction(
        self, kind: str, part: Float[Tensor, "token d_model"], tokens: Int[Tensor, "some"]
    ) -> Float[Tensor, "some d_model"]:
        """Unit vectors at ``tokens``; x plus the part's norm times them is the control for x − part."""
        return _unit(-part[self.other[tokens]]) if kind == "permuted" else self.shared[kind][tokens]

    def _draw(self, kind: str, x: Tensor, seed: int) -> Tensor:
        if kind == "difference":
            return x[self.other] - x
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype).to(x)
        if kind == "isotropic":
            return drawn
        values, vectors = torch.linalg.eigh(torch.cov(x.T))
        return (drawn * values.clamp(min=0).sqrt()) @ vectors.T


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)

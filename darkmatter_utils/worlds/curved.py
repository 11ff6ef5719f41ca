"""A world of curved features: each is an arc of a circle rather than a direction, so that an SAE with a few
directions a feature leaves something at every width, though it introduces nothing.

x = Σ_i z_i u_i(θ_i), u_i(θ) = cos θ f_i + sin θ g_i, with the sparse coefficients z_i >= 0 and the directions
f_i of a flat `World`, g_i a unit direction orthogonal to f_i, and θ_i uniform on [−arc/2, arc/2]. An oracle
that splits an arc into m equal pieces reads z cos φ on the direction of the piece that θ is in, φ = θ − its
centre, and leaves z sin φ along the tangent: of a feature's second moment, with δ = arc / m,

    E sin² φ = 1/2 − sin δ / 2δ = δ²/12 + O(δ⁴)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from .known import WorldBatch
from .world import DIRECTIONS, TOKENS, World


def left_by_a_piece(delta: float) -> float:
    """E sin² φ, φ uniform on ±δ/2: what one direction leaves of the second moment of an arc of δ."""
    return 0.5 - math.sin(delta) / (2 * delta) if delta else 0.0


class CurvedTruth(NamedTuple):
    """Population values of an oracle, shares of the variance of x."""

    fvu: float
    fvu_nonlinear: float
    curvature: float  # what the held features leave, in fvu; the rest is absent features


class CurvedBatch(NamedTuple):
    """Tokens of a curved world."""

    x: Tensor  # [token, d_model]
    flat: WorldBatch  # the same tokens with every angle 0
    angle: np.ndarray  # θ of each fire [fire]


@dataclass(frozen=True)
class CurvedWorld:
    """A flat world whose features bend. Raises `BadInput` for an arc outside 0 .. 2π, and for a flat world of
    more than independent features, for which no closed form is kept here."""

    flat: World
    arc: float = math.pi / 2

    def __post_init__(self) -> None:
        if not 0 <= self.arc <= 2 * math.pi:
            raise BadInput(f"curved world: arc is {self.arc}; give an angle from 0 to 2π")
        more = (
            "hierarchy",
            "topics",
            "manifolds",
            "dense",
            "curved",
            "noise",
            "scale_document",
            "scale_token",
        )
        for name in (name for name in (*more, "huge_mean") if getattr(self.flat, name)):
            raise BadInput(f"curved world: {name} is {getattr(self.flat, name)}; give a world with it at 0")

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """f and g, orthonormal pairs of rows [features, d_model]."""
        f = self.flat.directions.numpy()
        g = np.random.default_rng([self.flat.seed, DIRECTIONS, 1]).standard_normal(f.shape)
        g -= (f * g).sum(axis=1, keepdims=True) * f
        return f, g / np.linalg.norm(g, axis=1, keepdims=True)

    def document(self, index: int) -> CurvedBatch:
        """One document: that of the flat world, bent."""
        flat = self.flat.document(index)
        rng = np.random.default_rng([self.flat.seed, TOKENS, index])
        angle = self.arc * (rng.random(len(flat.row)) - 0.5)
        return CurvedBatch(self._sum(flat, np.cos(angle), np.sin(angle)), flat, angle)

    def reconstruct(self, batch: CurvedBatch, held: int, *, pieces: int = 1) -> Tensor:
        """Of the oracle that holds the first ``held`` features with ``pieces`` latents each: held × pieces
        latents, as many on a token as held features fire."""
        step = self.arc / pieces or 1.0
        piece = np.floor((batch.angle + self.arc / 2) / step).clip(0, pieces - 1)
        centre = (piece + 0.5) * step - self.arc / 2 if self.arc else np.zeros_like(batch.angle)
        reads = np.cos(batch.angle - centre) * (batch.flat.feature.numpy() < held)
        return self._sum(batch.flat, reads * np.cos(centre), reads * np.sin(centre))

    def _sum(self, flat: WorldBatch, on_f: np.ndarray, on_g: np.ndarray) -> Tensor:
        x, value = np.zeros(tuple(flat.x.shape)), flat.value.numpy()[:, None]
        f, g = (plane[flat.feature.numpy()] for plane in self.planes)
        np.add.at(x, flat.row.numpy(), value * (on_f[:, None] * f + on_g[:, None] * g))
        return torch.from_numpy(x)

    def truth(self, held: int, *, pieces: int = 1) -> CurvedTruth:
        """Population values of that oracle, with the mean of what it lacks as its bias.

        What a held feature leaves is uncorrelated with what the oracle reads of it, so Cov(error, x) =
        Cov(error) and FVU_linear = tr(C_e C_x⁻¹ C_e) / tr C_x. O(features × d_model²).
        """
        p, second, half = self.flat.frequency, 1 + self.flat.spread**2, self.arc / 2
        along = (math.sin(half) / half if half else 1.0) * p  # E z cos θ
        across = left_by_a_piece(self.arc) * second * p  # E z² sin² θ
        f, g = self.planes
        quadratic = lambda rows, weight: (rows * weight[:, None]).T @ rows
        whole = lambda here: (
            quadratic(f[here], (second * p - across - along**2)[here]) + quadratic(g[here], across[here])
        )
        everything, first, rest = slice(None), slice(0, held), slice(held, None)
        x = whole(everything)
        centres = (np.arange(pieces) + 0.5) * self.arc / pieces - half
        left = np.zeros_like(x)
        for c in centres:
            tangent = np.cos(c) * g[first] - np.sin(c) * f[first]
            left += quadratic(tangent, left_by_a_piece(self.arc / pieces) * second * p[first] / pieces)
        error, total = left + whole(rest), np.trace(x)
        linear = np.trace(error @ np.linalg.pinv(x, rcond=1e-12, hermitian=True) @ error)
        nonlinear = (np.trace(error) - linear) / total
        return CurvedTruth(*(float(v) for v in (np.trace(error) / total, nonlinear, np.trace(left) / total)))

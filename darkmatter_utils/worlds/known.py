"""What is known of a simulated world: of its tokens, part by part; of its moments, in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..base.errors import BadInput

WORLD_PARTS = ("mean", "features", "manifold", "dense", "curved", "noise")
"""Names of the parts of x in a `WorldBatch`; they sum to x. The last four are what the paper calls
Dense(x)."""
DENSE = WORLD_PARTS[2:]


@dataclass(frozen=True)
class WorldBatch:
    """Tokens of whole documents, in stream order, with every part of their activations (float64)."""

    x: Float64[Tensor, "token d_model"]
    document: Int64[Tensor, " token"]
    position: Int64[Tensor, " token"]
    token: Int64[Tensor, " token"]
    """The feature with the largest coefficient on the token; `features` (one past the last) where none
    fires."""
    parts: dict[str, Float64[Tensor, "token d_model"]]
    """Each of `WORLD_PARTS`; their sum is x."""
    row: Int64[Tensor, " fire"]
    feature: Int64[Tensor, " fire"]
    value: Float64[Tensor, " fire"]
    """Feature `feature` has coefficient `value` > 0 on token `row`; ordered by row, then feature."""

    def codes(self, features: int) -> Float64[Tensor, "token features"]:
        """The coefficients of the first ``features`` features as a dense matrix."""
        dense = torch.zeros(len(self.x), features, dtype=self.x.dtype)
        kept = self.feature < features
        dense[self.row[kept], self.feature[kept]] = self.value[kept]
        return dense

    def where(self, keep: Bool[Tensor, " token"]) -> WorldBatch:
        """The tokens where ``keep`` is true."""
        fires, row = keep[self.row], keep.cumsum(0) - 1
        tokens = {name: getattr(self, name)[keep] for name in ("x", "document", "position", "token")}
        codes = {name: getattr(self, name)[fires] for name in ("feature", "value")}
        parts = {name: part[keep] for name, part in self.parts.items()}
        return WorldBatch(**tokens, **codes, row=row[self.row[fires]], parts=parts)

    @classmethod
    def join(cls, members: list[WorldBatch]) -> WorldBatch:
        """Several batches as one, in order."""
        first = np.cumsum([0] + [len(member.x) for member in members])
        rows = [member.row + int(start) for member, start in zip(members, first, strict=False)]
        columns = {
            name: torch.cat([getattr(member, name) for member in members])
            for name in ("x", "document", "position", "token", "feature", "value")
        }
        parts = {name: torch.cat([member.parts[name] for member in members]) for name in WORLD_PARTS}
        return cls(**columns, row=torch.cat(rows), parts=parts)


def tokens_of(world, documents: int) -> WorldBatch:
    """The first documents of a world as one batch."""
    return WorldBatch.join(list(world.documents(0, documents, batch=documents)))


if TYPE_CHECKING:
    from .world import World


@dataclass(frozen=True)
class Truth:
    """Population values for an SAE that holds the first `width` features exactly and introduces nothing."""

    width: int
    fvu: float
    """Variance of absent + dense over the variance of x."""
    fvu_linear: float
    fvu_nonlinear: float
    r2_total: float
    """Share of the error's variance that the best linear map of x predicts; 0 for an SAE without error."""
    r2_per_dim: float
    shares: dict[str, float]
    """Variance of learned, absent, manifold, dense, curved and noise, each over the variance of x."""
    linear: dict[str, float]
    """R² of the best linear prediction, from x, of each of those parts: how much of it *looks* linear."""
    mean: np.ndarray
    """Expected x [d_model]."""
    covariance: np.ndarray
    """Covariance of x [d_model, d_model]."""


def feature_covariance(world: World, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [m] and covariance [m, m] of Σ_i z_i v_i at scale 1, for vectors v_i = ``directions`` [features,
    m].

    A root and its children are a family that fires with the root: its sum has mean p_r F_r and second moment
    p_r (F_r F_r' + V_r), F_r = v_r + Σ (p_i/p_r) v_i and V_r the variance given that the root fires. Families
    are independent but for the topic, which multiplies p_r by a level t of mean 1: Cov = (E t² - 1) p_r p_s
    F_r F_s'. O(features × m²).
    """
    p, parent = world.frequency, world.parent
    root = world.root
    given = np.where(root, 1.0, p / p[parent])  # probability to fire, given that the root does
    family = np.zeros_like(directions)
    np.add.at(family, parent, given[:, None] * directions)

    second = 1 + world.spread**2  # of a coefficient, when it fires
    variance = p[parent] * (given * second - given**2)
    covariance = (directions * variance[:, None]).T @ directions
    mean_of_family = p[root, None] * family[root]
    covariance += (family[root] * (p[root] * (1 - p[root]))[:, None]).T @ family[root]
    if world.topics:
        (on, off), share = world.topic_levels, world.topic_share
        excess = share * on**2 + (1 - share) * off**2 - 1
        by_topic = np.zeros((world.topics, directions.shape[1]))
        np.add.at(by_topic, world.topic[root], mean_of_family)
        covariance += excess * (by_topic.T @ by_topic - mean_of_family.T @ mean_of_family)
    return mean_of_family.sum(0), covariance


def _manifold(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the manifolds' sum at scale 1."""
    arc, p, second = world.manifold_arc, world.manifold_frequency, 1 + world.spread**2
    if arc == 0:
        cos, sin, cc, ss, cs = 1.0, 0.0, 1.0, 0.0, 0.0
    else:
        cos, sin = math.sin(arc) / arc, (1 - math.cos(arc)) / arc
        swing = math.sin(2 * arc) / (4 * arc)
        cc, ss, cs = 0.5 + swing, 0.5 - swing, (1 - math.cos(2 * arc)) / (4 * arc)
    u, v = world._random["first"], world._random["second"]
    mean = p * (cos * u + sin * v)
    covariance = p * second * (cc * u.T @ u + ss * v.T @ v + cs * (u.T @ v + v.T @ u)) - mean.T @ mean
    return mean.sum(0), covariance


def truth_of(world: World, width: int) -> Truth:
    """Population values for the oracle of ``width`` features: x = b + s y with s independent of y and of mean
    1, so Cov(s a, s c) = E s² Cov(a, c) + Var(s) E a E c'. Raises `BadInput` for a width outside 0 ..
    features.
    """
    if not 0 <= width <= world.features:
        raise BadInput(f"width {width} is outside 0 .. {world.features}, the features of this world")
    d, made, unit = world.d_model, world._random, world._unit_variance
    split = np.zeros((world.features, 2 * d))
    split[:width, :d], split[width:, d:] = made["directions"][:width], made["directions"][width:]
    names = ("learned", "absent", "manifold", "dense", "curved", "noise")
    mean, cov = np.zeros(6 * d), np.zeros((6 * d, 6 * d))
    blocks = [feature_covariance(world, split), _manifold(world)]
    for name, share in (("dense", world.dense), ("curved", world.curved)):
        blocks.append((np.zeros(d), share * unit / world.dense_rank * made[name].T @ made[name]))
    blocks.append((np.zeros(d), world.noise * unit / d * np.eye(d)))
    at = 0
    for block_mean, block in blocks:
        size = len(block_mean)
        mean[at : at + size], cov[at : at + size, at : at + size] = block_mean, block
        at += size
    square = math.exp(world.scale_document**2 + world.scale_token**2)
    cov = square * cov + (square - 1) * np.outer(mean, mean)

    def of(*which: str) -> np.ndarray:
        pick = np.zeros((6 * d, d))
        for name in which:
            start = names.index(name) * d
            pick[start : start + d] += np.eye(d)
        return pick

    everything, error = of(*names), of(*names[1:])
    x = everything.T @ cov @ everything
    inverse = np.linalg.pinv(x, rcond=1e-12, hermitian=True)
    total = np.trace(x)

    def explained(part: np.ndarray) -> np.ndarray:
        cross = part.T @ cov @ everything
        return np.einsum("ij,jk,ik->i", cross, inverse, cross)

    variance = np.einsum("ij,jk,ki->i", error.T, cov, error)
    linear = explained(error)
    kept = variance > 1e-12 * total / d
    shares = {name: float(np.trace(of(name).T @ cov @ of(name)) / total) for name in names}
    return Truth(
        width=width,
        fvu=float(variance.sum() / total),
        fvu_linear=float(linear.sum() / total),
        fvu_nonlinear=float((variance - linear).sum() / total),
        r2_total=float(linear.sum() / variance.sum()) if kept.any() else 0.0,
        r2_per_dim=float((linear[kept] / variance[kept]).mean()) if kept.any() else 0.0,
        shares=shares,
        linear={n: float(explained(of(n)).sum() / (shares[n] * total)) for n in names if shares[n] > 0},
        mean=made["mean"] + everything.T @ mean,
        covariance=x,
    )

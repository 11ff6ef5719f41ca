"""What a world's estimators should find: population covariances and error shares in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import BadInput

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

"""What is known of a simulated world: its tokens, part by part; its moments, in closed form; and where the
known parts of an error land, in its linear part or in its nonlinear part.

A least-squares prediction from x is linear in its target. So with SaeError = Σ_k s_k z_k (absent and dense
parts with sign +1, what the SAE introduces with −1) and P z the out-of-fold prediction of z from x,

    LinearError = Σ_k s_k P z_k      NonlinearError = Σ_k s_k (z_k − P z_k)

exactly, whatever the parts' correlations: no cross term is left over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..base.errors import BadInput
from ..stats.documents import assign_folds, sum_by
from ..stats.fits import cross_fit, moments_by_fold

WORLD_PARTS = ("mean", "features", "manifold", "dense", "curved", "noise")
"""The parts of x in a `WorldBatch`; they sum to x. The last four are what the paper calls Dense(x)."""
DENSE = WORLD_PARTS[2:]


@dataclass(frozen=True)
class WorldBatch:
    """Tokens of whole documents, in stream order, with every part of their activations (float64).

    Feature `feature` has coefficient `value` > 0 on token `row`; ordered by row, then feature.
    """

    x: Float64[Tensor, "token d_model"]
    document: Int64[Tensor, " token"]
    position: Int64[Tensor, " token"]
    token: Int64[Tensor, " token"]
    """The feature with the largest coefficient on the token; one past the last where none fires."""
    parts: dict[str, Float64[Tensor, "token d_model"]]
    """Each of `WORLD_PARTS`."""
    row: Int64[Tensor, " fire"]
    feature: Int64[Tensor, " fire"]
    value: Float64[Tensor, " fire"]

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
        rows = torch.cat([member.row + int(start) for member, start in zip(members, first, strict=False)])
        names = ("x", "document", "position", "token", "feature", "value")
        columns = {name: torch.cat([getattr(member, name) for member in members]) for name in names}
        parts = {name: torch.cat([member.parts[name] for member in members]) for name in WORLD_PARTS}
        return cls(**columns, row=rows, parts=parts)


def tokens_of(world, documents: int) -> WorldBatch:
    """The first documents of a world as one batch."""
    return WorldBatch.join([world.document(index) for index in range(documents)])


@dataclass(frozen=True)
class Truth:
    """Population values for an SAE that holds a world's first features exactly and introduces nothing."""

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


def feature_covariance(world, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [m] and covariance [m, m] of Σ_i z_i v_i at scale 1, v_i = ``directions`` [features, m].

    A root and its children are a family that fires with the root: its sum has mean p_r F_r and second moment
    p_r (F_r F_r' + V_r), F_r = v_r + Σ (p_i/p_r) v_i and V_r the variance given that the root fires. Families
    are independent but for the topic, which multiplies p_r by a level t of mean 1: Cov = (E t² - 1) p_r p_s
    F_r F_s'. O(features × m²).
    """
    mean, terms = _terms(world, directions)
    return mean, sum((vectors * weights[:, None]).T @ vectors for weights, vectors in terms)


def feature_variance(world, directions: np.ndarray) -> float:
    """The trace of `feature_covariance`. O(features × m)."""
    terms = _terms(world, directions)[1]
    return float(sum(weights @ np.einsum("ij,ij->i", vectors, vectors) for weights, vectors in terms))


def _terms(world, directions: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """(mean [m], (weights [k], vectors [k, m])... whose Σ weight · vector vector' is the covariance)."""
    p, parent, root = world.frequency, world.parent, world.root
    given = np.where(root, 1.0, p / p[parent])  # probability to fire, given that the root does
    of_root = scipy.sparse.csr_array((given, (parent, np.arange(len(p)))), shape=(len(p), len(p)))
    family = directions if root.all() else (of_root @ directions)[root]
    second = 1 + world.spread**2  # of a coefficient, when it fires
    terms = [(p[parent] * (given * second - given**2), directions), (p[root] * (1 - p[root]), family)]
    mean_of_family = p[root, None] * family
    if world.topics:
        (on, off), share = world.topic_levels, world.topic_share
        excess = share * on**2 + (1 - share) * off**2 - 1
        by_topic = np.zeros((world.topics, directions.shape[1]))
        np.add.at(by_topic, world.topic[root], mean_of_family)
        terms.append((np.full(len(by_topic), excess), by_topic))
        terms.append((np.full(len(family), -excess), mean_of_family))
    return mean_of_family.sum(0), terms


def _manifold(world) -> tuple[np.ndarray, np.ndarray]:
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


def truth_of(world, width: int) -> Truth:
    """Population values for the oracle of ``width`` features; `BadInput` for one outside 0 .. features.

    x = b + s y with s independent of y and of mean 1, so Cov(s a, s c) = E s² Cov(a, c) + Var(s) E a E c'.
    """
    if not 0 <= width <= world.features:
        raise BadInput(f"width {width} is outside 0 .. {world.features}, the features of this world")
    d, made, unit = world.d_model, world._random, world._unit_variance
    split = np.zeros((world.features, 2 * d))
    split[:width, :d], split[width:, d:] = made["directions"][:width], made["directions"][width:]
    names = ("learned", "absent", *DENSE)
    mean, cov = np.zeros(6 * d), np.zeros((6 * d, 6 * d))
    blocks = [feature_covariance(world, split), _manifold(world)]
    for name, share in (("dense", world.dense), ("curved", world.curved)):
        blocks.append((np.zeros(d), share * unit / world.dense_rank * made[name].T @ made[name]))
    blocks.append((np.zeros(d), world.noise * unit / d * np.eye(d)))
    at = 0
    for block_mean, block in blocks:
        here = slice(at, at + len(block_mean))
        mean[here], cov[here, here] = block_mean, block
        at = here.stop
    square = math.exp(world.scale_document**2 + world.scale_token**2)
    cov = square * cov + (square - 1) * np.outer(mean, mean)
    of = lambda *which: np.concatenate([(name in which) * np.eye(d) for name in names])
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


@dataclass(frozen=True)
class Landing:
    """Sums over each document of inner products of parts z_k (about their means) and of what their
    predictions leave, r_k = z_k − P z_k."""

    names: tuple[str, ...]
    total: np.ndarray
    """⟨z_i, z_j⟩ [document, part, part]."""
    cross: np.ndarray
    """⟨z_i, r_j⟩ [document, part, part]."""
    x: np.ndarray
    """‖x − x̄‖² [document]."""
    leak: np.ndarray
    """‖(learned − its mean) b‖² and ‖learned − its mean‖² [document, 2], b the map of the whole error; zeros
    where no learned part was given."""

    def weights(self, **signs: float) -> np.ndarray:
        """The sum Σ sign · part as a vector over parts; BadInput for a part that is not there."""
        if unknown := set(signs) - set(self.names):
            raise BadInput(f"no part {min(unknown)!r}; there are {', '.join(self.names)}")
        return np.array([signs.get(name, 0.0) for name in self.names])

    def variance(self, c: np.ndarray) -> np.ndarray:
        """Σ‖z‖² / Σ‖x − x̄‖² of the sum z = Σ c_k z_k: a share of the variance of x."""
        return sum(self._inner(c, c)).sum() / self.x.sum()

    def ratios(self, part: np.ndarray, error: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Four shares as numerators and denominators over documents [document], of a part z of an error E,
        both sums Σ c_k z_k, z with its sign in E:

            linear      ⟨z, P z⟩ / ⟨z, z⟩              of z, what lands in LinearError
            nonlinear   ⟨z, z − P z⟩ / ⟨z, z⟩          of z, what lands in NonlinearError
            of_linear   ⟨z, P E⟩ / ⟨E, P E⟩            of LinearError, what is z
            of_nonlinear  ⟨z, E − P E⟩ / ⟨E, E − P E⟩  of NonlinearError, what is z

        Covariance over variance: a covariance of two parts is split evenly between them, so a share can be
        negative. The first two add up to 1, the others over the parts of E. P is fitted on other documents:
        its own estimation error, d_model / tokens of a part in ‖z − P z‖², averages out in ⟨z, z − P z⟩.
        """
        mine, made, whole = self._inner(part, part), self._inner(part, error), self._inner(error, error)
        both = (mine[0] + mine[1],) * 2
        names = ("linear", "nonlinear", "of_linear", "of_nonlinear")
        return dict(zip(names, zip((*mine, *made), (*both, *whole)), strict=True))

    def shares(self, part: np.ndarray, error: np.ndarray) -> dict[str, float]:
        """The `ratios` over all documents; NaN where the whole does not vary."""
        found = {
            name: (above.sum(), below.sum()) for name, (above, below) in self.ratios(part, error).items()
        }
        return {name: float(a / b) if b > 0 else float("nan") for name, (a, b) in found.items()}

    def leaked(self) -> float:
        """‖learned b‖² / ‖learned‖²: what the error's map reads of the learned part, which is no error."""
        above, below = self.leak.sum(axis=0)
        return float(above / below) if below > 0 else float("nan")

    def _inner(self, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """⟨z_c, P z_d⟩ and ⟨z_c, z_d − P z_d⟩ [document] of two sums."""
        total, rest = (np.einsum("i,nij,j->n", c, table, d) for table in (self.total, self.cross))
        return total - rest, rest


def land(
    x, parts: Mapping[str, object], document, *, error: Mapping[str, float], learned=None, folds: int = 5
) -> Landing:
    """The landing of ``parts`` ({name: z [token, d_model]}) of x [token, d_model], by folds of documents.

    ``error``: signs s_k of the parts that sum to SaeError. ``document``: ints [token]. BadInput as in
    `cross_fit`. Cost: 4 tokens × parts × d_model² multiplications, parts × tokens × d_model numbers held.
    """
    x, document = torch.as_tensor(x, dtype=torch.float64), np.asarray(document)
    z = torch.stack([torch.as_tensor(part, dtype=torch.float64) for part in parts.values()], dim=1)
    z = z - z.mean(dim=0)
    ids, inverse, counts = np.unique(document, return_inverse=True, return_counts=True)
    fold = np.array(list(assign_folds(ids, counts, folds).values()))[inverse]
    flat = z.flatten(1)
    fitted = cross_fit(moments_by_fold(x, flat, fold))
    signs = torch.tensor([error.get(name, 0.0) for name in parts], dtype=torch.float64)
    rest, leak = (flat - fitted.predict(x, fold)).view_as(z), torch.zeros(len(x), 2, dtype=torch.float64)
    if learned is not None:
        known = torch.as_tensor(learned, dtype=torch.float64)
        for k, linear_map in enumerate(fitted.maps):
            r = torch.from_numpy(np.flatnonzero(fold == k))
            b = torch.einsum("ikj,k->ij", linear_map.weight.view(x.shape[1], *z.shape[1:]), signs)
            centred = known[r] - known.mean(dim=0)
            leak[r] = torch.stack([((centred @ b) ** 2).sum(1), (centred**2).sum(1)], dim=1)
    gram = lambda a, b: sum_by(document, torch.bmm(a, b.transpose(1, 2)))
    spread = sum_by(document, ((x - x.mean(dim=0)) ** 2).sum(dim=1))
    return Landing(tuple(parts), gram(z, z), gram(z, rest), spread, sum_by(document, leak))

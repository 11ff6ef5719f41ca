"""Worlds where every part of an activation is known, because we made it.

A world writes x = mean + features + manifold + dense + curved + noise. Which features an SAE *learned* is the
SAE's business (`saes.py`); with that choice, x = learned + absent + dense exactly, and a reconstruction is
learned + introduced. Expected covariances of all parts are in closed form (`known.py`), so estimators can be
judged against the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float64
from torch import Tensor

from ..base.config import checked
from ..base.errors import BadInput
from .known import WORLD_PARTS, Truth, WorldBatch, feature_variance, truth_of

DIRECTIONS, DOCUMENT, LATENTS, TOKENS = 1, 2, 3, 4
"""Streams of random numbers: the world, a document of it, an SAE's latents, an SAE on a document's tokens."""


@dataclass(frozen=True)
class World:
    """Simulated activations with known parts, the same for each document however documents are batched.

    x = mean + s · (Σ_i z_i f_i + manifold + dense + curved + noise), with fixed random unit directions f_i
    and sparse coefficients z_i >= 0. Raises `BadInput` for dials that contradict each other. Memory: features
    × d_model; a document costs O(context × (features + d_model × fires a token)). The world is the weak
    linear representation hypothesis of the paper with the structure that its reviewers asked for.
    """

    d_model: int = 64
    features: int = 4096
    """Sparse one-dimensional features, most frequent first; features / d_model is the superposition."""
    context: int = 256
    """Tokens of each document."""
    seed: int = 0
    l0: float = 24.0
    """Expected number of features that fire on a token."""
    exponent: float = 1.0
    """Feature i (from 1) fires with probability min(cap, A i^-exponent), with A such that they sum to l0."""
    cap: float = 0.3
    """No feature fires more often than this."""
    common: float = 0.0
    """Length of what all features' directions share, before they are brought to length 1: x then tells how
    much fires, and ‖x‖² is the more linear in x."""
    spread: float = 0.5
    """Standard deviation of a coefficient over its mean, when the feature fires (lognormal, mean 1)."""
    hierarchy: float = 0.0
    """Share of features that fire only when their (more frequent) parent does; frequencies stay as asked."""
    topics: int = 0
    """Groups of features that documents favour together: a topic is on in some documents. 0: no groups."""
    topic_share: float = 0.2
    """Share of documents in which a topic is on."""
    topic_boost: float = 3.0
    """Features of a topic that is on fire this many times more often, and less where it is off."""
    manifolds: int = 0
    """Features whose direction moves on a circle with a latent angle: not a sparse linear code."""
    manifold_frequency: float = 0.05
    manifold_arc: float = 2 * math.pi
    """The angle is uniform on [0, arc] radians."""
    dense_rank: int = 8
    """Dimensions of the Gaussian code behind the dense and the curved part."""
    dense: float = 0.0
    """Variance of the linear dense part, over the features' variance."""
    curved: float = 0.0
    """Variance of the curved dense part, (c² - 1)/√2 of the dense code c, and uncorrelated with it."""
    noise: float = 0.0
    """Variance of isotropic Gaussian noise, over the features' variance."""
    heteroscedastic: float = 0.0
    """Share of the noise's variance that is proportional to how many features fire on the token."""
    document_share: float = 0.0
    """Share of the dense code's variance that lies between documents."""
    scale_document: float = 0.0
    """Standard deviation of log s over documents; s multiplies all but the mean, and its mean is 1."""
    scale_token: float = 0.0
    """Standard deviation of log s over the tokens of a document."""
    huge_mean: float = 0.0
    """Constant added to `huge_dims` dimensions of x."""
    huge_dims: int = 2

    def __post_init__(self) -> None:
        for name in ("d_model", "features", "context", "dense_rank"):
            if getattr(self, name) < 1:
                raise BadInput(f"world: {name} is {getattr(self, name)}; give a positive whole number")
        for name in ("hierarchy", "heteroscedastic", "document_share", "manifold_frequency", "topic_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"world: {name} is {getattr(self, name)}; give a share between 0 and 1")
        sizes = ("dense", "curved", "noise", "spread", "scale_document", "scale_token")
        for name in (*sizes, "common", "topics", "manifolds", "seed"):
            if getattr(self, name) < 0:
                raise BadInput(f"world: {name} is {getattr(self, name)}; give 0 or more")
        if not 0 < self.l0 <= self.cap * self.features or not 0 < self.cap <= 1:
            most = self.cap * self.features
            raise BadInput(f"world: l0 is {self.l0}; give more than 0 and at most cap × features = {most:g}")
        if self.topics and (self.topic_boost * self.topic_share > 1 or self.topic_boost * self.cap > 1):
            raise BadInput(f"world: topic_boost {self.topic_boost}; give at most 1 / topic_share and 1 / cap")
        if not 0 <= self.huge_dims <= self.d_model:
            raise BadInput(f"world: huge_dims is {self.huge_dims}; give at most d_model = {self.d_model}")

    @classmethod
    def of(cls, settings: dict) -> World:
        """A world from a study file's settings; raises `BadInput` for an unknown or mistyped dial."""
        return checked(cls, settings, where="world")

    @cached_property
    def frequency(self) -> np.ndarray:
        """Probability [features] that a feature fires on a token, highest first; sums to `l0`."""
        law = np.arange(1, self.features + 1, dtype=np.float64) ** -self.exponent
        low, high = 0.0, self.cap / law[-1]
        for _ in range(200):
            middle = (low + high) / 2
            short = np.minimum(self.cap, middle * law).sum() < self.l0
            low, high = (middle, high) if short else (low, middle)
        return np.minimum(self.cap, high * law)

    @cached_property
    def _random(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, DIRECTIONS])

        def unit(rows: int) -> np.ndarray:
            v = rng.standard_normal((rows, self.d_model))
            return v / np.linalg.norm(v, axis=1, keepdims=True)

        parent = np.arange(self.features)
        child = rng.random(self.features) < self.hierarchy
        child[0] = False
        roots = np.flatnonzero(~child)
        before = np.searchsorted(roots, np.flatnonzero(child))  # roots more frequent than the child
        parent[child] = roots[(rng.random(before.size) * before).astype(np.int64)]
        topic = rng.integers(0, max(self.topics, 1), self.features)[parent]  # a family shares its topic
        first, second = unit(self.manifolds), unit(self.manifolds)
        second -= (first * second).sum(1, keepdims=True) * first
        second /= np.linalg.norm(second, axis=1, keepdims=True) + (self.manifolds == 0)
        mean = np.zeros(self.d_model)
        mean[rng.permutation(self.d_model)[: self.huge_dims]] = self.huge_mean
        directions, dense, curved = unit(self.features), unit(self.dense_rank), unit(self.dense_rank)
        if self.common:
            directions += self.common * unit(1)
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        made = dict(directions=directions, parent=parent, topic=topic, mean=mean)
        return made | dict(first=first, second=second, dense=dense, curved=curved)

    @property
    def directions(self) -> Float64[Tensor, "features d_model"]:
        """The features' unit directions, most frequent first."""
        return torch.from_numpy(self._random["directions"])

    @property
    def parent(self) -> np.ndarray:
        """Index [features] of the feature without which a feature never fires: itself for a root."""
        return self._random["parent"]

    @property
    def root(self) -> np.ndarray:
        """Whether a feature [features] fires without a parent."""
        return self.parent == np.arange(self.features)

    @property
    def topic(self) -> np.ndarray:
        """The topic [features] of each feature: that of its parent for a child."""
        return self._random["topic"]

    @property
    def topic_levels(self) -> tuple[float, float]:
        """What the frequency of a topic's features is multiplied by, where it is on and where off; mean 1."""
        rest = 1 - self.topic_share
        return self.topic_boost, (1 - self.topic_share * self.topic_boost) / rest if rest else 1.0

    @cached_property
    def _unit_variance(self) -> float:
        """Total variance of the features at s = 1, the unit of `dense`, `curved` and `noise`."""
        return feature_variance(self, self._random["directions"])

    def truth(self, width: int) -> Truth:
        """Population values for the SAE that holds exactly the first ``width`` features."""
        return truth_of(self, width)

    def document(self, index: int) -> WorldBatch:
        """One document; its numbers depend on its index and the world only."""
        rng = np.random.default_rng([self.seed, DOCUMENT, index])
        made, tokens = self._random, self.context
        scale = lognormal(rng, self.scale_document, 1) * lognormal(rng, self.scale_token, tokens)

        rate = np.where(self.root, self.frequency, self.frequency / self.frequency[self.parent])
        if self.topics:
            level = np.where(rng.random(self.topics) < self.topic_share, *self.topic_levels)
            rate = np.where(self.root, rate * level[made["topic"]], rate)
        fires = rng.random((tokens, self.features), dtype=np.float32) < rate
        if self.hierarchy:
            fires &= fires[:, self.parent]
        row, feature = np.nonzero(fires)
        value = lognormal(rng, log_spread(self.spread), row.size) * scale[row]

        features = self.combine(tokens, row, feature, value)
        parts = {"mean": np.tile(made["mean"], (tokens, 1)), "features": features}
        for name, part in self._dense_parts(rng, np.bincount(row, minlength=tokens)).items():
            parts[name] = part * scale[:, None]
        strongest = np.full(tokens, self.features)
        order = np.argsort(value, kind="stable")
        strongest[row[order]] = feature[order]  # the last write of a row is its largest value
        return WorldBatch(
            x=torch.from_numpy(sum(parts[name] for name in WORLD_PARTS)),
            document=torch.full((tokens,), index),
            position=torch.arange(tokens),
            token=torch.from_numpy(strongest),
            row=torch.from_numpy(row),
            feature=torch.from_numpy(feature),
            value=torch.from_numpy(value),
            parts={name: torch.from_numpy(part) for name, part in parts.items()},
        )

    def combine(self, tokens: int, row: np.ndarray, feature: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Σ value · direction [token, d_model] of the fires of each token, in one thread."""
        codes = scipy.sparse.csr_array((value, (row, feature)), shape=(tokens, self.features))
        return codes @ self._random["directions"]

    def _dense_parts(self, rng: np.random.Generator, fired: np.ndarray) -> dict[str, np.ndarray]:
        made, tokens, unit = self._random, self.context, self._unit_variance
        on = rng.random((tokens, self.manifolds)) < self.manifold_frequency
        angle = rng.random((tokens, self.manifolds)) * self.manifold_arc
        size = on * lognormal(rng, log_spread(self.spread), on.size).reshape(on.shape)
        code = math.sqrt(self.document_share) * rng.standard_normal((1, self.dense_rank))
        code = code + math.sqrt(1 - self.document_share) * rng.standard_normal((tokens, self.dense_rank))
        weight = 1 - self.heteroscedastic + self.heteroscedastic * fired / self.l0
        sigma = np.sqrt(self.noise * unit / self.d_model * weight)
        return {
            "manifold": (size * np.cos(angle)) @ made["first"] + (size * np.sin(angle)) @ made["second"],
            "dense": math.sqrt(self.dense * unit / self.dense_rank) * code @ made["dense"],
            "curved": math.sqrt(self.curved * unit / self.dense_rank / 2) * (code**2 - 1) @ made["curved"],
            "noise": sigma[:, None] * rng.standard_normal((tokens, self.d_model)),
        }


def log_spread(spread: float) -> float:
    """Standard deviation of the log of a lognormal of mean 1 and standard deviation ``spread``."""
    return math.sqrt(math.log1p(spread**2))


def lognormal(rng: np.random.Generator, sigma: float, size: int) -> np.ndarray:
    """Lognormal draws of mean 1."""
    return np.exp(sigma * rng.standard_normal(size) - sigma**2 / 2)


def drawn_null(seed: int, *, d_model: int = 32, widest: int = 1024, l0: float = 6.0) -> World:
    """A small world of features alone whose dials are drawn from the seed: its oracles, up to ``widest``
    latents and ``l0`` on a token, are a simulated study that introduces no error, to calibrate rules by.

    The dials lie around those that match a language model: features 1.5 to 4 × ``widest``, exponent 1.2 to
    1.8, 1.5 to 3 × ``l0`` fires a token, spread 0.4 to 1, common 0 to 0.3.
    """
    low, high = np.array([(1.5, 4.0), (1.2, 1.8), (1.5, 3.0), (0.4, 1.0), (0.0, 0.3)]).T
    rng = np.random.default_rng([seed, DIRECTIONS, 2])
    many, exponent, fires, spread, common = map(float, rng.uniform(low, high))
    dials = {"exponent": exponent, "l0": fires * l0, "spread": spread, "common": common}
    return World(d_model=d_model, features=int(many * widest), seed=seed, **dials)

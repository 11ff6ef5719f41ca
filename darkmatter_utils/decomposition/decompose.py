"""The one idea: x = Sae(x) + LinearError(x) + NonlinearError(x), and how much of x's variance each part is.

SaeError(x) = x − Sae(x); LinearError(x) = b x + c, its least-squares prediction from x by a map fitted on
other documents; NonlinearError(x) is what is left. On real data the names are operational: *linearly
predictable* and *residual*.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch

from ..base.errors import BadInput
from ..base.values import Estimate, to_json
from ..stats.documents import assign_folds
from ..stats.fits import CrossFit, LinearMap, centre
from ..stats.intervals import doubts
from ..stats.loud import NAMED, Loud, loud_tokens, told
from .passes import PARTS, SELF_PARTS, FirstPass, SecondPass, ThirdPass
from .released import PaperPasses, train_rows
from .scores import Floors, evaluate

PROTOCOLS = ("strict", "paper")
SCALARS = ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim")
NORMS = ("norm_r2", "norm_r2_self")


@dataclass(frozen=True)
class Decomposition:
    """How an SAE's error splits into a part linear in x and a rest, with 95% intervals over documents.

    The values are estimates of the population's, those of the best map there is: the maps' own estimation
    error (about d_model / tokens of the residual) is taken out, see `score`; `held_out` is what was measured
    out of sample, with that error. NaN intervals where `intervals.refused` says why.
    """

    fvu: Estimate
    """Σ‖SaeError‖² / Σ‖x − x̄‖²."""
    fvu_linear: Estimate
    """fvu − fvu_nonlinear."""
    fvu_nonlinear: Estimate
    """Σ‖NonlinearError‖² / Σ‖x − x̄‖²."""
    r2_total: Estimate
    """1 − Σ‖NonlinearError‖² / Σ‖SaeError − its mean‖²."""
    r2_per_dim: Estimate
    """The mean over dimensions of the R² of each dimension of SaeError (the paper's number)."""
    norm_r2: dict[str, Estimate]
    """R² of the least-squares prediction of ‖z‖² from x, for each part z."""
    norm_r2_self: dict[str, Estimate]
    """The same from z itself."""
    linear_map: LinearMap
    """b and c, fitted on all tokens (protocol "paper": on the rows of `train`)."""
    maps: tuple[LinearMap, ...]
    """The map that scored each fold, fitted on the others."""
    fold: dict[int, int]
    """Fold of each document id."""
    per_fold: dict[str, np.ndarray]
    """tokens and every score of each fold alone, held out, about its own means [fold]; "norm_r2 x"..."""
    held_out: dict[str, float]
    """Every score out of sample, the maps' estimation error left in."""
    per_source: dict[str, np.ndarray]
    """tokens and every score of each source of documents alone, about its own means [source]."""
    without_source: dict[str, np.ndarray]
    """The same of all documents but those of each source [source]."""
    replicates: dict[str, np.ndarray] = field(repr=False)
    """Replicates of the values [replicate]; paired between SAEs of the same documents and seed."""
    protocol: str
    tokens: int
    documents: int
    loud: tuple[Loud, float] | None = None
    """Of arrays: tokens that hold an outsize share of the variance, and FVU without them; None for none."""

    @property
    def tokens_per_dimension(self) -> float:
        """Of x: what the precision of the maps depends on."""
        return self.tokens / len(self.linear_map.x_mean)

    def doubts(self) -> list[str]:
        """What is to be said of its precision, see `intervals.doubts`, and of loud tokens."""
        return doubts(self.documents, self.tokens_per_dimension) + [told(f) for f in self.loud_facts()]

    def loud_facts(self, named=lambda row: {"row": row}) -> list[dict]:
        """`Loud.facts`, where there are loud tokens, each by what it is ``named``."""
        if self.loud is None:
            return []
        loud, without = self.loud
        names = [named(row) for row in loud.rows[:NAMED].tolist()]
        return [loud.facts(names, fvu=self.fvu.value, fvu_without=without)]

    def estimates(self) -> dict[str, Estimate]:
        """Every estimate by name: the five, then "norm_r2 z" and "norm_r2_self z" for each part z."""
        named = {name: getattr(self, name) for name in SCALARS}
        for kind in NORMS:
            named |= {f"{kind} {part}": value for part, value in getattr(self, kind).items()}
        return named

    def fold_frame(self) -> pd.DataFrame:
        """`per_fold`, one row for each fold."""
        return pd.DataFrame(self.per_fold).rename_axis("fold").reset_index()

    def to_json(self) -> str:
        """The estimates, each with value, low and high, and what they were made of; NaN becomes null."""
        names = (*SCALARS, *NORMS, "held_out", "protocol", "tokens", "documents")
        answer = {name: getattr(self, name) for name in names}
        answer |= {"folds": len(self.maps), "ridge": self.linear_map.ridge, "doubts": self.doubts()}
        answer |= {"loud": facts for facts in self.loud_facts()}
        return json.dumps(to_json(answer, digits=None), indent=2)


def score(
    third: ThirdPass, sae: str, *, source: Mapping[int, int] | None = None, replicates=1000, seed=0
) -> Decomposition:
    """The decomposition of one SAE from what the passes hold.

    A held-out residual is larger than that of the best map by the maps' estimation error, about d_model /
    tokens of it; an in-sample residual is smaller by as much. With K folds, to first order in d_model /
    tokens and whatever the dependence within documents, the best map's residual is `fits.centre`

        ((K − 1) held-out + K in-sample) / (2K − 1)

    The value is the score of these, the interval resamples them by document (maps fixed). source: of each
    document, from 0; None: all are of one.
    """
    second, folds = third.second, third.folds
    columns, at = third.columns(sae), third.saes.index(sae)
    norms = [third.norm_column(sae, part) for part in PARTS]
    own = slice(at * len(SELF_PARTS), (at + 1) * len(SELF_PARTS))
    one, two = second.sums.tables, third.sums.tables
    plain = {name: one[name] for name in ("n", "x", "xx")} | {"n_r2": one["n"], "error": one["error"][:, at]}
    plain |= {name: one[name][:, columns] for name in ("e", "ee")}
    plain |= {name: two[name][:, norms] for name in ("t", "tt")}
    fair = dict(plain)
    kinds = [("residual_r2", one, "", columns), ("norm", two, "norm_", norms)]
    for name, table, prefix, keep in kinds + [("norm_self", two, "self_", own)] * third.self_norms:
        held_out, in_sample = table[f"{prefix}held_out"][:, keep], table[f"{prefix}in_sample"][:, keep]
        plain[name], fair[name] = held_out, centre(held_out, in_sample, folds)
    for sums in (plain, fair):
        sums["residual"] = sums["residual_r2"].sum(axis=1)
    overall = second.fit_error.overall
    means = (overall.x_mean, overall.y_mean[columns], third.norm_mean[norms])
    floors = Floors.of(one["n"].sum(), one["xx"].sum(), *means)
    *maps, last = (linear.targets(columns, group=at) for linear in (*second.fit_error.maps, overall))
    about = (second.sums.documents, third.fold, source, "strict", replicates, seed)
    return _build(plain, fair, CrossFit(maps, last), floors, *about)


def score_paper(passes: PaperPasses, sae: str, *, replicates: int = 1000, seed: int = 0) -> Decomposition:
    """The decomposition of one SAE under protocol="paper": its values and intervals are those of maps that
    are held fixed, with their estimation error."""
    sums, fits, floors = passes.sums_of(sae)
    about = (passes.sums.documents, passes.fold, None, "paper", replicates, seed)
    return _build(sums, sums, fits, floors, *about)


def _build(plain, fair, fits, floors, documents, fold, source, protocol, replicates, seed) -> Decomposition:
    assigned = np.array([fold[int(document)] for document in documents])
    groups = np.array([source[int(document)] if source else 0 for document in documents])
    settings = dict(fold=assigned, source=groups, floors=floors, replicates=replicates, seed=seed)
    found = evaluate(plain, fair, **settings)
    norms: dict[str, dict[str, Estimate]] = {kind: {} for kind in NORMS}
    for name, estimate in found.estimates.items():
        kind, _, part = name.partition(" ")
        if part:
            norms[kind][part] = estimate
    return Decomposition(
        **{name: found.estimates[name] for name in SCALARS},
        **norms,
        **{name: getattr(found, name) for name in found._fields if name != "estimates"},
        linear_map=fits.overall,
        maps=tuple(fits.maps),
        fold=dict(fold),
        protocol=protocol,
        tokens=int(plain["n"].sum()),
        documents=len(documents),
    )


def decompose(
    x,
    reconstruction,
    *,
    document,
    folds: int = 5,
    ridge: float | str = 0.0,
    protocol: str = "strict",
    train=None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Decomposition:
    """How much of an SAE's error is linear in x, from arrays alone.

    x, reconstruction: [token, d_model], torch or numpy, any float type, memory-mapped or not; document: ints
    [token]; ridge: a number (scikit-learn's alpha) or "cv". protocol "strict": out of sample by folds of
    documents, with intercept; "paper": as the released code, see `paper`, with `train` bools [token].
    Computes in float64 with memory independent of tokens; time is about 20 tokens d_model² multiplications.
    BadInput for shapes that do not fit, fewer documents than folds, NaN or infinity, an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise BadInput(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    document = _documents(x, reconstruction, document)
    if not isinstance(bootstrap, (int, np.integer)) or bootstrap < 0:
        raise BadInput(f"bootstrap must be a number of replicates, 0 for no interval, got {bootstrap!r}")
    if protocol == "paper":
        train = train_rows(train, len(document), seed)
        passes = PaperPasses(x.shape[1], ["sae"], np.unique(document).tolist(), train)
        for _ in range(3):
            passes.update(x, {"sae": reconstruction}, document)
        return score_paper(passes, "sae", replicates=bootstrap, seed=seed)
    if train is not None:
        raise BadInput('train is for protocol="paper"; the strict protocol holds out folds of documents')
    ids, counts = np.unique(document, return_counts=True)
    fold = assign_folds(ids, counts, folds, seed=seed)
    batch = (x, {"sae": reconstruction}, document)
    first = FirstPass(x.shape[1], ["sae"], fold).update(*batch)
    second = SecondPass(first, ridge=ridge).update(*batch)
    third = ThirdPass(second)
    for earlier in (first, second):
        earlier.moments.clear()  # what they were summed for is fitted
    made = score(third.update(*batch), "sae", replicates=bootstrap, seed=seed)
    return replace(made, loud=loud_tokens(x, reconstruction))


def _documents(x, reconstruction, document) -> np.ndarray:
    """The document ids as an int array [token]; raises BadInput for shapes and types that do not fit."""
    for name, array in (("x", x), ("reconstruction", reconstruction)):
        shape = list(getattr(array, "shape", ()))
        if len(shape) != 2 or min(shape) < 1:
            raise BadInput(f"{name} must be an array [token, d_model], got shape {shape}")
    if tuple(x.shape) != tuple(reconstruction.shape):
        raise BadInput(
            f"x and reconstruction must have one shape, got {list(x.shape)} and {list(reconstruction.shape)}"
        )
    ids = document.cpu().numpy() if isinstance(document, torch.Tensor) else np.asarray(document)
    if ids.ndim != 1 or len(ids) != x.shape[0] or ids.dtype.kind not in "iu":
        raise BadInput(
            f"document must be ints [token] = [{x.shape[0]}], one id for each row of x, got "
            f"{ids.dtype} {list(ids.shape)}"
        )
    return ids.astype(np.int64)

"""The norm test of every part of x, from x and from the part itself, for every SAE; its poles; and its null.

The test: R² of the least-squares prediction of ‖z‖², out of fold. From x it is the paper's figure; from z
itself it is what the paper's argument is about.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ..base.values import Estimate
from ..decomposition.passes import PARTS
from ..measurement.widths import suite_rows
from ..stats.documents import assign_folds, sum_by
from ..stats.fits import LinearMap, cross_fit, moments_by_fold
from ..stats.intervals import bootstrap, over_draws
from ..stats.moments import Moments
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from ..worlds.oracle_saes import OracleSae
from ..worlds.world_batch import tokens_of
from .nulls import matched_world

COLUMNS = dict(zip(PARTS, ("norm_x", "norm_sae", "norm_error", "norm_linear", "norm_nonlinear"), strict=True))
"""Where a measurement keeps each part's norm R² from x."""
NULLS = {"same": "tokens of one size", "matched": "tokens as unequal as the study's"}
"""The two nulls: every token scaled alike, or scaled so that ‖x − x̄‖² varies as much as in the study."""


def parts_of(x: torch.Tensor, x_hat: torch.Tensor, linear: torch.Tensor) -> dict[str, torch.Tensor]:
    """The five parts by name, from x, Sae(x) and LinearError [token, d_model]."""
    return dict(zip(PARTS, (x, x_hat, x - x_hat, linear, x - x_hat - linear), strict=True))


class Folds:
    """Tokens in folds of documents: what an out-of-fold fit and its interval need."""

    def __init__(self, document: np.ndarray, *, folds: int, fold_of: dict | None = None, seed: int = 0):
        ids, row, counts = np.unique(document, return_inverse=True, return_counts=True)
        fold_of = fold_of or assign_folds(ids, counts, folds, seed=seed)
        names, fold = np.unique([fold_of[int(i)] for i in ids], return_inverse=True)
        self.document, self.fold, self.folds = document, fold[row], len(names)

    def predict(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The out-of-fold least-squares prediction of y [token, out] from x [token, d_model]."""
        return cross_fit(moments_by_fold(x, y, self.fold)).predict(x, self.fold)

    def norm_r2(self, x: torch.Tensor, z: torch.Tensor, *, replicates: int = 200) -> Estimate:
        """R² of ‖z‖² from x out of fold, with its interval over documents."""
        target = (z**2).sum(dim=1, keepdim=True)
        left = (target - self.predict(x, target)) ** 2
        t = target - target.mean()
        sums = sum_by(self.document, torch.cat([left, torch.ones_like(t), t, t**2], dim=1))
        named = dict(zip(("left", "n", "t", "tt"), sums.T, strict=True))
        r2 = lambda s: 1 - s["left"] / (s["tt"] - s["t"] ** 2 / s["n"])
        return bootstrap(r2, named, replicates=replicates)[0]


def tests(x, x_hat, linear, folds: Folds, *, replicates: int = 200) -> list[dict]:
    """Both tests of the five parts: part, source ("from x", "from itself"), value, low, high."""
    rows = []
    for part, z in parts_of(x, x_hat, linear).items():
        found = {"from itself": folds.norm_r2(z, z, replicates=replicates)}
        found["from x"] = found["from itself"] if part == "x" else folds.norm_r2(x, z, replicates=replicates)
        rows += [{"part": part, "source": source} | e.to_dict() for source, e in found.items()]
    return rows


def poles(nonlinear: torch.Tensor, x: torch.Tensor, folds: Folds, *, seed: int = 0) -> list[dict]:
    """NonlinearError's own test beside rows that are made to pass or fail it: pole, source, value, low, high.

    Gaussian rows of the same covariance; the same rows on other tokens; rows of the same norm in random
    directions.
    """
    rng = np.random.default_rng([seed, 0x901E])
    centred = nonlinear - nonlinear.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    normal = lambda: torch.from_numpy(rng.standard_normal(tuple(nonlinear.shape)))
    directions = normal()
    made = {
        "NonlinearError": nonlinear,
        "Gaussian, same covariance": (normal() * values.clamp(min=0).sqrt()) @ vectors.T,
        "same rows, other tokens": nonlinear[torch.from_numpy(rng.permutation(len(nonlinear)))],
        "same norms, random directions": directions
        / directions.norm(dim=1, keepdim=True)
        * nonlinear.norm(dim=1, keepdim=True),
    }
    return [
        {"pole": name, "source": source} | folds.norm_r2(given, z).to_dict()
        for name, z in made.items()
        for source, given in (("from x", x), ("from itself", z))
    ]


def tokens(measurement, *, contexts: int) -> tuple[Activations, torch.Tensor, list, np.ndarray]:
    """(source, x, what SAEs are given, document) of scored tokens of contexts spread evenly over the study's
    text."""
    source = Activations(measurement.study, contexts_a_batch=contexts if measurement.study.world else MICRO)
    batches = list(source.batches(contexts=contexts, scored=True))
    x = torch.cat([batch.x for batch in batches]).double()
    return source, x, [b.source for b in batches], np.concatenate([b.document for b in batches])


def norm_tables(measurement, *, contexts: int = 200) -> dict[str, pd.DataFrame]:
    """Both tests for every SAE of the study, on tokens of contexts spread over its text.

    ``tests``: id, part, source, value, low, high (from x: the measurement's own numbers, over all of its
    tokens); ``poles``: the same for the rows of `poles`, at the suite's SAE of middle width. Maps are the
    measurement's out-of-fold maps. Cost: about a second an SAE and 40,000 tokens.
    """
    source, x, given, document = tokens(measurement, contexts=contexts)
    folds = Folds(document, folds=measurement.study.folds, fold_of=measurement.fold_of())
    if folds.folds < 2:
        folds = Folds(document, folds=2)
    suite = suite_rows(measurement).sort_values("width", kind="stable")
    middle = str(suite["id"].iloc[len(suite) // 2])
    rows, extremes = [], []
    for sae in load_saes(measurement.study, source):
        x_hat = torch.cat([sae.reconstruct(batch)[0] for batch in given]).double()
        linear = measurement.maps(sae.id).predict(x, measurement.folds_at(document))
        known = measurement.sae(sae.id)
        for part, z in parts_of(x, x_hat, linear).items():
            e = folds.norm_r2(z, z)
            column = COLUMNS[part]
            rows.append({"id": sae.id, "part": part, "source": "from itself"} | e.to_dict())
            rows.append(
                {
                    "id": sae.id,
                    "part": part,
                    "source": "from x",
                    "value": known[column],
                    "low": known[f"{column}_low"],
                    "high": known[f"{column}_high"],
                }
            )
        if sae.id == middle:
            extremes = poles(x - x_hat - linear, x, folds)
    about = measurement.saes[["id", "kind", "width", "seed", "main"]]
    size = float(
        ((x - x.mean(dim=0)) ** 2).sum(dim=1).var() / ((x - x.mean(dim=0)) ** 2).sum(dim=1).mean() ** 2
    )
    return {
        "tests": pd.DataFrame(rows).merge(about, on="id"),
        "poles": pd.DataFrame(extremes).assign(id=middle),
        "size": pd.DataFrame({"cv2": [size], "tokens": [len(x)]}),
    }


def null_tables(measurement, cv2: float, *, seeds: int = 3, documents: int = 60) -> pd.DataFrame:
    """Both tests on the matched oracles at each width of the suite: null, width, part, source, value, low,
    high.

    Intervals are over worlds drawn anew. ``cv2``: the study's Var ‖x − x̄‖² / mean². A token scale s of
    log-deviation σ multiplies 1 + CV² of the squared size by exp(4σ²): so σ² = log((1 + cv2) / (1 + CV² at σ
    = 0)) / 4, at least 0.
    """
    widths, cap = (
        sorted(set(suite_rows(measurement)["width"].tolist())),
        round(float(suite_rows(measurement)["l0"].mean())),
    )
    rows = []
    for seed in range(seeds):
        plain = matched_world(measurement, seed=seed)
        size = _sizes(tokens_of(plain, 6).x)
        sigma = np.sqrt(max(0.0, np.log((1 + cv2) / (1 + size)) / 4))
        for null, world in (("same", plain), ("matched", replace(plain, scale_token=float(sigma)))):
            batch = tokens_of(world, documents)
            folds = Folds(batch.document.numpy(), folds=measurement.study.folds)
            for width in widths:
                x_hat = OracleSae("null", world, int(width), l0=cap).reconstruct(batch)[0]
                linear = folds.predict(batch.x, batch.x - x_hat)
                found = tests(batch.x, x_hat, linear, folds, replicates=0)
                rows += [
                    {"null": null, "seed": seed, "sigma": sigma, "width": int(width)} | row for row in found
                ]
    frame = pd.DataFrame(rows)
    joined = []
    for key, values in frame.groupby(["null", "width", "part", "source"], sort=False)["value"]:
        joined.append(dict(zip(("null", "width", "part", "source"), key)) | over_draws(values).to_dict())
    return pd.DataFrame(joined).assign(sigma=float(frame["sigma"].mean()))


def _sizes(x: torch.Tensor) -> float:
    squares = ((x - x.mean(dim=0)) ** 2).sum(dim=1)
    return float(squares.var() / squares.mean() ** 2)


def map_of_norm(z: torch.Tensor) -> torch.Tensor:
    """a*, the weights [d_model] of the least-squares prediction of ‖z‖² from z, with an intercept, on all
    tokens."""
    target = (z**2).sum(dim=1, keepdim=True)
    return LinearMap.fit(Moments(z.shape[1], 1).update(z, target)).weight[:, 0]

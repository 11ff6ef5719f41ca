"""The paper's noise-and-ablation check (App. C.3, Fig. 15, Table 1) on a study's own
dictionary, out of sample and with an SAE that encodes the noise, too.

x' = Sae(x) of the widest SAE is taken as data whose features and coefficients are all known: the SAE's own.
Some of its latents are ablated, those of the lowest mean activation first: what they wrote is *absent*.
Gaussian noise on x' plays *dense*; the SAE encodes x' + noise, not x'. Independent noise on the
reconstruction, and whatever the SAE itself does to the noisy input (its Sae(Sae(x)) is not Sae(x)), is
*introduced*. Levels are variances; every share is out of sample, by folds of documents.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from ..base.cache import kept
from ..base.values import Absent, in_columns
from ..measurement.widths import ends
from ..stats.intervals import bootstrap_ratio
from ..studies.saes import load_saes, sample
from ..worlds.known import Landing, land

ABLATED = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the alive latents that are ablated; Fig. 15 stops at a half, which removes little here."""
LEVELS = (0.0, 0.025, 0.05, 0.1, 0.2)
"""Variance of each noise over that of x'."""
KINDS = ("isotropic", "matched")
"""Noise with the same variance in each direction, or with the covariance of x'."""
MIDDLE = LEVELS[len(LEVELS) // 2]
FIXED = 0.5
"""The ablation at which the two noises are varied against each other."""


@kept
def ablated(measurement, *, contexts: int = 64) -> dict[str, pd.DataFrame] | Absent:
    """The check on the widest SAE of the suite; absent in a simulated study.

    ``cells``: kind, ablated, dense, introduced (the levels), and over the variance of x': x (x' + noise),
    absent (that part), reaction (what the SAE itself introduces), linear and nonlinear (the error's two
    parts). ``shares``: kind, ablated, part and the four shares of `Landing.ratios`, with ends over documents,
    at the middle levels. Cost: about 20 s on one thread.
    """
    if measurement.study.model is None:
        return Absent(
            "This study has no language model, and so no trained dictionary: its worlds are the check."
        )
    id = ends(measurement)[1]
    x, clean, document, _ = sample(measurement.study, id, contexts=contexts)
    (sae,) = load_saes(replace(measurement.study, saes=(measurement.study.sae(id),)))
    dictionary = sae.dictionary.double().numpy(force=True)
    codes = sae.codes(x).csr(sae.width)
    mean = np.asarray(codes.mean(axis=0)).ravel()
    order = np.argsort(mean, kind="stable")
    order = order[mean[order] > 0]  # a latent that never fires is absent already
    dropped = {share: order[: round(share * len(order))] for share in ABLATED}
    cells, shares = [], []
    for kind in KINDS:
        on_x, on_hat = (_noise(clean, kind, seed=i) for i in range(2))
        for level in LEVELS:
            noisy = clean + np.sqrt(level) * on_x
            change = sae.codes(noisy).csr(sae.width) - codes
            parts = {"noise on x": noisy - clean, "noise on Sae(x)": on_hat}
            parts |= _parts(codes, change, dictionary, dropped)
            parts = {name: part for name, part in parts.items() if np.any(part)}
            landed = land(noisy, parts, document, error={})
            cells += [row | {"kind": kind, "dense": level} for row in _cells(landed, clean)]
            if level == MIDDLE:
                shares += [row | {"kind": kind} for row in _shares(landed)]
    return {"cells": pd.DataFrame(cells), "shares": pd.DataFrame(shares)}


def _noise(x: np.ndarray, kind: str, *, seed: int) -> np.ndarray:
    """Gaussian noise [token, d_model] of the total variance of x, isotropic or with its covariance."""
    normal = np.random.default_rng([seed, 0xAB1A7E]).standard_normal(x.shape)
    centred = x - x.mean(axis=0)
    if kind == "isotropic":
        return normal * np.sqrt((centred**2).sum() / centred.size)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
    return (normal * np.sqrt(values.clip(min=0))) @ vectors.T


def _parts(codes, change, dictionary, dropped) -> dict[str, np.ndarray]:
    """What the ablated latents wrote, and what the SAE itself introduces without them."""
    whole, parts = change @ dictionary, {}
    for share, latents in dropped.items():
        parts[f"absent {share}"] = codes[:, latents] @ dictionary[latents]
        parts[f"reaction {share}"] = whole - change[:, latents] @ dictionary[latents]
    return parts


def _error(ablated: float, introduced: float) -> dict[str, float]:
    """Signs and sizes of the parts of one cell's error."""
    made = {f"reaction {ablated}": -1.0, "noise on Sae(x)": -float(np.sqrt(introduced))}
    return {f"absent {ablated}": 1.0, "noise on x": 1.0} | made


def _sum(landed: Landing, signs: dict[str, float]) -> np.ndarray:
    """Weights of the sum of those parts that are not 0."""
    return landed.weights(**{name: sign for name, sign in signs.items() if name in landed.names})


def _cells(landed: Landing, clean: np.ndarray) -> list[dict]:
    scale = float(
        landed.x.sum() / ((clean - clean.mean(axis=0)) ** 2).sum()
    )  # to units of the variance of x'
    rows = []
    for share, level in product(ABLATED, LEVELS):
        error = _sum(landed, _error(share, level))
        row = {"ablated": share, "introduced": level, "x": scale}
        for part in ("absent", "reaction"):
            row[part] = scale * float(landed.variance(_sum(landed, {f"{part} {share}": 1.0})))
        lands = landed.ratios(error, error)
        whole = {part: float(lands[part][0].sum() / landed.x.sum()) for part in ("linear", "nonlinear")}
        rows.append(row | {part: scale * size for part, size in whole.items()})
    return rows


def _shares(landed: Landing) -> list[dict]:
    rows = []
    for share in ABLATED[1:]:
        error = _error(share, MIDDLE)
        true = {"absent": {f"absent {share}": 1.0}, "dense": {"noise on x": 1.0}}
        true["introduced"] = {name: sign for name, sign in error.items() if sign < 0}
        for part, signs in true.items():
            row = {"ablated": share, "part": part}
            for name, ratio in landed.ratios(_sum(landed, signs), _sum(landed, error)).items():
                row |= in_columns(bootstrap_ratio(*ratio), name)
            rows.append(row)
    return rows


def table_one(cells: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1: over the grid of levels, the correlation of each true noise with each estimated
    part, of standard deviation with FVU (over the variance of x' + noise), as in Fig. 15; and beside it the
    slope: of a unit of variance added, how much shows up there. The paper's own: `paper_points.synthetic`.

    kind, true ("dense", "introduced"), estimated ("linear", "nonlinear"), correlation, slope.
    """
    columns, rows = ["kind", "true", "estimated", "correlation", "slope"], []
    for kind, grid in cells[cells["ablated"] == FIXED].groupby("kind"):
        truth = grid[["dense", "introduced"]]
        design = np.column_stack([np.ones(len(grid)), truth.to_numpy()])
        for estimated in ("linear", "nonlinear"):
            slopes = np.linalg.lstsq(design, grid[estimated].to_numpy(), rcond=None)[0][1:]
            fvu = grid[estimated] / grid["x"]
            for true, slope in zip(truth, slopes, strict=True):
                rows.append((kind, true, estimated, np.corrcoef(np.sqrt(grid[true]), fvu)[0, 1], slope))
    return pd.DataFrame(rows, columns=columns)


def over_ablation(cells: pd.DataFrame) -> pd.DataFrame:
    """The error as latents are ablated under three pairs of isotropic noises: noise (which pair), ablated,
    part ("SaeError", "NonlinearError", "Introduced") and share, its variance over that of x'."""
    low, mid, high = (LEVELS[i] for i in (0, 1, 3))
    pairs = {"no noise": (low, low), "more on x": (high, mid), "more on Sae(x)": (mid, high)}
    rows = []
    for noise, (dense, introduced) in pairs.items():
        some = cells.query("kind == 'isotropic' and dense == @dense and introduced == @introduced")
        shares = {"SaeError": some["linear"] + some["nonlinear"], "NonlinearError": some["nonlinear"]}
        shares["Introduced"] = some["introduced"] + some["reaction"]
        rows += [some[["ablated"]].assign(noise=noise, part=part, share=s) for part, s in shares.items()]
    return pd.concat(rows, ignore_index=True)

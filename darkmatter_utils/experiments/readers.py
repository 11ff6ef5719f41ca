"""A ladder of readers: what of SaeError(x) can be predicted from x by means that go beyond a linear map.

Trained on documents that no number is scored on; every reader sees x and nothing else. Values and intervals
are held out: what is tuned or not linear has no best map that `fits.centre` could speak of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ..base.cache import kept
from ..base.errors import BadInput
from ..base.values import in_columns
from ..stats.documents import sum_by
from ..stats.fits import RIDGE_GRID, LinearMap, Spectrum, residual_squares
from ..stats.intervals import bootstrap
from ..stats.moments import Moments
from ..studies.activations import Activations
from ..studies.saes import collect, load_saes

STRIDE = 5
"""Every so many-th context of the component text is read."""
HELD = 5
"""Every so many-th training document decides ridge, rank and when the MLP stops; none is fitted on it."""
SQUARES = 24
"""Principal components of x whose products the quadratic reader is given."""
HIDDEN, BATCH, STEPS, RATE = 384, 1024, 2000, 2e-3
"""The MLP: hidden units, tokens a step, steps at most, the peak of its learning rate."""
PATIENCE = 6
"""Training ends where so many of its 20 checks in a row were no better."""


class Rows(NamedTuple):
    """x and the error of some tokens, with their documents."""

    x: Float[Tensor, "token d_model"]
    error: Float[Tensor, "token d_model"]
    document: np.ndarray

    def where(self, keep: np.ndarray) -> Rows:
        """Some of the tokens."""
        mask = torch.from_numpy(keep)
        return Rows(self.x[mask], self.error[mask], self.document[keep])

    def pieces(self, size: int = 16384) -> list[tuple[Tensor, Tensor]]:
        """x and error, some tokens at a time."""
        return list(zip(self.x.split(size), self.error.split(size)))


@kept
def reader_ladder(measurement, *, id: str) -> dict[str, pd.DataFrame]:
    """Table "ladder": reader, chosen, per_dim, r2 (total) and gain over OLS with their ends.

    Scored on the study's text. Trained on the component text, where the study has one; else on two thirds of
    its own documents, scored on the rest. Cost: a pass over each text, then 40 s on one core at d_model 128.
    """
    study = measurement.study
    held = collect(study, [id], kinds=False)
    x = held.x.to(study.device)
    scored = Rows(x, x - held.hats[id].to(x), held.document)
    training = component_rows(study, id)
    if training is None:
        ids = np.unique(scored.document)
        apart = np.isin(scored.document, ids[::3])
        training, scored = scored.where(~apart), scored.where(apart)
    ids = np.unique(training.document)
    stop = np.isin(training.document, ids[::HELD])
    readers = ladder(training.where(~stop), training.where(stop), seed=study.seed)
    return {"ladder": scores(readers, scored, replicates=study.bootstrap, seed=study.seed)}


def component_rows(study, id: str) -> Rows | None:
    """Scored tokens of the component text, float32; None for a study that has none."""
    if study.model is None:
        return None
    light = replace(study, text="component", dtype="float32", saes=(study.sae(id),))
    source = Activations(light)
    try:
        source.contexts
    except BadInput:
        return None
    (sae,) = load_saes(light, source)
    batches = list(source.batches(every=STRIDE, scored=True))
    errors = [batch.x - sae.reconstruct(batch.x)[0] for batch in batches]
    document = np.concatenate([batch.document for batch in batches])
    return Rows(torch.cat([batch.x for batch in batches]), torch.cat(errors), document)


def ladder(fit: Rows, stop: Rows, *, seed: int = 0, steps: int = STEPS) -> dict[str, tuple]:
    """Reader → (function of x [token, d_model], what was chosen): fitted on ``fit``, chosen on ``stop``."""
    d, device = fit.x.shape[1], fit.x.device
    moments, check = (Moments(d, d, device=device).update(rows.x, rows.error) for rows in (fit, stop))
    spectrum = Spectrum(moments)
    ols = spectrum.map(moments)
    gain = float(torch.trace(moments.xy) / torch.trace(moments.xx))
    scalar = LinearMap(gain * torch.eye(d).to(moments.xx), moments.x_mean, moments.y_mean)
    missed = lambda m, checked: float(residual_squares(checked, m).sum())
    ranks = [2**k for k in range(d.bit_length())]
    rank = min(ranks, key=lambda r: missed(ols.truncate(moments, r), check))

    def ridge(spectrum, moments, checked, grid):
        made = lambda share: spectrum.map(moments, ridge=share * spectrum.unit)
        share = min(grid, key=lambda s: missed(made(s), checked))
        return made(share), f"ridge {share:g}"

    features = Quadratic(moments, min(SQUARES, d))
    joint, checked = (Moments(features.width, d, device=device) for _ in range(2))
    for sums, rows in ((joint, fit), (checked, stop)):
        for x, e in rows.pieces():
            sums.update(features(x), e)
    square, chosen = ridge(Spectrum(joint), joint, checked, RIDGE_GRID[1:])
    network, passes = mlp(fit, stop, ols, seed=seed, steps=steps)
    return {
        "a scalar gain": (scalar, f"g = {gain:.3f}"),
        "low rank": (ols.truncate(moments, rank), f"rank {rank}"),
        "linear (OLS)": (ols, ""),
        "ridge": ridge(spectrum, moments, check, RIDGE_GRID),
        "quadratic": (lambda x: square(features(x)), chosen),
        "MLP": (network, f"best after {passes:.1f} passes"),
    }


class Quadratic:
    """x and all products of its first k principal components, standardised."""

    def __init__(self, moments: Moments, k: int):
        values, vectors = torch.linalg.eigh(moments.xx / moments.n)
        self.mean, self.basis = moments.x_mean, (vectors / values.clamp(min=1e-12).sqrt()).flip(1)
        self.i, self.j = torch.triu_indices(k, k)
        self.width = len(self.mean) + len(self.i)

    def __call__(self, x: Tensor) -> Tensor:
        z = (x.double() - self.mean) @ self.basis
        return torch.cat([z, z[:, self.i] * z[:, self.j]], dim=1)


def mlp(fit: Rows, stop: Rows, linear: LinearMap, *, seed: int = 0, steps: int = STEPS):
    """(network that predicts the error, passes until it was best): ``linear`` plus one hidden layer of GELUs,
    trained by Adam on what it leaves, in units of its spread; kept as it was where ``stop`` was read best."""
    generator = torch.Generator().manual_seed(seed)
    mean, spread = fit.x.mean(0), fit.x.std(0).clamp(min=1e-6)
    left = (fit.error - linear(fit.x).to(fit.error)).float()
    unit = float(left.pow(2).mean().sqrt()) or 1.0
    d = fit.x.shape[1]
    hidden = torch.randn(d, HIDDEN, generator=generator) / d**0.5
    weights = [w.to(left) for w in (hidden, torch.zeros(HIDDEN), torch.zeros(HIDDEN, d), torch.zeros(d))]
    for weight in weights:
        weight.requires_grad_()

    def network(x, w=weights):
        z = ((x - mean.to(x)) / spread.to(x)).float()
        return torch.nn.functional.gelu(z @ w[0] + w[1]) @ w[2] + w[3]

    optimiser = torch.optim.Adam(weights, lr=RATE)
    check = (stop.error - linear(stop.x).to(stop.error)).float()
    best, kept, when, idle = float(check.pow(2).sum()), [w.detach().clone() for w in weights], 0.0, 0
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(fit.x), generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 100, 2 * (1 - step / steps) + 0.02)
        loss = (network(fit.x[rows]) - left[rows] / unit).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % (steps // 20) == 0:
            pieces = zip(stop.x.split(8192), check.split(8192))
            with torch.no_grad():
                missed = sum(float((network(x) * unit - e).pow(2).sum()) for x, e in pieces)
            idle = 0 if missed < best else idle + 1
            if missed < best:
                best, kept = missed, [w.detach().clone() for w in weights]
                when = (step + 1) * min(BATCH, len(fit.x)) / len(fit.x)
            if idle == PATIENCE:
                break
    return (lambda x: linear(x) + unit * network(x, kept).double()), when


def scores(readers: dict[str, tuple], scored: Rows, *, replicates: int, seed: int) -> pd.DataFrame:
    """R² total and the gain over OLS, with intervals over documents, and R² per dimension."""
    per_document = lambda v: sum_by(scored.document, torch.cat(v))
    pieces = scored.pieces()
    mean = scored.error.mean(0, dtype=torch.float64)
    total = sum(((e.double() - mean) ** 2).sum(0) for _, e in pieces)
    spread = per_document([((e.double() - mean) ** 2).sum(1) for _, e in pieces])
    left, per_dim = {}, {}
    for name, (reader, _) in readers.items():
        by_token, by_dim = [], torch.zeros_like(total)
        for x, e in pieces:
            miss = (e.double() - reader(x).double()) ** 2
            by_token.append(miss.sum(1))
            by_dim += miss.sum(0)
        left[name], per_dim[name] = per_document(by_token), float((1 - by_dim / total).mean())
    ratios = {"r2": lambda s: 1 - s["left"] / s["spread"]}
    ratios["gain"] = lambda s: (s["ols"] - s["left"]) / s["spread"]
    rows = []
    for name, (_, chosen) in readers.items():
        sums = {"left": left[name], "ols": left["linear (OLS)"], "spread": spread}
        row = {"reader": name, "chosen": chosen, "per_dim": per_dim[name]}
        for ratio, of in ratios.items():
            row |= in_columns(bootstrap(of, sums, replicates=replicates, seed=seed)[0], ratio)
        rows.append(row)
    return pd.DataFrame(rows)

"""Nested models of a number a token: what each simple fact adds to the ones before it, and x to all of them.

Least squares out of fold by document, from running sums of [x, facts]: every model is a choice of columns of
the same sums, and principal components are a turn of the columns of x.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..base.values import Estimate
from ..measurement.measure import Measurement
from ..stats.documents import DocumentSums
from ..stats.fits import LinearMap, leave_out
from ..stats.intervals import bootstrap, multinomial_weights
from ..stats.moments import Moments
from ..studies.activations import Activations, Batch
from ..studies.saes import load_saes
from ..studies.study import Study
from .baselines import LabelMeans
from .regress import Regression, columns

MEMORY = 1_500_000_000
"""Bytes of activations that are kept between the passes."""
COMPONENTS = 10
"""Principal components of x that stand before x itself."""
TEN = f"{COMPONENTS} components of x"
STEPS = ("a constant", "‖x‖", "position", "loss", "L0", "token", TEN, "x")
"""What is added, in this order; a model is named by its last step. ‖x‖ stands for the pair ‖x‖, ‖x‖²."""
ALONE = " alone"
"""What the name of a model of one step ends with."""
SIMPLE, ALL, X = "token", "x", "x" + ALONE
"""The models that have all simple facts, everything, and x with nothing else."""
THREE = "‖x‖, position and token"
"""The model that claim 13 holds against x."""
Target = Callable[[Tensor, Tensor], Tensor]
"""(x, Sae(x)), both [token, d_model], to one number a token."""


@dataclass(frozen=True)
class Nested:
    """Per-document squared residuals of every model, from which R² and its gains follow."""

    ids: list[str]
    steps: list[str]
    """The steps that this study has, in order (a simulated world has no loss)."""
    models: list[str]
    """The cumulative models, named by their last step, each step alone (`ALONE`), and `THREE`."""
    residual: np.ndarray
    """Σ(y − ŷ)² [document, SAE, model]."""
    moments: np.ndarray
    """n, Σy, Σy² [3, document, SAE]."""
    seed: int
    replicates: int

    def gain(self, id: str, model: str, over: str | None = None) -> Estimate:
        """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² out of fold, with its interval over documents; or R² of one model
        minus that ``over`` another, both resampled together."""
        at = self.ids.index(id)
        n, y, yy = self.moments[:, :, at]
        less = yy if over is None else self.residual[:, at, self.models.index(over)]
        sums = {
            "less": less,
            "more": self.residual[:, at, self.models.index(model)],
            "n": n,
            "y": y,
            "yy": yy,
        }

        def statistic(s):
            spread = s["yy"] - s["y"] ** 2 / s["n"]
            return ((spread if over is None else s["less"]) - s["more"]) / spread

        return bootstrap(statistic, sums, replicates=self.replicates, seed=self.seed)[0]

    def replicated(self, model: str, over: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(R² or gain [SAE], its replicates [replicate, SAE]), documents drawn alike for all SAEs."""
        draws = multinomial_weights(len(self.residual), self.replicates, seed=self.seed)

        def of(weigh):
            n, y, yy = (weigh(sums) for sums in self.moments)
            spread = yy - y**2 / n
            less = spread if over is None else weigh(self.residual[:, :, self.models.index(over)])
            return (less - weigh(self.residual[:, :, self.models.index(model)])) / spread

        return of(lambda sums: sums.sum(axis=0)), of(lambda sums: draws @ sums)


def nested(
    measurement: Measurement, fit: Regression, target: Target, ids: Sequence[str], *, suite: str = ""
) -> Nested:
    """The nested models of some SAEs of a measurement, and of all SAEs of another ``suite`` of its study at
    whatever sites; ``fit``: the target of the former, regressed on x."""
    study = measurement.study
    others = [study.at(site, suite=suite) for site in study.sites(suite)] if suite else []
    table = measurement.tokens[measurement.tokens["scored"]].reset_index(drop=True)
    stream = _Stream(study, [at.site for at in others], table)
    places = [(study.site, _here(table, fit, ids)), *((at.site, _there(stream, at, target)) for at in others)]
    made = [_fitted(stream, site, table, facts) for site, facts in places]
    tables = [
        np.concatenate([sums.tables[name] for sums, _ in made], axis=1)
        for name in ("n", "y", "yy", "residual")
    ]
    known = made[0][1]
    return Nested(
        ids=[id for _, facts in places for id in facts.ids],
        steps=known.steps,
        models=list(known.models),
        residual=tables[3],
        moments=np.stack(tables[:3]),
        seed=study.seed,
        replicates=study.bootstrap,
    )


class _Stream:
    """The study's scored tokens at several sites, kept in memory where they fit."""

    def __init__(self, study: Study, sites: Sequence[str], table: pd.DataFrame):
        self.source, self.sites, self.token = Activations(study), sites, table["token"].to_numpy()

    def __iter__(self) -> Iterator[tuple[slice, Batch]]:
        """(rows among the scored tokens, batch)."""
        done = 0
        for batch in self.source.batches(sites=self.sites, scored=True, keep=MEMORY):
            rows = slice(done, done := done + len(batch.x))
            if not np.array_equal(batch.token, self.token[rows]):
                raise BadInput("the measurement's tokens are not those of the study's text; measure it again")
            yield rows, batch


class _Facts(NamedTuple):
    """What is known of every scored token at a site, and the targets of its SAEs."""

    ids: list[str]
    y: np.ndarray
    """The targets [token, SAE]."""
    l0: np.ndarray
    """Active latents [token, SAE]."""
    norm2: np.ndarray
    """‖x‖² [token]."""


def _here(table: pd.DataFrame, fit: Regression, ids: Sequence[str]) -> _Facts:
    # Rounded as a measurement rounds what it keeps of every token.
    y = fit.targets[:, [fit.columns(id).start for id in ids]].astype(np.float32).astype(float)
    l0 = np.column_stack([table[f"{id}:l0"].to_numpy(float) for id in ids])
    return _Facts(list(ids), y, l0, table["norm2"].to_numpy(float))


def _there(stream: _Stream, at: Study, target: Target) -> _Facts:
    saes = load_saes(at)
    y, l0 = np.empty((2, len(stream.token), len(saes)))
    norm2 = np.empty(len(stream.token))
    for rows, batch in stream:
        x = batch.sites[at.site].double()
        norm2[rows] = x.square().sum(dim=1).cpu()
        for s, sae in enumerate(saes):
            hat, active = sae.reconstruct(batch.sites[at.site])
            y[rows, s] = columns(target(x, hat.double()), len(x), x.device)[:, 0].cpu()
            l0[rows, s] = active.cpu()
    return _Facts([sae.id for sae in saes], y, l0, norm2)


class _Columns:
    """The scalar regressors of every scored token, and which of them each model of each SAE takes."""

    def __init__(self, table: pd.DataFrame, facts: _Facts, d_model: int):
        self.d_model, self.ids, self.y = d_model, facts.ids, facts.y
        self.folds, self.fold = np.unique(table["fold"].to_numpy(), return_inverse=True)
        loss = table["loss"].to_numpy(float)
        values, self.places = [], {}
        self._add(values, ("‖x‖",), [np.sqrt(facts.norm2), facts.norm2])
        if np.isfinite(loss).any():
            self._add(values, ("loss",), [np.where(np.isfinite(loss), loss, np.nanmean(loss))])
        for s in range(len(self.ids)):
            self._add(values, ("L0", s), [facts.l0[:, s]])
            for name in ("position", "token"):
                means = LabelMeans(self.y[:, s], table[name], self.fold)
                for out in range(len(self.folds)):
                    self._add(values, (name, s, out), [means.without(out)])
        self.values = np.column_stack(values)
        self.size = d_model + self.values.shape[1]
        self.steps = [step for step in STEPS if step != "loss" or ("loss",) in self.places]
        cumulative = {step: self.steps[: n + 1] for n, step in enumerate(self.steps)}
        alone = {step + ALONE: [step] for step in self.steps[1:]}
        self.models = cumulative | alone | {THREE: ["‖x‖", "position", "token"]}

    def _add(self, columns: list, key: tuple, values: list) -> None:
        first = self.d_model + len(columns)
        self.places[key] = list(range(first, first + len(values)))
        columns += values

    def by_fold(self, rows: slice) -> Iterator[tuple[int, np.ndarray]]:
        """(fold, which of these rows are in it) for each fold that has any."""
        for k in range(len(self.folds)):
            if len(mine := np.flatnonzero(self.fold[rows] == k)):
                yield k, mine

    def beside(self, x: Tensor, rows: slice, mine: np.ndarray) -> Tensor:
        """[x, scalars] of some of these rows."""
        return torch.cat([x[mine], torch.from_numpy(self.values[rows][mine])], dim=1)

    def of(self, model: str, sae: int, out: int) -> list[int]:
        """Columns of [principal components of x, scalars] for a model of an SAE, scored on fold `out`."""
        chosen, names = [], self.models[model]
        for name in names:
            if name == "x":
                chosen += range(self.d_model)
            elif name == TEN:
                chosen += [] if "x" in names else range(min(COMPONENTS, self.d_model))
            elif name != STEPS[0]:
                keys = ((name,), (name, sae), (name, sae, out))
                chosen += next(self.places[key] for key in keys if key in self.places)
        return chosen


def _fitted(stream: _Stream, site: str, table: pd.DataFrame, facts: _Facts) -> tuple[DocumentSums, _Columns]:
    """The per-document sums of every model of the SAEs of a site, and the models."""
    known, document = None, table["document"].to_numpy()
    for rows, batch in stream:
        z = batch.sites[site].double().cpu()
        if known is None:
            known = _Columns(table, facts, z.shape[1])
            folds = [Moments(known.size, len(known.ids)) for _ in known.folds]
        for k, mine in known.by_fold(rows):
            folds[k].update(known.beside(z, rows, mine), known.y[rows][mine])
    fits = [_weights(rest, known, out) for out, rest in enumerate(leave_out(folds))]
    sums, y = DocumentSums(document), torch.from_numpy(known.y)
    for rows, batch in stream:
        z = batch.sites[site].double().cpu()
        for k, mine in known.by_fold(rows):
            weight, level = fits[k]
            predicted = (known.beside(z, rows, mine) @ weight + level).view(len(mine), len(known.ids), -1)
            sums.add(document[rows][mine], residual=(y[rows][mine][:, :, None] - predicted) ** 2)
    sums.add(document, n=torch.ones_like(y), y=y, yy=y**2)
    return sums, known


def _weights(rest: Moments, known: _Columns, out: int) -> tuple[Tensor, Tensor]:
    """Weights [columns, SAE × model] and levels [SAE × model] of every model, for [x, scalars] of fold
    `out`."""
    d = known.d_model
    turn = torch.eye(rest.d_in, dtype=torch.float64)
    turn[:d, :d] = torch.linalg.eigh(rest.xx[:d, :d]).eigenvectors.flip(1)
    turned = rest.turn(turn)
    weight = torch.zeros(rest.d_in, len(known.ids), len(known.models), dtype=torch.float64)
    for s in range(len(known.ids)):
        mine = turned.targets(slice(s, s + 1))
        for m, model in enumerate(known.models):
            if chosen := known.of(model, s, out):
                weight[chosen, s, m] = LinearMap.fit(mine.select(chosen)).weight[:, 0]
    weight = (turn @ weight.flatten(1)).view_as(weight)
    level = rest.y_mean[:, None] - torch.einsum("i,ism->sm", rest.x_mean, weight)
    return weight.flatten(1), level.flatten()

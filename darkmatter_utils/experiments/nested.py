"""Nested models of a number a token: what each simple fact adds to the ones before it, and x to all of them.

From running sums of [x, facts] every model takes some columns, and principal components are a turn of the
columns of x. The R² of each is that of its best weights (`fits.centre`), so that x does not pay for its many;
that the means of labels are themselves estimated is left in, and counts against the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..base.values import Estimate
from ..measurement.measure import Measurement
from ..stats.documents import DocumentSums
from ..stats.fits import LinearMap, centre, leave_out, merged
from ..stats.intervals import bootstrap
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
BEST = "the best single"
"""In place of a model: at each document that one simple fact alone which leaves least of the documents of
other folds. The largest of several R² that are near one another is too large by their noise; one that is
chosen on other documents is not. Resampled documents choose anew."""
Target = Callable[[Tensor, Tensor], Tensor]
"""(x, Sae(x)), both [token, d_model], to one number a token."""


@dataclass(frozen=True)
class Nested:
    """Per-document squared residuals of every model's best weights, from which R² and its gains follow."""

    ids: list[str]
    steps: list[str]
    """The steps that this study has, in order (a simulated world has no loss)."""
    models: list[str]
    """The cumulative models, named by their last step, and each step alone (`ALONE`)."""
    residual: np.ndarray
    """Σ(y − ŷ)² of the best weights, `fits.centre` [document, SAE, model]."""
    moments: dict[str, np.ndarray]
    """n, y (Σy) and yy (Σy²) [document, SAE]."""
    fold: np.ndarray
    """The fold of each document [document]."""
    seed: int
    replicates: int

    def gain(self, id: str, model: str, over: str | None = None) -> Estimate:
        """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² with its interval over documents; or R² minus that ``over`` another
        model (or `BEST`), paired."""
        return self._scored(model, over, self.ids.index(id))[0]

    def replicated(self, model: str, over: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(R² or gain [SAE], its replicates [replicate, SAE]), documents drawn alike for all SAEs."""
        found, drawn = zip(*(self._scored(model, over, at) for at in range(len(self.ids))))
        return np.array([e.value for e in found]), np.stack(drawn, axis=1)

    @property
    def single(self) -> list[str]:
        """The simple facts that have a model of their own."""
        alone = [name.removesuffix(ALONE) for name in self.models if name.endswith(ALONE)]
        return [name for name in alone if name not in (TEN, ALL)]

    def _scored(self, model: str, over: str | None, at: int) -> tuple[Estimate, np.ndarray]:
        return bootstrap(_gain, self._sums(model, over, at), replicates=self.replicates, seed=self.seed)

    def _sums(self, model: str, over: str | None, at: int) -> dict[str, np.ndarray]:
        left = lambda names: self.residual[:, at][..., [self.models.index(name) for name in names]]
        sums = {name: value[:, at] for name, value in self.moments.items()} | {"more": left([model])[..., 0]}
        if over == BEST:
            some = left([name + ALONE for name in self.single])[..., None]
            fold = self.fold[:, None] == np.unique(self.fold)
            return sums | {"some": some * fold.reshape(len(fold), *[1] * (some.ndim - 2), -1)}
        return sums if over is None else sums | {"less": left([over])[..., 0]}


def _gain(s: Mapping[str, np.ndarray]) -> np.ndarray:
    spread = s["yy"] - s["y"] ** 2 / s["n"]
    less = s.get("less", spread)
    if "some" in s:  # [..., model, fold]
        best = (s["some"].sum(axis=-1, keepdims=True) - s["some"]).argmin(axis=-2, keepdims=True)
        less = np.take_along_axis(s["some"], best, axis=-2).sum(axis=(-2, -1))
    return (less - s["more"]) / spread


def nested(
    measurement: Measurement, fit: Regression, target: Target, ids: Sequence[str], *, suite: str = ""
) -> Nested:
    """The nested models of some SAEs of a measurement, and of all SAEs of another ``suite`` of its study at
    whatever sites; ``fit``: the target of the former, regressed on x."""
    study = measurement.study
    others = [study.at(site, suite=suite) for site in study.sites(suite)] if suite else []
    table = measurement.tokens[measurement.tokens["scored"]].reset_index(drop=True)
    stream = _Stream(study, [at.site for at in others], table)
    # Rounded as a measurement rounds what it keeps of every token.
    y = fit.targets[:, [fit.columns(id).start for id in ids]].astype(np.float32).astype(float)
    l0 = np.column_stack([table[f"{id}:l0"].to_numpy(float) for id in ids])
    here = _Facts(list(ids), y, l0, table["norm2"].to_numpy(float))
    places = [(study.site, here), *((at.site, _there(stream, at, target)) for at in others)]
    made = [_fitted(stream, site, table, facts) for site, facts in places]
    (first, known), joined = made[0], lambda name: np.concatenate([s.tables[name] for s, _ in made], axis=1)
    tables = {name: joined(name) for name in first.tables}
    ids = [id for _, facts in places for id in facts.ids]
    left = centre(tables.pop("held_out"), tables.pop("in_sample"), len(known.folds))
    fold = table.groupby("document")["fold"].first().to_numpy()
    return Nested(ids, known.steps, list(known.models), left, tables, fold, study.seed, study.bootstrap)


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
    """Of every scored token: targets y and active latents l0 of a site's SAEs [token, SAE], ‖x‖² [token]."""

    ids: list[str]
    y: np.ndarray
    l0: np.ndarray
    norm2: np.ndarray


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
        self.d_model, self.ids = d_model, facts.ids
        self.folds, self.fold = np.unique(table["fold"].to_numpy(), return_inverse=True)
        loss = table["loss"].to_numpy(float)
        values = {("‖x‖",): [np.sqrt(facts.norm2), facts.norm2]}
        if np.isfinite(loss).any():
            values["loss",] = [np.where(np.isfinite(loss), loss, np.nanmean(loss))]
        for s in range(len(self.ids)):
            values["L0", s] = [facts.l0[:, s]]
            for name in ("position", "token"):
                means = LabelMeans(facts.y[:, s], table[name], self.fold)
                values |= {(name, s, out): [means.without(out)] for out in (*range(len(self.folds)), None)}
        self.values = np.column_stack([column for some in values.values() for column in some])
        places = count(d_model)
        self.places = {key: [next(places) for _ in some] for key, some in values.items()}
        self.steps = [step for step in STEPS if step != "loss" or ("loss",) in self.places]
        cumulative = {step: self.steps[: n + 1] for n, step in enumerate(self.steps)}
        alone = {step + ALONE: [step] for step in self.steps[1:]}
        self.models = cumulative | alone

    def by_fold(self, x: Tensor, rows: slice) -> Iterator[tuple[int, np.ndarray, Tensor]]:
        """(fold, which of these rows are in it, [x, scalars] of those) for each fold that has any."""
        for k in range(len(self.folds)):
            if len(mine := np.flatnonzero(self.fold[rows] == k)):
                yield k, mine, torch.cat([x[mine], torch.from_numpy(self.values[rows][mine])], dim=1)

    def of(self, model: str, sae: int, out: int | None) -> list[int]:
        """Columns of [principal components of x, scalars] of a model of an SAE, fitted without a fold."""
        chosen = []
        for name in (names := self.models[model]):
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
    known, y = _Columns(table, facts, stream.source.width(site)), torch.from_numpy(facts.y)
    folds = [Moments(known.d_model + known.values.shape[1], len(known.ids)) for _ in known.folds]
    for rows, batch in stream:
        for k, mine, z in known.by_fold(batch.sites[site].double().cpu(), rows):
            folds[k].update(z, y[rows][mine])
    fits = [_weights(rest, known, out) for out, rest in enumerate(leave_out(folds))]
    every = _weights(merged(folds), known, None)
    document = table["document"].to_numpy()
    sums = DocumentSums(document)

    def left(y, z, weight, level):
        return (y[:, :, None] - (z @ weight + level).view(len(y), len(known.ids), -1)) ** 2

    for rows, batch in stream:
        for k, mine, z in known.by_fold(batch.sites[site].double().cpu(), rows):
            one = y[rows][mine]
            sums.add(document[rows][mine], held_out=left(one, z, *fits[k]), in_sample=left(one, z, *every))
    sums.add(document, n=torch.ones_like(y), y=y, yy=y**2)
    return sums, known


def _weights(rest: Moments, known: _Columns, out: int | None) -> tuple[Tensor, Tensor]:
    """(weights [column, SAE × model], levels [SAE × model]) of all models, for [x, scalars] of a fold."""
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

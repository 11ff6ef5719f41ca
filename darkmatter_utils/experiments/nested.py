"""Nested models of an error's size: what each fact about a token adds to the ones before it, and x to all of
them.

Least squares for the squared norm ‖SaeError‖², out of fold by document, from running sums of [x, facts]:
every model is a choice of columns of the same sums, and principal components are a turn of the columns of x.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from ..base.errors import BadInput
from ..base.values import Estimate
from ..measurement.measure import files_of
from ..measurement.results import kept
from ..stats.documents import DocumentSums
from ..stats.fits import LinearMap, leave_out
from ..stats.intervals import bootstrap, multinomial_weights
from ..stats.moments import Moments
from ..studies.activations import Activations, Batch
from ..studies.saes import load_saes
from ..studies.study import Study
from .baselines import LabelMeans

COMPONENTS = 10
"""Principal components of x that stand before x itself."""
MEMORY = 1_500_000_000
"""Bytes in which activations are kept between passes; beyond it the model runs again."""
STEPS = ("a constant", "‖x‖", "position", "loss", "L0", "token", f"{COMPONENTS} components of x", "x")
"""What is added, in this order. ‖x‖ stands for the pair ‖x‖, ‖x‖²."""
X, THREE, SIMPLE, ALL = "x alone", "‖x‖, position and token", "up to the token", "up to x"
"""Models that are compared: x with nothing else, the three of claim 13, the facts together, and
everything."""
ALONE = " alone"
"""What the name of a model of one step ends with."""


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

    def column(self, model: str) -> int:
        """Where a model stands; `SIMPLE` and `ALL` name the models that end with the token and with x."""
        return self.models.index({SIMPLE: "token", ALL: "x"}.get(model, model))

    def r2(self, id: str, model: str) -> Estimate:
        """R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² out of fold, with its interval over documents."""
        return self.gain(id, model, None)

    def gain(self, id: str, model: str, over: str | None) -> Estimate:
        """R² of one model minus that of another on the same documents; both are resampled together."""
        at = self.ids.index(id)
        less = self.moments[2, :, at] if over is None else self.residual[:, at, self.column(over)]
        sums = {
            "less": less,
            "more": self.residual[:, at, self.column(model)],
            "n": self.moments[0, :, at],
            "y": self.moments[1, :, at],
            "yy": self.moments[2, :, at],
        }
        centre = over is None

        def statistic(s):
            spread = s["yy"] - s["y"] ** 2 / s["n"]
            return ((spread if centre else s["less"]) - s["more"]) / spread

        return bootstrap(statistic, sums, replicates=self.replicates, seed=self.seed)[0]

    def replicated(self, model: str, over: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(R² or gain [SAE], its replicates [replicate, SAE]), documents drawn alike for all SAEs."""
        draws = multinomial_weights(len(self.residual), self.replicates, seed=self.seed)

        def of(weigh):
            n, y, yy = (weigh(sums) for sums in self.moments)
            spread = yy - y**2 / n
            less = spread if over is None else weigh(self.residual[:, :, self.column(over)])
            return (less - weigh(self.residual[:, :, self.column(model)])) / spread

        return of(lambda sums: sums.sum(axis=0)), of(lambda sums: draws @ sums)


def nested(measurement, ids: Sequence[str], *, suite: str = "") -> Nested:
    """The nested models of some SAEs of a measurement, and of all SAEs of another ``suite`` of its study at
    whatever sites.

    Kept by content. Cost: the blocks of the model up to the last site, once (more often where activations do
    not fit into 1.5 GB); memory of 8 bytes × tokens × (12 SAEs of a site + 3), sums of (d_model + 12 SAEs +
    3)² a fold. Raises BadInput for an unknown SAE.
    """
    study = measurement.study
    places = {study.site: [study.sae(id).id for id in ids]}
    for site in study.sites(suite) if suite else []:
        others = [entry.id for entry in study.at(site, suite=suite).selected()]
        places[site] = places.get(site, []) + others
    ids = [id for at in places.values() for id in at]
    files = {site: files_of(study.at(site, suite=suite)) for site in study.sites(suite)} if suite else {}
    tables = kept(
        "nested", study, ["nested"], lambda: _compute(measurement, places, suite), places=places, files=files
    )
    long, facts = tables["residual"], tables["moments"]
    models = list(dict.fromkeys(long["model"]))
    shape = (facts["document"].nunique(), len(ids))
    moments = facts[["n", "y", "yy"]].to_numpy().T.reshape(3, *shape)
    residual = long["residual"].to_numpy().reshape(*shape, len(models))
    steps = [name for name in models if name in STEPS]
    return Nested(ids, steps, models, residual, moments, study.seed, study.bootstrap)


class _Columns:
    """The scalar regressors of every scored token, and which of them each model of each SAE takes."""

    def __init__(self, tokens: pd.DataFrame, ids: Sequence[str], d_model: int):
        self.d_model, self.ids = d_model, list(ids)
        self.folds, self.fold = np.unique(tokens["fold"].to_numpy(), return_inverse=True)
        self.y = np.column_stack([tokens[f"{id}:error"].to_numpy(float) for id in ids])
        norm2, loss = tokens["norm2"].to_numpy(float), tokens["loss"].to_numpy(float)
        columns, self.places = [], {}
        self._add(columns, ("‖x‖",), [np.sqrt(norm2), norm2])
        if np.isfinite(loss).any():
            self._add(columns, ("loss",), [np.where(np.isfinite(loss), loss, np.nanmean(loss))])
        for s, id in enumerate(ids):
            self._add(columns, ("L0", s), [tokens[f"{id}:l0"].to_numpy(float)])
            for name in ("position", "token"):
                means = LabelMeans(self.y[:, s], tokens[name], self.fold)
                for out in range(len(self.folds)):
                    self._add(columns, (name, s, out), [means.without(out)])
        self.values = np.column_stack(columns)
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

    def beside(self, x: torch.Tensor, rows: slice, mine: np.ndarray) -> torch.Tensor:
        """[x, scalars] of some of these rows."""
        return torch.cat([x[mine], torch.from_numpy(self.values[rows][mine])], dim=1)

    def of(self, model: str, sae: int, out: int) -> list[int]:
        """Columns of [principal components of x, scalars] for a model of an SAE, scored on fold `out`."""
        chosen, names = [], self.models[model]
        for name in names:
            if name == "x":
                chosen += range(self.d_model)
            elif name == STEPS[6]:
                chosen += [] if "x" in names else range(min(COMPONENTS, self.d_model))
            elif name != STEPS[0]:
                keys = ((name,), (name, sae), (name, sae, out))
                chosen += next(self.places[key] for key in keys if key in self.places)
        return chosen


def _compute(measurement, places: dict[str, list[str]], suite: str) -> dict[str, pd.DataFrame]:
    tokens = measurement.tokens[measurement.tokens["scored"]].reset_index(drop=True)
    stream = _Stream(measurement.study, list(places))
    made = [
        _at(stream, site, _with_errors(stream, site, ids, suite, tokens), ids) for site, ids in places.items()
    ]
    ids, models = [id for at in places.values() for id in at], made[0][1]
    sums = made[0][0]
    tables = {name: np.concatenate([one.tables[name] for one, _ in made], axis=1) for name in sums.tables}
    index = pd.MultiIndex.from_product([sums.documents, ids], names=["document", "id"])
    facts = pd.DataFrame({name: tables[name].ravel() for name in ("n", "y", "yy")}, index=index)
    index = pd.MultiIndex.from_product([sums.documents, ids, models], names=["document", "id", "model"])
    residual = pd.DataFrame({"residual": tables["residual"].ravel()}, index=index)
    return {"moments": facts.reset_index(), "residual": residual.reset_index()}


class _Stream:
    """The study's scored tokens at several sites, kept in memory where they fit."""

    def __init__(self, study: Study, sites: list[str]):
        self.study, self.sites, self.source = study, sites, Activations(study)

    def __iter__(self) -> Iterator[tuple[slice, Batch]]:
        """(rows among the scored tokens, batch)."""
        done = 0
        for batch in self.source.batches(sites=self.sites, scored=True, keep=MEMORY):
            yield slice(done, done := done + len(batch.x)), batch


def _with_errors(
    stream: _Stream, site: str, ids: list[str], suite: str, tokens: pd.DataFrame
) -> pd.DataFrame:
    """The table of scored tokens with ‖x‖² of the site, and the columns of those SAEs that it has not."""
    lacking = [id for id in ids if f"{id}:error" not in tokens]
    if not lacking:
        return tokens
    entries = tuple(stream.study.sae(id) for id in lacking)
    study = replace(stream.study, site=site, suite=suite, saes=entries)
    saes = load_saes(study)
    new = {name: np.empty(len(tokens)) for id in lacking for name in (f"{id}:error", f"{id}:l0")}
    new["norm2"] = np.empty(len(tokens))
    for rows, batch in stream:
        x = batch.sites[site]
        new["norm2"][rows] = x.double().square().sum(dim=1).cpu()
        for sae in saes:
            x_hat, l0 = sae.reconstruct(x)
            new[f"{sae.id}:error"][rows] = (x.double() - x_hat.double()).square().sum(dim=1).cpu()
            new[f"{sae.id}:l0"][rows] = l0.cpu()
    return tokens.assign(**new)


def _at(stream: _Stream, site: str, tokens: pd.DataFrame, ids: list[str]) -> tuple[DocumentSums, list[str]]:
    """The per-document sums of every model of the SAEs of a site, and the models' names."""
    columns, document = None, tokens["document"].to_numpy()
    for rows, z in _rows(stream, site, tokens):
        if columns is None:
            columns = _Columns(tokens, ids, z.shape[1])
            folds = [Moments(columns.size, len(ids)) for _ in columns.folds]
        for k, mine in columns.by_fold(rows):
            folds[k].update(columns.beside(z, rows, mine), columns.y[rows][mine])
    fits = [_weights(rest, columns, out) for out, rest in enumerate(leave_out(folds))]
    sums, y = DocumentSums(document), torch.from_numpy(columns.y)
    for rows, z in _rows(stream, site, tokens):
        for k, mine in columns.by_fold(rows):
            weight, level = fits[k]
            predicted = (columns.beside(z, rows, mine) @ weight + level).view(len(mine), len(ids), -1)
            sums.add(document[rows][mine], residual=(y[rows][mine][:, :, None] - predicted) ** 2)
    sums.add(document, n=torch.ones_like(y), y=y, yy=y**2)
    return sums, list(columns.models)


def _rows(stream: _Stream, site: str, tokens: pd.DataFrame) -> Iterator[tuple[slice, torch.Tensor]]:
    """(rows of the table of scored tokens, x in float64) batch by batch."""
    known = tokens["token"].to_numpy()
    for rows, batch in stream:
        if not np.array_equal(batch.token, known[rows]):
            raise BadInput("the measurement's tokens are not those of the study's text; measure it again")
        yield rows, batch.sites[site].double().cpu()


def _weights(rest: Moments, columns: _Columns, out: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [columns, SAE × model] and levels [SAE × model] of every model, for [x, scalars] of fold
    `out`."""
    d = columns.d_model
    turn = torch.eye(rest.d_in, dtype=torch.float64)
    turn[:d, :d] = torch.linalg.eigh(rest.xx[:d, :d]).eigenvectors.flip(1)
    turned = rest.turn(turn)
    weight = torch.zeros(rest.d_in, len(columns.ids), len(columns.models), dtype=torch.float64)
    for s in range(len(columns.ids)):
        mine = turned.targets(slice(s, s + 1))
        for m, model in enumerate(columns.models):
            if chosen := columns.of(model, s, out):
                weight[chosen, s, m] = LinearMap.fit(mine.select(chosen)).weight[:, 0]
    weight = (turn @ weight.flatten(1)).view_as(weight)
    level = rest.y_mean[:, None] - torch.einsum("i,ism->sm", rest.x_mean, weight)
    return weight.flatten(1), level.flatten()

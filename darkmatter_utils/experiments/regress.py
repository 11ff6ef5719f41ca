"""Least squares of any target on x, out of fold, for every SAE of a study: what a chapter's idea is worth.

Two passes over the study's batches, codes kept between them: sums of x and the targets by fold of documents,
hence out-of-fold maps; then what these leave, document by document. With the published targets, the
estimates, their intervals and their replicates are the measurement's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..decomposition.passes import PARTS
from ..measurement.measure import Measurement
from ..measurement.widths import Suite, over_widths, suite_rows
from ..stats.documents import DocumentSums
from ..stats.fits import LinearMap, centre, cross_fit, merged
from ..stats.intervals import bootstrap, multinomial_weights, totals
from ..stats.metrics import ratio_r2
from ..stats.moments import Moments, as_float64, chunks
from ..studies.activations import Activations
from ..studies.saes import Kept, load_saes

Target = Callable[[str, int, Tensor, Tensor], Tensor]
"""(SAE, fold, x [token, d_model], Sae(x) [token, d_model]) -> what is predicted, [token, k] or [token].

Tensors are float64 on the study's device, and all tokens of a call are of one fold.
"""
MEMORY = 1_000_000_000
"""Bytes in which activations and codes are kept between the passes; changes the cost, not the numbers."""
TARGETS = 500_000_000
"""Bytes of targets that are kept for every token, for the second pass and for others."""


def of(idea: Callable[[Tensor, Tensor], Tensor]) -> Target:
    """An idea that takes x and Sae(x) alone."""
    return lambda sae, fold, x, reconstruction: idea(x, reconstruction)


def of_each(maps: Mapping[str, Sequence[LinearMap]], idea: Callable[[Tensor], Tensor]) -> Target:
    """An idea that takes one vector, of x and each part in turn (in the order of `PARTS`), under each SAE's
    out-of-fold maps; one column a part, and one more of LinearError and of NonlinearError under `noisier`
    maps."""

    def targets(sae: str, fold: int, x: Tensor, reconstruction: Tensor) -> Tensor:
        parts = list(parts_of(x, reconstruction, maps[sae][fold](x)).values())
        more = noisier(maps[sae], fold, x)
        return torch.cat([columns(idea(z), len(x), x.device) for z in (*parts, more, parts[2] - more)], dim=1)

    return targets


def parts_of(x: Tensor, x_hat: Tensor, linear: Tensor) -> dict[str, Tensor]:
    """The five parts by name, from x, Sae(x) and LinearError [token, d_model]."""
    error = x - x_hat
    return dict(zip(PARTS, (x, x_hat, error, linear, error - linear), strict=True))


def noisier(maps: Sequence[LinearMap], fold: int, x: Tensor) -> Tensor:
    """What a fold's out-of-fold map makes of x [token, d_model], its estimation error doubled.

    m_k + √((K − 1)/2) (m_i − m_j), i and j two other folds: each map's error is the mean of those of its K −
    1 folds, so two of them differ by those of two folds alone, neither of which is k. How far a number moves
    by it is how far the maps' own error has moved it already, to first order (SIMEX). With two folds m_k.
    Source: Cook and Stefanski 1994, "Simulation-extrapolation estimation in measurement error models".
    """
    own, (k, i, j) = maps[fold](x), ((fold + step) % len(maps) for step in range(3))
    return own if k == j else own + ((len(maps) - 1) / 2) ** 0.5 * (maps[i](x) - maps[j](x))


@dataclass(frozen=True)
class Regression:
    """What a target's regressions on x leave, per document, and the sums that they were fitted to."""

    ids: list[str]
    moments: list[Moments]
    """Sums of x and the targets of all SAEs side by side, by fold."""
    sums: dict[str, np.ndarray]
    """n [document]; target about its mean t, tt = t², squares left held_out, in_sample [document, column]."""
    floor: np.ndarray
    """Σt² that is only rounding [SAE × k]."""
    targets: np.ndarray | None
    """The targets of the scored tokens in stream order [token, SAE × k]; None: more than `TARGETS`."""
    parts: tuple[Moments, Moments] | None
    """Sums of the tokens where ``apart`` is false, and where it is true."""
    replicates: int
    seed: int

    def columns(self, id: str) -> slice:
        """The columns of an SAE's target."""
        k = len(self.floor) // len(self.ids)
        start = self.ids.index(id) * k
        return slice(start, start + k)

    def r2(self, average: str = "pooled", *, only=None) -> tuple[pd.DataFrame, np.ndarray]:
        """R² of every SAE: a row each, id, value, low, high; and its replicates [replicate, SAE].

        average: "pooled" over the target's columns, Σ residual² / Σ variance; "each", the mean of each
        column's R²; or "less", that of the first less that of the second. only: of the k, one column or
        several. Of the best map, as in `decomposition.score`, with
        ``held_out`` beside it.
        """
        n, d = self.sums["n"], self.moments[0].d_in
        how = dict(seed=self.seed, tokens_per_dimension=n.sum() / d)
        weights, rows, drawn = multinomial_weights(len(n), self.replicates, **how), [], []
        for id in self.ids:
            keep = np.arange(len(self.floor))[self.columns(id)]
            found = self._scored(keep if only is None else keep[np.atleast_1d(only)], average, weights)
            rows.append({"id": id} | found[0].to_dict() | {"held_out": found[2]})
            drawn.append(found[1])
        return pd.DataFrame(rows), np.stack(drawn, axis=1)

    def by_source(self, source: np.ndarray, average: str = "pooled") -> pd.DataFrame:
        """The same of the documents of each source alone, about their own means: id, source, value. source:
        each document's [document]; of fewer than two there is no row."""
        rows, names = [], np.unique(source)
        for id in self.ids if len(names) > 1 else ():
            statistic, best, _ = self._statistic(np.arange(len(self.floor))[self.columns(id)], average)
            for name in names:
                mine = {key: sums[source == name].sum(axis=0) for key, sums in best.items()}
                rows.append({"id": id, "source": str(name), "value": float(statistic(mine))})
        return pd.DataFrame(rows, columns=["id", "source", "value"])

    def _scored(self, keep: np.ndarray, average: str, weights: np.ndarray):
        statistic, best, held_out = self._statistic(keep, average)
        return *bootstrap(statistic, best, weights=weights), float(statistic(totals(held_out)))

    def _statistic(self, keep: np.ndarray, average: str):
        """(R² from totals, the per-document sums of the best map, those of held-out ones)."""
        floor, folds = self.floor[keep], len(self.moments)
        mine = {name: sums if name == "n" else sums[:, keep] for name, sums in self.sums.items()}
        held_out, in_sample = mine.pop("held_out"), mine.pop("in_sample")

        def statistic(s):
            spread = s["tt"] - s["t"] ** 2 / np.asarray(s["n"])[..., None]
            if average == "pooled":
                return ratio_r2(s["left"].sum(axis=-1), spread.sum(axis=-1), floor=floor.sum())
            each = ratio_r2(s["left"], spread, floor=floor)
            return each[..., 0] - each[..., 1] if average == "less" else each.mean(axis=-1)

        return statistic, mine | {"left": centre(held_out, in_sample, folds)}, mine | {"left": held_out}


def regress(measurement: Measurement, target: Target, *, apart: np.ndarray | None = None) -> Regression:
    """The target of all SAEs of a measurement, regressed on x out of fold.

    apart: bools [scored token], a division of the tokens whose sums are kept, too. Cost: one pass of the
    model and the SAEs if their codes fit `MEMORY`, two if not; sums of d_model × (d_model + SAEs × k) a fold
    (twice that with ``apart``), and documents × SAEs × k. Raises BadInput for a target that is not one row a
    token, or is NaN or infinite.
    """
    study = measurement.study
    source = Activations(study)
    saes = load_saes(study, source)
    stream = _Targets(Kept(source, saes, memory=MEMORY), target, measurement)
    cells: list[list[Moments]] = []
    for fold, tokens, _, x, y in stream:
        if not cells:
            sides = 1 if apart is None else 2
            new = lambda: Moments(x.shape[1], y.shape[1], device=study.device)
            cells = [[new() for _ in range(sides)] for _ in range(study.folds)]
        here = [slice(None)] if apart is None else map(torch.from_numpy, (~apart[tokens], apart[tokens]))
        for moments, rows in zip(cells[fold], here):
            moments.update(x[rows], y[rows])
    moments = [merged(cell) for cell in cells]
    k = moments[0].d_out // len(saes)
    # A target of a few columns: each has its own ridge, as in the norm tests; a vector has one.
    width = k if k == source.d_model else 1
    groups = [slice(start, start + width) for start in range(0, moments[0].d_out, width)]
    fits = cross_fit(moments, ridge=study.ridge, groups=groups)
    sums, mean = DocumentSums(list(stream.fold_of)), fits.overall.y_mean
    for fold, _, document, x, y in stream:
        t, held_out, in_sample = y - mean, (y - fits.maps[fold](x)) ** 2, (y - fits.overall(x)) ** 2
        sums.add(document, n=torch.ones(len(x)), t=t, tt=t**2, held_out=held_out, in_sample=in_sample)
    n, x_mean = sum(one.n for one in moments), fits.overall.x_mean
    size = float(sum(one.xx.trace() for one in moments)) / n + float(x_mean @ x_mean)
    eps = np.finfo(np.float64).eps
    return Regression(
        ids=[sae.id for sae in saes],
        moments=moments,
        sums=sums.tables,
        floor=n * ((64 * eps * mean.cpu().numpy()) ** 2 + (16 * eps) ** 2 * size / source.d_model),
        targets=stream.known,
        parts=None if apart is None else tuple(merged(side) for side in zip(*cells)),
        replicates=study.bootstrap,
        seed=study.seed,
    )


def over_suite(measurement: Measurement, ids: Sequence[str], values, replicates) -> Suite:
    """R² of the SAEs ``ids``, [SAE] and [replicate, SAE]: those of the suite, joined over seeds."""
    rows = suite_rows(measurement)
    mine = [ids.index(id) for id in rows["id"]]
    return over_widths(rows, np.asarray(values)[mine], replicates[:, mine], "r2")


def suite_sources(measurement: Measurement, fit: Regression, average: str = "pooled") -> pd.DataFrame:
    """R² by source of text and width of the suite, mean over seeds: source, width, value."""
    documents = measurement.documents.sort_values("document")
    found = fit.by_source(documents["source"].to_numpy(), average)
    rows = suite_rows(measurement)[["id", "width"]].merge(found, on="id")
    return rows.groupby(["source", "width"], as_index=False)["value"].mean()


def told_sources(table: pd.DataFrame) -> dict[str, dict[int, float]]:
    """`suite_sources` as a claim's evidence has it: by source, by width."""
    return {name: dict(zip(rows["width"], rows["value"])) for name, rows in table.groupby("source")}


class _Targets:
    """(fold, scored tokens in stream order [token], their documents, x, the targets of all SAEs side by side)
    for the tokens of one fold after another of every batch; targets that fit are made once."""

    def __init__(self, kept: Kept, target: Target, measurement: Measurement):
        self.kept, self.target, self.device = kept, target, measurement.study.device
        self.fold_of, self.tokens = measurement.fold_of(), measurement.card["tokens"]
        self.known: np.ndarray | None = None
        self.whole = False

    def __iter__(self) -> Iterator[tuple[int, np.ndarray, np.ndarray, Tensor, Tensor]]:
        done, ids = 0, [sae.id for sae in self.kept.saes]
        for batch, reconstructions in self.kept:
            keep, document = torch.from_numpy(batch.scored), batch.document[batch.scored]
            fold = np.array([self.fold_of[d] for d in document])
            xs = batch.x[keep]
            hats = {} if self.whole else {id: hat[keep] for id, hat, _ in reconstructions()}
            for rows in chunks(len(document), xs.shape[1] * (2 + 5 * len(ids))):
                for k in np.unique(fold[rows]).tolist():
                    mine = rows.start + np.flatnonzero(fold[rows] == k)
                    here = torch.from_numpy(mine).to(xs.device)
                    x = as_float64(xs[here], device=self.device)
                    if self.whole:
                        y = as_float64(self.known[done + mine], device=self.device)
                    else:
                        made = [self._made(id, k, x, hats[id][here]) for id in ids]
                        y = self._keep(done + mine, torch.cat(made, dim=1))
                    yield k, done + mine, document[mine], x, y
            done += len(document)
        self.whole = self.known is not None

    def _made(self, id: str, fold: int, x: Tensor, hat: Tensor) -> Tensor:
        return columns(self.target(id, fold, x, as_float64(hat, device=self.device)), len(x), self.device)

    def _keep(self, tokens: np.ndarray, y: Tensor) -> Tensor:
        if self.known is None and 8 * self.tokens * y.shape[1] <= TARGETS:
            self.known = np.empty((self.tokens, y.shape[1]))
        if self.known is not None:
            self.known[tokens] = y.cpu().numpy()
        return y


def columns(made, tokens: int, device) -> Tensor:
    """What an idea returned, as columns [token, k]."""
    shape = list(getattr(made, "shape", []))
    if len(shape) not in (1, 2) or shape[0] != tokens:
        raise BadInput(f"an idea must return one row a token, [{tokens}] or [{tokens}, k], got shape {shape}")
    made = as_float64(made, device=device)
    return made[:, None] if made.ndim == 1 else made

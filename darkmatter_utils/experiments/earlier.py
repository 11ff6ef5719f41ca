"""How much of an SAE's error earlier sites predict: R² out of fold, with intervals over documents, from
running sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..base.values import Estimate
from ..decomposition.passes import ERRORS
from ..stats.documents import DocumentSums
from ..stats.fits import LinearMap, leave_out
from ..stats.intervals import bootstrap
from ..stats.metrics import ratio_r2
from ..stats.moments import Moments
from .earlier_sites import Inputs, Tokens, with_others

NEGLIGIBLE = 1e-10
"""A direction of an SAE output with less than this share of the largest one's variance does not count to its
rank."""
SHUFFLES = ("other document", "same context")
"""Whose targets a token gets in the two shuffled poles: those of another document, or of a random token of
its context."""
METRICS = ("r2_per_dim", "r2_total")
MEMORY = 1_000_000_000
"""Bytes in which the tokens are kept between the two passes; beyond it the model runs twice."""


Target = tuple[str, ...]
"""A column block of the targets: (SAE, part), or (SAE, part, one of `SHUFFLES`)."""


@dataclass(frozen=True)
class Model:
    """One prediction: which inputs, how many directions of them, of which targets."""

    name: str
    blocks: tuple[str, ...]
    targets: slice
    """Columns among the targets, see `Predictions.targets`."""
    rank: int | None = None
    """So many principal components of the inputs (of the training folds); None: all of them."""


def fit(moments: Moments, index: torch.Tensor, model: Model) -> LinearMap:
    """The map of a model on some tokens' sums; its principal components are of these tokens, too."""
    chosen = moments.select(index).targets(model.targets)
    if model.rank is None or model.rank >= len(index):
        return LinearMap.fit(chosen)
    return components(chosen, model.rank)


def components(moments: Moments, rank: int) -> LinearMap:
    """Least squares on the first ``rank`` principal components of x: the same weights, seen from x [d_in,
    d_out]."""
    top = torch.linalg.eigh(moments.xx)[1][:, -rank:]
    inner = LinearMap.fit(moments.turn(top))
    return LinearMap(top @ inner.weight, moments.x_mean, moments.y_mean)


def rank_of(moments: Moments) -> int:
    """Directions of x that vary."""
    values = torch.linalg.eigvalsh(moments.xx)
    return int((values > NEGLIGIBLE * values[-1]).sum())


class Predictions:
    """Both passes over the tokens: sums by fold, then what every model leaves of every target, by document.

    A fold is scored by models that were fitted on the others. LinearError and NonlinearError are those of the
    map b that the measurement fitted without that fold, for the tokens that are fitted on as for those that
    are scored: were each token split by the map of its own fold, the maps' errors would be shared, with
    opposite signs, between fit and score. b x is linear in x, so these targets follow from the sums of the
    error. ``plan`` says which models, once the sums are there. Memory: folds × (inputs × (inputs + targets)),
    and the tokens themselves if they fit `MEMORY`.
    """

    def __init__(self, inputs: Inputs, plan: Callable[[Predictions], Iterable[Model]]):
        self.inputs, self.columns, d = inputs, inputs.columns(), inputs.d_model
        study, first = inputs.measurement.study, inputs.targets[0]
        self.parts = {sae: inputs.measurement.maps(sae).maps for sae in inputs.targets}
        names: list[Target] = [(sae, part) for sae in inputs.targets for part in ERRORS]
        names += [(first, part, kind) for kind in SHUFFLES for part in ERRORS]
        self.targets = {name: slice(i * d, (i + 1) * d) for i, name in enumerate(names)}
        """Columns of each target: those of every SAE, then the shuffled ones of the first."""
        width = max(columns.stop for columns in self.columns.values())
        self.folds = [Moments(width, d * (len(inputs.targets) + 4)) for _ in range(study.folds)]
        documents, kept, size = set(), [], 0
        for tokens, pairs in with_others(self._counted(documents), d, study.seed):
            self.folds[tokens.fold].update(tokens.inputs, torch.cat([tokens.errors, pairs], dim=1))
            size += 8 * (tokens.inputs.numel() + tokens.errors.numel() + pairs.numel())
            kept = [*kept, (tokens, pairs)] if size <= MEMORY else []
        self.sums, self.tokens = DocumentSums(sorted(documents)), sum(moments.n for moments in self.folds)
        self.models = {model.name: model for model in plan(self)}
        self.index = {name: self.inputs_of(model.blocks) for name, model in self.models.items()}
        maps = [self._fit(k, moments) for k, moments in enumerate(leave_out(self.folds))]
        for tokens, pairs in kept if size <= MEMORY else with_others(inputs.stream(), d, study.seed):
            self._score(tokens, pairs, maps[tokens.fold])

    def _counted(self, documents: set[int]) -> Iterator[Tokens]:
        for tokens in self.inputs.stream():
            documents.add(tokens.document)
            yield tokens

    def _fit(self, fold: int, rest: Moments) -> dict[str, LinearMap]:
        """Every model, fitted on the sums of the other folds, with the targets under the map of this fold."""
        d, x = self.inputs.d_model, self.columns["x"]
        one = len(self.inputs.targets) * d
        means, products = [], []
        own = [
            (sae, slice(i * d, (i + 1) * d), (rest.x_mean[x], rest.xx[:, x]))
            for i, sae in enumerate(self.inputs.targets)
        ]
        shuffled = [
            (
                self.inputs.targets[0],
                slice(s, s + d),
                (rest.y_mean[s + d : s + 2 * d], rest.xy[:, s + d : s + 2 * d]),
            )
            for s in (one, one + 2 * d)
        ]
        for sae, error, (x_mean, with_x) in own + shuffled:
            b = self.parts[sae][fold]
            linear, product = b(x_mean[None])[0], with_x @ b.weight
            means += [rest.y_mean[error], linear, rest.y_mean[error] - linear]
            products += [rest.xy[:, error], product, rest.xy[:, error] - product]
        made = Moments(rest.d_in, len(self.targets) * d)
        made.n, made.x_mean, made.xx = rest.n, rest.x_mean, rest.xx
        made.y_mean, made.xy = torch.cat(means), torch.cat(products, dim=1)
        return {name: fit(made, self.index[name], model) for name, model in self.models.items()}

    def inputs_of(self, blocks: Iterable[str]) -> torch.Tensor:
        """The columns of some blocks among the inputs, as indices."""
        return torch.cat(
            [torch.arange(self.columns[block].start, self.columns[block].stop) for block in blocks]
        )

    def _score(self, tokens: Tokens, pairs: torch.Tensor, maps: dict[str, LinearMap]) -> None:
        d, parts = self.inputs.d_model, []
        own = [
            (sae, tokens.errors[:, i * d : (i + 1) * d], tokens.inputs[:, :d])
            for i, sae in enumerate(self.inputs.targets)
        ]
        shuffled = [
            (self.inputs.targets[0], pairs[:, s : s + d], pairs[:, s + d : s + 2 * d]) for s in (0, 2 * d)
        ]
        for sae, error, x in own + shuffled:
            linear = self.parts[sae][tokens.fold](x)
            parts += [error, linear, error - linear]
        y = torch.cat(parts, dim=1)
        sums = {"n": torch.full((1,), float(len(y))), "e": y.sum(0)[None], "ee": (y**2).sum(0)[None]}
        for name, model in self.models.items():
            made = maps[name](tokens.inputs[:, self.index[name]])
            sums[f"left {name}"] = ((y[:, model.targets] - made) ** 2).sum(0)[None]
        self.sums.add(np.array([tokens.document]), **sums)

    def predicted(self, model: str) -> list[Target]:
        """The targets that a model predicts."""
        held = self.models[model].targets
        return [name for name, c in self.targets.items() if held.start <= c.start and c.stop <= held.stop]

    def _sums(self, model: str, target: Target, tag: str) -> dict[str, np.ndarray]:
        columns, start, tables = self.targets[target], self.models[model].targets.start, self.sums.tables
        left = tables[f"left {model}"][:, columns.start - start : columns.stop - start]
        return {
            f"n{tag}": tables["n"],
            f"e{tag}": tables["e"][:, columns],
            f"ee{tag}": tables["ee"][:, columns],
            f"left{tag}": left,
        }

    def r2(self, model: str, target: Target, metric: str) -> Estimate:
        """R² of a target from a model on held-out documents, with its interval over documents."""
        study = self.inputs.measurement.study
        return bootstrap(
            lambda s: _r2(metric, s, ""),
            self._sums(model, target, ""),
            replicates=study.bootstrap,
            seed=study.seed,
        )[0]

    def lead(self, model: str, target: Target, over: str, their_target: Target, metric: str) -> Estimate:
        """How much higher the R² of one prediction is than another's: the same documents resampled for
        both."""
        study, sums = (
            self.inputs.measurement.study,
            self._sums(model, target, "a") | self._sums(over, their_target, "b"),
        )
        difference = lambda s: _r2(metric, s, "a") - _r2(metric, s, "b")
        return bootstrap(difference, sums, replicates=study.bootstrap, seed=study.seed)[0]


def _r2(metric: str, s, tag: str) -> np.ndarray:
    total = s[f"ee{tag}"] - s[f"e{tag}"] ** 2 / np.asarray(s[f"n{tag}"])[..., None]
    left = s[f"left{tag}"]
    if metric == "r2_total":
        return ratio_r2(left.sum(axis=-1), total.sum(axis=-1))
    return ratio_r2(left, total).mean(axis=-1)

"""How much of an SAE's error earlier sites predict: R² of the best maps, with intervals over documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..adapters.models import place
from ..adapters.saes import load_sae
from ..base.errors import BadInput
from ..base.values import Estimate
from ..decomposition.passes import ERRORS
from ..measurement.measure import Measurement
from ..stats.documents import DocumentSums
from ..stats.fits import LinearMap, centre, merged
from ..stats.intervals import bootstrap, multinomial_weights
from ..stats.metrics import ratio_r2
from ..stats.moments import Moments
from ..studies.activations import MICRO, Activations
from ..studies.saes import load_saes
from ..studies.study import SaeEntry, Study

BLOCKS, MOST = 2, 6
"""Streams of so many blocks before the target's are read, and at most so many sites, the latest ones."""
SHUFFLES = ("other document", "same context")
"""Where the token is whose targets another gets, in the two shuffled poles."""
MEMORY = 1_000_000_000
"""Bytes in which tokens are kept between the passes; beyond it the model runs twice."""
Predictors = Callable[[Tensor, Tensor | None], dict[str, Tensor | None]]
"""(activations of a site [token, d], what its SAE makes of them [token, d] or None) -> inputs by kind [token,
inputs]; the last kind is what a claim is about, the first what it has to beat; None: the site lacks it."""
Target = tuple[str, ...]
"""A block of the targets: (SAE, part), or (SAE, part, one of `SHUFFLES`)."""


class Earlier(NamedTuple):
    """A site that is computed before the one that is decomposed."""

    site: str
    sae: SaeEntry | None
    """The SAE there, of the width nearest to the target's; None where the study has none."""


def earlier_sites(study: Study, width: int) -> list[Earlier]:
    """The sites before the study's own, first to last: residual streams of the blocks before, attention and
    MLP of its own, whatever else has an SAE of x (of the width nearest to ``width``); none in a world."""
    target = place(study.site)
    if study.model is None or target is None:
        return []
    block = target[0]
    named = [f"blocks.{i}.hook_resid_post" for i in range(max(0, block - BLOCKS), block)]
    named += [f"blocks.{block}.{site}" for site in ("attn.hook_z", "hook_mlp_out")]
    usable = [e for e in study.saes if e.site and e.path and e.width and e.target == "x"]
    before = {site for site in (*named, *(e.site for e in usable)) if (at := place(site)) and at < target}
    far = lambda e: (abs(np.log2(e.width / max(1, width))), e.id)
    there = lambda site: min((e for e in usable if e.site == site), key=far, default=None)
    return [Earlier(site, there(site)) for site in sorted(before, key=place)[-MOST:]]


class Tokens(NamedTuple):
    """The scored tokens of one context."""

    inputs: Float[Tensor, "token inputs"]
    """Blocks of columns side by side: see `Inputs.columns`."""
    errors: Float[Tensor, "token errors"]
    """SaeError of each target SAE, side by side."""
    document: int
    fold: int
    context: int


@dataclass(frozen=True)
class Inputs:
    """What predicts: x and Sae(x) at the study's own site, and what ``predictors`` takes of earlier ones."""

    measurement: Measurement
    targets: tuple[str, ...]
    """Ids of the SAEs whose error parts are predicted; the first one's Sae(x) is an input, for the pole."""
    sites: tuple[Earlier, ...]
    contexts: int
    predictors: Predictors

    @property
    def d_model(self) -> int:
        """Dimensions of the activation that is decomposed."""
        return int(self.measurement.card["d_model"])

    def of(self, raw: Tensor, output: Tensor | None) -> dict[str, Tensor]:
        """The inputs that a site gives, by kind."""
        return {kind: made for kind, made in self.predictors(raw, output).items() if made is not None}

    @cached_property
    def sizes(self) -> dict[str, dict[str, int]]:
        """How many inputs of each kind each site gives."""
        found = {}
        for site, sae in self.sites:
            x = torch.zeros(1, self.source.width(site), dtype=torch.float64)
            found[site] = {kind: made.shape[1] for kind, made in self.of(x, x if sae else None).items()}
        return found

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of input, of all sites."""
        return list(dict.fromkeys(kind for kinds in self.sizes.values() for kind in kinds))

    def columns(self) -> dict[str, slice]:
        """Columns of each block of `Tokens.inputs`: "x", "Sae(x)", then "<kind> <site>"."""
        sizes = {"x": self.d_model, "Sae(x)": self.d_model}
        for site, kinds in self.sizes.items():
            sizes |= {f"{kind} {site}": size for kind, size in kinds.items()}
        edges = np.cumsum([0, *sizes.values()]).tolist()
        return {name: slice(a, b) for name, a, b in zip(sizes, edges, edges[1:])}

    @cached_property
    def source(self) -> Activations:
        """Where they come from."""
        return Activations(self.measurement.study, contexts_a_batch=MICRO)

    def stream(self) -> Iterator[Tokens]:
        """The contexts, spread evenly over the text, in order. Cost: one pass of the model and every SAE."""
        study, source = self.measurement.study, self.source
        if self.contexts < study.folds:
            raise BadInput(f"contexts is {self.contexts}; give at least {study.folds}, the number of folds")
        targets = load_saes(replace(study, saes=tuple(study.sae(id) for id in self.targets)), source)
        fold_of, like = self.measurement.fold_of(), {"dtype": study.dtype, "device": study.device}
        path = lambda entry: study.data_folder() / entry.path
        load = lambda site, entry: load_sae(entry, path(entry), d_model=source.width(site), **like)
        saes = {e.site: load(*e) for e in self.sites if e.sae}
        for batch in source.batches(sites=[e.site for e in self.sites], contexts=self.contexts):
            made = [sae.reconstruct(batch.source)[0].double() for sae in targets]
            blocks = [batch.x.double(), made[0]]
            for earlier in self.sites:
                x = batch.sites[earlier.site]
                output = saes[earlier.site].reconstruct(x)[0].double() if earlier.sae else None
                blocks += self.of(x.double(), output).values()
            inputs = torch.cat(blocks, dim=1)
            for context in np.unique(batch.context[batch.scored]):
                rows = torch.from_numpy(np.flatnonzero((batch.context == context) & batch.scored))
                document = int(batch.document[int(rows[0])])
                errors = torch.cat([blocks[0][rows] - hat[rows] for hat in made], dim=1)
                yield Tokens(inputs[rows], errors, document, fold_of[document], int(context))


def with_others(stream: Iterable[Tokens], d: int, seed: int) -> Iterator[tuple[Tokens, Tensor]]:
    """(tokens, pairs [token, 4 d]) for every context: (error of the first SAE, x) of a token of another
    document of its fold (the last before it, or at first, of all), then of a random token of the context."""
    recent: dict[int, list[tuple[int, Tensor]]] = {}
    waiting: list[tuple[Tokens, Tensor]] = []
    for tokens in stream:
        mine = torch.cat([tokens.errors[:, :d], tokens.inputs[:, :d]], dim=1)
        others = [one for one in recent.get(tokens.fold, []) if one[0] != tokens.document]
        recent[tokens.fold] = [(tokens.document, mine), *others][:2]
        if others:
            yield tokens, _pairs(tokens, mine, others[0][1], seed)
        else:
            waiting.append((tokens, mine))
    for tokens, mine in waiting:
        others = [pair for document, pair in recent[tokens.fold] if document != tokens.document]
        yield tokens, _pairs(tokens, mine, others[0] if others else mine, seed)


def _pairs(tokens: Tokens, mine: Tensor, other: Tensor, seed: int) -> Tensor:
    rng, n = np.random.default_rng([seed, tokens.context]), len(mine)
    drawn = torch.from_numpy(rng.choice(len(other), size=n, replace=len(other) < n))
    return torch.cat([other[drawn], mine[torch.from_numpy(rng.permutation(n))]], dim=1)


class Model(NamedTuple):
    """One prediction: which inputs, how many directions of them, of which targets."""

    name: str
    blocks: tuple[str, ...]
    targets: slice
    """Columns among the targets, see `Predictions.targets`."""
    rank: int | None = None
    """So many principal components of the inputs (of the training folds); None: all of them."""


def fit(moments: Moments, index: Tensor, model: Model) -> LinearMap:
    """The map of a model on some tokens' sums, principal components too, seen from x [inputs, targets]."""
    chosen = moments.select(index).targets(model.targets)
    if model.rank is None or model.rank >= len(index):
        return LinearMap.fit(chosen)
    top = torch.linalg.eigh(chosen.xx)[1][:, -model.rank :]
    inner = LinearMap.fit(chosen.turn(top))
    return LinearMap(top @ inner.weight, chosen.x_mean, chosen.y_mean)


class Predictions:
    """Both passes over the tokens: sums by fold, then what every model leaves of every target, by document.

    A fold is scored by models that were fitted on the others. LinearError and NonlinearError are those of the
    map b that the measurement fitted without that fold, for the tokens that are fitted on as for those that
    are scored: were each token split by the map of its own fold, the maps' errors would be shared, with
    opposite signs, between fit and score. b x is linear in x, so these targets follow from the sums of the
    error. All of it once more in sample, fitted on all folds with the map of all folds: what a target varies
    by and what a model leaves are each the best map's (`fits.centre`), so that many inputs cost nothing.
    ``plan``: which models, once the sums are there. Memory: (folds + 2) × inputs × (inputs + targets), and
    the tokens themselves if they fit `MEMORY`.
    """

    def __init__(self, inputs: Inputs, plan: Callable[[Predictions], Iterable[Model]]):
        self.inputs, self.columns, d = inputs, inputs.columns(), inputs.d_model
        study, first, saes = inputs.measurement.study, inputs.targets[0], len(inputs.targets)
        fits = {sae: inputs.measurement.maps(sae) for sae in inputs.targets}
        self.parts = {sae: [*fit.maps, fit.overall] for sae, fit in fits.items()}
        block = lambda i: slice(i * d, (i + 1) * d)
        names: list[Target] = [(sae, part) for sae in inputs.targets for part in ERRORS]
        names += [(first, part, kind) for kind in SHUFFLES for part in ERRORS]
        self.targets = {name: block(i) for i, name in enumerate(names)}
        # (SAE, columns of an error, of its x) in errors and pairs side by side; None: the tokens' own x
        self.sources = [(sae, block(i), None) for i, sae in enumerate(inputs.targets)]
        self.sources += [(first, block(i), block(i + 1)) for i in (saes, saes + 2)]
        width = max(columns.stop for columns in self.columns.values())
        self.folds = [Moments(width, d * (saes + 4), device=study.device) for _ in range(study.folds)]
        documents, kept, size = set(), [], 0
        for tokens, pairs in with_others(inputs.stream(), d, study.seed):
            documents.add(tokens.document)
            self.folds[tokens.fold].update(tokens.inputs, torch.cat([tokens.errors, pairs], dim=1))
            size += 8 * (tokens.inputs.numel() + tokens.errors.numel() + pairs.numel())
            kept = [*kept, (tokens, pairs)] if size <= MEMORY else []
        self.sums = DocumentSums(sorted(documents))
        self.models = {model.name: model for model in plan(self)}
        self.index = {name: self.inputs_of(model.blocks) for name, model in self.models.items()}
        self.tokens, every = sum(one.n for one in self.folds), study.folds
        sums = (merged([*self.folds[:k], *self.folds[k + 1 :]]) for k in range(every + 1))
        maps = [self._fit(k, moments) for k, moments in enumerate(sums)]
        for tokens, pairs in kept if size <= MEMORY else with_others(inputs.stream(), d, study.seed):
            beside = torch.cat([tokens.errors, pairs], dim=1)
            held_out, in_sample = (self._left(tokens, beside, k, maps[k]) for k in (tokens.fold, every))
            left = {name: centre(value, in_sample[name], every) for name, value in held_out.items()}
            self.sums.add(np.array([tokens.document]), n=torch.full((1,), float(len(beside))), **left)

    def _fit(self, fold: int, rest: Moments) -> dict[str, LinearMap]:
        """Every model, fitted on the other folds (the last: all), the targets under this fold's map."""
        own, means, products = self.columns["x"], [], []
        for sae, error, at in self.sources:
            b, y, xy = self.parts[sae][fold], rest.y_mean[error], rest.xy[:, error]
            mean, with_x = (rest.y_mean[at], rest.xy[:, at]) if at else (rest.x_mean[own], rest.xx[:, own])
            linear, product = b(mean[None])[0], with_x @ b.weight
            means += [y, linear, y - linear]
            products += [xy, product, xy - product]
        made = Moments(rest.d_in, len(self.targets) * self.inputs.d_model, device=rest.device)
        made.n, made.x_mean, made.xx = rest.n, rest.x_mean, rest.xx
        made.y_mean, made.xy = torch.cat(means), torch.cat(products, dim=1)
        return {name: fit(made, self.index[name], model) for name, model in self.models.items()}

    def inputs_of(self, blocks: Iterable[str]) -> Tensor:
        """The columns of some blocks among the inputs, as indices."""
        return torch.cat([torch.arange(*self.columns[block].indices(1 << 30)[:2]) for block in blocks])

    def _left(self, tokens: Tokens, beside: Tensor, fold: int, maps: dict[str, LinearMap]) -> dict:
        """Sums over a context of the targets under the maps of a fold, and of what every model leaves."""
        own, parts = tokens.inputs[:, self.columns["x"]], []
        for sae, at, x in self.sources:
            error, linear = beside[:, at], self.parts[sae][fold](beside[:, x] if x else own)
            parts += [error, linear, error - linear]
        y = torch.cat(parts, dim=1)
        sums = {"e": y.sum(0)[None], "ee": (y**2).sum(0)[None]}
        for name, model in self.models.items():
            made = maps[name](tokens.inputs[:, self.index[name]])
            sums[f"left {name}"] = ((y[:, model.targets] - made) ** 2).sum(0)[None]
        return sums

    def predicted(self, model: str) -> list[Target]:
        """The targets that a model predicts."""
        held = self.models[model].targets
        return [name for name, c in self.targets.items() if held.start <= c.start and c.stop <= held.stop]

    def r2(self, metric: str, model: str, target: Target, over: tuple | None = None) -> Estimate:
        """R² of a target from a model, with its interval over documents; ``over``: minus that of another
        (model, target), paired."""
        study, sums = self.inputs.measurement.study, self._sums(model, target, "a")
        sums |= self._sums(*over, "b") if over else {}
        gain = lambda s: _r2(metric, s, "a") - (_r2(metric, s, "b") if over else 0)
        inputs = max(self.models[m].rank or len(self.index[m]) for m in (model, over[0] if over else model))
        draws = dict(replicates=study.bootstrap, seed=study.seed, tokens_per_dimension=self.tokens / inputs)
        weights = multinomial_weights(len(self.sums.documents), **draws)
        return bootstrap(gain, sums, weights=weights)[0]

    def _sums(self, model: str, target: Target, tag: str) -> dict[str, np.ndarray]:
        columns, start, tables = self.targets[target], self.models[model].targets.start, self.sums.tables
        left = tables[f"left {model}"][:, columns.start - start : columns.stop - start]
        found = {"n": tables["n"], "e": tables["e"][:, columns], "ee": tables["ee"][:, columns], "left": left}
        return {f"{name}{tag}": sums for name, sums in found.items()}


def _r2(metric: str, s, tag: str) -> np.ndarray:
    n, e, ee, left = (np.asarray(s[f"{name}{tag}"]) for name in ("n", "e", "ee", "left"))
    total = ee - e**2 / n[..., None]
    if metric == "r2_total":
        return ratio_r2(left.sum(axis=-1), total.sum(axis=-1))
    return ratio_r2(left, total).mean(axis=-1)

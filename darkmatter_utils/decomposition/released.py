"""protocol="paper": the decomposition by the formulas of the authors' released code, for comparison.

Linear maps have no intercept (§4 of the paper says that bias terms are included); tokens, not documents, are
split; R² is scored on the rows that were not fitted, FVU on all rows; R² of vectors is the mean over
dimensions. Two traits of the released norm test are kept: its parts of x come from a map fitted on *all*
rows, and only the regression of their squared norms is split. One is not: it predicted ‖z‖² + 1, a column of
ones having been appended to z instead of to x.
Source: github.com/JoshEngels/SAE-Dark-Matter, utils.py and new_save_sae_power_laws.py, branch TMLR.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..stats.fits import CrossFit, LinearMap, merged
from ..stats.moments import Moments
from .passes import PARTS, SELF_PARTS, Pass, square_norms
from .scores import Floors

TRAIN_SHARE = 150_000 / 246_900
"""Share of tokens fitted on: 150k of the paper's 300 documents × 823 positions."""


class PaperPasses(Pass):
    """The three passes in one: `update` takes the tokens, in order, three times over; then `sums_of`.

    documents: their ids; train: bools [token], the rows to fit on, see `train_rows`; options: as `Pass`'s.
    Memory as the strict protocol's, independent of tokens.
    """

    def __init__(
        self, d_model: int, saes: Sequence[str], documents: Iterable[int], train: np.ndarray, **options
    ):
        super().__init__(d_model, saes, dict.fromkeys(documents, 0), **options)
        self.train, self.seen = train, 0
        self._moments("fitted", d_model * len(self.saes))
        self._moments("rest", d_model * len(self.saes))
        self._moments("norms", 1 + len(SELF_PARTS) * len(self.saes))
        own = len(self.saes) * len(SELF_PARTS) * self.self_norms
        self.own = [Moments(d_model, 1, device=self.device) for _ in range(own)]

    def update(self, x, reconstructions: Mapping[str, object], document) -> PaperPasses:
        """Add a batch, as `Pass.update`."""
        super().update(x, reconstructions, document, offset=self.seen % len(self.train))
        self.seen += len(document)
        return self

    def _add(self, fold, x, errors, document, tokens, out):
        number, start = divmod(self.seen, len(self.train))
        fitted = torch.from_numpy(self.train[start + tokens]).to(x.device)
        (self._first, self._second, self._third)[number](x, errors, fitted, document)

    def _first(self, x, errors, fitted, document):
        self.moments["fitted"][0].update(x[fitted], errors[fitted])
        self.moments["rest"][0].update(x[~fitted], errors[~fitted])

    @cached_property
    def _everything(self) -> Moments:
        return merged([*self.moments["fitted"], *self.moments["rest"]])

    @cached_property
    def _linear(self) -> LinearMap:
        return LinearMap.fit(self.moments["fitted"][0], intercept=False)

    @cached_property
    def _linear_all(self) -> LinearMap:
        return LinearMap.fit(self._everything, intercept=False)

    def _norms(self, x: Tensor, errors: Tensor) -> tuple[Tensor, list[Tensor]]:
        parts = list(self._parts(x, errors, self._linear_all(x)))
        return square_norms(x, parts), [z for *_, z in parts]

    def _second(self, x, errors, fitted, document):
        x, errors = x[fitted], errors[fitted]
        norms, parts = self._norms(x, errors)
        self.moments["norms"][0].update(x, norms)
        for i, moments in enumerate(self.own):
            moments.update(parts[i], norms[:, i + 1 : i + 2])

    @cached_property
    def _norm_maps(self) -> list[LinearMap]:
        return [LinearMap.fit(moments, intercept=False) for moments in (*self.moments["norms"], *self.own)]

    def _third(self, x, errors, fitted, document):
        centred, residual = x - self._everything.x_mean, errors - self._linear(x)
        blocks = (len(x), len(self.saes), self.d_model)
        self.sums.add(
            document,
            n=torch.ones(len(x)),
            x=centred,
            xx=(centred**2).sum(dim=1),
            error=(errors.view(blocks) ** 2).sum(dim=2),
            residual=(residual.view(blocks) ** 2).sum(dim=2),
        )
        x, errors, residual = x[~fitted], errors[~fitted], residual[~fitted]
        norms, parts = self._norms(x, errors)
        deviations, spreads = errors - self._everything.y_mean, norms - self.moments["norms"][0].y_mean
        from_x, *from_self = self._norm_maps
        own = [norms[:, i + 1] - linear(parts[i])[:, 0] for i, linear in enumerate(from_self)]
        self.sums.add(
            document[~fitted.cpu().numpy()],
            n_r2=torch.ones(len(x)),
            e=deviations,
            ee=deviations**2,
            residual_r2=residual**2,
            t=spreads,
            tt=spreads**2,
            norm=(norms - from_x(x)) ** 2,
            **({"norm_self": torch.stack(own, dim=1) ** 2} if own else {}),
        )

    def sums_of(self, sae: str) -> tuple[dict[str, np.ndarray], CrossFit, Floors]:
        """One SAE's per-document sums for `scores.evaluate`, its map, and the rounding floors."""
        columns, at = self.columns(sae), self.saes.index(sae)
        norms = [self.norm_column(sae, part) for part in PARTS]
        mine = {"error": at, "residual": at} | dict.fromkeys(("e", "ee", "residual_r2"), columns)
        mine |= dict.fromkeys(("t", "tt", "norm"), norms) | {"norm_self": [i - 1 for i in norms[1:]]}
        sums = {k: table[:, mine[k]] if k in mine else table for k, table in self.sums.tables.items()}
        total, linear = self._everything, self._linear.targets(columns)
        means = (total.x_mean, total.y_mean[columns], self.moments["norms"][0].y_mean[norms])
        floors = Floors.of(sums["n"].sum(), sums["xx"].sum(), *means)
        return sums, CrossFit([linear], linear), floors


def train_rows(train, tokens: int, seed: int) -> np.ndarray:
    """Which tokens are fitted on, bools [token]: those given, or a random `TRAIN_SHARE` of them."""
    if train is None:
        rows = np.zeros(tokens, dtype=bool)
        rows[np.random.default_rng(seed).permutation(tokens)[: round(TRAIN_SHARE * tokens)]] = True
    else:
        rows = train.cpu().numpy() if isinstance(train, torch.Tensor) else np.asarray(train)
        if rows.shape != (tokens,) or rows.dtype != bool:
            raise BadInput(f"train must be bools [token] = [{tokens}], got {rows.dtype} {list(rows.shape)}")
    if not 0 < rows.sum() < tokens:
        raise BadInput("train must leave rows on both sides: some to fit on and some to score R² on")
    return rows

"""The decomposition as three streamed passes over the same tokens, for any number of SAEs at once.

    first  = FirstPass(d_model, saes, fold).update(...)...   sums of x and every error
    second = SecondPass(first).update(...)...                parts of x; sums for the norm regressions
    third  = ThirdPass(second).update(...)...                what those regressions leave
    decomposition.score(third, sae)

Each pass takes batches of any size in any order and merges with another shard's pass. Memory is
O(folds × SAEs × d_model²) + O(documents × SAEs × d_model), independent of tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput
from ..stats.documents import DocumentSums
from ..stats.fits import CrossFit, cross_fit
from ..stats.moments import Moments, as_float64, bad_rows, chunks

PARTS = ("x", "Sae(x)", "SaeError", "LinearError", "NonlinearError")
"""What the norm test is made of: x = Sae(x) + LinearError + NonlinearError."""
ERRORS = PARTS[2:]
"""What an SAE leaves out, the whole first: SaeError = LinearError + NonlinearError."""
SELF_PARTS = PARTS[1:]
"""Parts whose squared norm is also predicted from the part itself (for x the two are the same)."""


class Pass(ABC):
    """What the three passes share: the SAEs, the folds, batches cut into chunks, and joining of shards.

    fold: that of each document id; self_norms: whether ‖z‖² is also predicted from z.
    """

    def __init__(self, d_model: int, saes: Sequence[str], fold: Mapping, *, self_norms=True, device="cpu"):
        self.d_model, self.saes, self.self_norms, self.device = d_model, list(saes), self_norms, device
        self.fold = dict(fold)
        self.folds = max(self.fold.values()) + 1
        self.sums = DocumentSums(list(self.fold))
        self.fold_of_row = np.array([self.fold[int(document)] for document in self.sums.documents])
        self.moments: dict[str, list[Moments]] = {}

    def _follow(self, earlier: Pass) -> None:
        self_norms, device = earlier.self_norms, earlier.device
        Pass.__init__(self, earlier.d_model, earlier.saes, earlier.fold, self_norms=self_norms, device=device)

    def _moments(self, name: str, d_out: int, **options) -> None:
        new = lambda: Moments(self.d_model, d_out, device=self.device, **options)
        self.moments[name] = [new() for _ in range(self.folds)]

    def columns(self, sae: str) -> slice:
        """The columns of an SAE's error among the targets of the first pass."""
        start = self.saes.index(sae) * self.d_model
        return slice(start, start + self.d_model)

    def update(self, x, reconstructions: Mapping[str, object], document, *, offset: int = 0, norms=None):
        """Add a batch: x [token, d_model], {sae: reconstruction [token, d_model]}, document ids [token].

        `offset`: number of the batch's first token, for messages. `norms`: an array [token, 1 + 4 SAEs] that
        the second pass fills with the parts' squared norms, in the columns of `norm_column`. Raises BadInput
        for wrong shapes, an unknown document, and NaN or infinity (naming the token and its document).
        """
        document = np.asarray(document)
        given = {"x": x} | {f"the reconstruction of {sae}": reconstructions[sae] for sae in self.saes}
        for name, array in given.items():
            if tuple(array.shape) != (len(document), self.d_model):
                raise BadInput(
                    f"{name} must be [token, d_model] = [{len(document)}, {self.d_model}] like document "
                    f"and x, got {list(array.shape)}"
                )
        fold = self.fold_of_row[self.sums.rows(document)]
        # By fold, then in chunks: the other way round, each product would have a fifth of the rows.
        for k in np.unique(fold):
            mine = np.flatnonzero(fold == k)
            for rows in chunks(len(mine), self.d_model * (2 + 5 * len(self.saes))):
                tokens = mine[rows]
                read = (self._exact(name, given[name], tokens, document, offset) for name in given)
                self._add(int(k), *_errors(next(read), read, len(self.saes)), document[tokens], tokens, norms)
        return self

    def _exact(self, name: str, array, tokens: np.ndarray, document, offset: int) -> Tensor:
        """Rows of what was given in float64; BadInput for NaN and infinity."""
        run = slice(int(tokens[0]), int(tokens[-1]) + 1)
        rows = run if run.stop - run.start == len(tokens) else tokens
        exact = as_float64(array[rows], device=self.device)
        if len(bad := bad_rows(exact)):
            at = int(tokens[int(bad[0])])
            raise BadInput(
                f"{name} is NaN or infinite at token {offset + at} (document {document[at]}); "
                "drop that document or mend its values"
            )
        return exact

    @abstractmethod
    def _add(self, fold: int, x: Tensor, errors: Tensor, document, tokens: np.ndarray, out) -> None:
        """Add tokens of one fold: x [token, d_model], errors of all SAEs side by side; write into ``out``."""

    def merge(self, other: Pass) -> Pass:
        """Add another shard's pass over other tokens of the same study, in place."""
        if (self.saes, self.fold) != (other.saes, other.fold):
            raise BadInput("only passes over the same SAEs and the same folds can be merged")
        self.sums.merge(other.sums)
        for name, mine in self.moments.items():
            for moments, theirs in zip(mine, other.moments[name], strict=True):
                moments.merge(theirs)
        return self

    def norm_column(self, sae: str, part: str) -> int:
        """The column of a part's squared norm among the targets of the norm regressions."""
        return 0 if part == "x" else 1 + self.saes.index(sae) * len(SELF_PARTS) + SELF_PARTS.index(part)

    def _parts(self, x: Tensor, errors: Tensor, linear: Tensor):
        """(SAE, part, its vectors [token, d_model]), in the order of `norm_column`, x itself left out."""
        for sae in self.saes:
            error, predicted = errors[:, self.columns(sae)], linear[:, self.columns(sae)]
            for part, z in zip(SELF_PARTS, (x - error, error, predicted, error - predicted), strict=True):
                yield sae, part, z


def _errors(x: Tensor, reconstructions: Iterable[Tensor], saes: int) -> tuple[Tensor, Tensor]:
    """x, and what each SAE leaves of it, side by side [token, SAEs × d_model]."""
    errors = x.new_empty(len(x), saes * x.shape[1])
    for hat, own in zip(reconstructions, errors.split(x.shape[1], dim=1), strict=True):
        torch.sub(x, hat, out=own)
    return x, errors


def square_norms(x: Tensor, parts: Iterable[tuple]) -> Tensor:
    """‖x‖² and ‖z‖² of each of `Pass._parts` [token, 1 + parts]."""
    return torch.stack([squares(z) for z in (x, *(z for *_, z in parts))], dim=1)


def squares(z: Tensor) -> Tensor:
    """‖z‖² over the last dimension, without an array of squares."""
    return torch.linalg.vector_norm(z, dim=-1).square_()


class FirstPass(Pass):
    """Sums of x and of every SAE's error, by fold of documents; options: self_norms, device."""

    def __init__(self, d_model: int, saes: Sequence[str], fold: Mapping[int, int], **options):
        super().__init__(d_model, saes, fold, **options)
        self._moments("error", d_model * len(self.saes))

    def _add(self, fold, x, errors, document, tokens, out):
        self.moments["error"][fold].update(x, errors)

    def fit(self, *, ridge: float | str = 0.0) -> CrossFit:
        """Out-of-fold maps of every SAE's error from x, side by side; with "cv" each has its own ridge."""
        return cross_fit(self.moments["error"], ridge=ridge, groups=[self.columns(sae) for sae in self.saes])


class SecondPass(Pass):
    """The parts of every token under out-of-fold maps: per-document sums, sums for the norm regressions."""

    def __init__(self, first: FirstPass, *, ridge: float | str = 0.0):
        self._follow(first)
        self.first, self.ridge, self.fit_error = first, ridge, first.fit(ridge=ridge)
        self.x_mean, self.error_mean = self.fit_error.overall.x_mean, self.fit_error.overall.y_mean
        self._moments("norms", 1 + len(SELF_PARTS) * len(self.saes), gram=False)
        for sae in self.saes if self.self_norms else ():
            for part in SELF_PARTS:
                self._moments(f"self {sae} {part}", 1)

    def read(self, x, reconstructions: Mapping[str, object], document, *, norms: np.ndarray) -> None:
        """Only fill ``norms``, as `update` does, for tokens that are not part of the study's sums."""
        xs = as_float64(x, device=self.device)
        hats = [as_float64(reconstructions[sae], device=self.device) for sae in self.saes]
        fold = self.fold_of_row[self.sums.rows(np.asarray(document))]
        for k in np.unique(fold):
            mine = np.flatnonzero(fold == k)
            here = torch.from_numpy(mine).to(xs.device)
            _, errors = _errors(xs[here], (hat[here] for hat in hats), len(hats))
            parts = self._parts(xs[here], errors, self.fit_error.maps[k](xs[here]))
            norms[mine] = square_norms(xs[here], parts).cpu().numpy()

    def _add(self, fold, x, errors, document, tokens, out):
        # One array at a time, squared in place: it is these that memory goes to.
        add, blocks = partial(self.sums.add, document), (len(x), len(self.saes), self.d_model)
        left = x - self.x_mean
        add(n=torch.ones(len(x)), x=left, xx=squares(left), error=squares(errors.view(blocks)))
        left = errors - self.error_mean
        add(e=left)
        add(ee=left.square_())
        left = self.fit_error.overall(x)
        add(in_sample=torch.sub(errors, left, out=left).square_())
        predicted = self.fit_error.maps[fold](x)
        add(held_out=torch.sub(errors, predicted, out=left).square_())
        del left
        parts = list(self._parts(x, errors, predicted))
        norms = square_norms(x, parts)
        for i, (sae, part, z) in enumerate(parts if self.self_norms else (), start=1):
            self.moments[f"self {sae} {part}"][fold].update(z, norms[:, i : i + 1])
        self.moments["norms"][fold].update(x, norms)
        if out is not None:
            out[tokens] = norms.cpu().numpy()


class ThirdPass(Pass):
    """What the norm regressions leave, per document."""

    def __init__(self, second: SecondPass):
        self._follow(second)
        self.second, ridge = second, second.ridge
        single = [slice(i, i + 1) for i in range(1 + len(SELF_PARTS) * len(self.saes))]
        pairs = zip(second.moments["norms"], second.first.moments["error"], strict=True)
        norms = [sums.with_gram(same) for sums, same in pairs]
        self.fit_norms = cross_fit(norms, ridge=ridge, groups=single)
        self.norm_mean = self.fit_norms.overall.y_mean
        own = {name: folds for name, folds in second.moments.items() if name.startswith("self ")}
        self.fit_self = {name: cross_fit(folds, ridge=ridge) for name, folds in own.items()}
        fits = [self.fit_norms, *self.fit_self.values()]
        self.both = [[fit.both(k) for fit in fits] for k in range(self.folds)]

    def _add(self, fold, x, errors, document, tokens, out):
        parts = list(self._parts(x, errors, self.second.fit_error.maps[fold](x)))
        norms = square_norms(x, parts)
        deviations = norms - self.norm_mean
        self.sums.add(document, t=deviations, tt=deviations**2)
        from_x, *from_self = self.both[fold]
        held_out, in_sample = from_x(x).tensor_split(2, dim=1)
        self.sums.add(
            document, norm_held_out=(norms - held_out) ** 2, norm_in_sample=(norms - in_sample) ** 2
        )
        if from_self:
            own = torch.stack([linear(z) for linear, (*_, z) in zip(from_self, parts, strict=True)], dim=1)
            left = (norms[:, 1:, None] - own) ** 2
            self.sums.add(document, self_held_out=left[..., 0], self_in_sample=left[..., 1])

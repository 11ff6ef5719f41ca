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

    def _moments(self, name: str, d_out: int) -> None:
        self.moments[name] = [Moments(self.d_model, d_out, device=self.device) for _ in range(self.folds)]

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
        for rows in chunks(len(document), self.d_model * (2 + 5 * len(self.saes))):
            exact = {name: as_float64(array[rows], device=self.device) for name, array in given.items()}
            for name, array in exact.items():
                if len(bad := bad_rows(array)):
                    at = rows.start + int(bad[0])
                    raise BadInput(
                        f"{name} is NaN or infinite at token {offset + at} (document {document[at]}); "
                        "drop that document or mend its values"
                    )
            xs, *hats = exact.values()
            fold = self.fold_of_row[self.sums.rows(document[rows])]
            for k in np.unique(fold):
                mine = torch.from_numpy(np.flatnonzero(fold == k))
                whole = len(mine) == len(fold)
                take = (lambda a: a) if whole else (lambda a, mine=mine: a[mine.to(a.device)])
                errors = torch.cat([take(xs) - take(hat) for hat in hats], dim=1)
                tokens = rows.start + mine.numpy()
                self._add(int(k), take(xs), errors, document[tokens], tokens, norms)
        return self

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


def square_norms(x: Tensor, parts: Iterable[tuple]) -> Tensor:
    """‖x‖² and ‖z‖² of each of `Pass._parts` [token, 1 + parts]."""
    return torch.stack([(z**2).sum(dim=1) for z in (x, *(z for *_, z in parts))], dim=1)


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
        self.ridge, self.fit_error = ridge, first.fit(ridge=ridge)
        self.x_mean, self.error_mean = self.fit_error.overall.x_mean, self.fit_error.overall.y_mean
        self._moments("norms", 1 + len(SELF_PARTS) * len(self.saes))
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
            errors = torch.cat([xs[here] - hat[here] for hat in hats], dim=1)
            parts = self._parts(xs[here], errors, self.fit_error.maps[k](xs[here]))
            norms[mine] = square_norms(xs[here], parts).cpu().numpy()

    def _add(self, fold, x, errors, document, tokens, out):
        deviations = errors - self.error_mean
        in_sample = errors - self.fit_error.overall(x)
        held_out = errors - self.fit_error.maps[fold](x)
        centred, blocks = x - self.x_mean, (len(x), len(self.saes), self.d_model)
        self.sums.add(
            document,
            n=torch.ones(len(x)),
            x=centred,
            xx=(centred**2).sum(dim=1),
            error=(errors.view(blocks) ** 2).sum(dim=2),
            e=deviations,
            ee=deviations**2,
            held_out=held_out**2,
            in_sample=in_sample**2,
        )
        parts = list(self._parts(x, errors, errors - held_out))
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
        self.fit_norms = cross_fit(second.moments["norms"], ridge=ridge, groups=single)
        self.norm_mean = self.fit_norms.overall.y_mean
        own = {name: folds for name, folds in second.moments.items() if name.startswith("self ")}
        self.fit_self = {name: cross_fit(folds, ridge=ridge) for name, folds in own.items()}

    def _add(self, fold, x, errors, document, tokens, out):
        parts = list(self._parts(x, errors, self.second.fit_error.maps[fold](x)))
        norms, own = square_norms(x, parts), {}
        for i, (sae, part, z) in enumerate(parts if self.self_norms else (), start=1):
            fit = self.fit_self[f"self {sae} {part}"]
            for name, linear in (("self_held_out", fit.maps[fold]), ("self_in_sample", fit.overall)):
                own.setdefault(name, []).append(norms[:, i : i + 1] - linear(z))
        deviations = norms - self.norm_mean
        self.sums.add(
            document,
            t=deviations,
            tt=deviations**2,
            norm_held_out=(norms - self.fit_norms.maps[fold](x)) ** 2,
            norm_in_sample=(norms - self.fit_norms.overall(x)) ** 2,
            **{name: torch.cat(values, dim=1) ** 2 for name, values in own.items()},
        )

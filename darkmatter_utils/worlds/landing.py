"""Where the known parts of an error land: in its linear part, in its nonlinear part, and how much of each.

A least-squares prediction from x is linear in its target. So with SaeError = Σ_k s_k z_k (absent and dense
parts with sign +1, what the SAE introduces with −1) and P z the out-of-fold prediction of z from x,

    LinearError = Σ_k s_k P z_k      NonlinearError = Σ_k s_k (z_k − P z_k)

exactly, whatever the parts' correlations: no cross term is left over. Everything else follows from inner
products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..base.errors import BadInput
from ..stats.documents import assign_folds, sum_by
from ..stats.fits import cross_fit, moments_by_fold


@dataclass(frozen=True)
class Landing:
    """Inner products of parts z_k (about their means) and of what their predictions leave, r_k = z_k − P
    z_k."""

    names: tuple[str, ...]
    total: np.ndarray
    """Σ ⟨z_i, z_j⟩ of each document [document, part, part]."""
    cross: np.ndarray
    """Σ ⟨z_i, r_j⟩ [document, part, part]."""
    rest: np.ndarray
    """Σ ⟨r_i, r_j⟩ [document, part, part]."""
    x: np.ndarray
    """Σ ‖x − x̄‖² [document]."""
    leak: np.ndarray
    """Σ ‖(learned − its mean) b‖² and Σ ‖learned − its mean‖² [document, 2], b the map of the whole error;
    zeros where no learned part was given."""

    def weights(self, **signs: float) -> np.ndarray:
        """The sum Σ sign · part as a vector over parts; BadInput for a part that is not there."""
        if unknown := set(signs) - set(self.names):
            raise BadInput(f"no part {min(unknown)!r}; there are {', '.join(self.names)}")
        return np.array([signs.get(name, 0.0) for name in self.names])

    def variance(self, c: np.ndarray, documents=None) -> np.ndarray:
        """Σ‖z‖² / Σ‖x − x̄‖² of the sum z = Σ c_k z_k: a share of the variance of x; see `shares` for
        documents."""
        return self._form(self.total, c, c, documents) / self._x(documents)

    def shares(self, c: np.ndarray, documents=None) -> tuple[np.ndarray, np.ndarray]:
        """(linear, nonlinear): of the variance of z = Σ c_k z_k, what lands in LinearError and in
        NonlinearError.

        nonlinear = Σ‖z − P z‖² / Σ‖z‖² and linear = 1 − nonlinear, P out of fold: R² total of z from x, so
        slightly below 0 for a part of which x says nothing. ``documents``: weights [replicate, document] of a
        bootstrap; by default each counts once. NaN for a part that does not vary.
        """
        whole = self._form(self.total, c, c, documents)
        with np.errstate(divide="ignore", invalid="ignore"):
            nonlinear = np.where(whole > 0, self._form(self.rest, c, c, documents) / whole, np.nan)
        return 1 - nonlinear, nonlinear

    def nonlinear(self, c: np.ndarray, documents=None) -> np.ndarray:
        """FVU_nonlinear of the error Σ c_k z_k."""
        return self._form(self.rest, c, c, documents) / self._x(documents)

    def made_of(self, error: np.ndarray, part: np.ndarray) -> tuple[float, float]:
        """Covariance shares of a part in (LinearError, NonlinearError), over the variance of x.

        ⟨part, LinearError⟩ and ⟨part, NonlinearError⟩: summed over the parts of the error they give
        ⟨SaeError, LinearError⟩ and ⟨SaeError, NonlinearError⟩, which add up to FVU. A covariance between two
        parts is so split evenly between them; a share may be negative.
        """
        inner = self._form(self.cross, part, error, None)
        return float((self._form(self.total, part, error, None) - inner) / self._x(None)), float(
            inner / self._x(None)
        )

    def leaked(self) -> float:
        """‖learned b‖² / ‖learned‖²: what the error's map reads of the learned part, which is no error at
        all."""
        above, below = self.leak.sum(axis=0)
        return float(above / below) if below > 0 else float("nan")

    def _form(self, table, c, d, documents):
        per_document = np.einsum("i,nij,j->n", c, table, d)
        return per_document.sum() if documents is None else documents @ per_document

    def _x(self, documents):
        return self.x.sum() if documents is None else documents @ self.x


def land(
    x,
    parts: Mapping[str, object],
    document,
    *,
    error: Mapping[str, float],
    learned=None,
    folds: int = 5,
    seed: int = 0,
) -> Landing:
    """The landing of ``parts`` ({name: z [token, d_model]}) of activations x [token, d_model], by folds of
    documents.

    ``error``: signs s_k of the parts that sum to SaeError. ``document``: ints [token]. Raises BadInput as
    `cross_fit` does. Cost: about 4 tokens × parts × d_model² multiplications; memory parts × tokens × d_model
    numbers.
    """
    x, document = torch.as_tensor(x, dtype=torch.float64), np.asarray(document)
    z = torch.stack([torch.as_tensor(part, dtype=torch.float64) for part in parts.values()], dim=1)
    z = z - z.mean(dim=0)
    ids, inverse, counts = np.unique(document, return_inverse=True, return_counts=True)
    fold_of = assign_folds(ids, counts, folds, seed=seed)
    fold = np.array([fold_of[int(i)] for i in ids])[inverse]
    d, flat = x.shape[1], z.flatten(1)
    fitted = cross_fit(moments_by_fold(x, flat, fold))
    signs = torch.tensor([error.get(name, 0.0) for name in parts], dtype=torch.float64)
    rest, leak = (flat - fitted.predict(x, fold)).view_as(z), torch.zeros(len(x), 2, dtype=torch.float64)
    if learned is not None:
        known = torch.as_tensor(learned, dtype=torch.float64)
        for k, linear_map in enumerate(fitted.maps):
            r = torch.from_numpy(np.flatnonzero(fold == k))
            b = torch.einsum("ikj,k->ij", linear_map.weight.view(d, *z.shape[1:]), signs)
            centred = known[r] - known.mean(dim=0)
            leak[r] = torch.stack([((centred @ b) ** 2).sum(1), (centred**2).sum(1)], dim=1)
    gram = lambda a, b: sum_by(document, torch.bmm(a, b.transpose(1, 2)))
    centred = ((x - x.mean(dim=0)) ** 2).sum(dim=1)
    return Landing(
        tuple(parts),
        gram(z, z),
        gram(z, rest),
        gram(rest, rest),
        sum_by(document, centred),
        sum_by(document, leak),
    )

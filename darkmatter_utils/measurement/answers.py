"""An answer about one SAE: its decomposition, the released code's way and null SAEs beside it, and what to be
wary of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from ..base.errors import BadInput
from ..decomposition.decompose import Decomposition, decompose
from ..worlds.null_saes import DeadSae, RandomSae, ShrunkSae
from .about import statistical

NULL_WORK = 2e12
"""Multiplications that an untrained dictionary may cost; beyond, it is measured on the first documents
only."""


@dataclass(frozen=True)
class Answer:
    """What ``darkmatter measure`` shows, writes and says."""

    title: str
    result: Decomposition
    paper: Decomposition
    """Under protocol="paper"."""
    nulls: dict[str, Decomposition]
    """dead: the mean for every token; random: an untrained dictionary of the SAE's width and L0, or, where
    these are not known, shrunk: x drawn to its mean until the FVU is the same."""
    l0: float | None
    """Active latents a token."""
    gain: float
    """The factor on Sae(x) − its mean that fits x best; about 1 if the weights suit the activations."""
    warnings: tuple[str, ...]
    about: dict
    """For the JSON: the SAE, what was asked."""
    facts: dict
    """For the page."""
    plan: object = field(default=None, repr=False)

    @property
    def tokens(self) -> int:
        """Tokens that count."""
        return self.result.tokens

    @property
    def documents(self) -> int:
        """Documents that they are of."""
        return self.result.documents


def answer(
    x,
    x_hat,
    document,
    *,
    title: str,
    folds: int,
    bootstrap: int,
    seed: int,
    width: int = 0,
    l0: float | None = None,
    published: float | None = None,
    warnings: tuple[str, ...] = (),
    about: dict,
    facts: dict,
    plan=None,
    tell: Callable[[str], None],
) -> Answer:
    """Decompose arrays [token, d_model], memory-mapped or not, with documents [token]; nulls of ``width`` and
    ``l0``."""
    if not _varies(x):
        raise BadInput("x is the same in every row: it has no variance that could be explained")
    settings = dict(bootstrap=bootstrap, seed=seed)
    tell("the decomposition")
    result = decompose(x, x_hat, document=document, folds=folds, **settings)
    tell("the same as the paper's code computes it")
    paper = decompose(x, x_hat, document=document, protocol="paper", **settings)
    mean = torch.from_numpy(np.asarray(x.mean(axis=0, dtype=np.float64)))
    saes = [DeadSae("dead", mean)]
    if width and l0 is not None:
        saes.append(RandomSae("random", mean, width, max(1, round(l0)), seed))
    else:
        saes.append(ShrunkSae("shrunk", mean, 1 - math.sqrt(max(result.fvu.value, 0))))
    nulls = {}
    for sae in saes:
        rows = _rows(document, len(mean) * width, folds) if sae.kind == "random" else len(document)
        tell(
            f"the null: {sae.kind}"
            + (f", on {rows:,} of {len(document):,} tokens" if rows < len(document) else "")
        )
        nulls[sae.kind] = decompose(
            x[:rows], _Made(sae, x, rows), document=document[:rows], folds=folds, **settings
        )
    gain = _gain(x, x_hat)
    warnings = (
        *warnings,
        *_beside(result, nulls),
        *statistical(fvu=result.fvu.value, l0=l0, published=published, gain=gain),
    )
    return Answer(title, result, paper, nulls, l0, gain, warnings, about, facts, plan)


@dataclass(frozen=True)
class _Made:
    """A null SAE's reconstruction as an array [token, d_model] that is made where it is read."""

    sae: object
    x: np.ndarray
    rows: int

    @property
    def shape(self):
        return self.rows, self.x.shape[1]

    def __getitem__(self, rows):
        return self.sae.reconstruct(torch.from_numpy(np.array(self.x[: self.rows][rows])).double())[0]


def _beside(result: Decomposition, nulls: dict[str, Decomposition]) -> list[str]:
    """Signs that only show beside the nulls, or in an interval."""
    found = []
    if "random" in nulls and 1 > result.fvu.value >= nulls["random"].fvu.value:
        found.append(
            f"the SAE leaves {result.fvu.value:.3g} of the variance, an untrained dictionary of its "
            f"width and L0 "
            f"{nulls['random'].fvu.value:.3g}: is it this model's, are its weights transposed?"
        )
    rest = result.fvu_nonlinear
    if rest.value == rest.high and rest.high > rest.low:
        found.append(
            "FVU_nonlinear, held out, is the end of its interval, which is about the best linear map: "
            "with so few or such "
            "unequal tokens the fitted map is not near it; give more documents"
        )
    return found


def _varies(x) -> bool:
    first = np.asarray(x[0], dtype=np.float64)
    return any(bool((np.asarray(x[at : at + 4096]) != first).any()) for at in range(0, len(x), 4096))


def _rows(document: np.ndarray, each: int, folds: int) -> int:
    """Rows of the first documents that cost no more than `NULL_WORK`, at least twice as many documents as
    folds."""
    edges = np.flatnonzero(np.diff(document)) + 1
    ends = np.append(edges, len(document))
    affordable = int(np.searchsorted(ends, NULL_WORK / max(each, 1), side="right"))
    return int(ends[min(len(ends), max(affordable, 2 * folds)) - 1])


def _gain(x: np.ndarray, x_hat: np.ndarray) -> float:
    """argmin_g Σ‖x − x̄ − g (Sae(x) − its mean)‖²."""
    means = [np.asarray(a.mean(axis=0, dtype=np.float64)) for a in (x, x_hat)]
    top = bottom = 0.0
    for at in range(0, len(x), 4096):
        mine, theirs = x[at : at + 4096] - means[0], x_hat[at : at + 4096] - means[1]
        top, bottom = top + float((mine * theirs).sum()), bottom + float((theirs**2).sum())
    return top / bottom if bottom > 0 else float("nan")

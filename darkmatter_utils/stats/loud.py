"""Loud tokens: a few activations far longer than all others, which can hold most of the variance of x.

Real language models have them, at the first token of a context above all (attention sinks). Shares of
variance, FVU and R² are then about those few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .moments import as_float64, chunks

CUT = 10.0
"""A token is loud if its norm is more than so many times the median norm."""
NAMED = 20
"""Loud tokens that a sentence names; it counts the others."""


@dataclass(frozen=True)
class Loud:
    """What the tokens louder than `CUT` median norms do to shares of the variance of x."""

    rows: Int[np.ndarray, "loud"]
    """Which of the tokens, loudest first."""
    times: Float[np.ndarray, "loud"]
    """‖x‖ over the median norm, of each."""
    tokens: int
    """All tokens, loud or not."""
    share: float
    """Σ‖x − x̄‖² of the loud over that of all."""
    gamma: float
    """‖mean‖ / spread, the root of the mean ‖x − mean‖²."""
    gamma_without: float
    variance_without: float
    """Σ‖x − mean‖² of the others, about their own mean."""

    def facts(self, names: Sequence[dict], *, fvu, fvu_without) -> dict:
        """Plain values for JSON: counts, shares, and the loudest with their ``names``, `NAMED` at most. FVU:
        one number, or one for each SAE by its id."""
        named = [name | {"times": float(times)} for name, times in zip(names, self.times[:NAMED])]
        return {
            "cut": CUT,
            "loud": len(self.rows),
            "tokens": self.tokens,
            "share": self.share,
            "gamma": self.gamma,
            "gamma_without": self.gamma_without,
            "fvu": fvu,
            "fvu_without": fvu_without,
            "loudest": named,
        }


def is_loud(norm: Float[np.ndarray, "token"], typical: float) -> Bool[np.ndarray, "token"]:
    """‖x‖ > `CUT` × the median norm ``typical``; none where that is 0."""
    return np.asarray(norm) > (CUT * typical if typical > 0 else np.inf)


class LoudSums:
    """Σ(x − x̄) and Σ‖x − x̄‖² of the loud tokens and Σ‖x − x̄‖² of the others, streamed; x̄: the mean of
    all, known before."""

    def __init__(self, mean: Float[Tensor, "d_model"]):
        self.mean, self.shift = mean, torch.zeros_like(mean)
        self.squares = {True: 0.0, False: 0.0}

    def update(self, x: Float[Tensor, "token d_model"], loud: Bool[np.ndarray, "token"]) -> None:
        """Add a batch of x, float64, and which of its tokens are loud."""
        deviation = x - self.mean
        squares, loud = (deviation**2).sum(dim=1), torch.from_numpy(loud).to(x.device)
        self.shift += deviation[loud].sum(dim=0)
        for kind in self.squares:
            self.squares[kind] += float(squares[loud == kind].sum())

    def of(self, norm: Float[np.ndarray, "token"], typical: float) -> Loud:
        """The answer, from the norms of all tokens. With s the sum of the loud tokens' x − x̄ and m others,
        these have the mean x̄ − s/m and the variance Σ‖x − x̄‖² − ‖s‖²/m."""
        rows = np.flatnonzero(is_loud(norm, typical))
        rows = rows[np.argsort(-norm[rows], kind="stable")]
        n, others, total = len(norm), len(norm) - len(rows), sum(self.squares.values())
        without = self.squares[False] - float((self.shift**2).sum()) / others
        gamma = lambda mean, squares, n: float(mean.norm()) / np.sqrt(squares / n) if squares > 0 else np.inf
        return Loud(
            rows=rows,
            times=norm[rows] / typical,
            tokens=n,
            share=self.squares[True] / total,
            gamma=gamma(self.mean, total, n),
            gamma_without=gamma(self.mean - self.shift / others, without, others),
            variance_without=without,
        )


def loud_tokens(x, reconstruction) -> tuple[Loud, float] | None:
    """(which tokens of x are loud, FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖² of the others); None where none is.

    x, reconstruction: [token, d_model], as `decompose` takes them; the median is that of these rows. Cost: x
    is read once, and where a token is loud both are read again; memory of a chunk and the norms.
    """
    n, d = x.shape
    norm, total = np.empty(n), torch.zeros(d, dtype=torch.float64)
    for rows in chunks(n, d):
        part = as_float64(x[rows])
        norm[rows], total = part.norm(dim=1).numpy(), total + part.sum(dim=0)
    typical = float(np.median(norm))
    if not (loud := is_loud(norm, typical)).any():
        return None
    sums, left = LoudSums(total / n), 0.0
    for rows in chunks(n, 2 * d):
        part, others = as_float64(x[rows]), torch.from_numpy(~loud[rows])
        sums.update(part, loud[rows])
        left += float(((part - as_float64(reconstruction[rows])) ** 2).sum(dim=1)[others].sum())
    found = sums.of(norm, typical)
    return found, left / found.variance_without if found.variance_without > 0 else float("nan")


def told(facts: dict, *, sae: str = "") -> str:
    """`Loud.facts` in a sentence; ``sae``: whose FVU, where there are several."""
    three = lambda value: f"{value:.3f}"
    fvu, without = (facts[name][sae] if sae else facts[name] for name in ("fvu", "fvu_without"))
    count, named = facts["loud"], [_named(token) for token in facts["loudest"]]
    more = f" and {count - len(named):,} more" if count > len(named) else ""
    of = f"{count:,} of {facts['tokens']:,} tokens ({100 * count / facts['tokens']:.2g}%)"
    are = f"louder than {facts['cut']:g} times the median norm"
    return (
        f"{of}, {are}, hold {facts['share']:.1%} of the variance of x: {', '.join(named)}{more}; "
        f"γ = ‖mean‖ / spread is {three(facts['gamma'])} with and {three(facts['gamma_without'])} without "
        f"them, FVU{f' of {sae}' * bool(sae)} is {three(fvu)} with and {three(without)} without them"
    )


def _named(token: dict) -> str:
    """Where a loud token is, what it is and how loud: "document 3 position 17 'the' (96 ×)"."""
    where = " ".join(f"{name} {token[name]}" for name in ("row", "document", "position") if name in token)
    text = f" {token['text']!r}" if "text" in token else ""
    return f"{where}{text} ({token['times']:,.3g} ×)"

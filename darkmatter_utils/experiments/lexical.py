"""The lexical explainer: which tokens, after which tokens, or among which words a latent fires. It needs no
model.

It knows words, not meanings: where it fails, a language model might still find what a latent responds to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .interp import Judgement, Task

PRIOR = 4.0
"""Windows' worth of the text's own frequencies that every count starts from."""
VIEWS = ("token", "token and the one before", "words around", "all of them")
"""What an explanation can be made of, simplest first; which one is chosen on the windows that it learns
from."""
NAMED = 4
"""Tokens that the words of an explanation name, at most."""


@dataclass(frozen=True)
class Evidence:
    """Log-ratios of how often a latent prefers a token against how often the text has it."""

    at: Float[np.ndarray, "vocabulary"]
    """At the peak."""
    before: Float[np.ndarray, "vocabulary"]
    """One token before the peak."""
    around: Float[np.ndarray, "vocabulary"]
    """Anywhere in the window."""

    def scores(self, windows: Int[np.ndarray, "window length"]) -> dict[str, Float[np.ndarray, "window"]]:
        """How much each view speaks for each window. A peak may be anywhere, so a window counts by its best
        token."""
        at, before = self.at[windows], np.zeros(windows.shape)
        before[:, 1:] = self.before[windows[:, :-1]]
        around = self.around[windows].mean(1)
        pair = (at + before).max(1)
        return dict(zip(VIEWS, (at.max(1), pair, around, pair + around), strict=True))


class Lexical:
    """The lexical explainer of one text. Call it with tasks."""

    def __init__(
        self, tokens: Int[np.ndarray, "..."], *, vocabulary: int, decode: Callable[[Sequence[int]], list[str]]
    ):
        """``tokens``: of the text, for the frequencies that a latent's own are held against."""
        counts = np.bincount(tokens.ravel(), minlength=vocabulary) + 0.5
        self.frequency, self.decode = counts / counts.sum(), decode

    def __call__(self, tasks: Sequence[Task]) -> list[Judgement]:
        """A judgement of each task, a millisecond or two each."""
        return [self.judge(task) for task in tasks]

    def judge(self, task: Task) -> Judgement:
        """Learn from the shown windows which view and threshold tell them from the silent ones; say so of the
        tested.

        View and threshold are chosen by balanced accuracy on shown windows whose counts were left out (two
        halves, each scored by the other's counts); the counts then come from all of them.
        """
        first = np.arange(len(task.shown)) % 2 == 0
        halves = [self.learn(task.shown[half], task.strength[half]) for half in (first, ~first)]
        seen = [
            evidence.scores(task.shown[half]) for evidence, half in zip(halves, (~first, first), strict=True)
        ]
        quiet = [evidence.scores(task.silent) for evidence in halves]
        best = {}
        for view in VIEWS:
            yes = np.concatenate([s[view] for s in seen])
            no = np.concatenate([s[view] for s in quiet])
            best[view] = threshold(yes, no)
        view = max(VIEWS, key=lambda v: best[v][1])
        evidence = self.learn(task.shown, task.strength)
        said = evidence.scores(task.tested)[view] > best[view][0]
        return Judgement(self.words(task, view), said.astype(float))

    def learn(
        self, shown: Int[np.ndarray, "window length"], strength: Float[np.ndarray, "window length"]
    ) -> Evidence:
        """Evidence from windows in which the latent fires."""
        peak, rows = strength.argmax(1), np.arange(len(shown))
        inside = peak > 0
        return Evidence(
            self._ratio(shown[rows, peak]),
            self._ratio(shown[rows[inside], peak[inside] - 1]),
            self._ratio(shown.ravel(), per=shown.shape[1]),
        )

    def _ratio(self, tokens: np.ndarray, *, per: int = 1) -> np.ndarray:
        prior = PRIOR * per
        counts = np.bincount(tokens, minlength=len(self.frequency))
        return np.log((counts / self.frequency + prior) / (len(tokens) + prior))

    def words(self, task: Task, view: str) -> str:
        """The explanation as words: the commonest tokens at the peak with their shares, and those before
        it."""
        peak, rows = task.strength.argmax(1), np.arange(len(task.shown))
        parts = []
        if view != VIEWS[2]:
            parts.append("at " + self._named(task.shown[rows, peak]))
        if view in VIEWS[1::2]:
            inside = peak > 0
            parts.append("after " + self._named(task.shown[rows[inside], peak[inside] - 1]))
        if view in VIEWS[2:]:
            ratio = self.learn(task.shown, task.strength).around
            parts.append(
                "among "
                + " ".join(_quoted(t) for t in self.decode(np.argsort(-ratio, kind="stable")[:NAMED]))
            )
        return "; ".join(parts)

    def _named(self, tokens: np.ndarray) -> str:
        ids, counts = np.unique(tokens, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:NAMED]
        shares = [
            f"{_quoted(text)} {100 * counts[i] / len(tokens):.0f}%"
            for text, i in zip(self.decode(ids[order]), order)
        ]
        return ", ".join(shares)


def threshold(yes: Float[np.ndarray, "a"], no: Float[np.ndarray, "b"]) -> tuple[float, float]:
    """(threshold, balanced accuracy) that tell two sets of scores apart best; the middle of two neighbouring
    scores."""
    scores = np.concatenate([yes, no])
    order = np.argsort(scores, kind="stable")
    found = np.r_[np.full(len(yes), 1 / len(yes)), np.full(len(no), -1 / len(no))][order]
    gain = np.r_[0.0, -found.cumsum()]  # of saying no up to here, over always saying yes
    ordered = scores[order]
    cut = np.r_[True, ordered[1:] > ordered[:-1], True]
    best = int(np.argmax(np.where(cut, gain, -np.inf)))
    ends = np.r_[ordered[0] - 1, ordered, ordered[-1] + 1]
    return float((ends[best] + ends[best + 1]) / 2), float(0.5 + gain[best] / 2)


def _quoted(text: str) -> str:
    return "‘" + text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "") + "’"

"""Windows of text in which a latent fires, by decile of activation, and how well an explanation finds them.

Detection: shown windows where a latent fires most, an explainer says what it fires at; then, for windows of
other documents, whether it fires in them. Chance is one half. The explainer is an argument (`explainers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from ..adapters.saes import Active

LENGTH = 16
"""Tokens of a window."""
DECILES = 10
SHOWN, SILENT = 40, 100
"""Windows that an explainer learns from: those of the largest activations, and random silent ones."""
A_DECILE, TESTED_SILENT = 10, 50
"""Windows that it is tested on: of each decile, and silent ones."""
LEAST = 10
"""A latent that has fewer windows or silent windows than this, to learn from or to test, is not scored."""


class Windows(NamedTuple):
    """Pieces of contexts, each of `LENGTH` scored tokens that follow one another."""

    tokens: Int[np.ndarray, "window length"]
    document: Int[np.ndarray, "window"]
    of: Int[np.ndarray, "token"]
    """The window of each token of the stream; -1 for the few at a context's end that fill none."""
    place: Int[np.ndarray, "token"]
    """The token's place in its window."""


def cut(
    context: np.ndarray,
    document: np.ndarray,
    token: np.ndarray,
    position: np.ndarray,
    *,
    length: int = LENGTH,
) -> Windows:
    """Windows of a stream of scored tokens, from the first of each context, and from each that follows one
    that is not scored; a remainder is left out."""
    follows = (context[1:] == context[:-1]) & (position[1:] == position[:-1] + 1)
    start = np.flatnonzero(np.r_[True, ~follows])
    size = np.diff(np.r_[start, len(context)])
    inside = np.arange(len(context)) - np.repeat(start, size)
    whole = inside < np.repeat(size // length * length, size)
    of = np.where(whole, np.cumsum(whole & (inside % length == 0)) - 1, -1)
    return Windows(token[whole].reshape(-1, length), document[whole][::length], of, inside % length)


def activations(codes: Active, width: int) -> sparse.csc_array:
    """Every latent's activation at every token [token, width], sparse, by latent."""
    starts = np.r_[0, codes.l0.numpy().cumsum()]
    latent = codes.latent.numpy().astype(np.int32)
    return sparse.csr_array((codes.value.numpy(), latent, starts), shape=(len(starts) - 1, width)).tocsc()


class Task(NamedTuple):
    """What an explainer learns a latent from, and what it is tested on: windows of other documents."""

    shown: Int[np.ndarray, "shown length"]
    """Windows of the largest activations, largest first."""
    strength: Float[np.ndarray, "shown length"]
    """The latent's activation at each of their tokens."""
    silent: Int[np.ndarray, "silent length"]
    """Random windows of the same documents in which it never fires."""
    tested: Int[np.ndarray, "tested length"]
    decile: Int[np.ndarray, "tested"]
    """Decile of the window's largest activation, 1 to 10; 0 for a window in which it never fires."""
    document: Int[np.ndarray, "tested"]
    """The document that the window is of."""


class Judgement(NamedTuple):
    """What an explainer made of a task."""

    explanation: str
    said: Float[np.ndarray, "tested"]
    """1: fires; 0: does not; 0.5: no usable answer, a tossed coin."""


Explainer = Callable[[Sequence[Task]], list[Judgement]]
"""From tasks to one judgement each; `explainers.py` has two."""


def task(
    column: sparse.csc_array, windows: Windows, learns: Bool[np.ndarray, "window"], *, seed: int
) -> Task | None:
    """The task of one latent, a column of `activations`; None where too few windows fire or are silent."""
    keep = windows.of[column.indices] >= 0
    rows, values = column.indices[keep], column.data[keep]
    of, peak = windows.of[rows], np.zeros(len(windows.tokens), dtype=np.float32)
    np.maximum.at(peak, of, values)
    # Each window has its own lot, so that one which fires on another processor alone moves no other draw.
    lot, fires = np.random.default_rng(seed).random(len(peak)), peak > 0
    draw = lambda some, most: some[np.argsort(lot[some], kind="stable")[:most]]
    learn, test = np.flatnonzero(fires & learns), np.flatnonzero(fires & ~learns)
    quiet, quiet_test = np.flatnonzero(~fires & learns), np.flatnonzero(~fires & ~learns)
    if min(len(learn), len(test), len(quiet), len(quiet_test)) < LEAST:
        return None
    best = learn[np.argsort(-peak[learn], kind="stable")[:SHOWN]]
    order = test[np.argsort(peak[test], kind="stable")]
    chosen, decile = [], []
    for number, part in enumerate(np.array_split(order, DECILES), 1):
        drawn = draw(part, A_DECILE)
        chosen.append(drawn)
        decile += [number] * len(drawn)
    drawn = draw(quiet_test, TESTED_SILENT)
    chosen, decile = np.concatenate([*chosen, drawn]), np.array(decile + [0] * len(drawn))
    silent = draw(quiet, SILENT)
    slot = np.full(len(peak), -1)
    slot[best] = np.arange(len(best))
    inside = slot[of] >= 0
    strength = np.zeros((len(best), windows.tokens.shape[1]), dtype=np.float32)
    strength[slot[of[inside]], windows.place[rows[inside]]] = values[inside]
    tested = windows.tokens[chosen], decile, windows.document[chosen]
    return Task(windows.tokens[best], strength, windows.tokens[silent], *tested)


def halves(document: Int[np.ndarray, "window"], *, seed: int) -> Bool[np.ndarray, "window"]:
    """Which windows are learned from: those of a random half of the documents."""
    ids = np.unique(document)
    chosen = np.random.default_rng(seed).permutation(ids)[: len(ids) // 2]
    return np.isin(document, chosen)


def shuffled(windows: Windows, *, seed: int) -> Windows:
    """The same windows, each with the tokens and document of another: activations then tell nothing of it."""
    order = np.random.default_rng(seed).permutation(len(windows.tokens))
    return windows._replace(tokens=windows.tokens[order], document=windows.document[order])


def accuracies(made: Task, said: Float[np.ndarray, "tested"]) -> Float[np.ndarray, "decile"]:
    """Balanced accuracy in each decile: the mean of the shares of its windows found and of silent ones left
    alone. One half for whoever always says yes, always no, or tosses a coin; 1 for whoever is right."""
    left = 1 - said[made.decile == 0].mean()
    return np.array([(said[made.decile == d].mean() + left) / 2 for d in range(1, DECILES + 1)])


def pulls(
    made: Task, said: Float[np.ndarray, "tested"]
) -> tuple[Int[np.ndarray, "document"], Float[np.ndarray, "document decile"]]:
    """(documents of the tested windows, how much each pulls the `accuracies` up): their derivatives by the
    document's weight, which sum to 0. With weights w of mean 1 the accuracies are, to first order, those of
    weight 1 plus Σ w · pull."""
    ids, of = np.unique(made.document, return_inverse=True)
    right, found = np.where(made.decile == 0, 1 - said, said), np.zeros((len(ids), DECILES + 1))
    for d in range(DECILES + 1):
        mine = made.decile == d
        np.add.at(found[:, d], of[mine], (right[mine] - right[mine].mean()) / (2 * mine.sum()))
    return ids, found[:, 1:] + found[:, :1]


def tasks(
    found: sparse.csc_array, windows: Windows, latents: Sequence[int], *, seed: int
) -> list[Task | None]:
    """The task of each of the ``latents`` of `activations`, in order; None where one cannot be scored."""
    learns = halves(windows.document, seed=seed)
    return [task(found[:, [latent]], windows, learns, seed=seed + latent) for latent in latents]

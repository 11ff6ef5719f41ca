"""FVU by the formulas that other tools print, so that a published number can be placed beside ours.

Each takes x and Sae(x) [token, d] and where to cut them into batches (indices); 1 − explained variance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..base.errors import BadInput, nearest


def saelens_6_18(x, hat, cuts) -> float:
    """mean ‖x − Sae(x)‖² / (q − (q / d)²) with q = mean ‖x‖², each the mean of batches' means: the variance
    is about 0, not about the mean, so that a large mean makes the FVU small. ``explained_variance`` of
    SAELens 6.18; mended in its pull request 665."""
    batches = list(_batches(x, hat, cuts))
    squares = np.mean([(a**2).sum(axis=1).mean() for a, _ in batches])
    missed = np.mean([((a - b) ** 2).sum(axis=1).mean() for a, b in batches])
    return float(missed / (squares - (squares / x.shape[1]) ** 2))


def saebench_legacy(x, hat, cuts) -> float:
    """The mean over tokens of ‖x − Sae(x)‖² / ‖x − x̄‖², x̄ the batch's mean: a ratio a token, so that a quiet
    one counts as much as a loud one. SAEBench's published numbers; ``explained_variance_legacy``."""
    ratios = [((a - b) ** 2).sum(axis=1) / _about_mean(a) for a, b in _batches(x, hat, cuts)]
    return float(np.concatenate(ratios).mean())


def sparsify(x, hat, cuts) -> float:
    """The mean over batches of Σ‖x − Sae(x)‖² / Σ‖x − x̄‖², x̄ the batch's mean. ``fvu`` of sparsify."""
    return float(np.mean([((a - b) ** 2).sum() / _about_mean(a).sum() for a, b in _batches(x, hat, cuts)]))


KNOWN = {"saelens-6.18": saelens_6_18, "saebench-legacy": saebench_legacy, "sparsify": sparsify}


def check(names: Sequence[str]) -> None:
    """BadInput for a formula that is not known."""
    if wrong := [name for name in names if name not in KNOWN]:
        raise BadInput(f"unknown formula '{wrong[0]}'; {nearest(wrong[0], list(KNOWN))}")


def _batches(x, hat, cuts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    edges = [0, *map(int, cuts), len(x)]
    for start, stop in zip(edges, edges[1:]):
        if stop > start:
            yield tuple(np.asarray(array[start:stop], dtype=np.float64) for array in (x, hat))


def _about_mean(x: np.ndarray) -> np.ndarray:
    return ((x - x.mean(axis=0)) ** 2).sum(axis=1)

"""Folds of documents, and sums over each."""

import numpy as np
import pytest
import torch

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.stats.documents import DocumentSums, assign_folds


def test_folds_are_balanced_by_tokens_and_depend_on_the_seed_only():
    rng = np.random.default_rng(0)
    ids, counts = rng.permutation(1000)[:200], rng.integers(1, 500, size=200)
    fold = assign_folds(ids, counts, 5, seed=1)
    held = np.zeros(5)
    for document, count in zip(ids, counts):
        held[fold[document]] += count
    assert (
        np.ptp(held) < 0.01 * held.mean()
        and set(fold.values()) == set(range(5))
        and set(fold) == set(ids.tolist())
    )
    order = rng.permutation(200)
    assert assign_folds(ids[order], counts[order], 5, seed=1) == fold
    assert assign_folds(ids, counts, 5, seed=2) != fold


def test_as_many_documents_as_folds():
    assert sorted(assign_folds([3, 5, 9], [10, 1, 1], 3).values()) == [0, 1, 2]
    with pytest.raises(BadInput, match="2 documents cannot make 3 folds"):
        assign_folds([3, 5], [1, 1], 3)
    with pytest.raises(BadInput, match="folds must be at least 2"):
        assign_folds([3, 5], [1, 1], 1)
    with pytest.raises(BadInput, match="once"):
        assign_folds([3, 3], [1, 1], 2)


def test_sums_are_the_plain_ones_in_any_order():
    rng = np.random.default_rng(1)
    document = rng.choice([7, 2, 40], size=500)
    values, scalars = rng.normal(size=(500, 3)), rng.normal(size=500)
    sums = DocumentSums([40, 7, 2])
    for rows in np.array_split(rng.permutation(500), 7):
        sums.add(document[rows], v=torch.from_numpy(values[rows]), s=torch.from_numpy(scalars[rows]))
    assert sums.documents.tolist() == [2, 7, 40]
    for row, identity in enumerate(sums.documents):
        np.testing.assert_allclose(sums.tables["v"][row], values[document == identity].sum(0))
        np.testing.assert_allclose(sums.tables["s"][row], scalars[document == identity].sum())
    halves = [DocumentSums([2, 7, 40]), DocumentSums([2, 7, 40])]
    halves[0].add(document[:200], v=torch.from_numpy(values[:200]))
    halves[1].add(document[200:], v=torch.from_numpy(values[200:]), s=torch.from_numpy(scalars[200:]))
    np.testing.assert_allclose(halves[0].merge(halves[1]).tables["v"], sums.tables["v"])


def test_unknown_document():
    with pytest.raises(BadInput, match="document 8 is not among the 3"):
        DocumentSums([2, 7, 40]).add(np.array([2, 8]), s=torch.zeros(2))
    with pytest.raises(BadInput, match="cannot be merged"):
        DocumentSums([2]).merge(DocumentSums([3]))

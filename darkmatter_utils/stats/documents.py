"""Documents, never split: the tokens of one resemble each other, so they are held out and resampled together.

Which fold each is in, and the few sums kept of each.
"""

from __future__ import annotations

import numpy as np
import torch

from ..base.errors import BadInput


def assign_folds(document_ids, token_counts, folds: int, *, seed: int = 0) -> dict[int, int]:
    """Which fold each document is in: {document id: fold}, with about equally many tokens in each fold.

    Documents in an order drawn from `seed`, longest first, each to the fold with the fewest tokens so far.
    Depends on the ids, counts and seed only, not on the order they come in. Raises BadInput for fewer
    documents than folds.
    """
    ids, counts = np.asarray(document_ids), np.asarray(token_counts)
    order = np.argsort(ids, kind="stable")
    ids, counts = ids[order], counts[order]
    if len(np.unique(ids)) != len(ids):
        raise BadInput("each document id must be given once, with its number of tokens")
    if folds < 2:
        raise BadInput(
            f"folds must be at least 2, got {folds}: a fold is scored by a map fitted on the others"
        )
    if len(ids) < folds:
        raise BadInput(f"{len(ids)} documents cannot make {folds} folds; give more documents or fewer folds")
    shuffled = np.random.default_rng(seed).permutation(len(ids))
    tokens, held, assigned = np.zeros(folds), np.zeros(folds), np.zeros(len(ids), dtype=np.int64)
    for i in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
        assigned[i] = fold = np.lexsort((held, tokens))[0]
        tokens[fold] += counts[i]
        held[fold] += 1
    return dict(zip(ids.tolist(), assigned.tolist(), strict=True))


def sum_by(label, values) -> np.ndarray:
    """Float64 sums [label, ...], labels ascending, of values [token, ...] over each label's tokens."""
    values = torch.as_tensor(values, dtype=torch.float64).cpu()
    ids, inverse = np.unique(label, return_inverse=True)
    sums = torch.zeros(len(ids), *values.shape[1:], dtype=torch.float64)
    return sums.index_add_(0, torch.from_numpy(inverse), values).numpy()


class DocumentSums:
    """Sums over each document's tokens, by name: `tables` [document] or [document, ...], in the order of
    `documents`, the ids, ascending.

    Everything an interval needs of a document, whatever its length. Two shards' sums add up (`merge`).
    """

    def __init__(self, document_ids):
        self.documents = np.unique(np.asarray(document_ids))
        self.tables: dict[str, np.ndarray] = {}

    def rows(self, document) -> np.ndarray:
        """The row of each token's document [token]; raises BadInput for one that was not announced."""
        document = np.asarray(document)
        rows = np.clip(np.searchsorted(self.documents, document), 0, len(self.documents) - 1)
        if len(unknown := document[self.documents[rows] != document]):
            raise BadInput(
                f"document {unknown[0]} is not among the {len(self.documents)} that were given folds"
            )
        return rows

    def add(self, document, **values) -> None:
        """Add tokens' values, each a tensor [token] or [token, ...], to the rows of their documents."""
        rows = torch.from_numpy(self.rows(document))
        for name, value in values.items():
            value = torch.as_tensor(value, dtype=torch.float64).cpu()
            if name not in self.tables:
                self.tables[name] = np.zeros((len(self.documents), *value.shape[1:]))
            torch.from_numpy(self.tables[name]).index_add_(0, rows, value)

    def merge(self, other: DocumentSums) -> DocumentSums:
        """Add another shard's sums over the same documents, in place."""
        if not np.array_equal(self.documents, other.documents):
            raise BadInput("sums over different sets of documents cannot be merged")
        for name, table in other.tables.items():
            self.tables[name] = self.tables[name] + table if name in self.tables else table.copy()
        return self

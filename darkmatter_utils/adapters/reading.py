"""Token contexts of any model for a text: which tokens are read, and which of them count."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy.lib.stride_tricks import sliding_window_view

from ..base.errors import BadInput
from .texts import dataset_documents, is_dataset, texts

DEFAULT_CONTEXT = 1024
BETWEEN = "\n\n"
"""What stands between documents that share a context."""
RUN = 13
"""Tokens in a row by which a text is known again."""


@dataclass(frozen=True)
class Reading:
    """Token contexts of documents that reach the window; shorter rows are filled up on the right."""

    tokens: Int[np.ndarray, "document position"]
    length: Int[np.ndarray, " document"]
    """Tokens of each row that are the document's, <bos> included."""
    document: Int[np.ndarray, " document"]
    """Number of each document in the text; of each context, where documents are packed."""
    window: tuple[int, int]
    """First position that counts and the one after the last."""
    short: int
    bos: bool
    unknown: float
    """Share of tokens that the tokenizer does not know."""
    source: tuple[str, ...]
    """Of each document; of a packed context "", where it holds several."""
    special: tuple[int, ...] = ()
    """Token ids that never count."""

    @property
    def sha256(self) -> str:
        """Digest of the token ids and lengths: the same digest, the same tokens."""
        return hashlib.sha256(self.tokens.tobytes() + self.length.tobytes()).hexdigest()

    @property
    def counts(self) -> Bool[np.ndarray, "document position"]:
        """Which tokens count: those of the document inside the window, but special ones."""
        position, (start, stop) = np.arange(self.tokens.shape[1]), self.window
        inside = (position >= start) & (position < np.minimum(self.length, stop)[:, None])
        return inside & ~np.isin(self.tokens, self.special)

    @property
    def repeated(self) -> float:
        """Share of the documents most of whose runs of `RUN` tokens are in one before them."""
        ends, drawn = np.minimum(self.length, self.window[1]), np.random.default_rng(0)
        times = drawn.integers(1, 2**63, RUN, dtype=np.uint64)  # a run's number is their sum, modulo 2**64
        filled = np.pad(self.tokens, ((0, 0), (0, RUN)), constant_values=-1).astype(np.uint64)
        runs = [
            np.unique(sliding_window_view(row[: max(end, RUN)], RUN) @ times)
            for row, end in zip(filled, ends)
        ]
        document = np.repeat(np.arange(len(runs)), [len(one) for one in runs])
        _, first, at = np.unique(np.concatenate(runs), return_index=True, return_inverse=True)
        again = np.bincount(document, document[first][at] < document, len(runs))
        return float((2 * again > np.bincount(document)).mean())

    @property
    def scored(self) -> Int[np.ndarray, " document"]:
        """Tokens of each document that count."""
        return self.counts.sum(axis=1)


def window(given: str) -> tuple[int, int]:
    """``FIRST:ONE-AFTER-LAST`` as two numbers, e.g. "200:1023"."""
    if not (found := re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", given, re.ASCII)):
        raise BadInput(f"positions '{given}' are not FIRST:ONE-AFTER-LAST, e.g. 200:1023")
    return int(found[1]), int(found[2])


def read(source: str, model, *, documents: int, positions, bos: bool, packed: bool) -> Reading:
    """The contexts of ``model`` (a LanguageModel) for a text: <bos>, then the document's first tokens.

    ``positions``: the window; if None, from an eighth of the context (at most 200) to its end, of contexts
    of at most 1,024 tokens. Of a dataset on the hub only documents that fill the window are taken (as in the
    paper). ``packed``: see `pack`. Raises BadInput for a window that no document reaches or the model cannot
    read, and for a tokenizer with ids that the model lacks.
    """
    if (tokenizer := model.tokenizer) is None:
        raise BadInput(f"{model.name} has no tokenizer; put its tokenizer files into the model's folder")
    but = f"but the model's vocabulary has {model.vocabulary}"
    unfit = lambda what: BadInput(f"the tokenizer does not fit {model.name}: it {what}, {but}")
    if tokenizer.vocab_size > model.vocabulary + 1:  # one more than the embedding may be a token for padding
        raise unfit(f"has {tokenizer.vocab_size} tokens")
    start, stop = positions or (None, min(model.context, DEFAULT_CONTEXT))
    start = min(200, stop // 8) if start is None else start
    if not 0 <= start < stop:
        raise BadInput(f"positions {start}:{stop} are empty; give FIRST:ONE-AFTER-LAST")
    if stop > model.context:
        most = f"{model.name} reads at most {model.context} tokens"
        raise BadInput(f"positions end at {stop}, but {most}; end them earlier")
    opening = [tokenizer.bos_token_id] if bos and tokenizer.bos_token_id is not None else []
    start, room = max(start, len(opening)), stop - len(opening)  # <bos> itself never counts
    how = dict(add_special_tokens=False, truncation=True, max_length=stop)

    def ids_of(text: str) -> list[int]:
        """What comes after <bos>, which the text may begin with itself."""
        ids = list(tokenizer(text, **how)["input_ids"])
        return (ids[1:] if opening and ids[:1] == opening else ids)[:room]

    if is_dataset(source):
        enough = lambda text: packed or len(ids_of(text)) >= room
        about = dict(model=model.name, vocabulary=tokenizer.vocab_size, stop=stop)
        about |= dict(packed=True) if packed else {}
        found = dataset_documents(source, count=documents, long_enough=enough, about=about)
    else:
        found = texts(source, limit=documents)
    made = [ids_of(text) for text in found]
    sources = [text.source for text in found]
    if packed:
        made, sources = pack(made, room, ids_of(BETWEEN), sources)
    rows = [opening + ids for ids in made]
    kept = [i for i, row in enumerate(rows) if len(row) > start]
    if not kept:
        longest = f"the longest of {len(rows)} {'contexts' if packed else 'documents'}"
        or_else = "" if packed else " (or pack short ones into one context)"
        raise BadInput(
            f"positions start at {start}, but {longest} has {max(map(len, rows))} tokens; start earlier or "
            f"give longer documents{or_else}"
        )
    if (highest := max(max(rows[i]) for i in kept)) >= model.vocabulary:
        raise unfit(f"gives token id {highest}")
    length = np.array([len(rows[i]) for i in kept])
    tokens = np.zeros((len(kept), int(length.max())), dtype=np.int64)
    for row, i in zip(tokens, kept):
        row[: len(rows[i])] = rows[i]
    real = np.arange(tokens.shape[1]) < length[:, None]
    real[:, : len(opening)] = False
    unknown = tokens[real] == tokenizer.unk_token_id if tokenizer.unk_token_id is not None else np.zeros(1)
    short, unknown = len(rows) - len(kept), float(unknown.mean())
    own, special = tuple(sources[i] for i in kept), tuple(model.special)
    about = (short, bool(opening), unknown, own, special)
    return Reading(tokens, length, np.array(kept), (start, stop), *about)


def pack(documents: list[list[int]], room: int, between: list[int], sources: list[str]):
    """(token ids of several documents in one context of ``room`` tokens, ``between``, a blank line, between
    them; their source, "" where they have several). What the end of a context cuts off is not continued: no
    document is in two contexts, and a context is what folds and intervals take for a document."""
    rows: list[list[int]] = [[]]
    of: list[set[str]] = [set()]
    for ids, source in zip(documents, sources, strict=True):
        if len(rows[-1]) + len(between) >= room:
            rows.append([])
            of.append(set())
        rows[-1] = (rows[-1] + (between if rows[-1] else []) + ids)[:room]
        of[-1].add(source)
    return rows, [min(one) if len(one) == 1 else "" for one in of]

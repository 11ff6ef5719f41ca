"""Texts of one's own as token contexts of any model: files read, tokenized, cut; one context a document, or
packed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from ..base.errors import BadInput
from .texts import dataset_documents, is_dataset, texts

DEFAULT_CONTEXT = 1024
BETWEEN = "\n\n"
"""What stands between documents that share a context."""


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
    """Documents that end before the window."""
    bos: bool
    unknown: float
    """Share of tokens that the tokenizer does not know."""

    @property
    def sha256(self) -> str:
        """Digest of the token ids and lengths: the same digest, the same tokens."""
        return hashlib.sha256(self.tokens.tobytes() + self.length.tobytes()).hexdigest()

    @property
    def scored(self) -> Int[np.ndarray, " document"]:
        """Tokens of each document that count."""
        return np.minimum(self.length, self.window[1]) - self.window[0]


def window(given: str) -> tuple[int, int]:
    """``FIRST:ONE-AFTER-LAST`` as two numbers, e.g. "200:1023"."""
    if not (found := re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", given, re.ASCII)):
        raise BadInput(f"positions '{given}' are not FIRST:ONE-AFTER-LAST, e.g. 200:1023")
    return int(found[1]), int(found[2])


def read(
    source: str,
    model,
    *,
    documents: int,
    positions: tuple[int, int] | None = None,
    bos: bool = True,
    packed: bool = False,
) -> Reading:
    """The contexts of ``model`` (a LanguageModel) for a text: <bos>, then the document's first tokens.

    ``positions``: the window; by default from an eighth of the context (at most 200) to its end, of contexts
    of at most 1,024 tokens. Of a dataset on the hub only documents that fill the window are taken (as in the
    paper). ``packed``: see `pack`. Raises BadInput for a window that no document reaches or the model cannot
    read, and for a tokenizer with ids that the model lacks.
    """
    tokenizer = fitting_tokenizer(model)
    start, stop = positions or (None, min(model.context, DEFAULT_CONTEXT))
    start = min(200, stop // 8) if start is None else start
    if not 0 <= start < stop:
        raise BadInput(f"positions {start}:{stop} are empty; give FIRST:ONE-AFTER-LAST")
    if stop > model.context:
        most = f"{model.name} reads at most {model.context} tokens"
        raise BadInput(f"positions end at {stop}, but {most}; end them earlier")
    opening = [tokenizer.bos_token_id] if bos and tokenizer.bos_token_id is not None else []
    start, room = max(start, len(opening)), stop - len(opening)  # <bos> itself never counts
    how = dict(add_special_tokens=False, truncation=True, max_length=room)
    ids_of = lambda text: list(tokenizer(text, **how)["input_ids"])
    if is_dataset(source):
        enough = lambda text: packed or len(ids_of(text)) >= room
        about = dict(model=model.name, vocabulary=tokenizer.vocab_size, stop=stop)
        about |= {"packed": True} if packed else {}
        found = dataset_documents(source, count=documents, long_enough=enough, about=about)
    else:
        found = texts(source, limit=documents)
    made = [ids_of(text) for text in found]
    if packed:
        made = pack(made, room, ids_of(BETWEEN))
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
        raise _unfit(model, f"gives token id {highest}")
    length = np.array([len(rows[i]) for i in kept])
    tokens = np.zeros((len(kept), int(length.max())), dtype=np.int64)
    for row, i in zip(tokens, kept):
        row[: len(rows[i])] = rows[i]
    real = np.arange(tokens.shape[1]) < length[:, None]
    real[:, : len(opening)] = False
    unknown = tokens[real] == tokenizer.unk_token_id if tokenizer.unk_token_id is not None else np.zeros(1)
    short, unknown = len(rows) - len(kept), float(unknown.mean())
    return Reading(tokens, length, np.array(kept), (start, stop), short, bool(opening), unknown)


def fitting_tokenizer(model):
    """A LanguageModel's tokenizer; BadInput where it has none, or one with more tokens than the model."""
    if (tokenizer := model.tokenizer) is None:
        raise BadInput(f"{model.name} has no tokenizer; put its tokenizer files into the model's folder")
    if tokenizer.vocab_size > model.vocabulary + 1:  # one more than the embedding may be a token for padding
        raise _unfit(model, f"has {tokenizer.vocab_size} tokens")
    return tokenizer


def _unfit(model, what: str) -> BadInput:
    why = f"it {what}, but the model's vocabulary has {model.vocabulary}"
    return BadInput(f"the tokenizer does not fit {model.name}: {why}")


def pack(documents: list[list[int]], room: int, between: list[int]) -> list[list[int]]:
    """Token ids of several documents in one context of ``room`` tokens, ``between`` (a blank line) between
    them. What the end of a context cuts off is not continued in the next: no document is in two contexts, and
    a context is what folds and intervals take for a document."""
    rows: list[list[int]] = [[]]
    for ids in documents:
        if len(rows[-1]) + len(between) >= room:
            rows.append([])
        rows[-1] = (rows[-1] + (between if rows[-1] else []) + ids)[:room]
    return rows

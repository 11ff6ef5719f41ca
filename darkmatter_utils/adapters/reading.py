"""Texts of one's own as token contexts of any model: files read, tokenized, cut; one context a document, or
packed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ..base.errors import BadInput
from ..base.places import DATA
from .dataset_texts import documents as dataset_documents
from .dataset_texts import is_dataset
from .text import read_contexts

SUFFIXES = (".txt", ".jsonl", ".parquet")
EMBEDDED = "embedded"
"""The name of the held-out text that is in the package."""
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
    """Whether each context opens with <bos>."""
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
    first, colon, last = given.partition(":")
    if not (
        colon and first.isascii() and last.isascii() and first.strip().isdigit() and last.strip().isdigit()
    ):
        raise BadInput(f"positions '{given}' are not FIRST:ONE-AFTER-LAST, e.g. 200:1023")
    return int(first), int(last)


def texts(source: str, *, limit: int) -> list[str]:
    """The first documents of a .txt file (one document), .jsonl ("text" or strings), .parquet (column
    "text"), a folder of such files, or ``embedded``.

    Raises BadInput where there is no text, naming what can be read.
    """
    if source == EMBEDDED:
        return _embedded(limit)
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    elif path.is_file() and path.suffix.lower() in SUFFIXES:
        files = [path]
    else:
        what = "cannot be read" if path.is_file() else "is not there"
        raise BadInput(
            f"text {source} {what}; give a file or a folder of {', '.join(SUFFIXES)}, or {EMBEDDED}"
        )
    found: list[str] = []
    for file in files:
        if len(found) >= limit:
            break
        found += _documents(file, limit - len(found))
    if not any(text.strip() for text in found):
        raise BadInput(
            f"text {source} has no documents; a folder must hold {', '.join(SUFFIXES)} files with text"
        )
    return [text for text in found if text.strip()]


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
        raise BadInput(
            (
                f"positions end at {stop}, but {model.name} reads at most {model.context} tokens; end them "
                f"earlier"
            )
        )
    opening = [tokenizer.bos_token_id] if bos and tokenizer.bos_token_id is not None else []
    start, room = max(start, len(opening)), stop - len(opening)  # <bos> itself never counts
    ids_of = lambda text: list(
        tokenizer(text, add_special_tokens=False, truncation=True, max_length=room)["input_ids"]
    )
    if is_dataset(source):
        enough = lambda text: packed or len(ids_of(text)) >= room
        about = dict(model=model.name, vocabulary=tokenizer.vocab_size, stop=stop) | (
            {"packed": True} if packed else {}
        )
        found = dataset_documents(source, count=documents, long_enough=enough, about=about)
    else:
        found = texts(source, limit=documents)
    made = [ids_of(text) for text in found]
    if packed:
        made = pack(made, room, list(tokenizer(BETWEEN, add_special_tokens=False)["input_ids"]))
    rows = [opening + ids for ids in made]
    kept = [i for i, row in enumerate(rows) if len(row) > start]
    if not kept:
        longest, what = max(map(len, rows)), "contexts" if packed else "documents"
        raise BadInput(
            f"positions start at {start}, but the longest of {len(rows)} {what} has {longest} tokens; "
            "start earlier or give longer documents"
            + ("" if packed else " (or pack short ones into one context)")
        )
    highest = max(max(rows[i]) for i in kept)
    if highest >= model.vocabulary:
        raise BadInput(
            f"the tokenizer does not fit {model.name}: it gives token id {highest}, but the model's "
            f"vocabulary "
            f"has {model.vocabulary}"
        )
    length = np.array([len(rows[i]) for i in kept])
    tokens = np.zeros((len(kept), int(length.max())), dtype=np.int64)
    for row, i in zip(tokens, kept):
        row[: len(rows[i])] = rows[i]
    real = np.arange(tokens.shape[1]) < length[:, None]
    real[:, : len(opening)] = False
    unknown = tokens[real] == tokenizer.unk_token_id if tokenizer.unk_token_id is not None else np.zeros(1)
    return Reading(
        tokens,
        length,
        np.array(kept),
        (start, stop),
        len(rows) - len(kept),
        bool(opening),
        float(unknown.mean()),
    )


def fitting_tokenizer(model):
    """The tokenizer of a LanguageModel; BadInput where it has none, or one with more tokens than the
    model."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise BadInput(f"{model.name} has no tokenizer; put its tokenizer files into the model's folder")
    if tokenizer.vocab_size > model.vocabulary + 1:  # one more than the embedding may be a token for padding
        raise BadInput(
            f"the tokenizer does not fit {model.name}: it has {tokenizer.vocab_size} tokens, but the model's "
            f"vocabulary has {model.vocabulary}"
        )
    return tokenizer


def pack(documents: list[list[int]], room: int, between: list[int]) -> list[list[int]]:
    """Token ids of several documents in one context of ``room`` tokens, ``between`` (a blank line) between
    them.

    A document that the end of its context cuts is not continued in the next: so no document is in two
    contexts, and a context is what folds and intervals take for a document.
    """
    rows: list[list[int]] = [[]]
    for ids in documents:
        if len(rows[-1]) + len(between) >= room:
            rows.append([])
        rows[-1] = (rows[-1] + (between if rows[-1] else []) + ids)[:room]
    return rows


def _documents(file: Path, limit: int) -> list[str]:
    suffix = file.suffix.lower()
    try:
        if suffix == ".txt":
            return [file.read_text("utf-8-sig")]
        if suffix == ".parquet":
            return _column(file, limit)
        found: list[str] = []
        with file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if len(found) == limit:
                    break
                if line.strip():
                    found.append(_entry(line, f"{file.name}, line {number},"))
        return found
    except BadInput:
        raise
    except (ValueError, TypeError, OSError) as error:  # pyarrow's errors are ValueErrors and OSErrors
        needs = {".txt": "UTF-8 text", ".jsonl": "UTF-8 text"}.get(suffix, "a Parquet table")
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise BadInput(f"{file.name} cannot be read as {needs} ({why})") from None


def _entry(line: str, where: str) -> str:
    """The document of a line of JSON."""
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise BadInput(
            f'{where} is not JSON ({error.msg}); a document is a line of JSON with "text"'
        ) from None
    if isinstance(entry, dict) and "text" not in entry:
        raise BadInput(f'{where} has no "text"; it has {", ".join(map(str, entry)) or "nothing"}')
    return _said(entry["text"] if isinstance(entry, dict) else entry, where)


def _column(file: Path, limit: int) -> list[str]:
    """The documents of a Parquet table."""
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    if "text" not in table.schema_arrow.names:
        raise BadInput(f'{file.name} has no column "text"; it has {", ".join(table.schema_arrow.names)}')
    found: list[str] = []
    for batch in table.iter_batches(batch_size=min(limit, 256), columns=["text"]):
        found += [
            _said(text, f"{file.name}, column text,")
            for text in batch.column(0).to_pylist()
            if text is not None
        ]
        if len(found) >= limit:
            break
    return found[:limit]


def _said(text, where: str) -> str:
    """``text``, if it is one that can be encoded."""
    if not isinstance(text, str):
        raise BadInput(f"{where} holds {type(text).__name__} where text should be")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{where} holds half of a character (a lone surrogate); it is damaged") from None
    return text


def _embedded(limit: int) -> list[str]:
    from transformers import AutoTokenizer

    contexts = read_contexts(DATA / "tiny", "score")
    tokenizer = AutoTokenizer.from_pretrained(DATA / "tiny" / "model")
    chosen = list(dict.fromkeys(contexts.document.tolist()))[:limit]
    return [
        tokenizer.decode(
            contexts.tokens[contexts.document == d][:, 1:].ravel().tolist(), skip_special_tokens=True
        )
        for d in chosen
    ]

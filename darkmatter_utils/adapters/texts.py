"""Texts: token sets of a data folder; documents of files or of a dataset; token contexts of any model."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from ..base.cache import Kept, key_of
from ..base.config import DATA
from ..base.errors import BadInput, nearest

SUFFIXES = (".txt", ".jsonl", ".parquet")
EMBEDDED = "embedded"
"""The name of the held-out text that is in the package."""
SEED, BUFFER = 42, 10_000
"""The paper's shuffle of a dataset: a buffer of so many documents, drawn from with this seed."""
LOOK = 200
"""Documents of a dataset that are looked at for each that is wanted; then one gives up."""


@dataclass(frozen=True)
class Contexts:
    """Token contexts of one length; a context is <bos> and tokens of one document."""

    tokens: Int[np.ndarray, "context position"]
    document: Int[np.ndarray, "context"]
    names: tuple[str, ...]
    sources: tuple[str, ...] = ()
    """Where each document comes from, by its number: a package, a book, a site; () where it is not known."""


def read_contexts(folder: Path, text: str, *, limit: int | None = None) -> Contexts:
    """The token set ``text`` of a data folder (tokens.npz: ``<text>_tokens``, ``_document``, ``_names``,
    ``_source``; without the last, the top folders of the names), or its first ``limit`` contexts. Raises
    BadInput for an unknown set or arrays that do not fit together."""
    path = folder / "tokens.npz"
    if not path.is_file():
        raise BadInput(f"{folder.name} has no tokens.npz, which holds the text as token ids")
    try:
        with np.load(path) as arrays:
            sets = sorted(name.removesuffix("_tokens") for name in arrays.files if name.endswith("_tokens"))
            if text not in sets:
                raise BadInput(f"{folder.name} has no text '{text}'; {nearest(text, sets)}")
            tokens, document = arrays[f"{text}_tokens"], arrays[f"{text}_document"]
            listed = lambda of: tuple(map(str, arrays[f"{text}_{of}"])) if f"{text}_{of}" in arrays else ()
            names, sources = listed("names"), listed("source")
    except BadInput:
        raise
    except Exception as error:  # a damaged zip raises many kinds
        why = f"cannot be read ({error}); restore it from the repository"
        raise BadInput(f"{folder.name}/tokens.npz {why}") from None
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or document.shape != tokens.shape[:1]:
        got = f"{tokens.dtype} {list(tokens.shape)} and {list(document.shape)}"
        need = "tokens must be ints [context, position] and document ints [context]"
        raise BadInput(f"{text}: {need}, got {got}")
    sources = sources or tuple(name.partition("/")[0] if "/" in name else "" for name in names)
    return Contexts(tokens[:limit], document[:limit].astype(np.int64), names, sources)


def texts(source: str, *, limit: int) -> list[str]:
    """The first documents of a .txt (one document), .jsonl ("text" or strings) or .parquet file (column
    "text"), a folder of such files, or ``embedded``. Raises BadInput where there is no text."""
    if source == EMBEDDED:
        return _embedded(limit)
    path, kinds = Path(source), ", ".join(SUFFIXES)
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() in SUFFIXES):
        what = "cannot be read" if path.is_file() else "is not there"
        raise BadInput(f"text {source} {what}; give a file or a folder of {kinds}, or {EMBEDDED}")
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    found: list[str] = []
    for file in files:
        if file.suffix.lower() in SUFFIXES and len(found) < limit:
            found += _documents(file, limit - len(found))
    if not (found := [text for text in found if text.strip()]):
        raise BadInput(f"text {source} has no documents; a folder must hold {kinds} files with text")
    return found


def _documents(file: Path, limit: int) -> list[str]:
    suffix = file.suffix.lower()
    try:
        if suffix == ".txt":
            return [file.read_text("utf-8-sig")]
        if suffix == ".parquet":
            return _column(file, limit)
        with file.open(encoding="utf-8-sig") as lines:
            full = (pair for pair in enumerate(lines, 1) if pair[1].strip())
            return [_entry(line, f"{file.name}, line {n},") for n, line in itertools.islice(full, limit)]
    except BadInput:
        raise
    except (ValueError, TypeError, OSError) as error:  # pyarrow's errors are ValueErrors and OSErrors
        needs = "a Parquet table" if suffix == ".parquet" else "UTF-8 text"
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
        raise BadInput(f"{file.name} cannot be read as {needs} ({why})") from None


def _entry(line: str, where: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError as error:
        what = 'a document is a line of JSON with "text"'
        raise BadInput(f"{where} is not JSON ({error.msg}); {what}") from None
    if isinstance(entry, dict) and "text" not in entry:
        raise BadInput(f'{where} has no "text"; it has {", ".join(map(str, entry)) or "nothing"}')
    return _said(entry["text"] if isinstance(entry, dict) else entry, where)


def _column(file: Path, limit: int) -> list[str]:
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    if "text" not in table.schema_arrow.names:
        raise BadInput(f'{file.name} has no column "text"; it has {", ".join(table.schema_arrow.names)}')
    batches = table.iter_batches(batch_size=min(limit, 256), columns=["text"])
    texts = (text for batch in batches for text in batch.column(0).to_pylist() if text is not None)
    return [_said(text, f"{file.name}, column text,") for text in itertools.islice(texts, limit)]


def _said(text, where: str) -> str:
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
    ids = [contexts.tokens[contexts.document == d][:, 1:].ravel().tolist() for d in chosen]
    return [tokenizer.decode(one, skip_special_tokens=True) for one in ids]


def is_dataset(source: str) -> bool:
    """Whether a name can only be a dataset's: owner/name[@REVISION], and nothing here has that name."""
    named = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", source) and not source.endswith(SUFFIXES)
    return bool(named) and not Path(source).exists()


def dataset_documents(source: str, *, count: int, long_enough, about: dict) -> list[str]:
    """The first ``count`` documents, after the shuffle, for which ``long_enough(text)``: streamed once and
    kept, so that every later pass reads the same. ``about``: what they depend on. Raises BadInput for a
    dataset that cannot be had, has no column "text", or ends too early."""
    kept = Kept("texts", key_of(source=source, count=count, seed=SEED, buffer=BUFFER, **about))
    found = kept.read(lambda folder: json.loads((folder / "texts.json").read_text("utf-8")))
    if found is None:
        looked = itertools.islice(stream(source), LOOK * count)
        found = list(itertools.islice(filter(long_enough, looked), count))
        if len(found) < 2:
            what = f"{len(found)} document(s) that are long enough"
            raise BadInput(f"dataset {source} has {what}; end the positions earlier")
        kept.write(lambda folder: (folder / "texts.json").write_text(json.dumps(found), "utf-8"))
    return found


def stream(source: str) -> Iterator[str]:
    """A dataset's training texts in the paper's shuffled order, without downloading all of it."""
    try:
        import datasets
    except ImportError:
        todo = "to stream it: pip install datasets, or give a file"
        raise BadInput(f"text {source} is a dataset's name; {todo}") from None
    name, _, revision = source.partition("@")
    try:
        rows = datasets.load_dataset(name, split="train", streaming=True, revision=revision or None)
        for row in rows.shuffle(seed=SEED, buffer_size=BUFFER):
            if "text" not in row:
                raise BadInput(f'dataset {source} has no column "text"; it has {", ".join(row)}')
            yield row["text"]
    except BadInput:
        raise
    except Exception as error:  # datasets, its file systems and the network raise many kinds
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        none = f"text {source} is no file here, and as a dataset it cannot be had"
        raise BadInput(f"{none} ({why})") from None


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
    how = dict(add_special_tokens=False, truncation=True, max_length=room)
    ids_of = lambda text: list(tokenizer(text, **how)["input_ids"])
    if is_dataset(source):
        enough = lambda text: packed or len(ids_of(text)) >= room
        about = dict(model=model.name, vocabulary=tokenizer.vocab_size, stop=stop)
        about |= dict(packed=True) if packed else {}
        found = dataset_documents(source, count=documents, long_enough=enough, about=about)
    else:
        found = texts(source, limit=documents)
    made = [ids_of(text) for text in found]
    rows = [opening + ids for ids in (pack(made, room, ids_of(BETWEEN)) if packed else made)]
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
    return Reading(tokens, length, np.array(kept), (start, stop), short, bool(opening), unknown)


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

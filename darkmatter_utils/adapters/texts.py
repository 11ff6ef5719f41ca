"""Texts: token sets of a data folder; documents of files or of a dataset."""

from __future__ import annotations

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


class Document(str):
    """A text that knows where it comes from, what it is called and what it is part of."""

    source = name = group = ""

    @classmethod
    def of(cls, text: str, source, name=None, group=None) -> Document:
        """A text with its source, name and group, such as a book that it is a chapter of; None: not known."""
        made = cls(text)
        made.source, made.name, made.group = ("" if v is None else str(v) for v in (source, name, group))
        return made


def texts(source: str, *, limit: int) -> list[Document]:
    """The first documents of a .txt (one document), .jsonl ("text" or strings) or .parquet file (column
    "text"), a folder of such files, or ``embedded``. A document's source is what its "source" says, else its
    top folder, or of a folder of tables the file. Raises BadInput where there is no text."""
    if source == EMBEDDED:
        return _embedded(limit)
    path, kinds = Path(source), ", ".join(SUFFIXES)
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() in SUFFIXES):
        what = "cannot be read" if path.exists() else "is not there"
        raise BadInput(f"text {source} {what}; give a file or a folder of {kinds}, or {EMBEDDED}")
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    found: list[Document] = []
    for file in files:
        if file.suffix.lower() in SUFFIXES and len(found) < limit:
            inside = file.relative_to(path).parts
            own = inside[0] if inside[1:] or (inside and file.suffix.lower() != ".txt") else ""
            read = _documents(file, limit - len(found))
            found += [Document.of(text, own if by is None else by, *more) for text, by, *more in read]
    if not (found := [text for text in found if text.strip()]):
        raise BadInput(f"text {source} has no documents; a folder must hold {kinds} files with text")
    return found


def _documents(file: Path, limit: int) -> list[tuple]:
    """(text, what its "source", "name" and "group" say) of the first documents of a file."""
    suffix = file.suffix.lower()
    try:
        if suffix == ".txt":
            return [(file.read_text("utf-8-sig"), None, file.name)]
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


def _entry(line: str, where: str) -> tuple:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:  # a number of many digits, a list in a list in a list
        what, why = 'a document is a line of JSON with "text"', getattr(error, "msg", type(error).__name__)
        raise BadInput(f"{where} is not JSON ({why}); {what}") from None
    if isinstance(entry, dict) and "text" not in entry:
        raise BadInput(f'{where} has no "text"; it has {", ".join(map(str, entry)) or "nothing"}')
    entry = entry if isinstance(entry, dict) else {"text": entry}
    return _said(entry["text"], where), *map(entry.get, ("source", "name", "group"))


def _column(file: Path, limit: int) -> list[tuple]:
    from pyarrow import parquet

    table = parquet.ParquetFile(file)
    if "text" not in table.schema_arrow.names:
        raise BadInput(f'{file.name} has no column "text"; it has {", ".join(table.schema_arrow.names)}')
    wanted = [name for name in ("text", "source") if name in table.schema_arrow.names]
    batches = table.iter_batches(batch_size=min(limit, 256), columns=wanted)
    rows = (row for batch in batches for row in batch.to_pylist() if row["text"] is not None)
    where = f"{file.name}, column text,"
    return [(_said(row["text"], where), row.get("source")) for row in itertools.islice(rows, limit)]


def _said(text, where: str) -> str:
    if not isinstance(text, str):
        raise BadInput(f"{where} holds {type(text).__name__} where text should be")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{where} holds half of a character (a lone surrogate); it is damaged") from None
    return text


def _embedded(limit: int) -> list[Document]:
    from transformers import AutoTokenizer

    contexts = read_contexts(DATA / "tiny", "score")
    tokenizer = AutoTokenizer.from_pretrained(DATA / "tiny" / "model")
    chosen = list(dict.fromkeys(contexts.document.tolist()))[:limit]
    ids = [contexts.tokens[contexts.document == d][:, 1:].ravel().tolist() for d in chosen]
    decode = lambda one: tokenizer.decode(one, skip_special_tokens=True)
    return [Document.of(decode(one), contexts.sources[d]) for d, one in zip(chosen, ids)]


def is_dataset(source: str) -> bool:
    """Whether a name can only be a dataset's: owner/name[@REVISION], and nothing here has that name."""
    named = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", source) and not source.endswith(SUFFIXES)
    return bool(named) and not Path(source).exists()


def dataset_documents(source: str, *, count: int, long_enough, about: dict) -> list[Document]:
    """The first ``count`` documents, after the shuffle, for which ``long_enough(text)``: streamed once and
    kept, so that every later pass reads the same. ``about``: what they depend on. Raises BadInput for a
    dataset that cannot be had, has no column "text", or ends too early."""
    kept = Kept("texts", key_of(source=source, count=count, seed=SEED, buffer=BUFFER, **about))
    load = lambda folder: json.loads((folder / "texts.json").read_text("utf-8"))
    found = kept.read(lambda folder: [Document.of(*pair) for pair in load(folder)])
    if found is None:
        looked = itertools.islice(stream(source), LOOK * count)
        found = list(itertools.islice(filter(long_enough, looked), count))
        if len(found) < 2:
            what = f"{len(found)} document(s) that are long enough"
            raise BadInput(f"dataset {source} has {what}; end the positions earlier")
        pairs = json.dumps([[text, text.source] for text in found])
        kept.write(lambda folder: (folder / "texts.json").write_text(pairs, "utf-8"))
    return found


def stream(source: str) -> Iterator[Document]:
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
            yield Document.of(row["text"], row.get("source"))
    except BadInput:
        raise
    except Exception as error:  # datasets, its file systems and the network raise many kinds
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        none = f"text {source} is no file here, and as a dataset it cannot be had"
        raise BadInput(f"{none} ({why})") from None

"""Documents of a dataset on the hub, streamed once and kept, so that every later pass reads the same ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..base.cache import Kept, key_of
from ..base.errors import BadInput

SEED, BUFFER = 42, 10_000
"""The paper's shuffle: a buffer of so many documents, drawn from with this seed."""


def is_dataset(source: str) -> bool:
    """Whether a text's name can only be a dataset's: owner/name[@REVISION], and nothing of that name is
    here."""
    return (
        not Path(source).exists()
        and bool(re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", source))
        and not source.endswith((".txt", ".jsonl", ".parquet"))
    )


def documents(source: str, *, count: int, long_enough, about: dict) -> list[str]:
    """The first ``count`` documents, after the shuffle, for which ``long_enough(text)``; ``about``: what it
    depends on.

    Kept in the cache. Raises BadInput for a dataset that cannot be had, has no column "text", or ends too
    early.
    """
    kept = Kept("texts", key_of(source=source, count=count, seed=SEED, buffer=BUFFER, **about))
    found = kept.read(lambda folder: json.loads((folder / "texts.json").read_text("utf-8")))
    if found is None:
        found = chosen(stream(source), count=count, long_enough=long_enough)
        if len(found) < 2:
            raise BadInput(
                (
                    f"dataset {source} has {len(found)} document(s) that are long enough; end the "
                    f"positions earlier"
                )
            )
        kept.write(lambda folder: (folder / "texts.json").write_text(json.dumps(found), "utf-8"))
    return found


def chosen(texts: Iterable[str], *, count: int, long_enough, look: int = 200) -> list[str]:
    """The first ``count`` that are long enough; gives up after ``look`` times as many."""
    found: list[str] = []
    for seen, text in enumerate(texts):
        if len(found) == count or seen == look * count:
            break
        if long_enough(text):
            found.append(text)
    return found


def stream(source: str) -> Iterator[str]:
    """A dataset's training texts in the paper's shuffled order, without downloading all of it."""
    try:
        import datasets
    except ImportError:
        raise BadInput(
            f"text {source} is a dataset's name; to stream it: pip install datasets, or give a file"
        ) from None
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
        why = " ".join(str(error).split())[:160]
        raise BadInput(
            (
                f"text {source} is no file here, and as a dataset it cannot be had "
                f"({type(error).__name__}: {why})"
            )
        ) from None

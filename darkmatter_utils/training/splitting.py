"""Documents to token contexts in three sets: *train*, *component* (thresholds, parts) and *score*."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..adapters.texts import Document, texts
from ..base.errors import BadInput
from .language_model import encode

SEED = 0
ALL = 1 << 40
"""Documents that are read: every one."""
SCORE_CONTEXTS, COMPONENT_CONTEXTS = 2, 8
"""Contexts taken from one document at most, so that long ones do not speak for the rest."""
LARGEST_SHARE = 0.3
"""No source gives more of the training contexts, where there are four or more."""


def read(source: str) -> list[Document]:
    """The documents of a text, in order; one without a name is called by its number, a group of its own."""
    found = texts(source, limit=ALL)
    for number, one in enumerate(found):
        one.source, one.name = one.source or "text", one.name or str(number)
        one.group = one.group or one.name
    return found


def split(
    documents: Sequence[Document],
    tokenizer,
    *,
    context: int,
    score: int,
    component: int,
    train: int,
    held_out=(),
) -> tuple[dict[str, np.ndarray], dict]:
    """(contexts of the three sets and where they come from, counts for the manifest).

    A context is <bos> and ``context`` − 1 tokens of one document. From each source in turn, groups in random
    order give to *score* until its share of ``score`` contexts is reached, then to *component*, then to
    *train*, unless the source is among ``held_out``; of *train* as many contexts as are asked for, in random
    order, no source above `LARGEST_SHARE`. Raises BadInput where no document fills a context. Cost: the
    tokenizer on all of the text.
    """
    ids, body = encode(tokenizer, list(documents)), context - 1
    wide = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    special = set(tokenizer.all_special_ids)
    first = (tokenizer.bos_token_id, tokenizer.eos_token_id, 0)  # as models without <bos> were trained
    bos = next(id for id in first if id is not None)
    sources = sorted({one.source for one in documents})
    sets = {"score": (score, SCORE_CONTEXTS), "component": (component, COMPONENT_CONTEXTS)}
    taken: dict[str, list] = {name: [] for name in (*sets, "train")}  # (document, start of its tokens)
    for source in sources:
        rng = random.Random(f"{SEED} {source}")
        groups: dict[str, list[int]] = {}
        for i, one in enumerate(documents):
            if one.source == source and len(ids[i]) >= body and not special & set(ids[i].tolist()):
                groups.setdefault(one.group, []).append(i)
        left = rng.sample(sorted(groups), len(groups))
        for name, (wanted, most) in sets.items():
            had = 0
            while left and had < -(-wanted // len(sources)):
                for i in groups[left.pop()]:
                    count = min(most, len(ids[i]) // body, -(-wanted // len(sources)) - had)
                    start = rng.randrange(len(ids[i]) - count * body + 1)
                    taken[name] += [(i, start + k * body) for k in range(count)]
                    had += count
        if source not in held_out:
            rest = (i for group in left for i in groups[group])
            taken["train"] += [(i, at) for i in rest for at in range(0, len(ids[i]) - body + 1, body)]
    if not all(taken.values()):
        empty = next(name for name, rows in taken.items() if not rows)
        raise BadInput(
            f"the text leaves no contexts of {context} tokens for '{empty}'; give more or longer documents"
        )
    taken["train"] = _capped(taken["train"], documents, train)
    held: dict[str, np.ndarray] = {}
    for name, rows in taken.items():
        made = np.full((len(rows), context), bos, dtype=wide)
        for row, (i, at) in enumerate(rows):
            made[row, 1:] = ids[i][at : at + body]
        held[f"{name}_tokens"] = made
        numbers = {i: k for k, i in enumerate(dict.fromkeys(i for i, _ in rows))}
        held[f"{name}_document"] = np.array([numbers[i] for i, _ in rows], dtype=np.int32)
        held[f"{name}_names"] = np.array([f"{documents[i].source}/{documents[i].name}" for i in numbers])
        held[f"{name}_source"] = np.array([documents[i].source for i in numbers])
    return held, _counts(documents, ids, taken, body)


def _capped(rows: list, documents: Sequence[Document], wanted: int) -> list:
    """So many of the rows, at random, none of whose sources exceeds its share."""
    rng, by = random.Random(SEED), {}
    for row in rng.sample(rows, len(rows)):
        by.setdefault(documents[row[0]].source, []).append(row)
    share = max(LARGEST_SHARE, 1 / len(by))
    total = min(wanted, len(rows))
    for _ in range(100):  # total = Σ min(size, share · total): a contraction
        total = min(total, sum(min(len(own), int(share * total) + 1) for own in by.values()))
    room = {source: min(len(own), int(share * total) + 1) for source, own in by.items()}
    kept = [row for source, own in by.items() for row in own[: room[source]]]
    return rng.sample(kept, min(wanted, len(kept)))


def _counts(documents, ids, taken: dict[str, list], body: int) -> dict:
    tokens, files = Counter(), Counter()
    for one, own in zip(documents, ids):
        tokens[one.source] += len(own)
        files[one.source] += 1
    rows = []
    for source in sorted(tokens):
        row = {"source": source, "documents": files[source], "tokens": tokens[source]}
        for name, some in taken.items():
            own = [i for i, _ in some if documents[i].source == source]
            row |= {f"{name}_tokens": len(own) * body, f"{name}_documents": len(set(own))}
        rows.append(row)
    return {"sources": rows, "context": body + 1}

"""The embedded study's text: Python sources of installed distributions, split by distribution, as tokens.

Training text comes from the packages of the locked environment; held-out text from the standard library and a
few named permissive packages that neither the model nor an SAE of x is trained on; `hold_out` parts it into
what is scored and what thresholds, and SAEs of parts of the error, are made with. Near-duplicates go first:
vendored and generated files would otherwise put held-out text into the training set.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import random
import re
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import language_model

SEED = 0
STDLIB = "python-stdlib"
HELD_OUT = (STDLIB, "networkx", "rich", "pytest", "jinja2", "click")
"""Distributions whose text is held out; all under permissive licences, since their token ids are shipped."""
NEVER = ("pip", "setuptools", "wheel", "darkmatter-utils")
"""Not training text: tools of the environment that vendor other packages, and this package itself."""
LARGEST_SHARE = 0.0495
"""No distribution makes up more of the characters of the training text (under 5% of its bytes)."""
SHORTEST, LONGEST = 400, 200_000
"""Bytes of a source file that is kept: shorter ones are empty modules, longer ones are tables."""
DUPLICATE = 0.3
"""A file is a near-duplicate if this share of its shingles was seen in files kept before it."""
TOKENIZER_CHARACTERS = 30_000_000
"""Training text that the tokenizer is fitted on."""
SCORE_TOKENS, COMPONENT_TOKENS = 250_000, 1_600_000
"""Tokens of the two disjoint sets of held-out documents, at least."""
SCORE_CONTEXTS, COMPONENT_CONTEXTS = 4, 16
"""Contexts taken from one document at most, so that long files do not speak for the rest."""


class Source(NamedTuple):
    """One source file, by its path inside the distribution that ships it."""

    distribution: str
    path: str
    text: str


def _files(name: str) -> list:
    return importlib.metadata.distribution(name).files or []


def _paths(name: str) -> list[tuple[str, Path]]:
    if name == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        skip = {"site-packages", "test", "tests", "idle_test", "lib2to3", "ensurepip", "__pycache__"}
        found = ((p.relative_to(root), p) for p in root.rglob("*.py"))
        return sorted((r.as_posix(), p) for r, p in found if not skip & set(r.parts))
    own = (f for f in _files(name) if f.suffix == ".py" and ".." not in f.parts)
    return sorted((f.as_posix(), Path(f.locate())) for f in own)


def sources(name: str) -> Iterator[Source]:
    """The distribution's source files of a usable length, in order of path."""
    for relative, path in _paths(name):
        try:
            if SHORTEST <= path.stat().st_size <= LONGEST:
                yield Source(name, relative, path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue  # a record of a file that is not there, or a test file in another encoding


def distributions() -> list[str]:
    """Names of what is installed as the package index normalises them, without the environment's tools."""
    names = {d.metadata["Name"] for d in importlib.metadata.distributions()} - {None}
    return sorted({re.sub(r"[-_.]+", "-", name).lower() for name in names} - set(NEVER))


def shingles(text: str) -> set[int]:
    """Hashes of every run of 3 lines that say something (12 characters or more), spaces ignored."""
    kept = [squeezed for line in text.splitlines() if len(squeezed := "".join(line.split())) >= 12]
    runs = ("\n".join(kept[i : i + 3]) for i in range(max(1, len(kept) - 2)))
    return {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs}


def without_duplicates(files: Iterable[Source], seen: set[int]) -> Iterator[Source]:
    """The files of which less than ``DUPLICATE`` was ``seen`` before, which is added to."""
    for source in files:
        own = shingles(source.text)
        if len(own & seen) < DUPLICATE * len(own):
            yield source
        seen |= own


def capped(groups: dict[str, list[Source]], *, share: float = LARGEST_SHARE) -> list[Source]:
    """The files such that no distribution exceeds ``share`` of all: the largest lose files at random."""
    sizes = {name: sum(len(f.text) for f in files) for name, files in groups.items()}
    cap = float(sum(sizes.values()))
    for _ in range(200):  # cap = share · Σ min(size, cap): a contraction
        cap = share * sum(min(size, cap) for size in sizes.values())
    kept = []
    for name, files in sorted(groups.items()):
        files, room = list(files), cap
        random.Random(f"darkmatter {name}").shuffle(files)
        for source in files:
            if len(source.text) <= room:
                kept.append(source)
                room -= len(source.text)
    return kept


def split() -> tuple[list[Source], list[Source]]:
    """Training and held-out files, near-duplicates removed (held-out text stays, its copies in training go).

    Cost: about a minute and 4 GB for 350 MB of installed sources.
    """
    seen: set[int] = set()
    held_out = [s for name in HELD_OUT for s in without_duplicates(sources(name), seen)]
    names = [name for name in distributions() if name not in HELD_OUT]
    groups = {name: list(without_duplicates(sources(name), seen)) for name in names}
    return capped({name: files for name, files in groups.items() if files}), held_out


def origins(files: Iterable[Source]) -> list[dict]:
    """What the text is made of, for the manifest: distribution, version, licence, files and bytes."""
    rows: dict[str, list[int]] = {}
    for source in files:
        row = rows.setdefault(source.distribution, [0, 0])
        row[0] += 1
        row[1] += len(source.text.encode())
    columns = ("distribution", "version", "licence", "files", "bytes")
    return [
        dict(zip(columns, (name, *_version_and_licence(name), *row))) for name, row in sorted(rows.items())
    ]


def _version_and_licence(name: str) -> tuple[str, str]:
    if name == STDLIB:
        return sysconfig.get_python_version(), "PSF-2.0"
    about = importlib.metadata.metadata(name)
    trove = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    licence = about.get("License-Expression") or " / ".join(trove) or (about.get("License") or "unknown")
    return about["Version"], licence.splitlines()[0][:80]


def licence_texts(name: str) -> str:
    """The licence files that a held-out distribution ships, joined: what its notice must say."""
    if name == STDLIB:
        paths = [Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt"]
    else:
        said = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)", re.I)
        paths = [Path(f.locate()) for f in _files(name) if said.match(f.name)]
    return "\n\n".join(p.read_text("utf-8", errors="replace").strip() for p in paths if p.is_file())


def prepare(build: Path, *, log) -> None:
    """Text to token files: tokenizer/, training.npy, held_out.npz, text.json."""
    if (build / "text.json").exists():
        return
    build.mkdir(parents=True, exist_ok=True)
    log("text: reading the installed packages and removing near-duplicates")
    training, held_out = split()
    texts = [source.text for source in random.Random(SEED).sample(training, len(training))]
    before = accumulate(map(len, texts), initial=0)
    sample = [text for text, characters in zip(texts, before) if characters < TOKENIZER_CHARACTERS]
    tokenizer = language_model.train_tokenizer(sample, build / "tokenizer")
    log("text: encoding")
    documents = language_model.encode(tokenizer, [s.text for s in training])
    np.save(build / "training.npy", language_model.pack(documents, seed=SEED))
    held = hold_out(held_out, language_model.encode(tokenizer, [s.text for s in held_out]))
    np.savez_compressed(build / "held_out.npz", **held)
    about = dict(
        training=origins(training),
        held_out=origins(held_out),
        training_tokens=sum(map(len, documents)),
        training_bytes=sum(len(s.text.encode()) for s in training),
        held_out_licences={name: licence_texts(name) for name in HELD_OUT},
    )
    (build / "text.json").write_text(json.dumps(about, indent=1))


def hold_out(files: list[Source], ids: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The *score* and *component* sets: whole contexts of disjoint documents, a run of contexts from each.

    Returns tokens [n, 256] uint16 and document [n] int32 for each set, and the documents' names. A context is
    <bos> and 255 tokens of one file, from a random place in it; files with fewer tokens are left out.
    """
    rng = random.Random(SEED)
    body = language_model.CONTEXT - 1
    order = [i for i in rng.sample(range(len(files)), len(files)) if len(ids[i]) >= body]
    sets = {"score": (SCORE_TOKENS, SCORE_CONTEXTS), "component": (COMPONENT_TOKENS, COMPONENT_CONTEXTS)}
    held: dict[str, np.ndarray] = {}
    for name, (wanted, most) in sets.items():
        tokens, document, names = [], [], []
        while order and len(tokens) * language_model.CONTEXT < wanted:
            i = order.pop()
            count = min(most, len(ids[i]) // body)
            start = rng.randrange(len(ids[i]) - count * body + 1)
            for at in range(start, start + count * body, body):
                tokens.append(np.concatenate([[language_model.BOS], ids[i][at : at + body]]))
                document.append(len(names))
            names.append(f"{files[i].distribution}/{files[i].path}")
        held[f"{name}_tokens"] = np.array(tokens, dtype=np.uint16)
        held[f"{name}_document"] = np.array(document, dtype=np.int32)
        held[f"{name}_names"] = np.array(names)
    return held

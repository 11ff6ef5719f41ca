"""The embedded study's text: Python sources of installed distributions, split by distribution.

Training text comes from the packages of the locked environment; held-out text from the standard library and a
few named permissive packages that the model and its SAEs never see. Near-duplicates go first: vendored and
generated files would otherwise put held-out text into the training set.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import random
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

STDLIB = "python-stdlib"
HELD_OUT = (STDLIB, "networkx", "rich", "pytest", "jinja2", "click")
"""Distributions whose text is held out; all under permissive licences, since their token ids are shipped."""
NEVER = ("pip", "setuptools", "wheel", "darkmatter-utils")
"""Not training text: tools of the environment that vendor other packages, and this package itself."""
LARGEST_SHARE = 0.0495
"""No distribution makes up more than this share of the characters of the training text (under 5% of its
bytes)."""
SHORTEST, LONGEST = 400, 200_000
"""Bytes of a source file that is kept: shorter ones are empty modules, longer ones are tables."""
DUPLICATE = 0.3
"""A file is a near-duplicate if this share of its shingles was seen in files kept before it."""


@dataclass(frozen=True)
class Source:
    """One source file."""

    distribution: str
    """Normalised name of the distribution that ships it."""
    path: str
    """Path inside the distribution."""
    text: str


@dataclass(frozen=True)
class Origin:
    """Where a share of the text comes from: the row of a distribution in the manifest."""

    distribution: str
    version: str
    licence: str
    files: int
    bytes: int


def normal(name: str) -> str:
    """A distribution's name as the package index normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _paths(name: str) -> list[tuple[str, Path]]:
    if name == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        skip = {"site-packages", "test", "tests", "idle_test", "lib2to3", "ensurepip", "__pycache__"}
        found = ((p.relative_to(root), p) for p in root.rglob("*.py"))
        return sorted((r.as_posix(), p) for r, p in found if not skip & set(r.parts))
    files = importlib.metadata.distribution(name).files or []
    return sorted(
        (f.as_posix(), Path(f.locate())) for f in files if f.suffix == ".py" and ".." not in f.parts
    )


def sources(name: str) -> Iterator[Source]:
    """The distribution's source files of a usable length, in order of path."""
    for relative, path in _paths(name):
        try:
            if SHORTEST <= path.stat().st_size <= LONGEST:
                yield Source(name, relative, path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue  # a record of a file that is not there, or a test file in another encoding


def distributions() -> list[str]:
    """Normalised names of what is installed, without the tools of the environment."""
    names = {normal(d.metadata["Name"]) for d in importlib.metadata.distributions() if d.metadata["Name"]}
    return sorted(names - set(NEVER))


def shingles(text: str, *, lines: int = 3) -> set[int]:
    """Hashes of every run of ``lines`` lines that say something (12 characters or more), spaces ignored."""
    kept = [squeezed for line in text.splitlines() if len(squeezed := "".join(line.split())) >= 12]
    runs = ("\n".join(kept[i : i + lines]) for i in range(max(1, len(kept) - lines + 1)))
    return {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs}


def without_duplicates(files: Iterable[Source], seen: set[int] | None = None) -> Iterator[Source]:
    """The files of which less than ``DUPLICATE`` was seen before; ``seen`` is added to, so calls can be
    chained."""
    seen = set() if seen is None else seen
    for source in files:
        own = shingles(source.text)
        if len(own & seen) < DUPLICATE * len(own):
            yield source
        seen |= own


def capped(groups: dict[str, list[Source]], *, share: float = LARGEST_SHARE) -> list[Source]:
    """The files such that no distribution exceeds ``share`` of all bytes: the largest lose files at
    random."""
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
    """Training and held-out files, near-duplicates removed (held-out text is kept, its copies in training
    go).

    Cost: about a minute and 4 GB for 350 MB of installed sources.
    """
    seen: set[int] = set()
    held_out = [s for name in HELD_OUT for s in without_duplicates(sources(name), seen)]
    groups = {}
    for name in distributions():
        if name not in HELD_OUT:
            groups[name] = list(without_duplicates(sources(name), seen))
    training = capped({name: files for name, files in groups.items() if files})
    return training, held_out


def origins(files: Iterable[Source]) -> list[Origin]:
    """What the text is made of, a row a distribution, for the manifest."""
    rows: dict[str, list[int]] = {}
    for source in files:
        row = rows.setdefault(source.distribution, [0, 0])
        row[0] += 1
        row[1] += len(source.text.encode())
    return [Origin(name, *_version_and_licence(name), *row) for name, row in sorted(rows.items())]


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
        candidates = [Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt"]
    else:
        files = importlib.metadata.distribution(name).files or []
        candidates = [
            Path(f.locate()) for f in files if re.match(r"(LICEN[CS]E|COPYING|NOTICE)", f.name, re.I)
        ]
    return "\n\n".join(p.read_text("utf-8", errors="replace").strip() for p in candidates if p.is_file())

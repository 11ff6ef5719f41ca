"""The records of the book's chapters, as a chapter that reports on them reads them.

A chapter that calls ``chapter.reads`` has the cell tag ``reads-records``: it runs after all others, the index
last, and is stale when the values of a record that it read changed, came or went.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..base.errors import BadInput
from ..base.provenance import digest
from ..studies.study import FORMAT_TESTS

EVERY = "*"
"""Stands for every study that has records."""
ONE = "[0-9][0-9].json"
"""The name of a record."""
SECONDS = "seconds.json"
"""Beside a study's published records: how long each chapter took where it was published."""
INDEX = 0
"""The chapter that reports on all others; no other chapter reads it."""


def project_root(start: Path | None = None) -> Path:
    """The project around ``start`` (by default DARKMATTER_PROJECT, then the current folder, then the
    installed package).

    Raises BadInput where there is none: a project has ``_toc.yml`` and ``notebooks/``.
    """
    given = start or os.environ.get("DARKMATTER_PROJECT")
    first = Path(given).resolve() if given else Path.cwd()
    candidates = [first, *first.parents] + ([] if given else [Path(__file__).resolve().parents[2]])
    for folder in candidates:
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise BadInput(
        (
            f"no book at {first} or above it; run this where _toc.yml and notebooks/ are, or set "
            f"DARKMATTER_PROJECT"
        )
    )


def project() -> Path | None:
    """The project around the current folder, else the installed one; None where there is none."""
    try:
        return project_root()
    except BadInput:
        return None


def published(root: Path, study: str) -> Path:
    """The folder of a study's published records."""
    return root / "book" / "records" / study


def records(root: Path, study: str) -> dict[int, Path]:
    """A study's records by chapter: those made here, else the published ones."""
    folders = published(root, study), root / "build" / study / "records"
    found = {int(path.stem): path for folder in folders for path in folder.glob(ONE)}
    return dict(sorted(found.items()))


def studies(root: Path) -> list[str]:
    """The studies that have records, by name, without those that only test formats."""
    there = {path.parent.name for path in (root / "book" / "records").glob(f"*/{ONE}")}
    there |= {path.parents[1].name for path in (root / "build").glob(f"*/records/{ONE}")}
    return sorted(there - set(FORMAT_TESTS))


def named(root: Path, asked) -> list[str]:
    """The studies asked for, ``EVERY`` spelled out, in order and once."""
    every = studies(root) if EVERY in asked else []
    return sorted({*every, *(name for name in asked if name != EVERY)})


def read(root: Path, study: str, *, reader: int) -> dict[int, dict]:
    """The values of a study's records by chapter, without the index's and those of the chapter that reads.

    Raises BadInput for a file that is no record.
    """
    found = {}
    for number, path in records(root, study).items():
        if number not in (INDEX, reader):
            try:
                found[number] = json.loads(path.read_text(encoding="utf-8"))["values"]
            except (ValueError, KeyError, TypeError):
                raise BadInput(
                    (
                        f"{study}/{path.name} is no record of a chapter; make it again: darkmatter run "
                        f"{path.stem} --study {study}"
                    )
                ) from None
    return found


def hashes(root: Path, asked, *, reader: int) -> dict[str, str]:
    """The hash of every record's values that a chapter reads, by "study/NN"."""
    return {
        f"{study}/{number:02d}": hash_of(values)
        for study in named(root, asked)
        for number, values in read(root, study, reader=reader).items()
    }


def hash_of(values: dict) -> str:
    """The hash of a record's values."""
    return digest(json.dumps(values, sort_keys=True).encode())


def changed(root: Path, kept: dict, *, reader: int) -> list[str]:
    """Which records, by "study/NN", are no longer those that a chapter read; ``kept`` is its record's note of
    them."""
    now, was = hashes(root, kept["asked"], reader=reader), kept["found"]
    return sorted(name for name in now.keys() | was.keys() if now.get(name) != was.get(name))

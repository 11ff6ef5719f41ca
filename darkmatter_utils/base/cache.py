"""Results kept by the content that they follow from: written atomically, verified on reading."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd
from filelock import FileLock

from . import ideas, provenance
from .config import cache_folder
from .errors import BadInput
from .values import Absent, whole

PROGRESS = "DARKMATTER_PROGRESS"
"""Environment variable: a file that says what a long computation is at, for whoever waits for it."""
LIBRARIES = ("torch", "numpy", "scipy", "transformers", "transformer-lens", "sae-lens")
"""Whose versions a result depends on."""


def tell(line: str) -> None:
    """Say what a long computation is at, where someone asked for it."""
    if os.environ.get(PROGRESS):
        Path(os.environ[PROGRESS]).write_text(line, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(packages: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Installed versions, by default of the libraries that numbers come out of."""
    return {name: importlib.metadata.version(name) for name in packages}


def key_of(**parts) -> str:
    """The key of a result: a digest of everything that it follows from."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def stamps(path: Path) -> list[list]:
    """Path, size and time of a file, or of every file in a folder: what tells of a change without reading."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def listed(folder: Path) -> dict[str, dict]:
    """Size and sha256 of every file below a folder, by its path there: what a manifest's ``files`` holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = lambda path: dict(bytes=path.stat().st_size, sha256=sha256(path))
    return {path.relative_to(folder).as_posix(): about(path) for path in files}


def verify(folder: Path, *, only: list[str] | None = None) -> dict:
    """Check the files of a data folder against its manifest and return the manifest.

    Raises BadInput naming the first file that is missing, truncated or altered. Cost: a read of every file.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, about in manifest["files"].items():
        if only is not None and not any(name == o or name.startswith(o.rstrip("/") + "/") for o in only):
            continue
        path, said = folder / name, f"{folder.name}/{name}"
        mend = "restore it from the repository (git checkout) or make it anew (darkmatter train)"
        if not path.is_file():
            raise BadInput(f"{said} is missing; {mend}")
        if (size := path.stat().st_size) != about["bytes"]:
            raise BadInput(f"{said} has {size} bytes, the manifest says {about['bytes']}: truncated? {mend}")
        if sha256(path) != about["sha256"]:
            raise BadInput(f"{said} was altered: its sha256 is not the manifest's; {mend}")
    return manifest


def kept(compute: Callable[..., Mapping[str, pd.DataFrame | Absent] | Absent]):
    """A function (subject, **settings) -> tables by name, computed once and kept by content.

    The key: the definitions that the function uses, ``subject.key()`` (a dict: all that the subject's numbers
    follow from; of a study that reads no files its ``fingerprint()`` does), library versions, and the
    settings: JSON values, or functions, which count by what they say (`ideas.digest`). Tables are stored as
    Parquet, whole and verified on reading; a fresh and a kept result are both what was read back. `Absent`,
    the whole or a table of it, is handed through. ``.anew`` is the function itself.
    """

    @functools.wraps(compute)
    def found(subject, **settings):
        given = inspect.signature(compute).bind(subject, **settings)
        given.apply_defaults()
        if len(given.args) > 1:
            raise TypeError(f"{compute.__name__} takes its settings by name")
        named = {name: ideas.digest(v) if ideas.is_idea(v) else v for name, v in given.kwargs.items()}
        code = provenance.key(provenance.of(compute))
        about = subject.key() if hasattr(subject, "key") else subject.fingerprint()
        key = key_of(subject=about, code=code, versions=versions(), settings=named)
        place = Kept(f"{compute.__name__.replace('_', '-')}-{subject.name}", key)
        tables = place.read(_read)
        if tables is None:
            made = compute(subject, **given.kwargs)
            if isinstance(made, Absent):
                return made
            place.write(lambda folder: _write(made, folder))
            tables = place.read(_read)
        return tables

    found.anew = compute
    return found


def _write(tables: Mapping[str, pd.DataFrame | Absent], folder: Path) -> None:
    for name, table in tables.items():
        if isinstance(table, Absent):
            (folder / f"{name}.absent").write_text(table.reason, encoding="utf-8")
        else:
            table.to_parquet(folder / f"{name}.parquet")


def _read(folder: Path) -> dict[str, pd.DataFrame | Absent]:
    tables = {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}
    return tables | {p.stem: Absent(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.absent"))}


def sealed(folder: Path) -> bool:
    """Whether a kept result's files are all there, each as it was written."""
    try:
        digests = json.loads((folder / "seal.json").read_text())
        return all(sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


class Kept:
    """A folder of files that is either whole and verified, or not there.

    ``read(load)`` returns what ``load(folder)`` makes of it, None where it is absent or damaged;
    ``write(save)`` lets ``save(folder)`` fill a fresh folder, which then takes its place in one step.
    """

    def __init__(self, name: str, key: str):
        self.folder = cache_folder() / f"{name}-{key}"

    def alone(self) -> FileLock:
        """``with`` it, only one process at a time makes this result; the others wait and find it made."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{self.folder}.lock")

    def read(self, load):
        """What ``load`` returns, if every file's digest is the one that was written with it."""
        return load(self.folder) if sealed(self.folder) else None

    def write(self, save) -> None:
        """Fill and seal; a crash before the end leaves what was there before."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with whole(self.folder) as part:
            part.mkdir()
            save(part)
            digests = {p.name: sha256(p) for p in sorted(part.iterdir())}
            (part / "seal.json").write_text(json.dumps(digests))

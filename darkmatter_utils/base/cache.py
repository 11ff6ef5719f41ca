"""Results kept by the content that they follow from: written atomically, verified on reading.

They are kept in the cache of this machine. An edition whose weights do not ship stores those of its chapters
in the repository (`book.results`): a chapter reads them where the cache has none, if their key fits.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from . import follows, ideas, provenance
from .config import cache_folder
from .errors import BadInput
from .follows import FOLLOWS
from .values import Absent, from_json, to_json, whole
from .words import time_of

PROGRESS = "DARKMATTER_PROGRESS"
"""Environment variable: a file that says what a long computation is at, for whoever waits for it."""
STORED, NONE, ALONE = "DARKMATTER_STORED", "no", "only"
"""Environment variable: ``no`` stored result is read; stored ones ``only`` (nothing is computed); the same,
and those of earlier code, ``carried`` over."""
USED = "DARKMATTER_USED"
"""Environment variable: the file that takes a line for every result that is read: where from, its folder."""
WHOLE = "absent.txt"
"""Of a kept result that is `Absent` as a whole."""
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
    """Installed versions, by default of the libraries that numbers come out of; what is not there is left
    out: arrays need no library of models."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def key_of(**parts) -> str:
    """The key of a result: a digest of everything that it follows from."""
    said = json.dumps(parts, sort_keys=True)
    _PARTS[key := hashlib.sha256(said.encode()).hexdigest()[:32]] = json.loads(said)
    return key


_PARTS: dict[str, dict] = {}


def stamps(path: Path) -> list[list]:
    """Path, size and time of a file, or of every file in a folder: what tells of a change without reading."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def listed(folder: Path) -> dict[str, dict]:
    """Size and sha256 of every file below a folder, by its path there: what a manifest's ``files`` holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = lambda path: dict(bytes=path.stat().st_size, sha256=sha256(path))
    return {path.relative_to(folder).as_posix(): about(path) for path in files}


def verify(folder: Path, *, only: list[str] | None = None, absent: Container[str] = ()) -> dict:
    """Check the files of a data folder against its manifest and return the manifest.

    Raises BadInput naming the first file that is missing (but for those that may be ``absent``), truncated or
    altered. Cost: a read of every file.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, about in manifest["files"].items():
        if only is not None and not any(name == o or name.startswith(o.rstrip("/") + "/") for o in only):
            continue
        path, said = folder / name, f"{folder.name}/{name}"
        if name in absent and not path.exists():
            continue
        mend = "restore it from the repository (git checkout) or make it anew (darkmatter train)"
        if not path.is_file():
            raise BadInput(f"{said} is missing; {mend}")
        if (size := path.stat().st_size) != about["bytes"]:
            raise BadInput(f"{said} has {size} bytes, the manifest says {about['bytes']}: truncated? {mend}")
        if sha256(path) != about["sha256"]:
            raise BadInput(f"{said} was altered: its sha256 is not the manifest's; {mend}")
    return manifest


def kept(compute: Callable[..., Mapping[str, Any] | Absent]):
    """A function (subject, **settings) -> tables by name, computed once and kept by content.

    The key: the definitions that the function uses, ``subject.key()`` (a dict: all that the subject's numbers
    follow from; of a study that reads no files its ``fingerprint()`` does), library versions, and the
    settings: JSON values, or functions, which count by what they say (`ideas.digest`). Tables are stored as
    Parquet, other values as JSON, whole and verified on reading; a fresh and a kept result are both what was
    read back. `Absent`, the whole or a table of it, is handed through. ``.anew`` is the function itself.
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
        by_name = lambda v: ideas.digest(v, by_name=True) if ideas.is_idea(v) else v
        _PARTS[key][follows.ALIKE] = {name: by_name(value) for name, value in given.kwargs.items()}
        place = Kept(f"{compute.__name__.strip('_').replace('_', '-')}-{subject.name}", key)
        tables = place.read(_read)
        if tables is None:
            place.may_be_made(subject)
            with place.alone():
                if (tables := place.read(_read)) is None:  # no other run has made it meanwhile
                    place.write(lambda folder: _write(compute(subject, **given.kwargs), folder))
                    tables = place.read(_read)
        return tables

    found.anew = compute
    return found


def _write(tables: Mapping[str, Any] | Absent, folder: Path) -> None:
    if isinstance(tables, Absent):
        (folder / WHOLE).write_text(tables.reason, encoding="utf-8")
        return
    for name, table in tables.items():
        if isinstance(table, Absent):
            (folder / f"{name}.absent").write_text(table.reason, encoding="utf-8")
        elif isinstance(table, pd.DataFrame):
            table.to_parquet(folder / f"{name}.parquet")
        else:
            said = json.dumps(to_json(table, digits=None), ensure_ascii=False)
            (folder / f"{name}.json").write_text(said, encoding="utf-8")


def _read(folder: Path) -> dict[str, Any] | Absent:
    if (folder / WHOLE).is_file():
        return Absent((folder / WHOLE).read_text(encoding="utf-8"))
    how = {
        "parquet": pd.read_parquet,
        "absent": lambda path: Absent(path.read_text(encoding="utf-8")),
        "json": lambda path: from_json(json.loads(path.read_text(encoding="utf-8"))),
    }
    paths = [path for path in sorted(folder.iterdir()) if path.name not in (SEAL, FOLLOWS)]
    return {path.stem: how[end](path) for path in paths if (end := path.suffix[1:]) in how}


SEAL, SECONDS = "seal.json", "seconds"
"""Files of a kept result: the digests of the others; how long it took."""


def sealed(folder: Path) -> bool:
    """Whether a kept result's files are all there, each as it was written."""
    try:
        digests = json.loads((folder / SEAL).read_text())
        return all(sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def seal(folder: Path) -> None:
    """Note the digest of every file in a folder."""
    digests = {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != SEAL}
    (folder / SEAL).write_text(json.dumps(digests))


class _Stores(list):
    """Folders of stored results that are read beside the cache; how deep in the making of a result we are."""

    depth = 0

    @contextlib.contextmanager
    def making(self) -> Iterator[None]:
        """What is read inside it belongs to another result."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


_STORES = _Stores()


def also_read(folder: Path) -> None:
    """Where the cache lacks a result, read the one that is stored in ``folder``, in this process."""
    if os.environ.get(STORED) != NONE and folder.is_dir() and folder not in _STORES:
        _STORES.append(folder)


class Kept:
    """A folder of files that is either whole and verified, or not there.

    ``read(load)`` returns what ``load(folder)`` makes of it, None where it is absent or damaged;
    ``write(save)`` lets ``save(folder)`` fill a fresh folder, which then takes its place in one step.
    """

    def __init__(self, name: str, key: str):
        self.name, self.folder, self.key = name, cache_folder() / f"{name}-{key}", key

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """``with`` it, only one process at a time makes this result; the others wait, say so, and find it
        made."""
        (locks := self.folder.parent / ".locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{self.folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(f"{self.name}: another run is making it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def read(self, load, *, stored: bool = True):
        """What ``load`` returns, if every file's digest is the one that was written with it; not ``stored``:
        neither of a store nor carried over from one, which may be without its largest files."""
        for store in [self.folder.parent, *(_STORES if stored else ())]:
            if sealed(folder := store / self.folder.name) and (stored or not follows.is_carried(folder)):
                if folder == self.folder and not (folder / FOLLOWS).exists():  # of before it was written
                    (folder / FOLLOWS).write_text(follows.text(follows.said(_PARTS.get(self.key, {}))))
                if os.environ.get(USED) and not _STORES.depth:
                    with Path(os.environ[USED]).open("a", encoding="utf-8") as file:
                        file.write(f"{'stored' if store in _STORES else 'cache'} {folder.name}\n")
                return load(folder)
        if stored and os.environ.get(STORED) == follows.CARRIED and self._carried():
            return self.read(load)
        return None

    def _carried(self) -> bool:
        """Whether a stored result of earlier code is taken as this one; it is put in its place."""
        found = follows.earlier(self.name, follows.said(_PARTS.get(self.key, {})), _STORES)
        if found and sealed(found[0]):
            with whole(self.folder) as part:
                shutil.copytree(found[0], part)
                (part / FOLLOWS).write_text(follows.text(found[1]))
                seal(part)
        return bool(found) and sealed(self.folder)

    def may_be_made(self, subject, *, without: str = "") -> None:
        """Says on stderr where a result that is stored no longer follows, or is stored ``without`` what is
        asked for. Raises BadInput where nothing may be computed, or the subject lacks files for it
        (``subject.lacks()``); both with what it cost."""
        if _STORES.depth or not _STORES:
            return
        others = [path for store in _STORES for path in store.glob(f"{self.name}-{'?' * 32}")]
        seconds = [float(path.read_text()) for one in others if (path := one / SECONDS).is_file()]
        does = f"is without {without}" if without else "does not follow from code, data and settings"
        said = f"{self.name}: {f'what is stored {does}' if others else 'nothing is stored'}"
        said += f" (to compute it took {time_of(max(seconds))})" if seconds else ""
        if os.environ.get(STORED) in (ALONE, follows.CARRIED):
            raise BadInput(f"{said}; where the weights are at hand, run it without --only stored")
        if lacks := getattr(subject, "lacks", list)():
            more = f" and {len(lacks) - 1} more files" if lacks[1:] else ""
            raise BadInput(f"{said}; to compute it, {lacks[0]}{more} would be needed")
        if others:
            print(f"{said}; it is computed anew", file=sys.stderr)

    def write(self, save) -> None:
        """Fill and seal; a crash before the end leaves what was there before."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with whole(self.folder) as part, _STORES.making():
            part.mkdir()
            save(part)
            (part / SECONDS).write_text(f"{time.monotonic() - began:.1f}")
            (part / FOLLOWS).write_text(follows.text(follows.said(_PARTS.get(self.key, {}))))
            seal(part)

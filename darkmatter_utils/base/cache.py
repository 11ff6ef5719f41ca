"""Results kept by the content that they follow from: written atomically, verified on reading."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from pathlib import Path

from .errors import BadInput

LIBRARIES = ("torch", "numpy", "scipy", "transformers", "transformer-lens", "sae-lens")
"""Whose versions a result depends on."""


def cache_folder() -> Path:
    """``$DARKMATTER_CACHE``, or ``darkmatter`` in the user's cache folder."""
    named = os.environ.get("DARKMATTER_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkmatter"


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Versions of the libraries that numbers come out of."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def key_of(**parts) -> str:
    """The key of a result: a digest of everything that it follows from."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def verify(folder: Path, *, only: list[str] | None = None) -> dict:
    """Check the files of a data folder against its manifest and return the manifest.

    Raises BadInput naming the first file that is missing, truncated or altered. Cost: a read of every file.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, about in manifest["files"].items():
        if only is not None and not any(name == o or name.startswith(o.rstrip("/") + "/") for o in only):
            continue
        path = folder / name
        mend = "restore it from the repository (git checkout) or make it anew (darkmatter train)"
        if not path.is_file():
            raise BadInput(f"{folder.name}/{name} is missing; {mend}")
        if path.stat().st_size != about["bytes"]:
            raise BadInput(
                (
                    f"{folder.name}/{name} has {path.stat().st_size} bytes, the manifest says "
                    f"{about['bytes']}: truncated? {mend}"
                )
            )
        if sha256(path) != about["sha256"]:
            raise BadInput(f"{folder.name}/{name} was altered: its sha256 is not the manifest's; {mend}")
    return manifest


class Kept:
    """A folder of files that is either whole and verified, or not there.

    ``read(load)`` returns what ``load(folder)`` makes of it, or None where it is absent or damaged;
    ``write(save)`` lets ``save(folder)`` fill a fresh folder beside it and then puts that in place in one
    step.
    """

    def __init__(self, name: str, key: str):
        self.folder = cache_folder() / f"{name}-{key}"

    def read(self, load):
        """What ``load`` returns, if every file's digest is the one that was written with it."""
        seal = self.folder / "seal.json"
        try:
            digests = json.loads(seal.read_text())
            whole = all(sha256(self.folder / name) == digest for name, digest in digests.items())
        except (OSError, ValueError):
            return None
        return load(self.folder) if whole else None

    def write(self, save) -> None:
        """Fill and seal; a crash before the end leaves what was there before."""
        import shutil
        import tempfile

        self.folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=self.folder.parent, prefix=f"{self.folder.name}-part-"))
        try:
            save(part)
            digests = {p.name: sha256(p) for p in sorted(part.iterdir())}
            (part / "seal.json").write_text(json.dumps(digests))
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(part, self.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

"""Results that travel: a study's kept results as one file, made on one machine and read on another."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path

from ..base.cache import cache_folder, sealed, sha256, versions
from ..base.errors import BadInput
from ..base.values import whole
from .study import Study

ABOUT = "about.json"
SAFE = re.compile(r"[\w.-]+/[\w. -]+")
"""A member's name: a result's folder and a file in it; nothing that leads elsewhere."""


def results(study: Study) -> list[Path]:
    """Folders of the study's results that are in the cache and whole: measurements, what chapters keep."""
    named = re.compile(rf".+-{re.escape(study.name)}-[0-9a-f]{{32}}")
    found = [path for path in sorted(cache_folder().glob("*")) if named.fullmatch(path.name)]
    return [path for path in found if sealed(path)]


def export(study: Study, path: Path) -> list[str]:
    """Write the study's results to ``path`` (.tar), with every file's digest; the names of what is in it.
    Raises BadInput where nothing has been measured."""
    if path.exists() and not path.is_file() or path.is_symlink():
        raise BadInput(f"{path} is not a plain file that may be replaced; give another name")
    if not (found := results(study)):
        raise BadInput(f"study {study.name} has no results here; run: darkmatter measure {study.name}")
    members = [file for folder in found for file in sorted(folder.iterdir())]
    files = {f"{file.parent.name}/{file.name}": sha256(file) for file in members}
    about = {"study": study.to_dict(), "fingerprint": study.fingerprint(), "versions": versions()}
    plain = lambda file: file.replace(uid=0, gid=0, uname="", gname="", mtime=0, mode=0o644, deep=False)
    with whole(path) as part, tarfile.open(part, "w") as archive:
        text = json.dumps(about | {"files": files}, indent=1, sort_keys=True).encode()
        member = tarfile.TarInfo(ABOUT)
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
        for name in files:
            archive.add(cache_folder() / name, arcname=name, filter=plain)
    return [folder.name for folder in found]


def verify(path: Path) -> dict:
    """What an export is about, every file checked; BadInput names the first whose digest differs."""
    with tempfile.TemporaryDirectory() as scratch:
        return _unpacked(path, Path(scratch))


def bring_in(path: Path) -> tuple[dict, list[str]]:
    """Put an export's results into this machine's cache; (what it is about, the folders that are new).

    Raises BadInput as `verify` does, before anything is put in place. A result is used where study, files,
    sources and library versions are those it was made with; otherwise it lies idle.
    """
    cache_folder().mkdir(parents=True, exist_ok=True)
    new = []
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="import-") as made:
        about = _unpacked(path, scratch := Path(made))
        for folder in sorted({name.partition("/")[0] for name in about["files"]}):
            if not sealed(scratch / folder):
                raise BadInput(f"{path.name}: the result {folder} is not whole")
            if not sealed(cache_folder() / folder):
                shutil.rmtree(cache_folder() / folder, ignore_errors=True)
                os.replace(scratch / folder, cache_folder() / folder)
                new.append(folder)
    return about, new


def _unpacked(path: Path, folder: Path) -> dict:
    if not path.is_file():
        raise BadInput(f"there is no file {path}; make one with: darkmatter study export STUDY {path.name}")
    try:
        with tarfile.open(path) as archive:
            about = json.loads(archive.extractfile(ABOUT).read())
            for name, digest in about["files"].items():
                if not SAFE.fullmatch(name) or ".." in name:
                    what = f"'{name}', which is no result's file"
                    raise BadInput(f"{path.name} holds {what}; it was not made by darkmatter")
                (folder / name).parent.mkdir(exist_ok=True)
                with archive.extractfile(name) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                if sha256(folder / name) != digest:
                    what = "was altered or damaged (its sha256 is not the export's)"
                    raise BadInput(f"{path.name}: {name} {what}; export again")
    except BadInput:
        raise
    except (tarfile.TarError, KeyError, ValueError, TypeError, AttributeError, EOFError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        raise BadInput(f"{path.name} is not a whole export of a study ({why}); copy it again") from None
    return about

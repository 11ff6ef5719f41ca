"""Results that travel: a study's kept results as a folder, made on one machine and read on another.

A folder for each, as the cache has it, and ``about.json``: an export, or what the repository stores.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from ..base.cache import cache_folder, seal, sealed, versions
from ..base.errors import BadInput
from ..base.values import whole
from .study import Study

ABOUT = "about.json"


def results(study: Study) -> list[Path]:
    """Folders of the study's results that are in the cache and whole: measurements, what chapters keep."""
    named = re.compile(rf".+-{re.escape(study.name)}-[0-9a-f]{{32}}")
    found = [path for path in sorted(cache_folder().glob("*")) if named.fullmatch(path.name)]
    return [path for path in found if sealed(path)]


def write(
    study: Study,
    folder: Path,
    found: Iterable[Path],
    *,
    without: Callable[[str], Container[str]] = lambda _: (),
) -> None:
    """Copy results into a folder, of each but the files that are ``without`` by its name."""
    for result in found:
        out = without(result.name)
        shutil.copytree(result, folder / result.name, ignore=lambda _, files: [f for f in files if f in out])
        seal(folder / result.name)
    about = {"study": study.name, "fingerprint": study.fingerprint(), "versions": versions()}
    (folder / ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def export(study: Study, folder: Path) -> list[str]:
    """Write all results of the study to a folder; their names. Raises BadInput where it is there already and
    no export, or nothing has been measured."""
    if folder.is_symlink() or folder.exists() and not (folder / ABOUT).is_file():
        raise BadInput(f"{folder} is there and no export that may be replaced; give another name")
    if not (found := results(study)):
        raise BadInput(f"study {study.name} has no results here; run: darkmatter measure {study.name}")
    with whole(folder) as part:
        part.mkdir()
        write(study, part, found)
    return [result.name for result in found]


def verify(folder: Path) -> tuple[dict, list[Path]]:
    """(what an export is about, its results), every file checked; BadInput names the first that is not as it
    was written."""
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        first = f"make one with: darkmatter study export STUDY {folder.name}"
        raise BadInput(f"{folder} is no export of a study; {first}") from None
    found = sorted(path for path in folder.iterdir() if path.is_dir())
    for path in found:
        if path.is_symlink() or not sealed(path):
            raise BadInput(f"{folder.name}: the result {path.name} is not as it was written; copy it again")
    return about, found


def bring_in(folder: Path) -> tuple[dict, list[str]]:
    """Put an export's results into this machine's cache; (what it is about, the results that are new).

    Raises BadInput as `verify` does, before anything is put in place. A result is used where study, files,
    sources and library versions are those it was made with; otherwise it lies idle.
    """
    about, found = verify(folder)
    new = [path for path in found if not sealed(cache_folder() / path.name)]
    cache_folder().mkdir(parents=True, exist_ok=True)
    for path in new:
        with whole(cache_folder() / path.name) as part:
            shutil.copytree(path, part)
    return about, [path.name for path in new]

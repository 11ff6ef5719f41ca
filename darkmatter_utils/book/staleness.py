"""Why a chapter has to run again: its cells, modules, parameters, data, versions or a record it read changed.

A *stamp* in ``build/<study>/stamps`` says that a chapter was run on this machine, how long it took
and which bytes came out; a fresh clone has none, so that its ``make book`` executes everything.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from ..base import cache, provenance
from ..base.errors import BadInput
from ..base.provenance import digest
from ..base.values import write_atomic
from ..studies.study import Study
from .blocks import data_hashes, versions
from .chapters import (
    DEFAULT_STUDY,
    SECONDS,
    ChapterFile,
    chapters,
    file_name,
    hashes,
    read_json,
    read_records,
    run_order,
    stored,
)
from .others import hashes as hashes_of_points


def stamp_path(chapter: ChapterFile, study: str) -> Path:
    """Where the stamp of a chapter's last run is."""
    return chapter.executed(study).parent / "stamps" / f"{chapter.number:02d}.json"


def stamp(chapter: ChapterFile, study: str, *, seconds: float, results: Sequence[str] = ()) -> None:
    """Note that a chapter ran here: hashes of its notebook and record, what changes from run to run, and the
    kept results that it read."""
    path = stamp_path(chapter, study)
    path.parent.mkdir(parents=True, exist_ok=True)
    git = ["git", "-C", str(chapter.root), "rev-parse", "--short", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        commit = ""
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name(0) if cuda else f"CPU, {torch.get_num_threads()} threads"
    about = {
        "notebook": _digest(chapter.executed(study)),
        "record": _digest(chapter.record(study)),
        "seconds": round(seconds, 1),
        "machine": f"{platform.system()} {platform.machine()}, {device}",
        "commit": commit,
        "results": list(results),
    }
    write_atomic(path, json.dumps(about, indent=1) + "\n")


def read_stamp(chapter: ChapterFile, study: str) -> dict | None:
    """The stamp of a chapter's last run here, None where there is none."""
    return read_json(stamp_path(chapter, study))


def expected(chapters: list[ChapterFile], study: str) -> float | None:
    """Seconds of the chapters' last runs here, else where published; None where one is not known."""
    found = []
    for chapter in chapters:
        published = read_json(chapter.published_record(study).with_name(SECONDS)) or {}
        stamped = read_stamp(chapter, study) or {}
        found.append(stamped.get("seconds", published.get(f"{chapter.number:02d}")))
    return None if None in found else sum(found)


def costs(root: Path, study: str) -> dict[str, float]:
    """Seconds that computing each chapter anew takes, by its number: those of its last run here or, if more,
    of the kept results that it read, each at the first chapter that reads it; else as published."""
    folders, done = (cache.cache_folder(), stored(root, file_name(study))), set()
    found = read_json(run_order(root)[0].published_record(study).with_name(SECONDS)) or {}
    for chapter in run_order(root):
        if (stamped := read_stamp(chapter, study)) is None:
            continue
        mine, done = set(stamped.get("results", [])) - done, done | set(stamped.get("results", []))
        paths = [[path for f in folders if (path := f / name / cache.SECONDS).is_file()][:1] for name in mine]
        seconds = sum(float(path.read_text()) for one in paths for path in one)
        found[f"{chapter.number:02d}"] = round(max(stamped["seconds"], seconds), 1)
    return found


def stale_reason(chapter: ChapterFile, study: str = DEFAULT_STUDY) -> str | None:
    """Why a chapter's last result (the published one where it was not run here) no longer follows; else None.

    Compares hashes of cells, of the definitions that the run used, of the study's settings and data and of
    the records that it read, and versions of the packages; reads records, no activation.
    """
    executed, kept = chapter.found(study)
    if not executed.exists():
        return "never run"
    record = read_json(kept)
    if record is None:
        return "its record is missing"
    if record.get("cells") != chapter.cells_hash():
        return f"its cells changed (notebooks/{chapter.source.name})"
    sources, now = record["sources"], provenance.closure(provenance.script(chapter.code()))
    # By content: a definition that moved or has another name is the same.
    gone = {name for name, said in sources.items() if said not in now.values()}
    gone |= {name for name, said in now.items() if said not in sources.values()}
    if gone:
        return f"code that it uses changed: {', '.join(sorted({name.partition(':')[0] for name in gone}))}"
    try:
        changed = _apart(record["data"], data_hashes(Study.load(study)))
    except BadInput as error:
        return f"its study cannot be read: {error}"
    if changed:
        return f"its data changed: {', '.join(changed)} of study {file_name(study)}"
    was, now = record["versions"], versions()
    changed = [f"{n} {was[n]} is now {now.get(n, 'gone')}" for n in was if now.get(n) != was[n]]
    if changed:
        return f"versions changed: {', '.join(changed)}"
    if not (read := record.get("records")):
        return None
    own, asked, points = file_name(study), read["asked"], read.get("points", {})
    try:
        found = read_records(chapter.root, own, asked, reader=chapter.number) if asked else {}
    except BadInput as error:
        return str(error)
    if changed := _apart(read["found"], hashes(found)):
        return f"records it reads changed: {', '.join(changed)}"
    changed = _apart(points, hashes_of_points(chapter.root, own, points))
    return f"points of other studies that it draws changed: {', '.join(changed)}" if changed else None


def _apart(was: dict, now: dict) -> list[str]:
    """The keys at which two mappings differ."""
    return sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))


def not_run_here(chapter: ChapterFile, study: str = DEFAULT_STUDY) -> str | None:
    """Why there is no executed chapter that this machine made; None when there is."""
    stamped = read_stamp(chapter, study)
    if stamped is None:
        return "not yet run on this machine"
    for path, was in ((chapter.executed(study), "notebook"), (chapter.record(study), "record")):
        if _digest(path) != stamped.get(was):
            return f"{path.relative_to(chapter.root)} is not what its last run here wrote"
    return None


def due(root: Path, study: str = DEFAULT_STUDY) -> list[tuple[ChapterFile, str]]:
    """The chapters that have to run as things are now, each with its reason, in the order of the book.

    One that reads records is not due before a record has changed; a build asks again at its turn.
    """
    found = {chapter: due_reason(chapter, study) for chapter in chapters(root)}
    return [(chapter, reason) for chapter, reason in found.items() if reason]


def due_reason(chapter: ChapterFile, study: str = DEFAULT_STUDY) -> str | None:
    """Why a build has to run a chapter as things are now; None when it need not."""
    return stale_reason(chapter, study) or not_run_here(chapter, study)


def _digest(path: Path) -> str | None:
    return digest(path.read_bytes()) if path.exists() else None

"""Why a chapter has to run again: its cells, the modules it uses, its parameters, its data, the versions or a
record that it reads changed.

A *stamp* in ``build/<study>/stamps`` says that a chapter was run on this machine, how long it took
and which bytes came out; a fresh clone has none, so that its ``make book`` executes everything.
"""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

from ..base import provenance
from ..base.errors import BadInput
from ..base.provenance import digest
from ..base.values import write_atomic
from ..studies.study import Study
from . import shelf
from .chapters import DEFAULT_STUDY, ChapterFile, chapters, file_name
from .records import data_hashes, versions


def stamp_path(chapter: ChapterFile, study: str) -> Path:
    """Where the stamp of a chapter's last run is."""
    return chapter.executed(study).parent / "stamps" / f"{chapter.number:02d}.json"


def stamp(chapter: ChapterFile, study: str, *, cells: str, notebook: str, seconds: float) -> None:
    """Note that a chapter ran here: hashes of cells, executed notebook and record, and what changes from run
    to run."""
    path = stamp_path(chapter, study)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "cells": cells,
        "notebook": notebook,
        "record": _digest(chapter.record(study)),
        "seconds": round(seconds, 1),
        "machine": _machine(),
        "commit": _commit(chapter.root),
    }
    write_atomic(path, json.dumps(about, indent=1) + "\n")


def read_stamp(chapter: ChapterFile, study: str) -> dict | None:
    """The stamp of a chapter's last run here, None where there is none."""
    return _json(stamp_path(chapter, study))


def expected(chapters: list[ChapterFile], study: str) -> float | None:
    """Seconds that chapters took when they last ran here, else where they were published; None where one is
    not known."""
    found = []
    for chapter in chapters:
        published = _json(chapter.published_record(study).with_name(shelf.SECONDS)) or {}
        stamped = read_stamp(chapter, study) or {}
        found.append(stamped.get("seconds", published.get(f"{chapter.number:02d}")))
    return None if None in found else sum(found)


def stale_reason(chapter: ChapterFile, study: str = DEFAULT_STUDY) -> str | None:
    """Why a chapter's last result, or the published one where it was not run here, no longer follows from
    what is here; None when it does.

    Compares hashes of cells, of the modules that the run imported, of the study's settings and data and of
    the records that it read, and versions of the packages; reads records, no activation.
    """
    executed, kept = chapter.found(study)
    if not executed.exists():
        return "never run"
    record = _json(kept)
    if record is None:
        return "its record is missing"
    if record.get("cells") != chapter.cells_hash():
        return f"its cells changed (notebooks/{chapter.source.name})"
    changed = _changed(record["sources"], provenance.closure(provenance.script(chapter.code())))
    if changed:
        return f"code that it uses changed: {', '.join(changed)}"
    try:
        data = data_hashes(Study.load(study))
    except BadInput as error:
        return f"its study cannot be read: {error}"
    changed = sorted(
        name for name in data.keys() | record["data"].keys() if data.get(name) != record["data"].get(name)
    )
    if changed:
        return f"its data changed: {', '.join(changed)} of study {file_name(study)}"
    now = versions()
    changed = [
        f"{name} {was} is now {now.get(name, 'gone')}"
        for name, was in record["versions"].items()
        if now.get(name) != was
    ]
    if changed:
        return f"versions changed: {', '.join(changed)}"
    return _records_reason(chapter, record.get("records"))


def _changed(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """The definitions that are not in both, by content: one that moved or has another name is the same."""
    before, after = set(was.values()), set(now.values())
    gone = {name for name, digest in was.items() if digest not in after}
    return sorted({name.partition(":")[0] for name in gone | {n for n, d in now.items() if d not in before}})


def _records_reason(chapter: ChapterFile, read: dict | None) -> str | None:
    """Why the records that a chapter read are no longer those; None when they are, or when it reads none."""
    if not read:
        return None
    try:
        changed = shelf.changed(chapter.root, read, reader=chapter.number)
    except BadInput as error:
        return str(error)
    return f"records it reads changed: {', '.join(changed)}" if changed else None


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


def _json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _machine() -> str:
    import torch

    device = (
        torch.cuda.get_device_name(0)
        if torch.cuda.is_available()
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return f"{platform.system()} {platform.machine()}, {device}"


def _commit(root: Path) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()

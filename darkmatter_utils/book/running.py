"""Run a chapter: by papermill, in a folder of its own, into its place only when every cell has run.

A failing cell, a full disk or Ctrl-C leaves what was there as it was.
"""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..base.cache import ALONE, NONE, PROGRESS, STORED, USED
from ..base.errors import NO_ROOM, BadInput, nearest
from ..base.follows import CARRIED
from ..base.values import whole
from .chapters import DEFAULT_STUDY, ChapterFile, chapters, editions, file_name, run_order, settle, stored
from .records import CELLS, RECORDS, SHIPPED
from .staleness import due, due_reason, expected, stamp

EVERY = 20.0
"""Seconds after which a run that says nothing says what it is at."""


class ChapterFailed(BadInput):
    """A cell of a chapter raised; the message is the one line to show."""


def results(*, recompute: bool = False, only: str | None = None) -> dict[str, str]:
    """What tells a run which results and SAEs it takes: to ``recompute``, no stored result; ``only`` those
    "stored", so that nothing is computed, those "carried" over from earlier code too, or only the SAEs that
    are "shipped", whose weights are at hand. Raises BadInput where the two exclude each other."""
    alone = {"stored": ALONE, CARRIED: CARRIED}.get(only, "")
    if recompute and alone:
        raise BadInput(f"--recompute reads no stored result, --only {only} nothing else; give one of them")
    asked = {STORED: NONE if recompute else alone}
    asked[SHIPPED] = "yes" if only == "shipped" else ""
    return {name: value for name, value in asked.items() if value}


def build(
    root: Path, *, study: str = DEFAULT_STUDY, every: bool = False, taking: dict | None = None, log=print
) -> None:
    """Run the chapters that are due, or ``every``, in order; says first how long that took last time.
    taking: what `results` gives."""
    waiting = [chapter for chapter, _ in due(root, study)]
    waiting = [chapter for chapter in run_order(root) if every or chapter in waiting]
    about = lambda left: "" if (taking or {}).get(STORED) in (ALONE, CARRIED) else _about(left, study)
    log(f"{len(waiting)} of {len(chapters(root))} chapters to run on study {study}{about(waiting)}")
    for chapter in run_order(root):
        # Asked at its turn: a record that it reads may have been made a moment ago.
        reason = due_reason(chapter, study)
        if not reason and not every:
            log(f"chapter {chapter.name}: nothing changed")
        else:
            log(f"chapter {chapter.name}: {reason or 'asked for'}")
            run(chapter, study=study, taking=taking, log=log)
        waiting = [other for other in waiting if other != chapter]
        if waiting and reason:
            log(f"{len(waiting)} to go{about(waiting)}")


def redraw(root: Path, *, besides: str, log=print) -> list[str]:
    """Draw and judge again, from stored results alone, the editions ``besides`` a study that have some; their
    names. Raises ChapterFailed where a result does not follow any more."""
    found = [name for name in editions(root) if name != file_name(besides) and stored(root, name).is_dir()]
    for name in found:
        build(root, study=name, taking=results(only="stored"), log=log)
    return found


def _about(waiting: list[ChapterFile], study: str) -> str:
    seconds = expected(waiting, study)
    if not seconds:
        return ""
    return f", about {seconds / 60:.0f} minutes" if seconds >= 90 else f", about {seconds:.0f} s"


def run(
    chapter: ChapterFile,
    *,
    study: str = DEFAULT_STUDY,
    parameters: dict | None = None,
    taking: dict | None = None,
    log=print,
) -> Path:
    """Execute one chapter and put it in its place; returns the executed notebook.

    parameters: other values for the cell tagged ``parameters``; such a run, or one that does not take all
    SAEs, goes to ``build/<study>/tried``, not among the chapters of the book. taking: of `results`. Raises
    BadInput for a parameter the chapter does not have, ChapterFailed when a cell raises (the notebook as it
    failed is kept in ``build/failed``).
    """
    import nbformat

    changed, taking, source = dict(parameters or {}), taking or {}, chapter.notebook()
    tried = bool(parameters) or SHIPPED in taking
    if study != DEFAULT_STUDY:  # the kernel finds a study's file from another folder
        is_file = Path(study).suffix in (".yaml", ".yml")
        changed["study"] = str(Path(study).resolve()) if is_file else study
    known = _parameters(source)
    for name, value in changed.items():
        if name not in known:
            raise BadInput(f"chapter {chapter.name} has no parameter '{name}'; {nearest(name, list(known))}")
        if wants := _unlike(value, known[name]):
            raise BadInput(
                f"chapter {chapter.name}: {name} is {value!r}; give {wants}, as {known[name]!r} is"
            )
    target, record = chapter.executed(study, tried=tried), chapter.record(study, tried=tried)
    aside = chapter.root / "build" / "running" / f"{file_name(study)}-{chapter.name}-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "records").mkdir(parents=True)
    began = time.monotonic()
    try:
        nbformat.write(source, aside / "in.ipynb")
        with _heartbeat(chapter, aside, log):
            executed = settle(_execute(chapter, aside, changed, taking), chapter.number)
        for folder in (target.parent, record.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with whole(target) as part:  # both are written, on the same disk, before either is moved
            part.write_text(nbformat.writes(executed) + "\n", encoding="utf-8")
            for path in (aside / "records").rglob("*.json"):
                os.replace(path, record)
        read = dict(reversed(line.split(" ")) for line in _lines(aside / "used"))
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    seconds = time.monotonic() - began
    if not tried:
        stamp(chapter, study, seconds=seconds, results=sorted(read))
    count = list(read.values()).count("stored")
    said = f" ({count} of {len(read)} results as they are stored)" if count else ""
    log(f"chapter {chapter.name}: {seconds:.0f} s, {target.relative_to(chapter.root)}{said}")
    return target


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _execute(chapter: ChapterFile, aside: Path, parameters: dict, taking: dict):
    """Run the cells by papermill in a kernel that knows where the record goes; the executed notebook."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("traitlets").setLevel(logging.ERROR)
    # An interrupted run leaves a task that finds its kernel gone: of no use to the reader of a terminal.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    environment = {
        RECORDS: str(aside / "records"),
        CELLS: chapter.cells_hash(),
        PROGRESS: str(aside / "progress"),
        USED: str(aside / "used"),
        **taking,
        "PYTHONHASHSEED": "0",  # the order of sets is part of what a run prints
        "PYTHONWARNINGS": "ignore:IProgress not found",  # progress is shown as text
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        return papermill.execute_notebook(
            str(aside / "in.ipynb"),
            str(aside / "out.ipynb"),
            parameters=parameters,
            kernel_name="python3",
            progress_bar=sys.stderr.isatty(),
            cwd=str(aside),
            stderr_file=sys.stderr,
            extra_arguments=["--log-level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        if error.ename == "KeyboardInterrupt":
            raise KeyboardInterrupt from None
        for number in NO_ROOM:
            if error.ename == "OSError" and os.strerror(number) in str(error.evalue):
                raise OSError(number, os.strerror(number)) from None
        kept = chapter.root / "build" / "failed" / f"{chapter.name}.ipynb"
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside / "out.ipynb", kept)
        line = f"{error.ename}: {(' '.join(str(error.evalue).split()) or 'no message')[:500]}"
        place = f"as it failed: {kept.relative_to(chapter.root)}"
        asked = "".join(f", with {name} = {value}" for name, value in parameters.items() if name != "study")
        said = f"chapter {chapter.name}{asked}, cell {error.cell_index + 1}: {line} ({place})"
        raise ChapterFailed(said) from None
    except DeadKernelError:
        why = "its process was ended from outside, as happens when the memory is full"
        raise ChapterFailed(f"chapter {chapter.name}: {why}") from None
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _heartbeat(chapter: ChapterFile, aside: Path, log):
    """Says in a log, which has no progress bar, what a run is at and for how long it has been."""
    began, ended = time.monotonic(), threading.Event()

    def beat():
        while not ended.wait(EVERY):
            log(f"chapter {chapter.name}, {time.monotonic() - began:.0f} s: {_doing(aside)}")

    if not sys.stderr.isatty():
        threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _doing(aside: Path) -> str:
    """The section whose cell is running, and what a measurement says it is at."""
    heading, number = "starting", ""
    try:
        cells = json.loads((aside / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError):  # not there yet, or just being written
        cells = []
    for i, cell in enumerate(cells, 1):
        headings = re.findall(r"^#+ (.+)", "".join(cell["source"]), flags=re.MULTILINE)
        heading = headings[-1] if headings and cell["cell_type"] == "markdown" else heading
        if cell["metadata"].get("papermill", {}).get("status") == "running":
            number = f", cell {i} of {len(cells)}"
            break
    progress = aside / "progress"
    fresh = progress.is_file() and time.time() - progress.stat().st_mtime < 3 * EVERY
    return f"{heading}{number}" + (f" ({progress.read_text(encoding='utf-8')})" if fresh else "")


def _parameters(book) -> dict[str, Any]:
    """The parameters of a chapter and their defaults."""
    tagged = [cell.source for cell in book.cells if "parameters" in cell.metadata.get("tags", [])]
    made = [
        node for node in ast.parse("\n".join(tagged)).body if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    names = [(node.targets[0] if isinstance(node, ast.Assign) else node.target).id for node in made]
    return {name: ast.literal_eval(node.value) for name, node in zip(names, made)}


def _unlike(value, default) -> str:
    """What a parameter's value has to be, in words, where it is not like its default; "" where it may be."""
    number = lambda one: isinstance(one, int | float) and not isinstance(one, bool)
    if value is None or default is None:
        return ""
    if isinstance(default, str):
        return "" if isinstance(value, str) else "a text"
    return "a number" if number(default) and not number(value) else ""

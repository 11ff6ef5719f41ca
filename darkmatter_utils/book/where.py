"""Where a figure of the book is made: its cell, what draws it, its numbers, the rules of its chapter."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..base.config import PACKAGE, modules
from ..base.errors import BadInput, nearest
from .chapters import DEFAULT_STUDY, ChapterFile, chapters

SCIENCE = ("experiments", "measurement", "decomposition", "worlds", "stats")
"""Folders whose functions make numbers."""
COMMON = ("chapter", "measurement", "study")
"""Names of a chapter that nearly every cell uses."""
RECORDS = ("record", "glue", "estimate")
"""Methods of a chapter that record a value under a key."""


class Place(NamedTuple):
    """One line of the answer."""

    what: str  # figure, drawn by, numbers, idea, record or rule
    where: str  # file:line, from the project
    name: str = ""


class Cell(NamedTuple):
    """A cell of a chapter's script: its first line and the one after its last, and its figure's name."""

    start: int
    stop: int
    label: str


def where(root: Path, label: str) -> list[Place]:
    """The places of a figure by its name; BadInput names the nearest figures for an unknown one."""
    names = []
    for chapter in chapters(root):
        for cell in cells(chapter.source.read_text(encoding="utf-8")):
            if cell.label == label:
                return [*_places(root, chapter, cell)]
            names += [cell.label] if cell.label else []
    raise BadInput(f"there is no figure '{label}'; {nearest(label, names)}")


def cells(text: str) -> list[Cell]:
    """The cells of a script in the percent format."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines, 1) if line.startswith("# %%")]
    found = []
    for start, stop in zip(starts, [*starts[1:], len(lines) + 1]):
        head = "\n".join(line for line in lines[start - 1 : stop - 1] if line.startswith(("# %%", "#|")))
        named = re.search(r'^#\| label: (\S+)|^# %%.*"figure":.*"name": "([^"]+)"', head, re.MULTILINE)
        found.append(Cell(start, stop, (named[1] or named[2]) if named else ""))
    return found


def _places(root: Path, chapter: ChapterFile, cell: Cell) -> Iterator[Place]:
    source = chapter.source.relative_to(root)
    yield Place("figure", f"{source}:{cell.start}", cell.label)
    script = Script(chapter.source.read_text(encoding="utf-8"))
    used, behind = script.behind(cell)
    names = {name for statement in behind for name in _binds(statement)} - set(COMMON)
    for folder in ("charts", *SCIENCE):
        for module, name in used:
            if module.split(".")[1:2] == [folder] and (place := _defined(module, name)):
                yield Place("drawn by" if folder == "charts" else "numbers", place, name)
    for made in sorted((s for s in behind if isinstance(s, ast.FunctionDef)), key=lambda s: s.name):
        yield Place("idea", f"{source}:{made.lineno}", made.name)
    if keys := script.recorded(names):
        yield Place("record", str(chapter.found(DEFAULT_STUDY)[1].relative_to(root)), ", ".join(keys))
    for module in modules(f"{PACKAGE.name}.claims", "[cq][0-9][0-9]_*"):
        claim, about = getattr(module, "CLAIM", None), module.__name__.rpartition(".")[2]
        if claim.chapter == chapter.name if claim else about[1:3] == f"{chapter.number:02d}":
            said = f"claim {claim.number}: {claim.short}" if claim else "the chapter's own question"
            rule = "statements" if hasattr(module, "statements") else "verdict"
            yield Place("rule", _defined(module.__name__, rule), said)


def _defined(module: str, name: str) -> str:
    """file:line of a definition, from the folder that the package is in; "" where it has none."""
    try:
        found = getattr(importlib.import_module(module), name)
        if inspect.ismodule(found):
            return ""
        found = inspect.unwrap(found)
        file, line = inspect.getsourcefile(found), inspect.getsourcelines(found)[1]
    except (ImportError, AttributeError, TypeError, OSError):
        return ""
    return f"{Path(file).relative_to(PACKAGE.parent)}:{line}" if Path(file).is_relative_to(PACKAGE) else ""


class Script:
    """The statements of a chapter, and what each follows from."""

    def __init__(self, text: str):
        self.statements = ast.parse(text).body
        self.bound: dict[str, list[ast.stmt]] = {}  # by name: the statements that give it a value
        self.imported: dict[str, tuple[str, str]] = {}  # by name: its module and name in this package
        for statement in self.statements:
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(PACKAGE.name):
                for one in statement.names:
                    self.imported[one.asname or one.name] = (statement.module, one.name)
            for name in _binds(statement):
                self.bound.setdefault(name, []).append(statement)

    def behind(self, cell: Cell) -> tuple[list[tuple[str, str]], set[ast.stmt]]:
        """The definitions of this package that a cell follows from, nearest first; the statements on the way,
        its own with them."""
        waiting = [s for s in self.statements if cell.start <= s.lineno < cell.stop]
        used, seen = [], set(waiting)
        while waiting:
            statement = waiting.pop(0)
            for name, attribute in _uses(statement):
                if name in self.imported:
                    module, known = self.imported[name]
                    used.append((f"{module}.{known}", attribute) if attribute else (module, known))
                    used.append((module, known))
                before = [s for s in self.bound.get(name, ()) if s.lineno < statement.lineno]
                if before and name not in COMMON and before[-1] not in seen:
                    seen.add(before[-1])
                    waiting.append(before[-1])
        return list(dict.fromkeys(used)), seen

    def recorded(self, names: set[str]) -> list[str]:
        """The keys under which the chapter records something made of one of these names."""
        found = []
        for call in (node for statement in self.statements for node in ast.walk(statement)):
            match call:
                case ast.Call(ast.Attribute(attr=method), [ast.Constant(key), value, *_]) if (
                    method in RECORDS
                ):
                    if names & {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}:
                        found.append(key)
        return found


def _binds(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    inner = (n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return list(dict.fromkeys(node.id for node in inner))


def _uses(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """The names that a statement reads, each with the attribute that it reads of it, if any."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, ""

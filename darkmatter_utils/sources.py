"""Which modules a result follows from: those that a process loaded, and all that these import.

Reading the import statements, also those inside functions, gives the same modules whether a result was
computed or found in the cache.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
BOOKKEEPING = (
    "__init__",
    "book",
    "chapters",
    "cli",
    "listing",
    "readme",
    "recipes",
    "records",
    "running",
    "shelf",
    "sources",
    "staleness",
)
"""Modules that carry results and make none: a change in them makes no chapter stale."""


def used_modules() -> list[str]:
    """The modules of this package behind what this process has computed, by name."""
    prefix = __package__ + "."
    return closure(name.removeprefix(prefix) for name in sys.modules if name.startswith(prefix))


def closure(names) -> list[str]:
    """The modules named and all that they import, sorted, without the bookkeeping."""
    found: set[str] = set()
    waiting = [name for name in names if name not in BOOKKEEPING]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in imports(name) if other not in BOOKKEEPING]
    return sorted(found)


@cache
def imports(name: str) -> tuple[str, ...]:
    """The modules of this package that a module imports, at its top or inside a function."""
    path = PACKAGE / f"{name}.py"
    if not path.exists():
        return ()
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.ImportFrom):
            continue
        of_package = node.level == 1 or (node.module or "").split(".")[0] == __package__
        module = node.module if node.level == 1 else (node.module or "").partition(".")[2]
        if of_package and module:
            found.add(module.split(".")[0])
        elif of_package:
            found |= {_home(alias.name) for alias in node.names}
    return tuple(sorted(other for other in found if (PACKAGE / f"{other}.py").exists()))


def hashes(modules) -> dict[str, str]:
    """The hash of each module's source, by name; a module that is gone has the hash ``gone``."""
    paths = {name: PACKAGE / f"{name}.py" for name in modules}
    return {
        name: digest(path.read_bytes()) if path.exists() else "gone" for name, path in sorted(paths.items())
    }


def digest(data: bytes) -> str:
    """The first 16 hex digits of the sha256."""
    return hashlib.sha256(data).hexdigest()[:16]


def _home(name: str) -> str:
    """The module behind a name that the package itself offers."""
    from . import _HOMES

    return _HOMES.get(name, name)

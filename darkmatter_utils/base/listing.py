"""The modules of a folder, for who lists them instead of naming them: a new file is found without an edit."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType


def modules(package: str, pattern: str = "*") -> list[ModuleType]:
    """The modules of a package whose names match a pattern, imported, in the order of their names.

    What calls it follows from every module of its own folder (`provenance`); names with a leading underscore
    are left out.
    """
    folders = importlib.import_module(package).__path__
    found = {path.stem for folder in folders for path in Path(folder).glob("[!_]*.py")}
    return [importlib.import_module(f"{package}.{name}") for name in sorted(found) if fnmatch(name, pattern)]


def about(package: str) -> dict[str, str]:
    """The first line of each module's docstring by the module's name, read without importing any."""
    folders = importlib.util.find_spec(package).submodule_search_locations
    files = sorted(path for folder in folders for path in Path(folder).glob("[!_]*.py"))
    return {path.stem: ast.get_docstring(ast.parse(path.read_bytes())).splitlines()[0] for path in files}

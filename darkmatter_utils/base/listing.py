"""The modules of a folder, for who lists them instead of naming them: a new file is found without an edit."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType


def names(package: str, pattern: str = "*") -> list[str]:
    """The names of a package's modules that match a pattern, in order; those that begin with an underscore
    are left out."""
    return [path.stem for path in _files(package) if fnmatch(path.stem, pattern)]


def modules(package: str, pattern: str = "*") -> list[ModuleType]:
    """The same modules, imported. What calls it follows from every module of its own folder
    (`provenance`)."""
    return [importlib.import_module(f"{package}.{name}") for name in names(package, pattern)]


def about(package: str) -> dict[str, str]:
    """The first line of each module's docstring by the module's name, read without importing any."""
    docs = {path.stem: ast.get_docstring(ast.parse(path.read_bytes())) for path in _files(package)}
    return {name: text.splitlines()[0] for name, text in docs.items()}


def _files(package: str) -> list[Path]:
    folders = importlib.util.find_spec(package).submodule_search_locations
    paths = [path for folder in folders for path in Path(folder).glob("[!_]*.py")]
    return sorted(paths, key=lambda path: path.stem)

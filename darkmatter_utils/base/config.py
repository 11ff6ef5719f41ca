"""Where files lie, modules that are listed, where results are kept; YAML files of settings, keys checked."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import types
import typing
from dataclasses import fields
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from .errors import BadInput, nearest

PACKAGE = Path(__file__).parents[1]
DATA = PACKAGE / "data"
"""Embedded models, SAEs, texts, and what the paper's figures say."""
STUDIES = PACKAGE / "studies"
"""A YAML file a study."""
STATIC = PACKAGE / "static"
"""What pages load."""


def cache_folder() -> Path:
    """``$DARKMATTER_CACHE``, or ``darkmatter`` in the user's cache folder."""
    if named := os.environ.get("DARKMATTER_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkmatter"


def module_names(package: str, pattern: str = "*") -> list[str]:
    """Names of a package's modules that match a pattern, in order, without those that begin with ``_``."""
    return [path.stem for path in _files(package) if fnmatch(path.stem, pattern)]


def modules(package: str, pattern: str = "*") -> list[ModuleType]:
    """The same modules, imported. What calls it follows from all modules of its folder (`provenance`)."""
    return [importlib.import_module(f"{package}.{name}") for name in module_names(package, pattern)]


def first_lines(package: str) -> dict[str, str]:
    """The first line of each module's docstring by the module's name, read without importing any."""
    docs = {path.stem: ast.get_docstring(ast.parse(path.read_bytes())) for path in _files(package)}
    return {name: text.splitlines()[0] for name, text in docs.items()}


def _files(package: str) -> list[Path]:
    folders = importlib.util.find_spec(package).submodule_search_locations
    paths = [path for folder in folders for path in Path(folder).glob("[!_]*.py")]
    return sorted(paths, key=lambda path: path.stem)


class _Once(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"'{twice[0]}' is given twice")
        return super().construct_mapping(node, deep)


def read(path: Path) -> Any:
    """What a YAML file holds; BadInput where it cannot be read or a key is given twice."""
    try:
        return yaml.load(path.read_text("utf-8"), Loader=_Once)  # noqa: S506  a safe loader
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise BadInput(f"{path.name} is not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None


def check_name(name: Any) -> None:
    """BadInput unless ``name`` can name a study's files: letters, digits, '.', '_' and '-', 64 at most."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]{0,63}", name):
        valid = "letters, digits, '.', '_' and '-' (at most 64, no slash)"
        raise BadInput(f"a study's name is {valid}, not {str(name)[:80]!r}")


def with_dials(kind, settings: dict, *, where: str, given: dict | None = None):
    """An instance of ``kind`` from ``given`` (by the program) and ``settings`` (by the user).

    Raises BadInput, starting with ``where``, for an unknown setting or one of a wrong type.
    """
    given, hints = given or {}, typing.get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.name not in given]
    for name, value in settings.items():
        if name not in names:
            raise BadInput(f"{where}: unknown key '{name}'; {nearest(name, names)}")
        if not _fits(value, hints[name]):
            raise BadInput(f"{where}: {name} is {value!r}; give {_words(hints[name])}")
    return kind(**given, **settings)


def _options(hint) -> tuple:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _fits(value, hint) -> bool:
    if isinstance(value, bool):
        return bool in _options(hint)
    wide = {float: (int, float), int: int, str: str, types.NoneType: types.NoneType}
    return any(isinstance(value, wide.get(option, option)) for option in _options(hint))


def _words(hint) -> str:
    names = {int: "a whole number", float: "a number", str: "text", types.NoneType: "null"}
    return " or ".join(names.get(option, str(option)) for option in _options(hint))

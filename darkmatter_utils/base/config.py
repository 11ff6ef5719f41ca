"""Where files lie, modules that are listed, where results are kept; YAML files of settings, keys checked."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import types
import typing
from dataclasses import MISSING, fields
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


WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    types.NoneType: "null",
    list: "a list",
    tuple: "two whole numbers, [first position, one after the last]",
}
"""What is expected of a setting, by its type."""


def checked(kind, settings: Any, *, where: str, given: dict | None = None):
    """An instance of a dataclass from ``settings`` (by the user) and ``given`` (by the program).

    Raises BadInput, starting with ``where``, for a setting that is unknown, missing, or of a wrong type.
    """
    if not isinstance(settings, dict):
        raise BadInput(f"{where}: expected keys and values, got {settings!r}")
    given, hints = given or {}, typing.get_type_hints(kind)
    known = {field.name: field for field in fields(kind) if field.name not in given}
    for name, value in settings.items():
        if name not in known:
            raise BadInput(f"{where}: unknown key '{name}'; {nearest(name, known)}")
        if not _fits(value, hints[name]):
            raise BadInput(f"{where}: {name} is {value!r}; expected {_words(hints[name])}")
    needed = [name for name, field in known.items() if field.default is field.default_factory is MISSING]
    if missing := [name for name in needed if name not in settings]:
        raise BadInput(f"{where}: {' and '.join(missing)} missing")
    pairs = {name for name, hint in hints.items() if typing.get_origin(hint) is tuple}
    settings = {name: tuple(value) if name in pairs else value for name, value in settings.items()}
    return kind(**given, **settings)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    kind, items = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is tuple:
        right = isinstance(value, list | tuple) and (items[-1] is Ellipsis or len(value) == len(items))
        return right and all(_fits(item, items[0]) for item in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _words(hint: Any) -> str:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return " or ".join(WORDS.get(typing.get_origin(one) or one, "keys and values") for one in options)


def at_least(settings, where: str, **least: int) -> None:
    """BadInput unless each of these settings is at least so large."""
    for name, low in least.items():
        if (value := getattr(settings, name)) < low:
            raise BadInput(f"{where}{name} is {value}; give at least {low}")


def one_of(settings, where: str, **choices) -> None:
    """BadInput unless each of these settings is one of its choices."""
    for name, valid in choices.items():
        if (value := getattr(settings, name)) not in valid:
            raise BadInput(f"{where}{name} '{value}' is not one of {', '.join(filter(None, valid))}")

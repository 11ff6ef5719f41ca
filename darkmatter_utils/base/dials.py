"""A frozen dataclass from the settings of a study file, each checked by name and type."""

from __future__ import annotations

import types
import typing
from dataclasses import fields

from .errors import BadInput, nearest


def with_dials(kind, settings: dict, *, where: str, given: dict | None = None):
    """An instance of ``kind`` from ``given`` (by the program) and ``settings`` (by the user).

    Raises `BadInput`, starting with ``where``, for an unknown setting or one of a wrong type.
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

"""A chapter's idea as an argument: what a function that was written in a notebook says, as one digest.

An experiment takes such a function and is keyed by it, so that an edit to the visible cell of a chapter
changes its figures, its numbers and its verdict, and a record can say whether the idea is the published one.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np

from . import provenance
from .errors import BadInput


def digest(idea: Callable, *, by_name: bool = False) -> str:
    """The digest of a function's source, its defaults and every function it refers to, without comments;
    ``by_name``: what is defined in this package counts by its name alone.

    What it names must be its own: an argument, a module, a function or class (one of the notebook counts by
    its source, one of this package by the definitions behind it, another library's by name). Raises BadInput,
    naming it, for any other variable of the notebook: the result would depend on something that the key does
    not see; and for a function without source.
    """
    asked = _BY_NAME.set(by_name)
    try:
        return hashlib.sha256(json.dumps(_said(idea, ()), sort_keys=True).encode()).hexdigest()[:16]
    finally:
        _BY_NAME.reset(asked)


_BY_NAME = ContextVar("by_name", default=False)


def _own(definition: Any) -> str:
    """What a function or class of this package says."""
    if _BY_NAME.get():
        return f"{definition.__module__}.{definition.__qualname__}"
    return provenance.key(provenance.of(definition))


def is_idea(value: Any) -> bool:
    """Whether a setting is a function, rather than a value."""
    return inspect.isfunction(value)


def _said(function: Callable, above: tuple) -> Any:
    if function in above:
        return "itself"
    if function.__module__.partition(".")[0] == provenance.OWN:
        return _own(function)
    tree = _tree(function)
    known = inspect.getclosurevars(function)
    around = {**function.__globals__, **known.nonlocals}
    named = {name: _value(name, around[name], function, above) for name in _free(tree) if name in around}
    named |= {name: _reached(value, function, above) for name, value in _through_modules(tree, around)}
    defaults = {
        name: _default(parameter.default, function, above)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty
    }
    return [ast.dump(tree), named, defaults]


def _tree(function: Callable) -> ast.AST:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        mend = "define it by def in a cell of the notebook"
        raise BadInput(f"the source of {function.__name__} cannot be read; {mend}") from None
    made = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Lambda))
    if isinstance(made, ast.FunctionDef):
        made.decorator_list = []
        if ast.get_docstring(made) is not None:
            made.body = made.body[1:]
        made.args.defaults = made.args.kw_defaults = []  # they count by value
    return made


def _free(tree: ast.AST) -> list[str]:
    """The names that a function mentions and does not bind itself."""
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    mentioned = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    return sorted(name for name in mentioned - bound if not hasattr(builtins, name))


def _through_modules(tree: ast.AST, around: dict) -> Iterator[tuple[str, Any]]:
    """(name, value) of what is used as an attribute of a module of this package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = around.get(node.value.id)
            if isinstance(home, ModuleType) and home.__name__.partition(".")[0] == provenance.OWN:
                yield ast.unparse(node), getattr(home, node.attr, None)


def _reached(value: Any, function: Callable, above: tuple) -> Any:
    return _value("", value, function, above) if callable(value) else _default(value, function, above)


def _value(name: str, value: Any, function: Callable, above: tuple) -> Any:
    if isinstance(value, ModuleType):
        return value.__name__
    home = getattr(value, "__module__", None) or ""
    if inspect.isfunction(value) and (home == "__main__" or home.startswith(provenance.OWN)):
        return _said(value, (*above, function))
    if inspect.isclass(value) and home.startswith(provenance.OWN):
        return _own(value)
    if inspect.isbuiltin(value) or (callable(value) and home not in ("", "__main__")):
        return f"{value.__module__}.{getattr(value, '__qualname__', name)}"
    raise BadInput(
        f"{function.__name__} uses the notebook's variable '{name}', which its result would silently follow; "
        f"hand it over as a default: def {function.__name__}(..., {name}={name})"
    )


def _default(value: Any, function: Callable, above: tuple) -> Any:
    if inspect.isfunction(value):
        return _said(value, (*above, function))
    if hasattr(value, "__array__") or hasattr(value, "detach"):
        data = np.ascontiguousarray(value.detach().cpu() if hasattr(value, "detach") else value)
        return [str(data.dtype), list(data.shape), hashlib.sha256(data.tobytes()).hexdigest()]
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return repr(value)


class Ideas(dict):
    """The functions of one chapter, by name, and what each says."""

    def add(self, idea: Callable) -> None:
        """Note a function under its name; one that is defined anew replaces the earlier."""
        self[idea.__name__] = digest(idea)

    def edited(self, published: dict[str, str]) -> Iterator[str]:
        """The names of those that say something else than the published ones."""
        return (name for name, said in self.items() if published.get(name, said) != said)

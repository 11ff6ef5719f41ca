"""Which code a result follows from: the definitions that it uses, and all that these use in turn, by content.

A definition is a function, a class or an assignment at the top of a module. Its digest is that of its syntax
tree without docstrings and comments; an import counts for the names it takes, not for where it finds them. So
code that is moved, reformatted or explained anew is the same code, and one function of a module can change
without touching what follows from another. Everything is read from the source; nothing is imported or run.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .config import PACKAGE

OWN = PACKAGE.name
MACHINERY = ("book", "cli", "base.cache")
"""Folders and modules that carry results and make none: a change in them makes no chapter stale."""


class Name(NamedTuple):
    """A definition of this package, or a module of it where ``name`` is None."""

    module: str  # dotted, without the package's own name: stats.moments
    name: str | None = None

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module


class Statement(NamedTuple):
    """One statement at the top of a module."""

    digest: str
    uses: tuple[Name, ...]


class Module(NamedTuple):
    """The statements at the top of a module: those that define a name, and those that only act."""

    defined: dict[str, tuple[Statement, ...]]
    acting: tuple[Statement, ...]
    imported: dict[str, Name]  # what a name stands for that an import brought in


def digest(data: bytes) -> str:
    """The first 16 hex digits of the sha256."""
    return hashlib.sha256(data).hexdigest()[:16]


def of(*functions) -> dict[str, str]:
    """Digest by name of functions or classes of this package and of every definition that they use."""
    homes = [f.__module__.removeprefix(f"{OWN}.") for f in functions]
    return closure(Name(home, f.__qualname__.partition(".")[0]) for home, f in zip(homes, functions))


def key(found: dict[str, str]) -> str:
    """One digest for all definitions of a closure, whatever they are called and wherever they stand."""
    return digest(json.dumps(sorted(set(found.values()))).encode())


def closure(names: Iterable[Name]) -> dict[str, str]:
    """Digest by name of the definitions given and of every definition that they use, machinery left out."""
    found: dict[str, str] = {}
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.module.partition(".")[0] in MACHINERY or name.module in MACHINERY:
            continue
        seen.add(name)
        module = read(name.module)
        if module is None:
            continue
        if name.name is None:
            waiting += [Name(name.module, other) for other in module.defined]
            statements = module.acting
        elif name.name in module.defined:
            statements = module.defined[name.name] + module.acting
            found[str(name)] = digest("".join(s.digest for s in module.defined[name.name]).encode())
        elif name.name in module.imported:
            waiting.append(module.imported[name.name])
            continue
        else:
            continue
        for statement in module.acting:
            found[f"{name.module}:{statement.digest[:6]}"] = statement.digest
        waiting += [other for statement in statements for other in statement.uses]
    return dict(sorted(found.items()))


def script(source: str) -> list[Name]:
    """The definitions of this package that a script (the code cells of a chapter) names."""
    found = parsed(ast.parse(source), "", package=None)
    statements = [*found.acting, *(s for made in found.defined.values() for s in made)]
    return list(dict.fromkeys(name for s in statements for name in s.uses if name.module))


@cache
def read(module: str) -> Module | None:
    """The statements of a module of this package, by its dotted name; None where there is no such module."""
    path = path_of(module)
    if path is None:
        return None
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return parsed(ast.parse(path.read_bytes()), module, package=inside)


def path_of(module: str) -> Path | None:
    """The file of a module of this package; None where there is none."""
    place = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    found = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    return found[0] if found else None


def parsed(tree: ast.Module, name: str, *, package: str | None) -> Module:
    """The statements of a syntax tree, by what they define. package: the folder that the module is in, by
    which relative imports go; None for a script."""
    imported = {name: found for node in tree.body for name, found in _imports(node, package).items()}
    own = {other: Name(name, other) for node in tree.body for other in _bound(node)}
    defined: dict[str, list[Statement]] = {}
    acting = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom) or _is_text(node):
            continue
        known = own | imported
        for inner in ast.walk(node):
            known |= _imports(inner, package)
        uses = tuple(dict.fromkeys(_uses(node, known, package)))
        statement = Statement(digest(ast.dump(_Bare().visit(node)).encode()), uses)
        for bound in _bound(node):
            defined.setdefault(bound, []).append(statement)
        if not _bound(node):
            acting.append(statement)
    return Module({name: tuple(s) for name, s in defined.items()}, tuple(acting), imported)


def _imports(node: ast.AST, package: str | None) -> dict[str, Name]:
    """What each name of an import from this package stands for."""
    if not isinstance(node, ast.ImportFrom):
        return {}
    head, _, rest = (node.module or "").partition(".")
    if node.level == 0 and head == OWN:
        base = rest
    elif node.level and package is not None:
        parts = package.split(".") if package else []
        parts = parts[: len(parts) - (node.level - 1)]
        base = ".".join([*parts, node.module] if node.module else parts)
    else:
        return {}
    return {alias.asname or alias.name: _resolved(base, alias.name) for alias in node.names}


def _resolved(base: str, name: str) -> Name:
    if not base and name in _homes():
        return Name(_homes()[name], name)
    inner = f"{base}.{name}" if base else name
    return Name(inner) if path_of(inner) is not None else Name(base, name)


@cache
def _homes() -> dict[str, str]:
    """Where the names that the package itself offers are defined."""
    for node in ast.parse((PACKAGE / "__init__.py").read_bytes()).body:
        if isinstance(node, ast.Assign) and _bound(node) == ["_HOMES"]:
            return ast.literal_eval(node.value)
    return {}


def _bound(node: ast.AST) -> list[str]:
    """The names that a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [t for target in targets for t in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [t.id for t in names if isinstance(t, ast.Name)]


def _uses(node: ast.AST, known: dict[str, Name], package: str | None) -> Iterator[Name]:
    """The definitions that a statement mentions: by their names, or as attributes of a module's."""
    reached = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            module = known.get(inner.value.id)
            if module is not None and module.name is None:
                reached.add(inner.value)
                yield from _listed(_resolved(module.module, inner.attr), package)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id in known and inner not in reached:
            yield from _listed(known[inner.id], package)


def _listed(name: Name, package: str | None) -> Iterator[Name]:
    """The name itself; and every module of the folder, where it is that of the function that lists it."""
    yield name
    if name == Name("base.config", "modules") and package:
        for path in sorted(PACKAGE.joinpath(*package.split(".")).glob("[!_]*.py")):
            yield Name(f"{package}.{path.stem}")


class _Bare(ast.NodeTransformer):
    """Takes away docstrings, and from imports where they import from."""

    def visit(self, node):
        node = self.generic_visit(node)
        if isinstance(getattr(node, "body", None), list) and not isinstance(node, ast.Lambda):
            node.body = [inner for inner in node.body if not _is_text(inner)] or [ast.Pass()]
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith(OWN)):
            return ast.ImportFrom(module="", names=node.names, level=0)
        return node


def _is_text(node: ast.AST) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)

"""SAE folders as they are published: one file a format, found by listing.

A format's module says ``FILES``, which every such folder has; ``MORE``, which one may have; ``RELEASES``, the
kinds of release of SAELens that are in it; and ``read(folder)``, which turns a folder into SAELens'
configuration and weights (`weights.Found`). Its name is the format's; the first line of it, what ``--help``
says. SAELens does the arithmetic; it has no reader of local Gemma Scope and Llama Scope folders.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from ...base.config import modules
from ...base.errors import BadInput
from ..weights import name_of


def known() -> dict[str, ModuleType]:
    """Every format by its name."""
    return {name_of(module): module for module in modules(__name__)}


def recognise(path: str | Path) -> tuple[Path, ModuleType]:
    """The SAE's folder, where ``path`` is one or a file in one, and its format. Raises BadInput for a path
    that is not there, a folder of no format, and one that lacks one of a format's files, naming what there
    is."""
    path, formats = Path(path).absolute(), known()
    valid = "; ".join(f"{name} ({', '.join(format.FILES)})" for name, format in formats.items())
    if not path.exists():
        raise BadInput(f"no SAE at {path}: there is no such file or folder")
    if path.is_file():
        names = {Path(file).name: file for format in formats.values() for file in format.FILES}
        if path.name not in names:
            raise BadInput(f"{path.name} is no file of an SAE; give a folder of one of the formats: {valid}")
        home = path.parents[len(Path(names[path.name]).parts) - 1]
        for format in formats.values():
            asked = home / names[path.name] == path and names[path.name] in format.FILES
            if asked and all((home / file).is_file() for file in format.FILES):
                return home, format
        path = home
    whole = {n: f for n, f in formats.items() if all((path / file).is_file() for file in f.FILES)}
    if len(whole) > 1:
        raise BadInput(
            f"{path.name} holds an SAE in {len(whole)} formats ({', '.join(whole)}); give the file of one, "
            f"e.g. {path.name}/{next(iter(whole.values())).FILES[0]}"
        )
    if whole:
        return path, next(iter(whole.values()))
    for name, format in formats.items():
        if any((path / file).exists() for file in format.FILES):
            lacks = ", ".join(file for file in format.FILES if not (path / file).is_file())
            raise BadInput(f"{path.name} looks like {name}, but lacks {lacks}")
    firsts = [file for format in formats.values() for file in path.rglob(format.FILES[0])]
    if inside := sorted({str(file.parent.relative_to(path)) for file in firsts}):
        some = f"give one, e.g. {', '.join(inside[:3])}"
        raise BadInput(f"{path.name} is not an SAE but has {len(inside)} inside; {some}")
    raise BadInput(f"{path.name} holds no SAE of a known format; known: {valid}")

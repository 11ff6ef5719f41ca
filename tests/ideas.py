"""A chapter's cells as a kernel runs them, and its visible function: published, or edited."""

import ast
import itertools
import linecache
from collections.abc import Callable

import jupytext
from throwaway import ROOT

COUNT = itertools.count()


def idea(number: int, *edits: tuple[str, str]) -> Callable:
    """The function that chapter ``number`` decorates with ``@chapter.idea``, its cell edited: (old, new) by
    (old, new)."""
    cells = [cell.source for cell in code(number)]
    (at,) = (i for i, source in enumerate(cells) if "@chapter.idea" in source)
    source = cells[at]
    for old, new in edits:
        assert old in source, f"the visible cell of chapter {number:02d} does not say {old!r}"
        source = source.replace(old, new)
    said = [node for text in cells[:at] for node in ast.parse(text).body]
    run("\n".join(ast.unparse(n) for n in said if isinstance(n, ast.Import | ast.ImportFrom)), there := {})
    made = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    made = [
        n for n in made if not any(isinstance(value, ast.Name) for value in n.args.defaults)
    ]  # of the kernel
    lines = source.splitlines(True)
    run("".join("".join(lines[n.lineno - 1 : n.end_lineno]) for n in made), there)
    return next(there[n.name] for n in made if n.decorator_list)


def play(number: int, **parameters) -> dict:
    """What a kernel holds after all cells of chapter ``number``."""
    there: dict = {}
    for cell in code(number):
        run(cell.source, there)
        if "parameters" in cell.metadata.get("tags", []):
            there |= parameters
    return there


def code(number: int) -> list:
    """The code cells of chapter ``number``."""
    (path,) = (ROOT / "notebooks").glob(f"{number:02d}_*.py")
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]


def run(source: str, there: dict) -> None:
    """Run a cell in a kernel that holds ``there``."""
    name = f"<idea {next(COUNT)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    there["__name__"] = "__main__"
    exec(compile(source, name, "exec"), there)

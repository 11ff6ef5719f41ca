"""The README's table of headline numbers: from the records of the chapters, never by hand."""

from __future__ import annotations

import json
from pathlib import Path

from ..base.errors import BadInput
from ..base.values import write_atomic
from .chapters import DEFAULT_STUDY, chapters

BEGIN, END = "<!-- headline numbers: written by make book -->", "<!-- end of headline numbers -->"


def update(root: Path) -> bool:
    """Write the table between the README's markers; True when that changed the file.

    Raises BadInput when the markers are gone. Without any headline in the records the README stays as it is.
    """
    path = root / "README.md"
    rows = headlines(root)
    if not rows or not path.exists():
        return False
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BadInput(f"README.md needs one line '{BEGIN}' and one line '{END}' around its table of numbers")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    new = f"{before}{BEGIN}\n{table(rows)}{END}{after}"
    if new == text:
        return False
    write_atomic(path, new)
    return True


def headlines(root: Path) -> list[dict]:
    """The rows that the chapters' records hold under ``headline``, in the order of the chapters."""
    rows = []
    for chapter in chapters(root):
        record = chapter.record(DEFAULT_STUDY)
        if record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))["values"].get("headline", [])
            rows += [{"chapter": chapter.name} | row for row in found]
    return rows


def table(rows: list[dict]) -> str:
    """The rows as a Markdown table that ends with a newline."""
    lines = ["| | here (study `tiny`) | the paper | chapter |", "|---|---|---|---|"]
    for row in rows:
        name = row["chapter"]
        lines.append(
            f"| {row['what']} | {row['here']} | {row['paper'] or '–'} | [{name[:2]}](book/{name}.ipynb) |"
        )
    return "\n".join(lines) + "\n"

"""Publish what a build made: executed chapters and records go into ``book/``, headline numbers into the README."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ..base.errors import BadInput
from ..base.values import write_atomic
from .chapters import DEFAULT_STUDY, ChapterFile, chapters, file_name
from .shelf import ONE, SECONDS, hash_of, published
from .staleness import due, read_stamp

BEGIN, END = "<!-- headline numbers: written by darkmatter publish -->", "<!-- end of headline numbers -->"


def publish(root: Path, *, study: str = DEFAULT_STUDY) -> list[Path]:
    """Copy the records of a study's last build into ``book/``, its executed chapters as well where it is the
    default study; the files written.

    Raises BadInput where a chapter was not run here as it stands, or read a record of another study that is
    not the published one: an edition is of one piece.
    """
    waiting = due(root, study)
    if waiting:
        chapter, reason = waiting[0]
        raise BadInput(
            f"chapter {chapter.name} cannot be published: {reason}; first: darkmatter build --study {study}"
        )
    for chapter in chapters(root):
        _reads_what_is_published(root, chapter, study)
    place = published(root, file_name(study))
    seconds, copies = {}, {}
    for chapter in chapters(root):
        copies[chapter.published_record(study)] = chapter.record(study)
        seconds[f"{chapter.number:02d}"] = read_stamp(chapter, study)["seconds"]
        if file_name(study) == DEFAULT_STUDY:
            copies[chapter.published()] = chapter.executed(study)
    place.mkdir(parents=True, exist_ok=True)
    of_no_chapter = {*place.glob(ONE)}
    if file_name(study) == DEFAULT_STUDY:
        of_no_chapter |= {*(root / "book").glob("[0-9][0-9]_*.ipynb")}
    for path in of_no_chapter - copies.keys():
        path.unlink()
    for target, made in copies.items():
        shutil.copyfile(made, target)
    write_atomic(place / SECONDS, json.dumps(seconds, indent=1) + "\n")
    update(root)
    return list(copies)


def _reads_what_is_published(root: Path, chapter: ChapterFile, study: str) -> None:
    found = (json.loads(chapter.record(study).read_text("utf-8"))["records"] or {}).get("found", {})
    for name, said in found.items():
        other, _, number = name.partition("/")
        path = published(root, other) / f"{number}.json"
        if other != file_name(study) and not (
            path.is_file() and hash_of(json.loads(path.read_text("utf-8"))["values"]) == said
        ):
            raise BadInput(
                f"chapter {chapter.name} cannot be published: it read the record {name}, which is not the "
                f"published one; first: darkmatter publish --study {other} (or remove build/{other} and run it "
                f"again)"
            )


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
        record = chapter.published_record(DEFAULT_STUDY)
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

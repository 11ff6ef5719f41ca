"""The chapters of a project, and their records as a chapter that reports on them reads them.

``notebooks/NN_name.py`` is the source; a run makes ``build/<study>/NN_name.ipynb`` and
``build/<study>/records/NN.json``; ``book/records/<study>/NN.json`` is published and, of `editions`,
``book/<study>/NN_name.ipynb``. A chapter that calls ``chapter.reads`` has the cell tag ``reads-records``: it
runs after all others, the index last, and is stale when the values of a record that it read changed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from ..base import config
from ..base.errors import BadInput, nearest
from ..base.provenance import digest
from ..measurement.measure import manifest
from ..studies.study import FORMAT_TESTS, Study

DEFAULT_STUDY = "tiny"
"""The study that `make book` executes."""
EDITIONS = "editions.yml"
"""In ``book/``: the list of the studies whose executed chapters are published."""
INDEX = 0
"""The chapter that reports on all others; no other chapter reads it."""
EVERY = "*"
"""Stands for every study that has published records."""
RECORD, SECONDS = "[0-9][0-9].json", "seconds.json"
"""In a folder of records: their names; how long each chapter took where it was published."""
READS_RECORDS = "reads-records"
"""The tag of a cell that reads other chapters' records (`Chapter.reads`)."""
KEPT = ("tags", "mystnb")
"""Cell metadata that an executed chapter keeps; the rest is of one run or of one editor."""
LANGUAGE = {
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "pygments_lexer": "ipython3",
}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def project_root(start: Path | None = None) -> Path:
    """The project around ``start`` (by default DARKMATTER_PROJECT, the current folder, then the package).

    Raises BadInput where there is none: a project has ``_toc.yml`` and ``notebooks/``.
    """
    given = start or os.environ.get("DARKMATTER_PROJECT")
    first = Path(given).resolve() if given else Path.cwd()
    for folder in [first, *first.parents] + ([] if given else [config.PACKAGE.parent]):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    where = "run this where _toc.yml and notebooks/ are, or set DARKMATTER_PROJECT"
    raise BadInput(f"no book at {first} or above it; {where}")


def project() -> Path | None:
    """The project around the current folder, else the installed one; None where there is none."""
    try:
        return project_root()
    except BadInput:
        return None


@dataclass(frozen=True)
class ChapterFile:
    """One chapter of a project, its number in the book, and its source ``notebooks/NN_name.py``."""

    root: Path
    number: int
    source: Path

    @property
    def name(self) -> str:
        """NN_name."""
        return self.source.stem

    def executed(self, study: str, *, tried: bool = False) -> Path:
        """Where the executed notebook goes; ``tried``: of a run with other parameters than the chapter's."""
        return self._made(study, tried) / f"{self.name}.ipynb"

    def record(self, study: str, *, tried: bool = False) -> Path:
        """Where its record goes."""
        return self._made(study, tried) / "records" / f"{self.number:02d}.json"

    def _made(self, study: str, tried: bool) -> Path:
        return self.root / "build" / file_name(study) / ("tried" if tried else "")

    def published(self, study: str = DEFAULT_STUDY) -> Path:
        """The executed chapter of a published edition."""
        return self.root / "book" / file_name(study) / f"{self.name}.ipynb"

    def published_record(self, study: str) -> Path:
        """The published record."""
        return published(self.root, file_name(study)) / f"{self.number:02d}.json"

    def found(self, study: str) -> tuple[Path, Path]:
        """The executed notebook and its record: as made here, else, of an edition, as published."""
        if file_name(study) in editions(self.root) and not self.executed(study).exists():
            return self.published(study), self.published_record(study)
        return self.executed(study), self.record(study)

    def notebook(self):
        """The source as a notebook without outputs, cell ids by position."""
        import jupytext

        book = jupytext.reads(self.source.read_text(encoding="utf-8-sig"), fmt="py:percent")
        for cell in book.cells:
            if cell.cell_type == "code" and (figure := options(cell.source)):
                cell.metadata["mystnb"] = {"figure": figure}
        return settle(book, self.number)

    def code(self) -> str:
        """The code of its cells, one after the other."""
        return "\n".join(cell.source for cell in self.notebook().cells if cell.cell_type == "code")

    def reads_records(self) -> bool:
        """Whether the chapter reports on the records of others, and so runs after them."""
        return any(READS_RECORDS in cell.metadata.get("tags", []) for cell in self.notebook().cells)

    def cells_hash(self) -> str:
        """The hash of what the cells say and are tagged, whatever the header of the file says."""
        cells = [[cell.cell_type, cell.source, cell.metadata] for cell in self.notebook().cells]
        return digest(json.dumps(cells, sort_keys=True).encode())


def options(source: str) -> dict[str, str]:
    """The name and caption of a figure's cell: comment lines at its top, ``#| label:`` and ``#| caption:``.

    A caption may go on over further lines ``#|   ...``. Raises BadInput for another option, or one alone.
    """
    found: dict[str, str] = {}
    key = ""
    for line in source.splitlines():
        if not line.startswith("#|"):
            break
        text = line.removeprefix("#|")
        named = re.match(r" ([\w-]+):\s*(.*)", text)
        if named:
            key = {"label": "name", "caption": "caption"}.get(named[1], "")
            if not key:
                raise BadInput(f"a cell has the option '{named[1]}'; valid: label, caption")
            found[key] = named[2].strip()
        elif key:
            found[key] = f"{found[key]} {text.strip()}".strip()
    if found and found.keys() != {"name", "caption"}:
        raise BadInput(f"figure {found.get('name', found)} needs both, #| label: and #| caption:")
    return found


def chapters(root: Path) -> list[ChapterFile]:
    """All chapters of a project, in order; BadInput when two have one number."""
    found: dict[int, ChapterFile] = {}
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.py")):
        number = int(path.name[:2])
        if number in found:
            raise BadInput(f"{found[number].source.name} and {path.name} have one number; rename one of them")
        found[number] = ChapterFile(root, number, path)
    return list(found.values())


def story(root: Path) -> dict[int, str]:
    """The pages that tell the story, number and name: those before the report, as ``_toc.yml`` lists them."""
    listed = re.findall(r"\b\d\d_\w+", (root / "_toc.yml").read_text(encoding="utf-8"))
    there = (c for c in chapters(root) if c.name in listed and c.number != INDEX)
    told = sorted(there, key=lambda c: listed.index(c.name))
    return {c.number: c.name for c in takewhile(lambda c: not c.reads_records(), told)}


def editions(root: Path) -> list[str]:
    """The published editions, by their studies' names: the site opens on the first.

    ``book/editions.yml`` lists them; without it the default study is the one edition. Of other published
    studies the book has the records alone. Raises BadInput for a file that is no list of names.
    """
    path = root / "book" / EDITIONS
    listed = config.read(path) if path.is_file() else [DEFAULT_STUDY]
    if not isinstance(listed, list) or not listed:
        raise BadInput(
            f"book/{EDITIONS} must list the name of a study or several, such as: - {DEFAULT_STUDY}"
        )
    for name in listed:
        config.check_name(name)
    if twice := {name for name in listed if listed.count(name) > 1}:
        raise BadInput(f"book/{EDITIONS} lists {sorted(twice)[0]} twice")
    return listed


def run_order(root: Path) -> list[ChapterFile]:
    """All chapters in the order in which they run: those that read records last, the index at the end."""
    return sorted(chapters(root), key=lambda c: (c.reads_records(), c.number == INDEX, c.number))


def pick(root: Path, wanted: str | int) -> ChapterFile:
    """The chapter named ``5``, ``05`` or ``05_scaling``; BadInput names the nearest there are."""
    there = chapters(root)
    for chapter in there:
        if str(wanted) in (chapter.name, str(chapter.number), f"{chapter.number:02d}"):
            return chapter
    raise BadInput(f"there is no chapter '{wanted}'; {nearest(wanted, [c.name for c in there], limit=5)}")


def file_name(study: str) -> str:
    """What a study's results are kept under: its name, whether it was given by name or by path."""
    if (path := Path(study)).suffix not in (".yaml", ".yml"):
        return study
    settings = config.read(path) if path.is_file() else None
    return (settings.get("name") if isinstance(settings, dict) else None) or path.stem


def titled(study: Study) -> str:
    """What every page says of a study: its title and, of a model whose weights were rounded, to what."""
    rounded = manifest(study).get("model", {}).get("quantised")
    return f"{study.title}, its weights dequantised from {rounded}" if rounded else study.title


def settle(book, number: int):
    """The notebook without anything of one run or one machine: the same cells give the same bytes."""
    book.metadata = type(book.metadata)({"kernelspec": dict(KERNEL), "language_info": dict(LANGUAGE)})
    book.nbformat, book.nbformat_minor = 4, 5
    for position, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number:02d}-{position:02d}"
        kept = {key: cell.metadata[key] for key in KEPT if cell.metadata.get(key)}
        cell.metadata = type(cell.metadata)(kept)
        if cell.cell_type == "code":
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.metadata["tags"] = ["injected-parameters", "remove-input"]  # the run record shows them
            # Progress and warnings were shown while the chapter ran; they differ between runs.
            cell.outputs = _joined([output for output in cell.outputs if output.get("name") != "stderr"])
    return book


def _joined(outputs: list) -> list:
    """What a cell printed as one piece: in how many pieces it arrived depends on how busy the machine was."""
    joined: list = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def read_json(path: Path) -> dict | None:
    """What a file holds; None where it is missing or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def published(root: Path, study: str) -> Path:
    """The folder of a study's published records."""
    return root / "book" / "records" / study


def stored(root: Path, study: str) -> Path:
    """The folder of the results that the repository stores of a study."""
    return root / "book" / "results" / study


def read_records(root: Path, own: str, others: Iterable[str], *, reader: int) -> dict[str, dict[int, dict]]:
    """The values of records by study and chapter, without the index's and those of the chapter that reads.

    Of the study ``own`` those made here, else the published ones; of ``others`` (`EVERY`: all but those that
    only test formats) the published ones alone, so that a report is the same wherever else a study was run.
    Raises BadInput for a file that is no record.
    """
    names = {own, *others} - {EVERY}
    if EVERY in others:
        there = {path.parent.name for path in published(root, "").glob(f"*/{RECORD}")}
        names |= there - set(FORMAT_TESTS)
    found = {}
    for study in sorted(names):
        folders = [published(root, study)] + [root / "build" / study / "records"] * (study == own)
        paths = {int(path.stem): path for folder in folders for path in folder.glob(RECORD)}
        found[study] = {n: _values(paths[n], study) for n in sorted(paths) if n not in (INDEX, reader)}
    return found


def _values(path: Path, study: str) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["values"]
    except (ValueError, KeyError, TypeError):
        again = f"make it again: darkmatter run {path.stem} --study {study}"
        raise BadInput(f"{study}/{path.name} is no record of a chapter; {again}") from None


def hashes(records: Mapping[str, Mapping[int, dict]]) -> dict[str, str]:
    """The hash of every record's values, by "study/NN"."""
    return {
        f"{study}/{number:02d}": digest(json.dumps(values, sort_keys=True).encode())
        for study, found in records.items()
        for number, values in found.items()
    }

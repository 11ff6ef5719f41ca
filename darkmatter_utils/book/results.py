"""Results that last: the kept results that an edition's chapters read, stored in the repository.

``book/results/<study>`` is an export (`studies.portable`) of these alone, without `LEFT_OUT`, and has
``columns.csv``, a line a column. They lie beside the executed chapters that are drawn of them, outside the
package, so that no wheel carries them. Chapters read them by their key (`base.cache`): without model, weights
or text, all pages are made and judged again, as long as code, data and settings are those that the results
follow from.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet

from ..base import cache
from ..base.config import DATA
from ..base.errors import BadInput
from ..base.values import whole
from ..base.words import readable
from ..measurement import measure
from ..studies import portable
from ..studies.study import Study
from .chapters import DEFAULT_STUDY, chapters, file_name, stored
from .staleness import read_stamp

EMBEDDED = (DEFAULT_STUDY, "world", "nano")
"""Studies that are not stored: all that they follow from is in the package."""
LEFT_OUT = {"measure": measure.LEFT_OUT, "probes": ("latents.parquet",)}
"""Files that no chapter reads, by the kind of result: too large to be stored."""
LIMIT = 15_000_000
"""Bytes that an edition may store."""
COLUMNS = DATA / "columns.csv"
"""What columns mean: name, unit, meaning. A name may be of one result or table (``arrays.mean``), or a
pattern (``replicates *``)."""
ENDS = {
    "_low": "lower end of the 95% interval of",
    "_high": "upper end of the 95% interval of",
    "_held_out": "out of sample, the maps' estimation error left in:",
    "_sd": "standard deviation over draws of",
}
"""What the end of a column's name says of the column without it."""


def store(root: Path, study: str) -> Path:
    """Store the results that the last runs of a study's chapters read; their folder.

    Raises BadInput for one that is no longer there, for a column that `COLUMNS` does not explain, and where
    they are larger than `LIMIT`, naming the largest.
    """
    place = stored(root, named := file_name(study))
    stamps = [read_stamp(chapter, study) or {} for chapter in chapters(root)]
    names = sorted({name for one in stamps for name in one.get("results", [])})
    if not names:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with whole(place) as part:
        part.mkdir()
        found = {}
        for name in names:
            # What is stored already stays as it is: not even how long it took changes.
            there = [folder / name for folder in (place, cache.cache_folder()) if cache.sealed(folder / name)]
            if not there:
                again = f"first: darkmatter build --study {study} --all"
                raise BadInput(f"the result {name} of study {named} is no longer here; {again}")
            found[name] = there[0]
        without = lambda name: LEFT_OUT.get(kind(name, named), ())
        portable.write(Study.load(study), part, found.values(), without=without)
        rows = list(dictionary(part, named))
        with (part / COLUMNS.name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("result", "table", "column", "unit", "meaning"), *rows])
        sizes = {name: sum(f.stat().st_size for f in (part / name).iterdir()) for name in names}
        if (total := sum(sizes.values())) > LIMIT:
            most = max(sizes, key=sizes.get)
            over = f"{readable(total)}, more than {readable(LIMIT)}; the largest is {most}"
            raise BadInput(f"the results of study {named} have {over} ({readable(sizes[most])})")
    return place


def kind(name: str, study: str) -> str:
    """What made a result, by its folder's name: error-vectors-tiny-0123... is of error-vectors."""
    ends = "|".join(map(re.escape, (study, *EMBEDDED)))
    return re.sub(rf"-({ends})-[0-9a-f]{{32}}$", "", name)


def dictionary(folder: Path, study: str) -> Iterator[tuple[str, str, str, str, str]]:
    """(result, table, column, unit, meaning) of each column of a study's results in a folder, a kind once."""
    tables: dict[tuple[str, str], dict] = {}
    for path in sorted([*folder.glob("*/*.parquet"), *folder.glob("*/*.npz")]):
        made = tables.setdefault((kind(path.parent.name, study), path.stem), {})
        made.update(dict.fromkeys(_columns(path)))
    known = pd.read_csv(COLUMNS, dtype=str, keep_default_na=False).set_index("name")
    for (result, table), columns in sorted(tables.items()):
        for column in columns:
            yield result, table, column, *meaning(result, table, column, known)


def _columns(path: Path) -> list[str]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return arrays.files
    return [name for name in pyarrow.parquet.read_schema(path).names if not name.startswith("__index")]


def meaning(result: str, table: str, column: str, known: pd.DataFrame) -> tuple[str, str]:
    """(unit, meaning) of a column; BadInput where `COLUMNS` has no line for it."""
    names = [f"{result}.{column}", f"{table}.{column}", column]
    fitting = (pattern for pattern in known.index if any(fnmatchcase(name, pattern) for name in names))
    for name in [*names, *fitting]:
        if name in known.index:
            return known["unit"][name], known["meaning"][name]
    for end, words in ENDS.items():
        if column.endswith(end):
            unit, said = meaning(result, table, column.removesuffix(end), known)
            return unit, f"{words} {column.removesuffix(end)}: {said}"
    where = f"result {result}, table {table}"
    raise BadInput(f"{where}: data/columns.csv does not say what the column '{column}' means; add a line")

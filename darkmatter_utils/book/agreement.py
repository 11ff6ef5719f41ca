"""Whether what a build recorded is what the published edition says.

Two processors give different last digits: a number agrees within a twentieth of its standard error, or,
where it has none, to 1e-4 of itself; one of a column of shares, none above 1, to 1e-4 of the column's
largest, and what a choice changes, of the numbers that it is made of. Of a text, every word, and the numbers
in it but for their last digit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..claims.protocol import R2
from ..stats.intervals import standard_error
from .chapters import ChapterFile, chapters, read_json

ERRORS, SHARE, NOTHING = 1 / 20, 1e-4, 1e-9
"""How far two numbers may be apart: in standard errors; in shares of the number; at zero."""
STEPS = {"accuracy": 1 / 4, "less interpretable": 1 / 4}
"""The same in standard errors for numbers that move in steps: of yes-or-no answers about the latents that
have enough windows, on another processor one latent may be in or out."""
LATENTS = {"09 reach": 1 / 200}
"""The same for shares of these latents, without a standard error."""
LAST_DIGIT = 1.1e-5
"""What the last of a record's six digits can be in shares of the number."""
SHOWN = 20
"""Differences that are shown."""
GONE = ...
"""Stands for a value that one of the two does not have."""


class Pair(NamedTuple):
    """One recorded value as it was published and as it is here."""

    where: str
    published: Any
    here: Any
    error: float | None = None  # the standard error of a number, where it has one
    scale: float = 0.0  # of a share in a column of shares the largest there; of a change what it is made of

    def is_number(self) -> bool:
        """Whether it is a number in both."""
        both = self.published, self.here
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in both)

    def apart(self) -> float:
        """The distance of two numbers in standard errors, or in shares of the published one."""
        return abs(self.here - self.published) / (self.error or abs(self.published) or 1.0)

    def agrees(self) -> bool:
        """Whether the two say the same."""
        if self.published == self.here:
            return True
        if not self.is_number():
            return isinstance(self.here, str) and isinstance(self.published, str) and self._same_text()
        counted = (share for name, share in LATENTS.items() if self.where.startswith(name))
        allowed = max(SHARE * max(abs(self.published), self.scale), *counted, 0.0)
        if self.error:
            share = next((share for name, share in STEPS.items() if name in self.where), ERRORS)
            allowed = max(share * self.error, LAST_DIGIT * abs(self.published))
        return abs(self.here - self.published) <= max(allowed, NOTHING)

    def _same_text(self) -> bool:
        first, second = (re.split(r"(\d[\d,]*(?:\.\d+)?%?)", text) for text in (self.published, self.here))
        return len(first) == len(second) and all(
            a == b or (i % 2 == 1 and _rounded_alike(a, b)) for i, (a, b) in enumerate(zip(first, second))
        )

    def __str__(self) -> str:
        said = f"{self.where}: published {_short(self.published)}, here {_short(self.here)}"
        if not self.is_number():
            return said
        return f"{said} ({self.apart():.2g} {'standard errors' if self.error else 'of it'})"


@dataclass
class Agreement:
    """What came of a comparison."""

    pairs: list[Pair] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was not compared, and why

    def apart(self) -> list[Pair]:
        """The values that do not agree."""
        return [pair for pair in self.pairs if not pair.agrees()]

    def lines(self) -> Iterator[str]:
        """The notes, the values that do not agree, and what came of it all."""
        yield from self.notes
        apart = self.apart()
        yield from (str(pair) for pair in apart[:SHOWN])
        if len(apart) > SHOWN:
            yield f"and {len(apart) - SHOWN:,} more"
        if not self.pairs:
            return
        numbers = [pair for pair in self.pairs if pair.is_number()]
        there = [pair for pair in numbers if pair.error and abs(pair.here - pair.published) > NOTHING]
        worst = max((pair.apart() for pair in there), default=0.0)
        texts = [pair for pair in self.pairs if isinstance(pair.published, str) and pair.here is not GONE]
        changed = sum(pair.published != pair.here for pair in texts)
        agree = f"{len(self.pairs) - len(apart):,} of {len(self.pairs):,} recorded values agree"
        differ = f"{changed:,} of {len(texts):,} texts differ"
        most = f"the largest difference is {worst:.2g} standard errors"
        yield f"{agree} with the published ones, {most}; {differ}"


def compare(root: Path, study: str) -> Agreement:
    """The records made here against the published ones of the same study."""
    found = Agreement()
    for chapter in chapters(root):
        here, published = read_json(chapter.record(study)), read_json(chapter.published_record(study))
        if here is None or published is None:
            if here is not None:
                found.notes.append(f"chapter {chapter.name} of study {study} was never published")
            continue
        if others := _studies(here) ^ _studies(published):
            why = f"of its two editions one alone reads records of {', '.join(sorted(others))}"
            found.notes.append(f"chapter {chapter.name} is not compared: {why}")
            continue
        if here.get("edited"):
            found.notes.append(f"chapter {chapter.name}: edited ideas: {', '.join(here['edited'])}")
        found.pairs += _pairs(published["values"], here["values"], f"{chapter.number:02d}", None)
    return found


def of_saes(chapter: ChapterFile, study: str) -> Agreement:
    """The rows of single SAEs in a run that took only some of them (`running.results`) against the published
    ones, to 1e-4 of each number: what is recorded as columns with one named ``id``."""
    found = Agreement()
    here, published = read_json(chapter.record(study, tried=True)), read_json(chapter.published_record(study))
    if not published:
        found.notes.append(f"chapter {chapter.name} of study {study} was never published")
        return found
    for key in here["values"].keys() & published["values"].keys():
        rows, others = (_rows_by_sae(record["values"][key]) for record in (here, published))
        for which in rows.keys() & others.keys():
            where = f"{chapter.number:02d} {key} {' '.join(filter(None, which))}"
            both = rows[which].keys() & others[which].keys()
            found.pairs += [Pair(f"{where} {n}", others[which][n], rows[which][n]) for n in sorted(both)]
    if not found.pairs:
        found.notes.append(f"chapter {chapter.name} records no number of a single SAE that is published")
    return found


def _rows_by_sae(table) -> dict[tuple, dict]:
    """The numbers of a table with a column ``id``, by what its columns of text say."""
    if not (isinstance(table, dict) and isinstance(table.get("id"), list)):
        return {}
    text = [name for name, values in table.items() if any(isinstance(v, str) for v in values)]
    rows = [dict(zip(table, row)) for row in zip(*table.values())]
    numbers = lambda row: {name: value for name, value in row.items() if name not in text}
    return {tuple(row[name] for name in text): numbers(row) for row in rows}


def _studies(record: dict) -> set[str]:
    """The studies whose records a chapter read."""
    return {name.partition("/")[0] for name in (record.get("records") or {}).get("found", {})}


def _pairs(published, here, where: str, ends, scales: Mapping[str, float] | None = None) -> Iterator[Pair]:
    """Every value of two trees, in pairs; ``ends``: the interval that a number here is one of or lies in;
    ``scales``: of a row of a table, the `_largest` of each column."""
    if isinstance(published, dict) and isinstance(here, dict):
        for key in sorted(published.keys() | here.keys()):
            inside = f"{where} {key}" if " " not in where else f"{where} / {key}"
            if key in published and key in here:
                for pair in _pairs(published[key], here[key], inside, _ends(published, key)):
                    yield pair._replace(
                        error=pair.error or _of_estimate(published, key, pair),
                        scale=pair.scale or (scales or {}).get(key, 0.0) or _of_change(published, key),
                    )
            else:
                yield Pair(inside, published.get(key, GONE), here.get(key, GONE))
    elif isinstance(published, list) and isinstance(here, list) and len(published) == len(here):
        table, scale = [row for row in published if isinstance(row, dict)], _largest(published)
        scales = {key: _largest(row.get(key) for row in table) for key in (table[0] if table else ())}
        for i, (one, other) in enumerate(zip(published, here)):
            row = ends and all(isinstance(end, list) and i < len(end) for end in ends)
            inner = (ends[0][i], ends[1][i]) if row else None
            match published:
                case [str(), _, low, high, *_]:  # a dot of a strip
                    inner = low, high
            for pair in _pairs(one, other, f"{where}[{i}]", inner, scales):
                yield pair if isinstance(one, dict | list) else pair._replace(scale=scale)
    else:
        yield Pair(where, published, here, _error(published, ends))


def _largest(column: Iterable) -> float:
    """The largest size in a column of shares; 0 where one is above 1: then the column has no scale."""
    sizes = [abs(v) for v in column if isinstance(v, int | float) and not isinstance(v, bool)]
    return most if (most := max(sizes, default=0.0)) <= 1 else 0.0


def _of_change(group: dict, key: str) -> float:
    """The scale of what a choice changes (`protocol.Change`), which is small beside what it is made of: of a
    difference the larger of its two numbers, of a share 1."""
    if key != "change" or not {"here", "other", "unit"} <= group.keys():
        return 0.0
    return max(abs(group["here"]), abs(group["other"])) if group["unit"] == R2 else 1.0


def _ends(group: dict, key: str) -> tuple | None:
    """The interval of a number, or of a column of numbers, that stands beside it."""
    base = re.sub("_(low|high)$", "", key)
    for low, high in ((f"{base}_low", f"{base}_high"), ("low", "high")):
        if low in group and high in group:
            return group[low], group[high]
    return None


def _of_estimate(group: dict, key: str, pair: Pair) -> float | None:
    """The standard error of what has none of its own: of single seeds, that of their estimate, times the root
    of how many they are; of what counts standard errors, 1; of how much more data would tell, which is made
    of an interval's end, the number itself."""
    if key in ("more", "off") and pair.is_number():
        return abs(pair.published) if key == "more" else 1.0
    if key != "seeds" or not (estimate := group.get("estimate")):
        return None
    return standard_error(estimate["low"], estimate["high"]) * math.sqrt(len(group[key]))


def _error(value, ends: tuple | None) -> float | None:
    """The standard error that a 95% interval around a number says it has."""
    if ends is None or not all(isinstance(v, int | float) for v in (value, *ends)):
        return None
    low, high = ends
    return standard_error(low, high) if low < high and low <= value <= high else None


def _rounded_alike(first: str, second: str) -> bool:
    """Whether two numbers in a text are one, rounded the other way; whole numbers only as percents."""
    digits = [len(text.rstrip("%").partition(".")[2]) for text in (first, second)]
    percent = first.endswith("%")
    if digits[0] != digits[1] or percent != second.endswith("%") or not (digits[0] or percent):
        return False
    a, b = (float(text.rstrip("%").replace(",", "")) for text in (first, second))
    return math.isclose(a, b, rel_tol=0, abs_tol=1.01 * 10.0 ** -digits[0])


def _short(value) -> str:
    if value is GONE:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."

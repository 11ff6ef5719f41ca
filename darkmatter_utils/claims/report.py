"""What the records say of every claim: the verdict by its rule, our number with its interval, the controls
beside it.

Nothing is measured here: `findings` reads what chapters recorded, and judges it again.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..base.values import Estimate, from_json
from ..base.words import interval, percent, plain, span
from .ledger import LEDGER, Claim
from .rules import UNKNOWN, WORDS, Verdict
from .verdicts import from_record

Records = Mapping[int, Mapping[str, Any]]
"""The values of one study's records, by chapter."""


@dataclass(frozen=True)
class Shown:
    """Which of the numbers that a rule takes are shown, and what they are called."""

    here: Mapping[str, str]
    """Our number, by the name of the rule's argument."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """The controls."""
    style: Any = plain
    """How they are written."""


def three(value: float) -> str:
    """Three digits after the point."""
    return plain(value, 3)


def tenths(value: float) -> str:
    """A percentage with one digit after the point."""
    return percent(value, 1)


SHOWN = {
    1: Shown(
        {"r2": "R² per dimension"},
        {"kept": "share of it left once shrinkage is undone", "split": "strict minus the paper's protocol"},
        three,
    ),
    2: Shown(
        {"r2": "R² of the squared norm"},
        {"layers": "at other layers", "simple": "simple predictors together"},
    ),
    3: Shown(
        {"partial": "R² between two widths, ‖x‖, position and token taken out"},
        {"seeds": "two trainings of one width", "shuffled": "tokens shuffled within documents"},
    ),
    4: Shown(
        {"change": "change per doubling"},
        {"whole": "narrowest to widest", "null": "an SAE that introduces no error"},
        tenths,
    ),
    5: Shown(
        {"c": "floor c"},
        {"fall": "change of FVU per doubling", "misses": "left-out widths missed by (SE)"},
        three,
    ),
    6: Shown(
        {"nonlinear": "norm R² of NonlinearError, from itself"},
        {"null": "an oracle SAE that introduces nothing"},
    ),
    7: Shown(
        {"fvu_gap": "FVU, NonlinearError less LinearError"},
        {
            "fvu_excess": "less that of matched noise",
            "accuracy_gap": "detection accuracy, LinearError less NonlinearError",
            "accuracy_excess": "less that of matched noise's dictionaries",
        },
    ),
    8: Shown({"slope": "slope"}, {"controls": "vectors of equal norm", "apart": "error less control"}),
    9: Shown({"change": "change of FVU_nonlinear"}, {"total": "change of FVU"}, tenths),
    10: Shown(
        {"sae": "R² from earlier SAE outputs"},
        {
            "raw": "raw activation, as many directions",
            "over_raw": "lead over it",
            "over_shuffled": "lead over shuffled tokens",
        },
    ),
    11: Shown({"misplaced": "misplaced share"}, style=percent),
    13: Shown(
        {"lead": "R² from x less that from ‖x‖, position and token"},
        {"gain": "what x adds to all simple predictors and ten of its components"},
    ),
}
"""By claim. A claim that is missing shows the few words of its verdict."""


@dataclass(frozen=True)
class Finding:
    """One claim on one study, from its record."""

    claim: Claim
    verdict: Verdict
    numbers: Mapping[str, Any]
    """What the rule took, as it was recorded; empty where nothing was."""
    chapter: int | None = None
    """The chapter whose record holds it."""

    def here(self) -> str:
        """Our number with its interval; "–" where nothing was measured, or where the study cannot speak of
        it."""
        if not self.verdict.numbers:
            return "–"
        return "; ".join(self._said("here").values()) or self.verdict.measured or "–"

    def beside(self) -> dict[str, str]:
        """The controls, by what they are called."""
        return self._said("beside") if self.verdict.numbers else {}

    def _said(self, part: str) -> dict[str, str]:
        shown = SHOWN.get(self.claim.number, Shown({}))
        found = {name: said(self.numbers.get(key), shown.style) for key, name in getattr(shown, part).items()}
        return {name: text for name, text in found.items() if text}


def findings(records: Records) -> dict[int, Finding]:
    """Every claim of the ledger on one study, judged from its records; a claim without a record cannot be
    told."""
    return {number: _finding(number, records) for number in LEDGER}


def _finding(number: int, records: Records) -> Finding:
    entry = LEDGER[number]
    holders = [chapter for chapter, values in records.items() if str(number) in values.get("evidence", {})]
    if not holders:
        return Finding(entry, Verdict(UNKNOWN, "The records of this study hold nothing on it."), {})
    chapter = next((c for c in holders if entry.chapter.startswith(f"{c:02d}_")), holders[0])
    kept = records[chapter]["evidence"][str(number)]
    numbers = from_json(kept.get("numbers", {}))
    if not kept.get("unfit") and not fits(entry, numbers):
        why = "The record was made for an earlier form of its rule; the chapter has to run again."
        return Finding(entry, Verdict(UNKNOWN, why), {}, chapter)
    return Finding(entry, from_record(number, records[chapter]), numbers, chapter)


def fits(entry: Claim, numbers: Mapping[str, Any]) -> bool:
    """Whether recorded numbers are those that the claim's rule takes today."""
    if entry.judged is None or not numbers:
        return True
    try:
        inspect.signature(entry.judged).bind(**numbers)
    except TypeError:
        return False
    return True


def said(value, style=plain) -> str:
    """Recorded numbers in a few words: an estimate with its interval, a mapping by its ends; "" for
    nothing."""
    if value is None or isinstance(value, str) or (isinstance(value, Mapping | list | tuple) and not value):
        return value or ""
    if isinstance(value, Estimate):
        return interval(value, style)
    if isinstance(value, int | float):
        return style(value)
    if isinstance(value, list | tuple):
        return f"{len(value)}" if isinstance(value[0], Mapping) else span(value, style)
    inner = list(value.values())
    if isinstance(inner[0], Mapping):  # cells of parts: one range a part
        parts = dict.fromkeys(name for cell in inner for name in cell)
        return ", ".join(
            f"{part} {span([_value(cell[part]) for cell in inner if part in cell], style)}" for part in parts
        )
    if all(isinstance(key, int | float) for key in value) and len(value) > 1:
        ends = sorted(value)[:: len(value) - 1]
        return " to ".join(f"{said(value[key], style)} at {key:,.0f}" for key in ends)
    if len(value) > 4:
        return span([_value(item) for item in inner], style)
    return ", ".join(f"{key} {said(item, style)}" for key, item in value.items())


def _value(item) -> float:
    return item.value if isinstance(item, Estimate) else item


NUMBERS = (
    "none",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
)


def counts(found: Mapping[int, Finding]) -> dict[str, list[int]]:
    """The claims of each verdict, by its word."""
    return {word: [number for number, one in found.items() if one.verdict.word == word] for word in WORDS}


def summary(found: Mapping[int, Finding], study: str) -> str:
    """What became of the claims, in a sentence that follows from the verdicts."""
    verbs = dict(
        zip(
            WORDS,
            (
                ("holds", "hold"),
                ("holds partly", "hold partly"),
                ("does not hold", "do not hold"),
                ("cannot be told", "cannot be told"),
            ),
            strict=True,
        )
    )
    parts = []
    for word, numbers in counts(found).items():
        if numbers:
            listed = f" ({', '.join(map(str, numbers))})"
            parts.append(f"{NUMBERS[len(numbers)]} {verbs[word][len(numbers) > 1]}{listed}")
    joined = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"Of the paper's {NUMBERS[len(found)]} claims, on the study {study}, {joined}."


def with_verdict(records: Records, chapter: int, values: Mapping[str, Any]) -> Records:
    """The records together with what the chapter at hand has recorded so far."""
    return {**records, chapter: values}


def scaled(numbers: Mapping[str, Any], number: int, factor: float) -> dict[str, Any]:
    """What claim ``number``'s rule takes, with our own number (not the controls) multiplied by a factor."""
    own = SHOWN[number].here if number in SHOWN else numbers
    return {key: _scaled(value, factor) if key in own else value for key, value in numbers.items()}


def _scaled(value, factor: float):
    if isinstance(value, Estimate):
        return Estimate(*(factor * edge for edge in (value.value, value.low, value.high)))
    if isinstance(value, Mapping):
        return {key: _scaled(item, factor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scaled(item, factor) for item in value]
    return value * factor if isinstance(value, int | float) and not isinstance(value, bool) else value

"""A statement of a claim: a quantity at some places, and the range in which the statement is true of it.

One convention for every rule. The ends of the range are the margins. At one place a statement *holds* where
the whole 95% interval lies inside the range, it *does not hold* where the whole interval lies outside, and
it cannot be told where the interval crosses an end or there is none. Over places, and over the statements of
a claim, words join in one way (`joined`). So noise earns neither "holds" nor "does not hold".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..base.values import Estimate
from ..base.words import counted, interval, plain, span

HOLDS, PARTLY, FAILS, UNKNOWN = "holds", "partly", "does not hold", "cannot be told here"
WORDS = (HOLDS, PARTLY, FAILS, UNKNOWN)
CONVENTION = (
    "A statement holds at a place where the whole 95% interval lies inside its range; it does not hold where "
    "the whole interval lies outside; else it cannot be told there. All places alike: that word; some hold "
    "and some do not: partly; else it cannot be told. The statements of a claim join in the same way; a "
    "guard counts only where all other statements hold."
)
FAR = 100.0
"""More than so many times the data is no help."""


def joined(words: Iterable[str]) -> str:
    """One word for several: all hold: holds; none holds and none is open: does not hold; some hold (or hold
    partly) and some do not: partly; else it cannot be told."""
    found = set(words)
    if not found:
        return UNKNOWN
    if found == {HOLDS} or found == {FAILS}:
        return found.pop()
    return PARTLY if PARTLY in found or {HOLDS, FAILS} <= found else UNKNOWN


def word_of(found: Iterable[Judged]) -> str:
    """The word of a claim from its statements: the joined word of those that are no guards; where they hold,
    guards join in."""
    found = list(found)
    word = joined(one.word for one in found if not one.statement.guard)
    return joined([word, *(one.word for one in found if one.statement.guard)]) if word == HOLDS else word


def word_at(estimate: Estimate, inside: tuple[float, float]) -> str:
    """The word at one place; an interval that touches an end from inside is inside."""
    low, high = inside
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return UNKNOWN
    if low <= estimate.low and estimate.high <= high:
        return HOLDS
    return FAILS if estimate.high < low or estimate.low > high else UNKNOWN


def more_data(estimate: Estimate, inside: tuple[float, float]) -> float:
    """How many times the data (documents, seeds, worlds: whatever the interval is over) would tell at a place
    that is open, if its value stays: (the interval's reach towards the nearer end / the value's distance from
    it)²; 1 where it is told, infinity at the margin or without an interval."""
    if word_at(estimate, inside) != UNKNOWN:
        return 1.0
    ends = [end for end in inside if math.isfinite(end) and estimate.low <= end <= estimate.high]
    reach = lambda end: abs((estimate.high if end > estimate.value else estimate.low) - estimate.value)
    far = [
        (reach(end) / abs(end - estimate.value)) ** 2 if end != estimate.value else math.inf for end in ends
    ]
    return max(far, default=math.inf)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a claim."""

    name: str  # one word or two, as a table calls it: "half"
    quantity: str  # what is compared, as the subject of a sentence: "R² per dimension of SaeError from x"
    inside: tuple[float, float]  # where the statement is true; an infinite end is none
    values: Callable[[Any], Mapping | Estimate | None]  # from the evidence: by place, or at one place
    noun: str = "width"  # what a place is
    style: Callable[[float], str] = plain
    guard: bool = False  # whether it only guards the others: it counts where all of them hold
    introduced: bool = False  # whether it says, where it holds, that the SAE introduces error
    sources: Callable[[Any], Mapping[str, Mapping]] | None = None  # by source of text, by place: its value

    def range_in_words(self) -> str:
        """The range: "inside 0.30 to 0.70", "0.90 or more", "at most 0.20"."""
        low, high = self.inside
        if math.isinf(high):
            return f"{self.style(low)} or more"
        return (
            f"at most {self.style(high)}"
            if math.isinf(low)
            else f"inside {self.style(low)} to {self.style(high)}"
        )

    def rule(self) -> str:
        """The statement in words: "*half*: R² per dimension … is inside 0.30 to 0.70"."""
        name = f"{self.name} (a guard)" if self.guard else self.name
        return f"*{name}*: {self.quantity} is {self.range_in_words()}"

    def judge(self, evidence, *, points: bool = False) -> Judged:
        """The statement on evidence; `points`: by the values alone, whatever their intervals."""
        found = self.values(evidence)
        found = {"": found} if isinstance(found, Estimate) else dict(found or {})
        if points:
            found = {place: Estimate(*[e.value] * 3) for place, e in found.items()}
        words = {place: word_at(e, self.inside) for place, e in found.items()}
        more = max((more_data(e, self.inside) for e in found.values()), default=math.inf)
        told = {} if points or self.sources is None else self.sources(evidence) or {}
        low, high = self.inside
        right = [all(low <= v <= high for v in by_place.values()) for by_place in told.values()]
        return Judged(self, found, words, more, (sum(right), len(right)))


@dataclass(frozen=True)
class Judged:
    """What became of one statement."""

    statement: Statement
    found: dict  # by place, the estimate
    words: dict  # by place, the word
    more: float  # how many times the data would tell everywhere; 1: it is told
    sources: tuple[int, int]  # in how many sources of text its values lie inside everywhere, of how many

    @property
    def word(self) -> str:
        """The word over all places."""
        return joined(self.words.values())

    def count(self, word: str) -> int:
        """At how many places it has this word."""
        return sum(one == word for one in self.words.values())

    def told(self) -> str:
        """One sentence: the quantity, its values, and at how many places the statement holds and does not."""
        one, style = self.statement, self.statement.style
        if not self.found:
            return f"{one.quantity[0].upper()}{one.quantity[1:]} was not measured."
        values = list(self.found.values())
        alone = len(values) == 1 and values[0].low < values[0].high
        said = interval(values[0], style) if alone else span([e.value for e in values], style)
        start = f"{one.quantity[0].upper()}{one.quantity[1:]} is {said} ({one.name}: {one.range_in_words()}"
        of_sources = f"; in {self.sources[0]} of {self.sources[1]} sources" if self.sources[1] else ""
        if len(values) == 1:
            return f"{start}): {self.word}{of_sources}."
        parts = [f"holds at {counted(self.count(HOLDS), len(values), one.noun)}"]
        parts += [f"does not hold at {n}" for n in [self.count(FAILS)] if n]
        parts += [f"cannot be told at {n}" for n in [self.count(UNKNOWN)] if n]
        return f"{start}): {', '.join(parts)}{of_sources}."

    def more_in_words(self) -> str:
        """What more data would do, in a few words; "" where it is told everywhere."""
        if not self.found or self.more == 1.0:
            return ""
        if self.more > FAR:
            return f"{self.statement.name}: no amount of data in reach, it lies at the margin"
        times = max(2, math.ceil(self.more))
        return f"{self.statement.name}: about {times} times the data would tell, if the values stay"

    def numbers(self) -> dict:
        """What a record keeps of it."""
        counts = {"holds": self.count(HOLDS), "fails": self.count(FAILS), "places": len(self.words)}
        kept = {"word": self.word, **counts, "more": self.more}
        return kept | ({"sources": list(self.sources)} if self.sources[1] else {})

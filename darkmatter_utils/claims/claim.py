"""What a claim is: its words, the paper's number and place, the rule that judges it, what would falsify it.

Each claim has a file of its own, ``cNN_name.py``, with everything that belongs to it; each question that a
chapter asks beside the paper's claims has one, ``qNN_name.py``. A file knows numbers (of measurements only
what makes a suite of widths) and no chart; importing one imports no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..base.values import Estimate, from_json, to_json
from ..measurement.widths import ONE_L0, WIDE, WIDTHS
from .statement import CONVENTION, FAILS, HOLDS, PARTLY, UNKNOWN, WORDS, Judged, Statement, word_of

__all__ = ["CONVENTION", "FAILS", "HOLDS", "PARTLY", "UNKNOWN", "WIDE", "WIDTHS", "WORDS"]

Records = Mapping[int, Mapping[str, Any]]
"""The values of one study's records, by chapter."""
NO_SUITE = "The study has no width suite: no set of SAEs that differ in width at one L0."
NOT_MEASURED = "No chapter of this edition measures it yet."

PAPER = {
    "window": "positions 200 to 1022",  # §4; but for the SAE points of Fig. 1
    "window of Fig. 1": "positions 1 to 1022",  # its SAE points, by the released code
    "widths": "seven widths",  # Fig. 1
    "off L0": "by a fifth",  # at most, by the L0 in an SAE's name: 48 at 524k where 60 is meant
}
"""Facts of the paper and its released code that prose quotes."""


@dataclass(frozen=True)
class Verdict:
    """What a rule says of one claim on one study."""

    word: str  # one of `WORDS`
    why: str  # one to three sentences, true whatever the word
    numbers: dict = field(default_factory=dict)  # the numbers that the rule compared, by name

    @property
    def measured(self) -> str:
        """The number that answers to the paper's, in a few words; "" where nothing was measured."""
        return self.numbers.get("measured", "")


class Told(NamedTuple):
    """One of the numbers that a rule takes, as the report tells it."""

    field: str  # its name among the claim's evidence
    name: str  # what it is called
    say: Callable[[Any], str]  # it in a few words; "" where there is nothing to say


class Effect(NamedTuple):
    """An effect that a claim is about and that could have the other sign, for the claim across studies: in
    words, and from the evidence its estimate (or several, by width or by layer), the claimed sign positive.
    """

    words: str
    value: Callable[[Any], Estimate | Mapping | None]


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a chapter asks, and the rule that answers it: statements, each with its range and margins, or a
    function of its own."""

    short: str  # the claim, or the question as a statement, in one sentence
    rule: str = ""  # in words, how what the rule takes is measured, and whatever the statements do not say
    evidence: type  # what the rule takes: a NamedTuple of numbers
    statements: Callable[..., tuple[Statement, ...]] | None = None  # the rule: from thresholds
    guard: Callable[[Any], str] | None = None  # from the evidence, why it tells nothing; "" where it tells
    brief: Callable[[Any], str] | None = None  # from the evidence, what answers to the paper's number
    note: Callable[[Any], str] | None = None  # from the evidence, a sentence more; it decides nothing
    verdict: Callable[..., Verdict] | None = None  # a rule without statements: (evidence, thresholds)
    written: str = "It was written before the result."  # when, and what was changed since

    def judge(self, evidence, *, unfit: str = "", points: bool = False) -> Verdict:
        """The verdict; `unfit` says why the study cannot speak of it; without evidence it cannot be told.
        `points`: by values alone, where there are no intervals (the paper's own points); a statement of which
        there is no value is then left out."""
        if unfit or evidence is None:
            return Verdict(UNKNOWN, unfit or NOT_MEASURED)
        if self.statements is None:
            return self.verdict(evidence)
        if self.guard and not points and (reason := self.guard(evidence)):
            return Verdict(UNKNOWN, reason)
        found = self.judged(evidence, points=points)
        why = " ".join(one.told() for one in found)
        why += f" {self.note(evidence)}" if self.note and not points else ""
        numbers: dict[str, Any] = {one.statement.name: one.numbers() for one in found}
        numbers |= {"introduced": any(one.statement.introduced and one.word == HOLDS for one in found)}
        more = [one.more_in_words() for one in found if not points]
        numbers |= {"more data": "; ".join(filter(None, more))}
        numbers |= {"measured": self.brief(evidence)} if self.brief else {}
        return Verdict(word_of(found), why, numbers)

    def judged(self, evidence, *, points: bool = False) -> list[Judged]:
        """Its statements on evidence; by `points`, those of which there is a value."""
        found = [one.judge(evidence, points=points) for one in self.statements()]
        return [one for one in found if one.found or not points]

    @property
    def rule_in_words(self) -> str:
        """The whole rule: how it is measured, and each statement with its range."""
        if self.statements is None:
            return self.rule
        return f"{self.rule} {'. '.join(one.rule() for one in self.statements())}.".strip()

    def kept(self, evidence, *, unfit: str = "") -> dict[str, Any]:
        """The evidence as a record holds it."""
        return kept(evidence, unfit=unfit)

    def recorded(self, kept: Mapping[str, Any]):
        """The evidence that a record holds, else None; TypeError where it is of another form of the rule."""
        numbers = from_json(kept.get("numbers", {}))
        return self.evidence(**numbers) if numbers else None

    def from_record(self, kept: Mapping[str, Any]) -> Verdict:
        """The verdict that follows from what a record holds."""
        return self.judge(self.recorded(kept), unfit=kept.get("unfit", ""))


@dataclass(frozen=True, kw_only=True)
class Claim(Question):
    """One claim of the paper."""

    number: int  # its number in this book
    topic: str  # the claim in a few words, for axes
    chapter: str  # the file of the chapter that measures it, without suffix
    paper: str  # the paper's number or word, with its place; both wordings where abstract and text differ
    paper_place: str  # the sections and figures of the paper's second version that are about it
    paper_points: str  # what the values of its figures say (`experiments.paper_points`)
    falsifier: str  # what would show the claim wrong
    here: Told | None = None  # our number; None: the few words of the verdict
    beside: tuple[Told, ...] = ()  # the controls
    effect: Effect | None = None  # what is counted across studies, if it is
    protocol: Callable[[Any], dict[str, str]] | None = None  # what choices change, by `paper.CHOICES`

    def measured_here(self, evidence, verdict: Verdict) -> str:
        """Our number with its interval; "–" where nothing was measured."""
        if not verdict.numbers:
            return "–"
        said = self.here.say(getattr(evidence, self.here.field)) if self.here else ""
        return said or verdict.measured or "–"


def kept(evidence, *, unfit: str = "") -> dict[str, Any]:
    """The evidence of a rule as a record holds it; a field that was left at its default is not kept."""
    left = evidence._field_defaults if evidence is not None else {}
    numbers = {} if evidence is None else evidence._asdict()
    numbers = {name: v for name, v in numbers.items() if name not in left or v is not left[name]}
    return to_json({"numbers": numbers, "unfit": unfit})


def unfit(study) -> str:
    """Why a study cannot speak of any claim; "" where it can."""
    if study.name == "nano":
        return "The study nano is a format test: its model has random weights. It speaks of no claim."
    if getattr(study, "world", None):
        return f"The study {study.name} is simulated: it is drawn as a null beside the others, never judged."
    return ""


def trend(widths: int, l0) -> str:
    """Why a suite of so many widths and an L0 from ``l0[0]`` to ``l0[1]`` tells no trend; else ""."""
    if widths < WIDTHS:
        return f"A trend is tested with {WIDTHS} widths or more; the study has {widths}."
    if l0[1] > l0[0] * (1 + ONE_L0):
        return f"The claim is about SAEs of one L0; in this study it goes from {l0[0]:.1f} to {l0[1]:.1f}."
    return ""

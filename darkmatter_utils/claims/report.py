"""What the records say of every claim: verdict, our number with its interval, the controls beside it.

Nothing is measured here: `findings` reads what chapters recorded, and judges it again. Only the report does;
the index shows what the chapters said (`recorded`), and so follows from no claim's file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..base.config import module_names, modules
from ..base.errors import BadInput
from ..base.values import Estimate
from ..base.words import spelled
from ..studies.study import Study
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, WORDS, Claim, Records, Verdict

NULL = "null"
"""What the ledger of studies says of a simulated one."""
FILES = "c[0-9][0-9]_*"
"""How the files of the paper's claims are called."""
VERBS = {
    HOLDS: ("holds", "hold"),
    PARTLY: ("holds partly", "hold partly"),
    FAILS: ("does not hold", "do not hold"),
    UNKNOWN: ("cannot be told", "cannot be told"),
}
"""A verdict's word of one claim, and of several."""


@dataclass(frozen=True)
class Finding:
    """One claim on one study."""

    short: str  # the claim in one sentence
    paper: str  # the paper's number or word, with its place
    chapter: str  # the file of the chapter that measures it
    verdict: Verdict
    here: str = "–"  # our number with its interval; "–" where there is none
    claim: Claim | None = None  # all that is known of it; None where only the record is read
    evidence: Any = None  # what the rule took; None where nothing was recorded
    holder: int | None = None  # the chapter whose record holds it

    def beside(self) -> dict[str, str]:
        """The controls, by what they are called."""
        if not self.verdict.numbers or self.claim is None:
            return {}
        said = {told.name: told.say(getattr(self.evidence, told.field)) for told in self.claim.beside}
        return {name: text for name, text in said.items() if text}


def every() -> dict[int, Claim]:
    """The paper's claims by number: one file each, found by their names."""
    found = [module.CLAIM for module in modules(__package__, FILES)]
    return {claim.number: claim for claim in sorted(found, key=lambda claim: claim.number)}


def how_many() -> str:
    """How many claims of the paper are judged, as a word."""
    return spelled(len(module_names(__package__, FILES)))


def recorded(records: Records) -> dict[int, Finding]:
    """The claims of which the records of a study have a verdict, by number, as the chapters said them."""
    found = {
        int(number): Finding(**told, verdict=Verdict(**values["verdicts"][number]))
        for values in records.values()
        for number, told in values.get("claims", {}).items()
    }
    return dict(sorted(found.items()))


def findings(records: Records) -> dict[int, Finding]:
    """Every claim on one study, judged from its records; a claim without a record cannot be told."""
    return {number: _finding(claim, records) for number, claim in every().items()}


def _finding(claim: Claim, records: Records) -> Finding:
    number, about = str(claim.number), (claim.short, claim.paper, claim.chapter)
    holders = [chapter for chapter, values in records.items() if number in values.get("evidence", {})]
    if not holders:
        return Finding(*about, Verdict(UNKNOWN, "The records of this study hold nothing on it."), claim=claim)
    holder = next((c for c in holders if claim.chapter.startswith(f"{c:02d}_")), holders[0])
    kept = records[holder]["evidence"][number]
    try:
        evidence = claim.recorded(kept)
    except TypeError:
        why = "The record was made for an earlier form of its rule; the chapter has to run again."
        return Finding(*about, Verdict(UNKNOWN, kept.get("unfit") or why), claim=claim, holder=holder)
    verdict = claim.judge(evidence, unfit=kept.get("unfit", ""))
    return Finding(*about, verdict, claim.measured_here(evidence, verdict), claim, evidence, holder)


def counts(found: Mapping[int, Finding]) -> dict[str, list[int]]:
    """The claims of each verdict, by its word."""
    return {word: [number for number, one in found.items() if one.verdict.word == word] for word in WORDS}


def summary(found: Mapping[int, Finding], study: str) -> str:
    """What became of the claims, in a sentence that follows from the verdicts."""
    total = len(module_names(__package__, FILES))
    parts = [
        f"{spelled(len(numbers))} {VERBS[word][len(numbers) > 1]} ({', '.join(map(str, numbers))})"
        for word, numbers in counts(found).items()
        if numbers
    ]
    if missing := total - len(found):
        parts.append(f"{spelled(missing)} {'has' if missing == 1 else 'have'} no record")
    joined = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"Of the paper's {spelled(total)} claims, on the study {study}, {joined}."


def headline(found: Mapping[int, Finding], study: str) -> str:
    """What became of the claims, as a title: "On tiny one claim holds, eight hold partly and four ..."."""
    told = [(len(numbers), word) for word, numbers in counts(found).items() if numbers]
    parts = [f"{spelled(count)} {VERBS[word][count > 1]}" for count, word in told]
    parts[0] = parts[0].replace(" ", f" claim{'s' * (told[0][0] > 1)} ", 1)
    return f"On {study} {' and '.join(filter(None, [', '.join(parts[:-1]), parts[-1]]))}"


def tally(found: Mapping[int, Finding]) -> str:
    """How many claims have each verdict, in the order of the words."""
    return ", ".join(f"{len(numbers)} {word}" for word, numbers in counts(found).items())


def opening(found: Mapping[int, Finding], study: str, records: Records) -> str:
    """The first words of index and report: how many claims hold, or that there is nothing to judge."""
    if records:
        return f"> {summary(found, study)}"
    return (
        f"> No chapter has a record of the study {study} here. Run its chapters first: `darkmatter run --all "
        f"--study {study}`. Until then no claim can be told."
    )


def by_study(every: Mapping[str, Records]) -> pd.DataFrame:
    """A row a study and claim, judged from the study's records: study, claim (number and topic), verdict (its
    word; of a simulated study `NULL`, whatever the rule would say), here (our number with its interval),
    measured (the same in a few words)."""
    rows = []
    for study, records in every.items():
        null = simulated(study)
        for n, one in findings(records).items():
            if null and one.evidence is not None:
                verdict = one.claim.judge(one.evidence)
                one = replace(one, verdict=verdict, here=one.claim.measured_here(one.evidence, verdict))
            word = NULL if null else one.verdict.word
            rows.append((study, f"{n}. {one.claim.topic}", word, one.here, one.verdict.measured))
    return pd.DataFrame(rows, columns=["study", "claim", "verdict", "here", "measured"])


def words_by_study(every: Mapping[str, Records], own: str) -> dict[str, dict[str, str]]:
    """The word of each claim on every other study that is judged, by study and claim."""
    there = {
        name: findings(records) for name, records in every.items() if name != own and not simulated(name)
    }
    return {name: {str(n): one.verdict.word for n, one in found.items()} for name, found in there.items()}


def simulated(name: str) -> bool:
    """Whether a study is simulated: drawn as a null, never judged."""
    try:
        return bool(Study.load(name).world)
    except BadInput:
        return False


def card(one: Finding) -> dict[str, str]:
    """What is known of a claim: the paper's words, our numbers, the controls; "" of what is not."""
    claim = one.claim
    name = f" ({claim.here.name})" if claim.here and one.here != "–" else ""
    return {
        "the paper": f"{claim.paper}. In it: {claim.paper_place}. Its own points: {claim.paper_points}.",
        "here": f"{one.here}{name}" if one.verdict.numbers else one.verdict.why,
        "the controls beside it": "; ".join(f"{what}: {text}" for what, text in one.beside().items()),
        "what more data would do": f"{one.verdict.numbers.get('more data', '')}",
    }


def scaled(claim: Claim, evidence, factor: float):
    """The evidence with our own numbers (not what is told beside them) multiplied by a factor."""
    beside = {told.field for told in claim.beside} if claim.here else set()
    own = [name for name in evidence._fields if name not in beside or claim.here.field == name]
    return evidence._replace(**{name: _scaled(getattr(evidence, name), factor) for name in own})


def _scaled(value, factor: float):
    if isinstance(value, Estimate):
        return Estimate(*(factor * edge for edge in (value.value, value.low, value.high)))
    if isinstance(value, Mapping):
        return {key: _scaled(item, factor) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_scaled(item, factor) for item in value]
    return value * factor if isinstance(value, int | float) and not isinstance(value, bool) else value

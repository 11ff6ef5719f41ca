"""What a verdict is worth: what the same rule says of others than the study.

They are the paper's own points, by their values alone; the null, whose SAEs introduce no error; and, where
one SAE suffices, that of a random-weights model and a dead one. Chapters record what these give a rule under
``worth``: {who: {claim: evidence}}; all is judged anew here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from ..base.words import percent, spelled
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Records, Verdict
from .report import Finding, every

PAPER, NULL = "the paper's points", "the null"
CONTROLS = ("random-weights model", "dead SAE")
WHO = (PAPER, NULL, *CONTROLS)
NOT_RUN = "not run"
Others = dict[int, dict[str, Verdict]]
"""By claim, the verdicts of others by who they are; who was not judged is missing."""
Paper = Mapping[int, Callable[[], Any]]
"""By claim, what makes its evidence from the paper's points (`experiments.paper_evidence`)."""


def others(records: Records, paper: Paper) -> Others:
    """Every claim judged for others: the paper's points, and whoever the records of a study have evidence of;
    what was recorded for an earlier form of a rule is left out."""
    claims = every()
    found: Others = {number: {} for number in claims}
    for number, make in paper.items():
        found[number][PAPER] = claims[number].judge(make(), points=True)
    for values in records.values():
        for who, kept in values.get("worth", {}).items():
            for number, one in kept.items():
                with contextlib.suppress(TypeError):
                    found[int(number)][who] = claims[int(number)].from_record(one)
    return found


def words(by: Others, who: str) -> dict[str, str]:
    """The words that one of them earns, by claim, as a record keeps them."""
    return {str(n): found[who].word for n, found in by.items() if who in found}


def in_sources(verdict: Verdict) -> str:
    """In how many sources of text the first statement that has them holds: "4 of 6"; "–" where none has."""
    told = [one.get("sources") for one in verdict.numbers.values() if isinstance(one, Mapping)]
    return next((f"{one[0]} of {one[1]}" for one in told if one), "–")


def table(found: Mapping[int, Finding], by: Others, study: str) -> pd.DataFrame:
    """A row a claim: claim, the study's word, in how many sources, the word of each of `WHO`."""
    rows = [
        {"claim": f"{n}. {one.claim.topic}", study: one.verdict.word, "sources": in_sources(one.verdict)}
        | {who: by[n][who].word if who in by[n] else NOT_RUN for who in WHO}
        for n, one in found.items()
    ]
    return pd.DataFrame(rows)


def sentence(found: Mapping[int, Finding], by: Others) -> str:
    """Whether the words of a study tell introduced error from absent features: how many the null earns too,
    and the claims of which a statement holds that says that error is introduced."""
    null = {n: by[n][NULL].word for n in by if NULL in by[n]}
    told = {n: one.verdict.word for n, one in found.items() if one.verdict.word != UNKNOWN}
    both = {n: word for n, word in told.items() if null.get(n, UNKNOWN) != UNKNOWN}
    if not both:
        return "No verdict here could be held against the null, whose SAEs introduce no error."
    parts = []
    for word in (HOLDS, PARTLY, FAILS):
        numbers = [n for n, one in both.items() if one == word]
        same = sum(null[n] == word for n in numbers)
        parts += [f"of {spelled(len(numbers))} *{word}* {spelled(same)}"] if numbers else []
    other = [n for n, word in both.items() if null[n] != word]
    count = f"{spelled(len(both) - len(other))} of {spelled(len(both))}"
    said = f"The null, whose SAEs introduce no error, earns the study's word at {count} claims"
    said += f" where both were told ({', '.join(parts)}). "
    claims = lambda numbers: f"claim{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    if other:
        said += f"It earns another word at {claims(other)} alone; elsewhere "
    else:
        said += "So here "
    said += "a verdict does not distinguish introduced error from absent features. "
    told = [n for n, one in found.items() if one.verdict.numbers.get("introduced")]
    if told:
        said += f"That error is introduced is said by a statement of {claims(told)}"
        idle = [n for n in told if found[n].verdict.word != HOLDS]
        # Such a statement is a guard, and a guard counts only where the others hold.
        return said + (f"; at {claims(idle)} the others do not hold, so it does not count." if idle else ".")
    return f"{said}No statement that would say that error is introduced holds."


def denials(by: Others, paper: Paper) -> dict[int, str]:
    """By claim that the paper's own points deny, in whole or in part, what does: a sentence a statement."""
    found = {}
    for n, claim in every().items():
        verdict = by[n].get(PAPER)
        if verdict and verdict.word in (FAILS, PARTLY):
            judged = claim.judged(paper[n](), points=True) if claim.statements else []
            found[n] = " ".join(one.told() for one in judged if one.word != HOLDS) or verdict.why
    return found


def cannot_answer(rates: pd.DataFrame, number: int) -> str:
    """The statements of a claim that a study cannot answer, each with its reason; "" where there is none."""
    said, far = [], "off its margin by as much again"
    for row in rates[rates["rule"] == str(number)].itertuples():
        wrong = f"its rule is wrong in up to {percent(row.upper, 1)} of simulated studies at its margin"
        idle = f"it tells {percent(row.power)} of simulated studies that lie {far}"
        why = [wrong] * (not row.sound) + [idle] * (not row.answers)
        said += [f"*{row.statement}* ({'; '.join(why)})"] if why else []
    return f"This study cannot answer {' nor '.join(said)}." if said else ""

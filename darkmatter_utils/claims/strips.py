"""Where each claim's number lies against its rule's range, and how far a threshold can move.

Nothing is measured or judged otherwise than by the claims' own statements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..base.words import interval
from .claim import Claim, Records
from .report import Finding
from .statement import Judged, Statement, word_of
from .worth import CONTROLS, NULL, Paper

FARTHEST = 1.2
"""Positions are cut off here; 0 is the range's end, 1 its middle (or twice the threshold)."""


def rows(found: Mapping[int, Finding], records: Records, paper: Paper) -> list[dict[str, Any]]:
    """A row a claim: claim, topic, short, chapter, word, here, paper (words), statements (name, word) and,
    of the first statement that was measured, quantity, range, ours, control and points: lists of (what it
    is, position, low, high, in words)."""
    return [_row(number, one, records, paper) for number, one in found.items()]


def _row(number: int, one: Finding, records: Records, paper: Paper) -> dict[str, Any]:
    judged = statements(one)
    told = [{"name": each.statement.name, "word": each.word} for each in judged]
    said = {"claim": number, "topic": one.claim.topic, "short": one.short, "chapter": one.chapter}
    said |= {"word": one.verdict.word, "here": one.here, "paper": one.paper, "statements": told}
    lead = next((each for each in judged if each.found and not each.statement.guard), None)
    if lead is None:
        return said
    ours, statement = list(lead.found.items()), lead.statement
    beside = {
        who: statement.judge(evidence).found for who, evidence in controls(number, one.claim, records).items()
    }
    theirs = statement.judge(paper[number](), points=True).found if number in paper else {}
    values = [e.value for _, e in ours]
    drawn = lambda found, name: [_at(f"{name} {place}".strip(), e, statement, values) for place, e in found]
    return said | {
        "quantity": statement.quantity,
        "range": statement.range_in_words(),
        "ours": drawn(ours, ""),
        "control": [at for who, each in beside.items() for at in drawn(each.items(), who)],
        "points": drawn(theirs.items(), "the paper"),
    }


def statements(one: Finding) -> list[Judged]:
    """A finding's statements, judged; none where there is no evidence or the rule has none."""
    able = one.claim is not None and one.claim.statements and one.evidence is not None
    return one.claim.judged(one.evidence) if able and one.verdict.numbers else []


def controls(number: int, claim: Claim, records: Records) -> dict[str, Any]:
    """The evidence of the null and of the controls that chapters recorded for a claim."""
    found = {}
    for values in records.values():
        for who, kept in values.get("worth", {}).items():
            if who in (NULL, *CONTROLS) and str(number) in kept:
                try:
                    evidence = claim.recorded(kept[str(number)])
                except TypeError:  # made for an earlier form of the rule
                    continue
                found |= {who: evidence} if evidence is not None else {}
    return found


def _at(name: str, estimate, statement: Statement, values: list[float]) -> list:
    ends = [position(value, statement.inside, values) for value in (estimate.low, estimate.high)]
    inside = [math.isfinite(end) for end in statement.inside]
    middle = sum(statement.inside) / 2 if all(inside) else math.inf
    top = 1.0 if estimate.low < middle < estimate.high else max(ends)
    at = position(estimate.value, statement.inside, values)
    return [name, at, min([at, *ends]), max(at, top), interval(estimate, statement.style)]


def position(value: float, inside: tuple[float, float], values: list[float]) -> float:
    """Where a value lies: 0 at an end of the range, 1 in its middle, negative outside; of a range with one
    end, in multiples of that threshold (of the largest of ``values``, where it is 0)."""
    low, high = inside
    if math.isnan(value):
        return 0.0
    if math.isfinite(low) and math.isfinite(high):
        at = 1 - abs(value - (low + high) / 2) / ((high - low) / 2)
    else:
        end = low if math.isfinite(low) else high
        scale = abs(end) or max(map(abs, values), default=1.0) or 1.0
        at = (value - end) / scale if math.isfinite(low) else (end - value) / scale
    return round(max(-FARTHEST, min(FARTHEST, at)), 4)


def flips(one: Finding) -> list[dict[str, Any]]:
    """For every finite end of every statement's range: statement, side, at (the threshold), low and high (how
    far it could be moved with the statement's word the same), values (places' intervals) and steps: (up to
    which threshold, the statement's word, the claim's), in order, as the rule says them."""
    judged = statements(one)
    found = []
    for n, each in enumerate(judged):
        for side, end in enumerate(each.statement.inside):
            if math.isfinite(end) and each.found:
                found.append(_flip(one, judged, n, side))
    return found


def _flip(one: Finding, judged: list[Judged], n: int, side: int) -> dict[str, Any]:
    each = judged[n]
    end = each.statement.inside[side]
    edges = sorted({v for e in each.found.values() for v in (e.low, e.high) if math.isfinite(v)})
    steps: list[list] = []
    for low, high in zip([-math.inf, *edges], [*edges, math.inf]):
        inside = list(each.statement.inside)
        inside[side] = _between(low, high)
        moved = replace(each.statement, inside=tuple(inside)).judge(one.evidence)
        words = [moved.word, word_of([*judged[:n], moved, *judged[n + 1 :]])]
        if steps and steps[-1][1:] == words:
            steps[-1][0] = high
        else:
            steps.append([high, *words])
    ends = [-math.inf, *(step[0] for step in steps)]
    here = next(k for k, step in enumerate(steps) if end <= step[0])
    style = each.statement.style
    return {
        "statement": each.statement.name,
        "side": ("at least", "at most")[side],
        "at": end,
        "said": style(end),
        "low": ends[here],
        "high": ends[here + 1],
        "values": [[str(place), e.value, e.low, e.high] for place, e in each.found.items()],
        "steps": steps,
        "words": [style(value) if math.isfinite(value) else "" for value in (ends[here], ends[here + 1])],
    }


def _between(low: float, high: float) -> float:
    if math.isinf(low):
        return high - 1.0
    return low + 1.0 if math.isinf(high) else (low + high) / 2

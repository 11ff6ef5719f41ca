"""A claim on a page of the book: its verdict in the record, its card on the first screen, its rule below."""

from __future__ import annotations

from typing import Any

from ..base.values import to_json
from ..claims.claim import Claim, Question, Verdict


def judged(values: dict[str, Any], asked: Question, evidence, unfit: str) -> Verdict:
    """Keep what a rule takes among a record's values, and the verdict that follows from what is kept.

    ``evidence`` and ``verdicts`` by the claim's number, or ``question`` and ``verdict``; with a claim,
    ``claims`` holds what the index says of it, and ``protocol`` what its evidence says of choices of
    protocol.
    """
    kept = asked.kept(evidence, unfit=unfit)
    verdict = asked.from_record(kept)
    told = to_json({"word": verdict.word, "why": verdict.why, "numbers": verdict.numbers})
    if not isinstance(asked, Claim):
        values |= {"question": kept, "verdict": told}
        return verdict
    taken = asked.recorded(kept)
    here = asked.measured_here(taken, verdict)
    index = {"short": asked.short, "paper": asked.paper, "chapter": asked.chapter, "here": here}
    for key, value in {"evidence": kept, "verdicts": told, "claims": index}.items():
        values.setdefault(key, {})[str(asked.number)] = value
    if asked.protocol and taken is not None:
        values.setdefault("protocol", {}).update(asked.protocol(taken))
    return verdict


def opening(asked: Question, values: dict[str, Any], study) -> str:
    """What is asked and its recorded verdict on a study, for the first screen of its chapter."""
    if isinstance(asked, Claim):
        told = values["verdicts"][str(asked.number)]
        words = (
            f"**Claim {asked.number} of the paper.** {asked.short} The paper: {asked.paper} "
            f"({asked.paper_source})."
        )
    else:
        told = values["verdict"]
        words = f"**What this chapter checks.** {asked.short}"
    return f"> {words}\n>\n> {Verdict(**told).markdown(study)}"


def rule(asked: Question) -> str:
    """The rule that judges it, in words, and what would falsify a claim."""
    if not isinstance(asked, Claim):
        return (
            f"**The rule of this chapter.** {asked.rule} It was written before any of its numbers was seen."
        )
    return (
        f"**The rule for claim {asked.number}.** {asked.rule} {asked.written}\n\n**What would show it "
        f"wrong:** {asked.falsifier}."
    )

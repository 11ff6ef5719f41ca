"""What the index says of all pages: what each found, and what could not be told or checked."""

from __future__ import annotations

from collections.abc import Mapping

from .claim import UNKNOWN, Records
from .report import Finding

LIMITS = (
    "- **Large models.** The paper's have 2 to 9 billion parameters; none was run here.",
    "- **What a feature means.** Latents are judged by a test of detection, not by a model that explains.",
)
"""What no study of this book can check."""


def learned(records: Records, story: Mapping[int, str]) -> str:
    """What each page found, one a line with its link, as their records say it; ``story``: the pages' names by
    their numbers, in the order in which they are told."""
    told = {number: values["finding"] for number, values in records.items() if "finding" in values}
    lines = [f"- [{told[number]}]({name}.html)" for number, name in story.items() if number in told]
    return "\n".join(lines) or "No page has a record."


def untold(found: Mapping[int, Finding]) -> str:
    """The claims that cannot be told, each with what more data would do, and what no study here can check."""
    lines = [
        f"- **Claim {n}** ({_amid(one.short)}) cannot be told here: "
        f"{one.verdict.numbers.get('more data') or one.verdict.why}"
        for n, one in found.items()
        if one.verdict.word == UNKNOWN
    ]
    return "\n".join([*lines, *LIMITS])


def _amid(sentence: str) -> str:
    """A sentence as part of another: its first letter small, but of a name such as SAE."""
    sentence = sentence.rstrip(".")
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]

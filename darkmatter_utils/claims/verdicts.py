"""Verdicts that follow from records: a chapter writes what its rule takes, and judges from what it wrote."""

from __future__ import annotations

from typing import Any

from ..base.values import from_json, to_json
from .ledger import judge
from .rules import Verdict


def judged(chapter, number: int, numbers: dict[str, Any], *, unfit: str = "") -> Verdict:
    """Record the numbers that claim ``number``'s rule takes, and the verdict that follows from the record.

    ``numbers``: keyword arguments of the rule: estimates, numbers, text, and lists and mappings of them
    (keys: numbers or text). Judged from what the record will hold (6 significant digits), so that chapter and
    report agree.
    """
    kept = to_json({"numbers": numbers, "unfit": unfit})
    chapter.values.setdefault("evidence", {})[str(number)] = kept
    verdict = from_record(number, chapter.values)
    verdicts = chapter.values.setdefault("verdicts", {})
    verdicts[str(number)] = to_json({"word": verdict.word, "why": verdict.why, "numbers": verdict.numbers})
    return verdict


def from_record(number: int, values: dict[str, Any]) -> Verdict:
    """The verdict of claim ``number`` by its rule, from the ``values`` of a chapter's record; untold where
    they lack it."""
    kept = values.get("evidence", {}).get(str(number), {})
    return judge(number, unfit=kept.get("unfit", ""), **from_json(kept.get("numbers", {})))

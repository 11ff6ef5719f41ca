"""Verdicts that follow from records: a chapter writes what its rule takes, and judges from what it wrote."""

from __future__ import annotations

from typing import Any

from .claims import judge
from .metrics import Estimate
from .records import Chapter, plain
from .rules import Verdict


def judged(chapter: Chapter, number: int, numbers: dict[str, Any], *, unfit: str = "") -> Verdict:
    """Record the numbers that claim ``number``'s rule takes, and the verdict that follows from the record.

    ``numbers``: keyword arguments of the rule: estimates, numbers, text, and lists and mappings of them
    (keys: numbers or text). Judged from what the record will hold (6 significant digits), so that chapter and
    report agree.
    """
    kept = plain({"numbers": numbers, "unfit": unfit})
    chapter.values.setdefault("evidence", {})[str(number)] = kept
    verdict = from_record(number, chapter.values)
    verdicts = chapter.values.setdefault("verdicts", {})
    verdicts[str(number)] = plain({"word": verdict.word, "why": verdict.why, "numbers": verdict.numbers})
    return verdict


def from_record(number: int, values: dict[str, Any]) -> Verdict:
    """The verdict of claim ``number`` by its rule, from the ``values`` of a chapter's record; untold where
    they lack it."""
    kept = values.get("evidence", {}).get(str(number), {})
    return judge(number, unfit=kept.get("unfit", ""), **decode(kept.get("numbers", {})))


def decode(kept: Any) -> Any:
    """What `records.plain` made of the numbers, back: estimates, and whole-number keys."""
    if isinstance(kept, list):
        return [decode(item) for item in kept]
    if not isinstance(kept, dict):
        return kept
    if set(kept) == {"value", "low", "high"}:
        return Estimate(
            *(float("nan") if kept[name] is None else kept[name] for name in ("value", "low", "high"))
        )
    return {int(key) if key.removeprefix("-").isdigit() else key: decode(item) for key, item in kept.items()}

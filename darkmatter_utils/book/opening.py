"""What a page says first of a claim: the claim, the verdict and its numbers in a line, the reasons folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..base.values import Absent
from ..charts.tables import Html, badge, emphasis
from ..claims.claim import Claim, Question, Verdict


def claim(asked: Question, told: Verdict, *, control: str = "", more: Iterable[str] = ()) -> Html:
    """The claim, chips (verdict, our number, the paper's, a control) and, folded, why; ``more``: further
    paragraphs of the fold, "" for none."""
    chips = [badge(told.word)]
    if isinstance(asked, Claim):
        name = f"<strong>Claim {asked.number} of the paper.</strong> {emphasis(asked.short)}"
        chips += [f"here: {emphasis(told.measured)}"] if told.measured else []
        chips += [f"the paper: {emphasis(asked.paper)}"]
    else:
        name = f"<strong>What this chapter checks.</strong> {emphasis(asked.short)}"
    chips += [emphasis(control)] if control else []
    line = "".join(f'<span class="chip">{chip}</span> ' for chip in chips)
    why = "".join(f"<p>{emphasis(said)}</p>" for said in (told.why, *more) if said)
    return Html(
        f'<div class="claim"><p class="claim-words">{name}</p>\n<p class="chips">{line}</p>\n'
        f"<details><summary>Why, statement by statement</summary>{why}</details></div>"
    )


def rules(asked: Iterable[Question]) -> Html:
    """What would change our mind, and each rule under a fold."""
    return Html("\n".join(_rule(one) for one in asked))


def _rule(asked: Question) -> str:
    if not isinstance(asked, Claim):
        return _fold("The rule of this chapter", f"{asked.rule_in_words} {asked.written}")
    wrong = f"<strong>Against claim {asked.number}</strong> (in places: partly): {emphasis(asked.falsifier)}."
    rule = _fold(f"The rule for claim {asked.number}", f"{asked.rule_in_words} {asked.written}")
    return f"<p>{wrong}</p>\n{rule}"


def _fold(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary><p>{emphasis(text)}</p></details>"


def sentence(said: str | Callable[..., str], *found) -> str:
    """A sentence, or what a function makes of ``found``: "" where one of these is absent or empty."""
    if not callable(said):
        return said
    there = (not isinstance(one, Absent) and (not hasattr(one, "__len__") or len(one)) for one in found)
    return said(*found) if all(there) else ""

"""Claim 3: wider SAEs fail on the same tokens as narrower ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, interval, span
from . import say
from .claim import FAILS, HOLDS, NO_SUITE, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict


class Thresholds(NamedTuple):
    """What "the same tokens" means."""

    partial: float = 0.2  # a partial R² below this means that wider SAEs do not fail on the same tokens


class Evidence(NamedTuple):
    """What the rule takes, by pair of widths: the error norm of the wider SAE from the narrower's."""

    partial: Mapping[str, Estimate]  # R² of the wider's error norm, ‖x‖, position and token taken out of both
    shuffled: Mapping[str, Estimate]  # the same with tokens shuffled within documents
    seeds: Estimate | None  # the same between two trainings of one width; it is told, and does not decide


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 3 at every pair of widths; documents alone must not explain it."""
    partial, least = evidence.partial, thresholds.partial
    if not partial:
        return Verdict(UNKNOWN, NO_SUITE)
    shared = span(say.values(partial))
    above = sum(e.low >= least for e in partial.values())
    below = sum(e.high < least for e in partial.values())
    numbers = {"pairs": len(partial), "above": above, "below": below, "measured": f"partial R² {shared}"}
    why = (
        f"With ‖x‖, position and token taken out, the R² between the error norms of two widths is {shared}; "
        f"the interval is above {least} at {counted(above, len(partial), 'pair')}."
    )
    if evidence.seeds is not None:
        why += f" Two trainings of one width share {interval(evidence.seeds)}."
    worst = max(say.values(evidence.shuffled), default=0.0)
    if above and worst >= least:
        why += f" But with the tokens shuffled within each document up to {worst:.2f} is left"
        return Verdict(PARTLY, f"{why}: documents, not tokens.", numbers)
    every = HOLDS if above == len(partial) else FAILS if below == len(partial) else PARTLY
    return Verdict(every, why, numbers)


CLAIM = Claim(
    number=3,
    short="Wider SAEs fail on the same tokens as narrower ones.",
    topic="wider SAEs fail on the same tokens",
    chapter="06_token_by_token",
    paper='"remarkably predictable" (abstract), R² 0.78 to 0.97 (Fig. 4)',
    paper_place="abstract, §4.4, Figs. 4, 5 and 12",
    paper_points=(
        "0.78 to 0.97 over the 21 pairs of widths of Fig. 4; nothing was taken out, not ‖x‖, not the token"
    ),
    rule=(
        "R² between the error norms of two widths, with ‖x‖, position and token taken out of both. *Holds*: "
        f"every interval is above {THRESHOLDS.partial}. *Does not hold*: every interval is below. *Partly*: "
        f"anything else, or {THRESHOLDS.partial} is left when tokens are shuffled within their documents."
    ),
    falsifier=f"a partial R² below {THRESHOLDS.partial}",
    written=(
        "It was written before the result; position, and the guard with shuffled tokens, were added to its "
        "first form, before any result too."
    ),
    evidence=Evidence,
    verdict=verdict,
    here=Told("partial", "R² between two widths, ‖x‖, position and token taken out", say.by_name()),
    beside=(
        Told("seeds", "two trainings of one width", say.one()),
        Told("shuffled", "tokens shuffled within documents", say.by_name()),
    ),
    effect=Effect("wider SAEs fail on the same tokens", lambda e: e.partial, of_kinds=True),
)

"""Claim 3: wider SAEs fail on the same tokens as narrower ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import interval, span
from . import say
from .claim import NO_SUITE, Claim, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """What "predictable" and "the same tokens" mean."""

    raw: float = (
        0.5  # the least R² between error norms as they are that is "predictable": half of the variance
    )
    partial: float = 0.2  # a partial R² below this means that wider SAEs do not fail on the same tokens


class Evidence(NamedTuple):
    """What the rule takes, by pair of widths: the error norm of the wider SAE from the narrower's."""

    raw: Mapping[str, Estimate]  # R² of the wider's error norm, as the paper's Fig. 4 has it
    partial: Mapping[str, Estimate]  # the same, ‖x‖, position and token taken out of both
    shuffled: Mapping[str, Estimate]  # that with tokens shuffled within documents
    seeds: Estimate | None  # the partial R² of two trainings of one width; it is told, and does not decide


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 3 at every pair of widths: errors are shared, beyond ‖x‖, position and token, and by tokens, not
    only by documents."""
    least = thresholds.partial
    return (
        Statement(
            name="predictable",
            quantity="the R² between the error norms of two widths",
            inside=(thresholds.raw, math.inf),
            values=lambda e: e.raw,
            noun="pair",
        ),
        Statement(
            name="same tokens",
            quantity="that R² with ‖x‖, position and token taken out of both norms",
            inside=(least, math.inf),
            values=lambda e: e.partial,
            noun="pair",
        ),
        Statement(
            name="not documents",
            quantity="the same with tokens shuffled within each document",
            inside=(-math.inf, least),
            values=lambda e: e.shuffled,
            noun="pair",
            guard=True,
        ),
    )


def note(evidence: Evidence) -> str:
    """What two trainings of one width share."""
    seeds = evidence.seeds
    return "" if seeds is None else f"Two trainings of one width share {interval(seeds)}."


CLAIM = Claim(
    number=3,
    short="Wider SAEs fail on the same tokens as narrower ones.",
    topic="wider SAEs fail on the same tokens",
    chapter="06_token_by_token",
    paper='"remarkably predictable" (abstract), R² 0.78 to 0.97 (Fig. 4)',
    paper_place="abstract, §4.4, App. A.4, Figs. 4, 5 and 12",
    paper_points=(
        "0.78 to 0.97 over the 21 pairs of widths of Fig. 4; nothing was taken out, not ‖x‖, not the token"
    ),
    rule=(
        "R² between the error norms of two widths, of the best line, at every pair of the suite's widths. "
        "With tokens shuffled, what is left is of documents."
    ),
    falsifier=f"an R² below {THRESHOLDS.raw}, or a partial R² below {THRESHOLDS.partial}",
    written=(
        "Its present form, statements with margins, was fixed before the next study's model was measured "
        "and after tiny had been seen: the statement *predictable* and its threshold are new, the threshold "
        "of the others is that of its first form."
    ),
    evidence=Evidence,
    statements=statements,
    note=note,
    guard=lambda e: "" if e.partial else NO_SUITE,
    brief=lambda e: f"R² {span(say.values(e.raw))}",
    here=Told("raw", "R² between two widths", say.by_name()),
    beside=(
        Told("partial", "‖x‖, position and token taken out", say.by_name()),
        Told("seeds", "two trainings of one width", say.one()),
        Told("shuffled", "tokens shuffled within documents", say.by_name()),
    ),
)

"""The question of chapter 13: does a claim's number tell an SAE that learned from one that did not?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from . import say
from .claim import Question
from .statement import Statement

NULLS = ("random dictionary", "shrunk activation", "dead SAE", "random-weights model")
"""Controls that learned nothing of what a trained model computes; only they decide the word."""


class Thresholds(NamedTuple):
    """The least advantage of a trained SAE over a control: one below it is as good."""

    r2: float = 0.05  # at claims 1, 2, 3 and 6: of an R²
    share: float = 0.1  # at claim 8: of a distance from 1


class Evidence(NamedTuple):
    """What the rule takes, by claim and control: its "value", and its "difference", control minus trained, on
    the same documents; at claim 8 the difference is of distances from 1."""

    measured: Mapping[int, Mapping[str, Mapping[str, Estimate]]]  # by claim, by control
    effects: Mapping[int, Mapping[str, Estimate]] = {}  # by claim, by kind of SAE, its effect; for claim 12


THRESHOLDS = Thresholds()


class Held(NamedTuple):
    """One claim that is held against the controls."""

    what: str  # what it measures, in a few words
    axis: str  # its number, on an axis
    wanted: str  # what supports the claim: "high", "low", a number near which it has to be
    margin: str = "r2"  # which threshold


CLAIMS = {
    1: Held("R² of the error vector", "R² of the error vector", "about a half"),
    2: Held("R² of the error's norm", "R² of the error's norm", "high"),
    3: Held("errors on the same tokens", "R² of a wide SAE's error norm", "high"),
    6: Held("R² of NonlinearError's norm", "R² of NonlinearError's norm", "low"),
    8: Held("share of the cross-entropy", "share of the loss over its due", "1", "share"),
}
"""By claim."""


def advantage(claim: int, difference: Estimate) -> Estimate:
    """By how much the trained SAE supports a claim better, from a control's difference: at claim 1, which
    wants a half, by how much they differ, whichever is larger; elsewhere in the claim's direction."""
    if CLAIMS[claim].wanted == "high":
        return say.minus(difference)
    if claim != 1:
        return difference  # the control's is higher, or farther from 1
    ends = sorted(map(abs, (difference.low, difference.high)))
    return Estimate(abs(difference.value), 0.0 if difference.low < 0 < difference.high else ends[0], ends[1])


def margin(claim: int, thresholds: Thresholds = THRESHOLDS) -> tuple[float, float]:
    """The range of an advantage that tells the trained SAE from a control; one whose whole interval lies
    below is of a control that is as good."""
    return getattr(thresholds, CLAIMS[claim].margin), math.inf


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """One statement a claim, over the controls that learned nothing."""

    def of(claim: int) -> Statement:
        said = (
            "how far the trained SAE is from a control, either way"
            if claim == 1
            else ("how much better the trained SAE is than a control, in the claim's direction")
        )

        def values(evidence: Evidence) -> dict[str, Estimate]:
            found = evidence.measured.get(claim, {})
            return {name: advantage(claim, found[name]["difference"]) for name in NULLS if name in found}

        return Statement(
            name=f"claim {claim}",
            quantity=f"at claim {claim} ({CLAIMS[claim].what}), {said},",
            inside=margin(claim, thresholds),
            values=values,
            noun="control",
        )

    return tuple(map(of, CLAIMS))


QUESTION = Question(
    short=(
        "What the claims measure comes from what an SAE learned: a control that learned nothing does not "
        "show it."
    ),
    rule=(
        "Each control's number is set beside the trained SAE's, on the same documents. The advantage is "
        "their difference in the direction of the claim: higher at claims 2 and 3, lower at claim 6, "
        "nearer to 1 at claim 8, and at claim 1 the difference itself, whichever is larger. A control is "
        "*as good* where the interval of the advantage lies below the margin. Those that learned nothing "
        "decide: dead, shrunk, random dictionary, random-weights model; other kinds of trained SAE, and "
        "the frozen decoder, are shown."
    ),
    written="Its present form, a margin for each claim, was fixed after tiny had been seen.",
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if e.measured else "The study has no trained SAE to hold the controls against.",
)

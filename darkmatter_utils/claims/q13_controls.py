"""The question of chapter 13: does a claim's number tell an SAE that learned from one that did not?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..base.values import Estimate
from . import c01_half_linear
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Question, Verdict

NULLS = ("random dictionary", "shrunk activation", "dead SAE", "random-weights model")
"""Controls that learned nothing of what a trained model computes; only they decide the word."""


class Thresholds(NamedTuple):
    """Where a control's number is as good as the trained SAE's."""

    half: tuple[float, float] = c01_half_linear.THRESHOLDS.half  # at claim 1, inside this range


class Evidence(NamedTuple):
    """What the rule takes, by claim and control: its "value", and its "difference", control minus trained, on
    the same documents; at claim 8 the difference is of distances from 1."""

    measured: Mapping[int, Mapping[str, Mapping[str, Estimate]]]  # by claim, by control


THRESHOLDS = Thresholds()


class Held(NamedTuple):
    """One claim that is held against the controls."""

    what: str  # what it measures, in a few words
    axis: str  # its number, on an axis
    wanted: str  # what supports the claim
    as_good: Callable[[Estimate, Estimate, Thresholds], bool]  # of a control's value and difference


CLAIMS = {
    1: Held(
        "R² of the error vector",
        "R² of the error vector",
        "about a half",
        lambda value, difference, t: t.half[0] <= value.low and value.high <= t.half[1],
    ),
    2: Held("R² of the error's norm", "R² of the error's norm", "high", lambda v, d, t: d.high >= 0),
    3: Held(
        "errors on the same tokens", "R² of a wide SAE's error norm", "high", lambda v, d, t: d.high >= 0
    ),
    6: Held("R² of NonlinearError's norm", "R² of NonlinearError's norm", "low", lambda v, d, t: d.low <= 0),
    8: Held("share of the cross-entropy", "share of the loss over its due", "1", lambda v, d, t: d.low <= 0),
}
"""By claim. A high R² is as good where the difference is not below 0, interval and all; a low one where it is
not above 0; a share near its due where it is not farther from 1."""


def as_good(claim: int, value: Estimate, difference: Estimate, thresholds: Thresholds = THRESHOLDS) -> bool:
    """Whether a control's number supports a claim as well as the trained SAE's does."""
    return CLAIMS[claim].as_good(value, difference, thresholds)


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """*Holds*: no control of `NULLS` is as good as the trained SAE at any claim. *Does not hold*: at every
    claim that was measured one of them is. *Partly*: anything else.
    """
    found = {}
    for claim, controls in evidence.measured.items():
        null = {name: numbers for name, numbers in controls.items() if name in NULLS}
        if null:
            good = lambda n, claim=int(claim): as_good(claim, n["value"], n["difference"], thresholds)
            found[int(claim)] = [name for name, numbers in null.items() if good(numbers)]
    if not found:
        return Verdict(UNKNOWN, "The study has no trained SAE to hold the controls against.")
    said = [
        f"at claim {claim} ({CLAIMS[claim].what}) {_listed(names)}" for claim, names in found.items() if names
    ]
    none = [str(claim) for claim, names in found.items() if not names]
    why = "At no claim that was measured is a control that learned nothing as good as the trained SAE."
    if said:
        why = f"As good as the trained SAE, without having learned anything, {'; '.join(said)}."
    if said and none:
        why += f" At {'claim' if len(none) == 1 else 'claims'} {' and '.join(none)} no such control is."
    word = HOLDS if not said else FAILS if not none else PARTLY
    return Verdict(word, why, {f"claim {claim}": len(names) for claim, names in found.items()})


def _listed(names: list[str]) -> str:
    words = [f"a {name}" if name != "shrunk activation" else "the shrunk activation" for name in names]
    return f"is {words[0]}" if len(words) == 1 else f"are {', '.join(words[:-1])} and {words[-1]}"


QUESTION = Question(
    short=(
        "What the claims measure comes from what an SAE learned: a control that learned nothing does not "
        "show it."
    ),
    rule=(
        "Each control's number is set beside the trained SAE's, on the same documents. It is *as good* if, "
        f"at claim 1, its interval lies inside {THRESHOLDS.half[0]} to {THRESHOLDS.half[1]}; at claims 2 and "
        "3, where a high R² is claimed, the difference to the trained SAE is not below 0, interval and all; "
        "at claim 6, where a low R² is claimed, it is not above 0; at claim 8 it is not farther from its "
        "due share. *Holds*: no control that learned nothing (dead, shrunk, random dictionary, "
        "random-weights model) is as good at any claim. *Does not hold*: at every claim one of them is. "
        "*Partly*: anything else. Other kinds of trained SAE, and the frozen decoder, are shown and do not "
        "decide."
    ),
    evidence=Evidence,
    verdict=verdict,
)

"""The rule of chapter 13: does a claim's number tell an SAE that learned something from one that did not?

Written before any of its numbers was seen.
"""

from __future__ import annotations

from collections.abc import Mapping

from .rules import FAILS, HALF, HOLDS, PARTLY, UNKNOWN, Verdict

NULLS = ("random dictionary", "shrunk activation", "dead SAE", "random-weights model")
"""Controls that learned nothing of what a trained model computes; only they decide the word."""
CLAIMS = {
    1: "R² of the error vector",
    2: "R² of the error's norm",
    3: "errors on the same tokens",
    6: "R² of NonlinearError's norm",
    8: "share of the cross-entropy",
}
"""What each claim measures, in a few words."""


def as_good(claim: int, value, difference) -> bool:
    """Whether a control's number supports a claim as well as the trained SAE's does.

    ``value``: the control's number; ``difference``: control minus trained, on the same documents (both
    Estimates). Claim 1 ("about half"): the control's interval lies inside `HALF`. Claims 2 and 3 (a high R²):
    the difference is not below 0, interval and all. Claim 6 (a low R²): it is not above 0. Claim 8 (a share
    near its due): the control is not farther from 1, interval and all; its numbers are distances from 1.
    """
    if claim == 1:
        return HALF[0] <= value.low and value.high <= HALF[1]
    return difference.high >= 0 if claim in (2, 3) else difference.low <= 0


def specific(*, measured: Mapping) -> Verdict:
    """Chapter 13: by claim, by control, {"value": Estimate, "difference": Estimate}, as `as_good` takes them.

    *Holds*: no control of `NULLS` is as good as the trained SAE at any claim. *Does not hold*: at every claim
    that was measured one of them is. *Partly*: anything else.
    """
    found = {}
    for claim, controls in measured.items():
        null = {name: numbers for name, numbers in controls.items() if name in NULLS}
        if null:
            found[int(claim)] = [
                name for name, n in null.items() if as_good(int(claim), n["value"], n["difference"])
            ]
    if not found:
        return Verdict(UNKNOWN, "The study has no trained SAE to hold the controls against.")
    said = [f"at claim {claim} ({CLAIMS[claim]}) {_listed(names)}" for claim, names in found.items() if names]
    none = [str(claim) for claim, names in found.items() if not names]
    why = (
        f"As good as the trained SAE, without having learned anything, {'; '.join(said)}."
        if said
        else ("At no claim that was measured is a control that learned nothing as good as the trained SAE.")
    )
    if said and none:
        why += f" At {'claim' if len(none) == 1 else 'claims'} {' and '.join(none)} no such control is."
    word = HOLDS if not said else FAILS if not none else PARTLY
    return Verdict(word, why, {f"claim {claim}": len(names) for claim, names in found.items()})


def _listed(names: list[str]) -> str:
    words = [f"a {name}" if name != "shrunk activation" else "the shrunk activation" for name in names]
    if len(words) == 1:
        return f"is {words[0]}"
    return f"are {', '.join(words[:-1])} and {words[-1]}"


RULE = (
    "Each control's number is set beside the trained SAE's, on the same documents. It is *as good* if, "
    "at claim 1, its "
    f"interval lies inside {HALF[0]} to {HALF[1]}; at claims 2 and 3, where a high R² is claimed, the "
    f"difference to the "
    "trained SAE is not below 0, interval and all; at claim 6, where a low R² is claimed, it is not "
    "above 0; at claim 8 "
    "it is not farther from its due share. *Holds*: no control that learned nothing (dead, shrunk, "
    "random dictionary, "
    "random-weights model) is as good at any claim. *Does not hold*: at every claim one of them is. "
    "*Partly*: anything "
    "else. Other kinds of trained SAE, and the frozen decoder, are shown and do not decide."
)
"""The rule in words."""

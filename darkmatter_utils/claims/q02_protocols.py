"""The question of chapter 02: does the choice of protocol matter?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .claim import FAILS, HOLDS, PARTLY, Question, Verdict


class Thresholds(NamedTuple):
    """What "the same numbers" means."""

    agree: float = 0.01  # two protocols that differ by no more than this agree
    differ: float = 0.1  # two that differ by more than this do not


class Evidence(NamedTuple):
    """What the rule takes."""

    differences: Mapping[
        str, float
    ]  # by metric: the largest absolute difference between the two over all SAEs


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Chapter 02: the metric at which the two protocols differ most decides."""
    worst = max(evidence.differences.values())
    word = HOLDS if worst <= thresholds.agree else PARTLY if worst <= thresholds.differ else FAILS
    listed = ", ".join(f"{value:.3f} in {name}" for name, value in evidence.differences.items())
    why = f"Over all SAEs, the two protocols differ by at most {listed}"
    why += f"; up to {thresholds.agree} counts as agreement."
    return Verdict(word, why, dict(evidence.differences))


QUESTION = Question(
    short=(
        "The paper's protocol (no intercept, tokens split at random, FVU also on the rows that were fitted) "
        "gives the numbers of a strict one (intercept, whole documents held out)."
    ),
    evidence=Evidence,
    verdict=verdict,
)

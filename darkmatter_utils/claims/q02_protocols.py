"""The question of chapter 02: does the choice of protocol matter?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from . import say
from .claim import Question
from .statement import Statement


class Thresholds(NamedTuple):
    """What "the same numbers" means."""

    agree: float = 0.05  # R² per dimension by which two protocols may differ; claim 1's range is .3 to .7


class Evidence(NamedTuple):
    """What the rule takes, by place: all of the study's text, and draws of it at the paper's ratios."""

    differences: Mapping[str, Estimate]  # R² per dimension: the paper's protocol minus the corrected centre


THRESHOLDS = Thresholds()
TOO_FEW = "The study has too few documents to draw some of them at the paper's ratios."


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Chapter 02: the two agree at both places."""
    return (
        Statement(
            name="agree",
            quantity="R² per dimension by the paper's protocol minus the bias-corrected centre",
            inside=(-thresholds.agree, thresholds.agree),
            values=lambda e: e.differences,
            noun="place",
            style=say.three,
        ),
    )


QUESTION = Question(
    short=(
        "The paper's protocol (no intercept, tokens split at random) gives the R² of the best linear map, "
        "for which the bias-corrected centre stands."
    ),
    rule=(
        "The paper's protocol against the bias-corrected centre for one SAE of middle width: on all of the "
        "study's text, where the interval is over documents, and on draws of it with as few documents and "
        "tokens a dimension as the paper has, where it is what 95% of the draws lie in."
    ),
    written="It was fixed before the draws, after a review had found 0.02 at the paper's place.",
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if len(e.differences) == 2 else TOO_FEW,
    note=lambda e: (
        f"By place: {say.by_name(say.three)(e.differences)}; the second interval is what "
        "texts of that size give, which more draws do not narrow."
    ),
)

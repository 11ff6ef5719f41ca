"""Claim 2: more than 90% of the variance of the error's norm is linearly predictable from the activation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import span
from . import say
from .claim import NO_SUITE, Claim, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """The paper's two wordings, and what x must do better than."""

    abstract: float = 0.9  # the least R² of "more than 90%"
    text: tuple[float, float] = (0.7, 0.95)  # the text has "between 70% and 95%" (§4.1)
    gain: float = 0.05  # the least that x must do better than all simple predictors together


class Evidence(NamedTuple):
    """What the rule takes; a place is a width of the suite, or a width at a further layer."""

    r2: Mapping[int, Estimate]  # by width: R² of ‖SaeError‖² from x
    layers: Mapping[str, Estimate]  # by any name: R² from x at further layers, places where it may fail, too
    gain: Mapping[str, Estimate]  # by place: R² from x minus that from all simple facts, paired
    simple: Mapping[int, float]  # by width: R² from all simple facts; it is told, and does not decide
    sources: Mapping[str, Mapping[int, float]] = {}  # by source of text, by width: R² of its documents alone


THRESHOLDS = Thresholds()
PLOTTED = 0.4
"""Fig. 3 of the paper is cut off below this R²."""


def everywhere(evidence: Evidence) -> dict:
    """R² from x at every place."""
    return {**evidence.r2, **evidence.layers}


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 2 in both wordings, at every width of the suite and at every further layer."""
    quantity = "the R² of the squared norm of the error from x"
    return (
        Statement(
            name="abstract",
            quantity=quantity,
            inside=(thresholds.abstract, math.inf),
            values=everywhere,
            noun="place",
            sources=lambda e: e.sources,
        ),
        Statement(name="§4.1", quantity=quantity, inside=thresholds.text, values=everywhere, noun="place"),
        Statement(
            name="beyond simple predictors",
            quantity="that R² minus the one of all simple predictors together, on the same documents,",
            inside=(thresholds.gain, math.inf),
            values=lambda e: e.gain,
            noun="place",
            guard=True,
        ),
    )


def protocol(evidence: Evidence) -> dict[str, str]:
    """How many places the paper's Fig. 3 would lose."""
    r2 = say.values(everywhere(evidence))
    lost = f"{sum(v < PLOTTED for v in r2)} of {len(r2)} places lie below {PLOTTED}"
    return {"low R² over depth": f"{lost}: Fig. 3 would lose them"}


CLAIM = Claim(
    number=2,
    short="More than 90% of the variance of the error's norm is linearly predictable from the activation.",
    topic="its norm is over 90% linear",
    chapter="03_error_norms",
    paper="more than 0.9 (abstract), 0.70 to 0.95 (§4.1)",
    paper_place="abstract, §4.1, Figs. 2, 3, 10 and 11",
    paper_points=(
        "0.71 to 0.95 over the 142 SAEs of Figs. 2, 10 and 11, at least 0.9 at 45% of them; 0.00 to 0.96 "
        "over the 198 places of Fig. 3, at least 0.9 at 47%"
    ),
    rule=(
        "R² of the error's squared norm from x at each width of the suite and, where the study has SAEs of "
        "other layers, there too. Both wordings of the paper are asked."
    ),
    falsifier=(
        f"R² below {THRESHOLDS.abstract} (abstract) or outside {THRESHOLDS.text[0]} to {THRESHOLDS.text[1]} "
        "(§4.1), or x does no better than simple predictors"
    ),
    written=(
        "Its present form, statements with margins, was fixed before the next study's model was measured and "
        "after tiny had been seen: the range of §4.1, and an interval where values alone were compared with "
        "the simple predictors, are new; it asked before that intervals reach 0.9."
    ),
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if e.r2 else NO_SUITE,
    brief=lambda e: f"R² {span(say.values(everywhere(e)))}",
    here=Told("r2", "R² of the squared norm", say.by_width()),
    beside=(
        Told("layers", "at other layers", say.by_name()),
        Told("simple", "simple predictors together", say.by_width()),
        Told("gain", "x over simple predictors", say.by_name()),
    ),
    protocol=protocol,
)

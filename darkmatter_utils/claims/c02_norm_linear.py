"""Claim 2: more than 90% of the variance of the error's norm is linearly predictable from the activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, fraction, span
from . import say
from .claim import FAILS, HOLDS, NO_SUITE, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict


class Thresholds(NamedTuple):
    """What "more than 90%" means, and what x must do better than."""

    norm: float = 0.9  # the R² claimed: an interval must reach it
    fails: float = 0.7  # an R² below this, interval and all, is none of the kind
    gain: float = 0.05  # the least that x must do better than all simple predictors together
    too_many: float = 0.25  # the share of places (a width at a layer) with a low R² that is still "partly"


class Evidence(NamedTuple):
    """What the rule takes."""

    r2: Mapping[int, Estimate]  # by width: R² of ‖SaeError‖² from x
    simple: Mapping[int, float]  # by width: R² from all simple facts
    layers: Mapping[str, Estimate]  # by any name: R² from x at further layers, places where it may fail, too


THRESHOLDS = Thresholds()
PLOTTED = 0.4
"""Fig. 3 of the paper is cut off below this R²."""


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 2 at every width of the suite and at every further layer."""
    r2, simple, layers = evidence
    if not r2:
        return Verdict(UNKNOWN, NO_SUITE)
    norm, fails, least = thresholds.norm, thresholds.fails, thresholds.gain
    places = [*r2.values(), *layers.values()]
    reached = sum(e.high >= norm for e in places)
    low = sum(e.high < fails for e in places)
    gains = {width: r2[width].value - simple[width] for width in r2}
    better = sum(gain >= least for gain in gains.values())
    numbers = {"widths": len(r2), "places": len(places), "reached": reached, "low": low, "better": better}
    numbers |= {"least_gain": min(gains.values()), "most_gain": max(gains.values())}
    numbers |= {"measured": f"R² {span([e.value for e in places])}"}
    noun = "place" if layers else "width"
    further = f", and {span(say.values(layers))} at other layers" if layers else ""
    why = (
        f"From x, the squared norm of the error is predicted with an R² of {span(say.values(r2))}, over the "
        f"suite's widths{further}; the interval reaches {norm} at {counted(reached, len(places), noun)}. "
        f"Simple predictors together reach {span(simple.values())} over the widths; x does better by {least} "
        f"or more at {counted(better, len(r2))}."
    )
    if low > len(places) * thresholds.too_many:
        return Verdict(FAILS, f"{why} The R² is below {fails} at {counted(low, len(places), noun)}.", numbers)
    if not better:
        return Verdict(FAILS, why, numbers)
    return Verdict(HOLDS if reached == len(places) and better == len(r2) else PARTLY, why, numbers)


def protocol(evidence: Evidence) -> dict[str, str]:
    """How many places the paper's Fig. 3 would lose."""
    r2 = say.values(evidence.r2) + say.values(evidence.layers)
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
        "R² of the error's squared norm from x, on held-out documents, at each width of the suite and, "
        "where the study has SAEs of other layers, there too. *Holds*: every interval reaches "
        f"{THRESHOLDS.norm}, and at each width x does better than all simple predictors together by "
        f"{THRESHOLDS.gain} or more. *Does not hold*: more than {fraction(THRESHOLDS.too_many)} of these "
        f"places lie below {THRESHOLDS.fails}, or x does better by {THRESHOLDS.gain} at no width. *Partly*: "
        "anything else."
    ),
    falsifier=(
        f"x does no better than simple predictors, or R² is below {THRESHOLDS.fails} in more than "
        f"{fraction(THRESHOLDS.too_many)} of the places tried"
    ),
    written=(
        "It was written before the result; the other layers were added as places, in this form, after the "
        "widths had been seen and before the layers were."
    ),
    evidence=Evidence,
    verdict=verdict,
    here=Told("r2", "R² of the squared norm", say.by_width()),
    beside=(
        Told("layers", "at other layers", say.by_name()),
        Told("simple", "simple predictors together", say.by_width()),
    ),
    effect=Effect("the error's norm is linear in x, in part", lambda e: {**e.r2, **e.layers}, of_kinds=True),
    protocol=protocol,
)

"""Claim 13: the activation predicts the error's norm better than simple predictors do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, fraction, span
from . import say
from .claim import FAILS, HOLDS, NO_SUITE, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict


class Thresholds(NamedTuple):
    """Where the simple predictors may keep up."""

    too_many: float = 0.25  # the share of places (a width at a layer) where they may: still "partly"


class Evidence(NamedTuple):
    """What the rule takes, by place (a width at a layer); paired differences."""

    lead: Mapping[str, Estimate]  # R² of ‖SaeError‖² from x minus that from ‖x‖, position and token
    gain: Mapping[str, Estimate]  # what x adds to all simple facts and ten of its components


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 13 at every place."""
    lead, gain = evidence
    if not lead:
        return Verdict(UNKNOWN, NO_SUITE)
    reached = sum(e.low <= 0 for e in lead.values())
    adds = sum(e.low > 0 for e in gain.values())
    numbers = {"places": len(lead), "reached": reached, "adds": adds, "least_lead": min(say.values(lead))}
    numbers |= {"most_lead": max(say.values(lead)), "measured": f"R² higher by {span(say.values(lead))}"}
    why = (
        f"The R² from x minus that from ‖x‖, position and token is {span(say.values(lead))}; the three reach "
        f"the R² of x at {counted(reached, len(lead), 'place')} (a place is a width at a layer). To all "
        f"simple predictors and ten principal components of x, the rest of x adds {span(say.values(gain))}; "
        f"that is more than nothing at {counted(adds, len(gain), 'place')}."
    )
    if reached > len(lead) * thresholds.too_many:
        return Verdict(FAILS, why, numbers)
    return Verdict(HOLDS if not reached and adds == len(gain) else PARTLY, why, numbers)


CLAIM = Claim(
    number=13,
    short="The activation predicts the error's norm better than simple predictors do.",
    topic="x beats simple predictors of the norm",
    chapter="03_error_norms",
    paper='every other predictor "significantly worse" (App. A.3)',
    paper_place="App. A.3, Fig. 13",
    paper_points=(
        "R² from x is ahead of the best single predictor by 0.06 to 0.71 at layers 5 to 39, by 0.38 on "
        "average, and behind the token at layers 0 and 1; the best of them is often the SAE's L0 (0.87 at "
        "layer 5)"
    ),
    rule=(
        "Nested out-of-fold models of the error's squared norm, at each width of the suite and at each "
        "layer that has SAEs. *Holds*: everywhere R² from x is above that from ‖x‖, position and token, and "
        "x adds to all simple predictors and ten of its principal components (both intervals above 0). "
        f"*Does not hold*: at more than {fraction(THRESHOLDS.too_many)} of the places the three reach the R² "
        "of x (the interval of the difference is not above 0). *Partly*: anything else."
    ),
    falsifier="token, ‖x‖ and position reach the same R²",
    written=(
        "It was written when nested models had been seen in the simulated world only; what each simple "
        "predictor reaches alone at the widths of the suite was known from the first edition."
    ),
    evidence=Evidence,
    verdict=verdict,
    here=Told("lead", "R² from x less that from ‖x‖, position and token", say.by_name()),
    beside=(Told("gain", "what x adds to all simple predictors and ten of its components", say.by_name()),),
    effect=Effect("x beats simple predictors of the norm", lambda e: e.lead),
)

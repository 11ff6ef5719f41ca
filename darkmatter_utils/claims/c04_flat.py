"""Claim 4: the nonlinear part of the unexplained variance does not depend on the SAE width, at a fixed L0."""

from __future__ import annotations

from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import interval, percent, plain, span
from . import say
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Told, Verdict, trend


class Thresholds(NamedTuple):
    """What "does not depend" means."""

    flat: float = 0.05  # a change of at most this share per doubling of the width is "constant"


class Evidence(NamedTuple):
    """What the rule takes. The slope decides; the others say what it hides."""

    change: Estimate  # change of FVU_nonlinear per doubling of the width, from the slope, as a share
    whole: Estimate  # its change from the narrowest to the widest SAE
    steps: list[float]  # the changes between neighbouring widths, per doubling
    widths: int  # how many widths the suite has
    l0: tuple[float, float]  # the smallest and the largest realised L0 of what is compared
    null: Estimate | None  # the change per doubling for an SAE that introduces no error, if measured


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 4: is the slope flat, interval and all, and steeper for an SAE that introduces no error?"""
    change, whole, flat = evidence.change, evidence.whole, thresholds.flat
    if reason := trend(evidence.widths, evidence.l0):
        return Verdict(UNKNOWN, reason)
    numbers = {"change": change.value, "low": change.low, "high": change.high, "whole": whole.value}
    numbers |= {"widths": evidence.widths, "measured": f"{percent(change.value, 1)} per doubling"}
    why = (
        f"FVU_nonlinear changes by {interval(change, say.tenths)} with each doubling of the width; constant "
        f"means inside ±{percent(flat)}. Single doublings change it by {span(evidence.steps, percent)}, and "
        f"all of them together by {interval(whole, percent)}."
    )
    inside = lambda e: -flat <= e.low and e.high <= flat
    if inside(change):
        if evidence.null is not None and inside(evidence.null):
            return Verdict(PARTLY, f"{why} But an SAE that introduces no error is as flat.", numbers)
        return Verdict(HOLDS, why, numbers)
    if change.high < -flat or change.low > flat:
        return Verdict(FAILS, why, numbers)
    return Verdict(UNKNOWN, f"{why} The interval crosses that edge.", numbers)


def protocol(evidence: Evidence) -> dict[str, str]:
    """What a slope says where the paper's Fig. 1 has a flat line, and at which L0 the widths are compared."""
    low, high = evidence.l0
    told = {"which SAEs": f"L0 over the suite: {plain(low)} to {plain(high)}"}
    if evidence.change is not None:
        told["flat line"] = f"{say.tenths(evidence.change.value)} per doubling, where the line is drawn flat"
    return told


CLAIM = Claim(
    number=4,
    short="The nonlinear part of the unexplained variance does not depend on the SAE width, at a fixed L0.",
    topic="the nonlinear part is flat in width",
    chapter="05_scaling",
    paper=(
        "constant at two middle layers (§4.3; 0.122 on average, Fig. 1), some decrease at others (App. A.2)"
    ),
    paper_place="§4.3, App. A.2, Figs. 1, 2, 10 and 11",
    paper_points=(
        "per doubling of the width, at L0 60: 0.1% at layer 20 of Gemma 2 9B, −1.8% at layer 12 of 2B, "
        "−2.8% to −7.5% at the other four layers; at each of the six the larger the L0, the more it falls"
    ),
    rule=(
        "Change of FVU_nonlinear per doubling of the width, from the slope of its logarithm; the interval "
        "carries documents and training seeds. *Holds*: the interval lies inside "
        f"±{percent(THRESHOLDS.flat)}. *Does not hold*: it lies outside. *Cannot be told*: it crosses the "
        "edge. *Partly*: inside, but an SAE that introduces no error is as flat."
    ),
    falsifier="a slope outside that range, or a null that is as flat",
    evidence=Evidence,
    verdict=verdict,
    here=Told("change", "change per doubling", say.one(say.tenths)),
    beside=(
        Told("whole", "narrowest to widest", say.one(say.tenths)),
        Told("null", "an SAE that introduces no error", say.one(say.tenths)),
    ),
    protocol=protocol,
)

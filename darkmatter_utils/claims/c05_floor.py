"""Claim 5: the rest of the unexplained variance shrinks with width towards a floor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import fraction, interval, plain
from . import say
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict, trend


class Thresholds(NamedTuple):
    """What a curve with a floor must do."""

    miss: float = 2.0  # a left-out width may be missed by this many standard errors
    near: float = 0.5  # no floor: c's interval reaches 0 and ends below this share of the widest SAE's FVU


class Evidence(NamedTuple):
    """What the rule takes."""

    fall: Estimate  # change of FVU per doubling of the width, as a share
    c: Estimate | None  # the fitted floor; None with too few widths
    misses: Mapping[int, float]  # by width, by how many standard errors the fit to the other widths misses it
    widest: float  # the widest SAE's FVU
    widths: int  # how many widths the suite has
    l0: tuple[float, float]  # the smallest and the largest realised L0 of what is compared


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 5: does FVU fall, is the floor above 0, and does the curve predict a width that it has not
    seen?"""
    fall, c, widest = evidence.fall, evidence.c, evidence.widest
    if reason := trend(evidence.widths, evidence.l0):
        return Verdict(UNKNOWN, reason)
    worst = _worst(evidence)
    numbers = {"c": c.value, "low": c.low, "high": c.high, "worst_miss": worst, "fall": fall.value}
    numbers |= {"widths": evidence.widths, "measured": f"c = {interval(c, say.three)}"}
    why = f"FVU changes by {interval(fall, say.tenths)} with each doubling of the width"
    if fall.high >= 0:
        return Verdict(FAILS, f"{why}: it does not fall.", numbers)
    why += f", and the fitted floor is c = {interval(c, say.three)}"
    if c.low <= 0 and c.high < widest * thresholds.near:
        why += f": the interval reaches 0 and ends below {fraction(thresholds.near)} of the widest SAE's FVU"
        return Verdict(FAILS, f"{why}, {plain(widest)}.", numbers)
    if c.low <= 0:
        why += ": a curve that falls to 0 is compatible with these widths, and so is one with a floor."
        return Verdict(UNKNOWN, why, numbers)
    why += f", above 0; the worst of the left-out widths is missed by {worst:.1f} standard errors."
    return Verdict(PARTLY if worst > thresholds.miss else HOLDS, why, numbers)


def _worst(evidence: Evidence) -> float:
    return max((abs(miss) for miss in evidence.misses.values()), default=math.inf)


def protocol(evidence: Evidence) -> dict[str, str]:
    """What a bounded fit and an interval say of the floor; the paper's Fig. 1 has a curve."""
    c = evidence.c
    if c is None or not evidence.misses:
        return {}
    wide = plain(c.high - c.low, 3)
    return {
        "fitted curve": f"left-out widths are missed by up to {_worst(evidence):.1f} standard errors",
        "uncertainty": f"the floor is {plain(c.value, 3)} with a 95% interval {wide} wide",
    }


CLAIM = Claim(
    number=5,
    short="The rest of the unexplained variance shrinks with width towards a floor.",
    topic="the rest falls to a floor",
    chapter="05_scaling",
    paper="c = 0.186, above the nonlinear part (§4.3, Fig. 1)",
    paper_place="§4.3, Fig. 1",
    paper_points=(
        "seven points do not say where the floor is: every c from 0 to 0.21 is inside the 95% interval; "
        "the curve through six of them predicts 0.228 for the widest, drawn at 0.215"
    ),
    rule=(
        "Fit FVU = c + a·W^−m with c ≥ 0; the interval carries documents and training seeds. *Holds*: FVU "
        "falls, the interval of c is above 0, and the fit to the other widths predicts every left-out width "
        f"within {THRESHOLDS.miss:.0f} standard errors. *Partly*: a left-out width is missed. *Does not "
        "hold*: FVU does not fall, or the interval of c reaches 0 and ends below "
        f"{fraction(THRESHOLDS.near)} of the widest SAE's FVU. *Cannot be told*: it reaches 0 and ends "
        "higher."
    ),
    falsifier=(
        f"an interval of c that reaches 0, or a left-out width missed by more than {THRESHOLDS.miss:.0f} "
        "standard errors"
    ),
    evidence=Evidence,
    verdict=verdict,
    here=Told("c", "floor c", say.one(say.three)),
    beside=(
        Told("fall", "change of FVU per doubling", say.one(say.three)),
        Told("misses", "left-out widths missed by (SE)", say.by_name(say.three)),
    ),
    effect=Effect("FVU falls with width", lambda e: say.minus(e.fall)),
    protocol=protocol,
)

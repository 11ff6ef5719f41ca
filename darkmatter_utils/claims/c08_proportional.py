"""Claim 8: NonlinearError costs the model its proportional share of the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, interval, plain, span
from . import say
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict

NO_MODEL = "The study is simulated: there is no language model, so no loss that a part of x could cost."


class Thresholds(NamedTuple):
    """What "proportional" means."""

    near: tuple[float, float] = (0.8, 1.25)  # shares of loss over shares of variance that are "proportional"
    same: float = 0.1  # slopes that differ by less than this are equal


class Evidence(NamedTuple):
    """What the rule takes: slopes through the origin, over the widths of the suite."""

    slope: Estimate | None  # of the share of the loss that NonlinearError wins back on its share of FVU
    controls: Mapping[str, Estimate]  # by kind of control: the same for vectors of equal norm, token by token
    apart: Mapping[str, Estimate]  # by kind: the error's slope minus the control's, same SAEs and tokens


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 8: is the slope near 1, and is that of vectors that only have the error's norm another?"""
    slope, controls, apart = evidence
    if slope is None:
        return Verdict(UNKNOWN, "The study has no SAE whose cost was measured.")
    (low, high), same = thresholds
    told = [name for name, e in apart.items() if e.low > same or e.high < -same]
    equal = [name for name, e in apart.items() if -same <= e.low and e.high <= same]
    numbers = {"slope": slope.value, "low": slope.low, "high": slope.high, "controls": len(apart)}
    numbers |= {"apart": len(told), "equal": len(equal), "measured": f"slope {interval(slope)}"}
    why = (
        f"NonlinearError wins back {interval(slope)} times its share of the variance, in units of the loss "
        f"that the SAE costs; proportional means {plain(low, 1)} to {plain(high)}."
    )
    if slope.high < low or slope.low > high:
        return Verdict(FAILS, why, numbers)
    if not (low <= slope.low and slope.high <= high):  # also where an end is NaN
        return Verdict(UNKNOWN, f"{why} The interval is not inside that range, nor outside.", numbers)
    if not apart:
        return Verdict(UNKNOWN, f"{why} No control of equal norm was run.", numbers)
    why += (
        " For vectors of the same norm that are not the error, the same slope is "
        f"{span(say.values(controls))}; {counted(len(told), len(apart), 'kind')} of them can be told apart "
        f"from the error (by more than {plain(same, 1)}), and {counted(len(equal), len(apart), 'kind')} "
        "equal it."
    )
    if len(told) == len(apart):
        return Verdict(HOLDS, why, numbers)
    if len(equal) == len(apart):
        return Verdict(FAILS, f"{why} So it is the norm that is proportional, whatever has it.", numbers)
    if told:
        return Verdict(PARTLY, why, numbers)
    why += " Whether it is the error that is proportional, or any vector of its norm, is left open."
    return Verdict(UNKNOWN, why, numbers)


def protocol(evidence: Evidence) -> dict[str, str]:
    """What vectors of equal norm add; the paper's Fig. 8 has no control."""
    if evidence.slope is None or not evidence.controls:
        return {}
    others = f"{span(say.values(evidence.controls))} for vectors of equal norm"
    return {"control of the loss": f"slope {plain(evidence.slope.value)} for the error, {others}"}


CLAIM = Claim(
    number=8,
    short="NonlinearError costs the model its proportional share of the loss.",
    topic="it costs its share of the loss",
    chapter="10_what_it_costs",
    paper='proportional (abstract), "in proportion to its norm" (§1)',
    paper_place="abstract, §1, §5.3, Fig. 8",
    paper_points=(
        "share of the loss over share of R²: 0.83 to 1.13 over widths; 2.25 to 0.59 over L0, where the "
        "share of the loss falls as that of R² rises (correlation −0.85); over share of the norm 0.44 to "
        "1.18. LinearError: 1.22 to 1.42 and 0.86 to 1.03"
    ),
    rule=(
        "Share of the loss lost to Sae(x) that adding NonlinearError wins back, over its share of FVU: the "
        "slope through the origin, over the widths of the suite. *Near 1*: its interval lies inside "
        f"{THRESHOLDS.near[0]} to {THRESHOLDS.near[1]}. Beside it the same slope for four kinds of vectors "
        "that have the norms of the error and its parts, token by token, and are not the error; a kind is "
        f"told apart where the interval of the difference lies beyond ±{THRESHOLDS.same}, and equal where it "
        "lies inside. *Holds*: near 1, and every kind told apart. *Does not hold*: the interval lies wholly "
        "outside, or every kind is equal: then any vector of that norm has its proportional share. "
        "*Partly*: near 1, some kinds told apart. *Cannot be told*: anything else."
    ),
    falsifier="a slope whose interval is far from 1, or equal to that of the controls of equal norm",
    evidence=Evidence,
    verdict=verdict,
    here=Told("slope", "slope", say.one()),
    beside=(
        Told("controls", "vectors of equal norm", say.by_name()),
        Told("apart", "error less control", say.by_name()),
    ),
    effect=Effect("NonlinearError costs loss", lambda e: e.slope),
    protocol=protocol,
)

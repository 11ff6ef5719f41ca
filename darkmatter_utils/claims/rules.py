"""The rules that judge the paper's claims: intervals against thresholds written before any result was seen.

A rule takes numbers and gives a verdict; it reads no data (`evidence.py` gathers what it takes).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..base.words import counted, interval, percent, plain, span
from ..measurement.widths import ONE_L0, WIDTHS

HOLDS, PARTLY, FAILS, UNKNOWN = "holds", "partly", "does not hold", "cannot be told here"
WORDS = (HOLDS, PARTLY, FAILS, UNKNOWN)

HALF = (0.3, 0.7)
"""Claim 1: an R² in this range is "about half"."""
NOT_HALF = (0.2, 0.8)
"""Claim 1: an R² outside this range is not."""
SPLIT = 0.1
"""Claim 1: the largest difference allowed between the paper's protocol and the strict one."""
NORM, NORM_FAILS, GAIN = 0.9, 0.7, 0.05
"""Claim 2: the R² claimed, the R² that falsifies it, and the least that x must add to simple predictors."""
SAME_TOKENS = 0.2
"""Claim 3: a partial R² below this means that wider SAEs do not fail on the same tokens."""
FLAT = 0.05
"""Claim 4: a change of at most this share per doubling of the width is "constant"."""
MISS = 2.0
"""Claim 5: a left-out width may be missed by this many standard errors."""

NO_SUITE = "The study has no width suite: no set of SAEs that differ in width at one L0."


@dataclass(frozen=True)
class Verdict:
    """What a rule says of one claim on one study."""

    word: str
    """One of `WORDS`."""
    why: str
    """One to three sentences, true whatever the word."""
    numbers: dict = field(default_factory=dict)
    """The numbers that the rule compared, by name."""

    @property
    def measured(self) -> str:
        """The number that answers to the paper's, in a few words; "" where nothing was measured."""
        return self.numbers.get("measured", "")

    def markdown(self, study) -> str:
        """The verdict on a study as a line of Markdown, for the first screen of a chapter."""
        return f"**Verdict on the study {study.name}: {self.word}.** {self.why}"


def half_linear(*, r2: dict, kept: dict, split: dict) -> Verdict:
    """Claim 1, by width: R² per dimension of SaeError (Estimate); the share of R² that is left once Sae(x) is
    rescaled by its best scalar; the strict R² minus the paper protocol's."""
    if not r2:
        return Verdict(UNKNOWN, NO_SUITE)
    inside = sum(HALF[0] <= e.low and e.high <= HALF[1] for e in r2.values())
    outside = sum(e.high < NOT_HALF[0] or e.low > NOT_HALF[1] for e in r2.values())
    worst, differs = min(kept.values()), max(map(abs, split.values()))
    numbers = {"widths": len(r2), "inside": inside, "outside": outside, "kept": worst, "split": differs}
    numbers["measured"] = f"R² {span([e.value for e in r2.values()])}"
    why = (
        f"From x, {span([e.value for e in r2.values()], percent)} of the error vector is linearly "
        f"predictable, over the suite's widths; the interval lies inside {percent(HALF[0])} to "
        f"{percent(HALF[1])} at {counted(inside, len(r2))}."
    )
    if worst < 0.5:
        return Verdict(
            FAILS,
            f"{why} But at some width most of it is shrinkage: with Sae(x) rescaled, {percent(worst)} of it "
            "is left.",
            numbers,
        )
    if differs > SPLIT:
        return Verdict(
            FAILS,
            f"{why} But it depends on the protocol: strict and paper differ by up to {plain(differs)}.",
            numbers,
        )
    if outside == len(r2):
        return Verdict(
            FAILS,
            f"{why} At every width it lies outside {percent(NOT_HALF[0])} to {percent(NOT_HALF[1])}.",
            numbers,
        )
    return Verdict(HOLDS if inside == len(r2) else PARTLY, why, numbers)


def trend(widths: int, l0) -> str:
    """Why a suite says nothing about a trend over width; "" if it does. `l0`: its smallest and largest
    realised L0.
    """
    if widths < WIDTHS:
        return f"A trend is tested with {WIDTHS} widths or more; the study has {widths}."
    if l0[1] > l0[0] * (1 + ONE_L0):
        return f"The claim is about SAEs of one L0; in this study it goes from {l0[0]:.1f} to {l0[1]:.1f}."
    return ""


def constant(*, change, whole, steps, widths: int, l0, null=None) -> Verdict:
    """Claim 4: change of FVU_nonlinear per doubling of the width, from the slope, as a share (Estimate); its
    change from the narrowest to the widest SAE (Estimate); the changes between neighbouring widths, per
    doubling (floats); `widths` and `l0` as in `trend`; `null`: the change per doubling for an SAE that
    introduces no error, once it has been measured. The slope decides; the others say what it hides.
    """
    if reason := trend(widths, l0):
        return Verdict(UNKNOWN, reason)
    flat = lambda e: -FLAT <= e.low and e.high <= FLAT
    numbers = {
        "change": change.value,
        "low": change.low,
        "high": change.high,
        "whole": whole.value,
        "widths": widths,
    }
    numbers["measured"] = f"{percent(change.value, 1)} per doubling"
    why = (
        f"FVU_nonlinear changes by {interval(change, lambda v: percent(v, 1))} with each doubling of the "
        f"width; constant means inside ±{percent(FLAT)}. Single doublings change it by "
        f"{span(steps, percent)}, and all of them together by {interval(whole, percent)}."
    )
    if flat(change):
        as_flat = null is not None and flat(null)
        return Verdict(
            PARTLY if as_flat else HOLDS,
            why + (" But an SAE that introduces no error is as flat." if as_flat else ""),
            numbers,
        )
    if change.high < -FLAT or change.low > FLAT:
        return Verdict(FAILS, why, numbers)
    return Verdict(UNKNOWN, f"{why} The interval crosses that edge.", numbers)


def floor(*, fall, c, misses: dict, widest: float, widths: int, l0) -> Verdict:
    """Claim 5: change of FVU per doubling of the width, as a share (Estimate); the fitted floor c (Estimate);
    by width, by how many standard errors the fit to the other widths misses it; the widest SAE's FVU;
    `widths` and `l0` as in `trend`.
    """
    if reason := trend(widths, l0):
        return Verdict(UNKNOWN, reason)
    worst = max((abs(miss) for miss in misses.values()), default=math.inf)
    numbers = {
        "c": c.value,
        "low": c.low,
        "high": c.high,
        "worst_miss": worst,
        "fall": fall.value,
        "widths": widths,
        "measured": f"c = {interval(c, lambda v: plain(v, 3))}",
    }
    why = f"FVU changes by {interval(fall, lambda v: percent(v, 1))} with each doubling of the width"
    if fall.high >= 0:
        return Verdict(FAILS, f"{why}: it does not fall.", numbers)
    why += f", and the fitted floor is c = {interval(c, lambda v: plain(v, 3))}"
    if c.low <= 0 and c.high < widest / 2:
        return Verdict(
            FAILS,
            f"{why}: the interval reaches 0 and ends below half of the widest SAE's FVU, {plain(widest)}.",
            numbers,
        )
    if c.low <= 0:
        return Verdict(
            UNKNOWN,
            f"{why}: a curve that falls to 0 is compatible with these widths, and so is one with a floor.",
            numbers,
        )
    missed = f"the worst of the left-out widths is missed by {worst:.1f} standard errors"
    return Verdict(PARTLY if worst > MISS else HOLDS, f"{why}, above 0; {missed}.", numbers)

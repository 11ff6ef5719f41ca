"""Claim 1: about half of the error vector is a linear function of the activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, fraction, percent, plain, span
from . import say
from .claim import FAILS, HOLDS, NO_SUITE, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict


class Thresholds(NamedTuple):
    """What "about half" means."""

    half: tuple[float, float] = (0.3, 0.7)  # an R² in this range is "about half"
    not_half: tuple[float, float] = (0.2, 0.8)  # an R² outside this range is not
    kept: float = 0.5  # the least share of R² that must be left once shrinkage is undone
    split: float = 0.1  # the largest difference allowed between the paper's protocol and the strict one


class Evidence(NamedTuple):
    """What the rule takes, by width."""

    r2: Mapping[int, Estimate]  # R² per dimension of SaeError from x
    kept: Mapping[int, float]  # the share of R² that is left once Sae(x) is rescaled by its best scalar
    split: Mapping[int, float]  # the strict R² minus the paper protocol's


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 1 at every width of the suite; shrinkage and the choice of protocol must not explain it."""
    r2, half, not_half = evidence.r2, thresholds.half, thresholds.not_half
    if not r2:
        return Verdict(UNKNOWN, NO_SUITE)
    inside = sum(half[0] <= e.low and e.high <= half[1] for e in r2.values())
    outside = sum(e.high < not_half[0] or e.low > not_half[1] for e in r2.values())
    worst, differs = min(evidence.kept.values()), max(map(abs, evidence.split.values()))
    numbers = {"widths": len(r2), "inside": inside, "outside": outside, "kept": worst, "split": differs}
    numbers["measured"] = f"R² {span(say.values(r2))}"
    why = (
        f"From x, {span(say.values(r2), percent)} of the error vector is linearly predictable, over the "
        f"suite's widths; the interval lies inside {percent(half[0])} to {percent(half[1])} at "
        f"{counted(inside, len(r2))}."
    )
    if worst < thresholds.kept:
        why += " But at some width most of it is shrinkage"
        return Verdict(FAILS, f"{why}: with Sae(x) rescaled, {percent(worst)} of it is left.", numbers)
    if differs > thresholds.split:
        why += f" But it depends on the protocol: strict and paper differ by up to {plain(differs)}."
        return Verdict(FAILS, why, numbers)
    if outside == len(r2):
        why += f" At every width it lies outside {percent(not_half[0])} to {percent(not_half[1])}."
        return Verdict(FAILS, why, numbers)
    return Verdict(HOLDS if inside == len(r2) else PARTLY, why, numbers)


def protocol(evidence: Evidence) -> dict[str, str]:
    """What the paper's three choices change together."""
    if not evidence.split:
        return {}
    split = span(evidence.split.values(), lambda v: plain(v, 4))
    return {"together": f"R² per dimension, strict minus paper: {split} over the suite"}


CLAIM = Claim(
    number=1,
    short="About half of the error vector is a linear function of the activation.",
    topic="half of the error is linear",
    chapter="04_half_linear",
    paper="about half (abstract), 15% to 72% (§4.2)",
    paper_place="abstract, §4.2, Figs. 2, 10 and 11",
    paper_points=(
        "R² of 0.165 to 0.749 over its 142 SAEs, 0.42 on average; 0.52 on average at layer 20 of Gemma 2 9B"
    ),
    rule=(
        "R² per dimension of the SAE's error from x, on held-out documents, at each width of the suite. "
        f"*Holds*: every interval lies inside {THRESHOLDS.half[0]} to {THRESHOLDS.half[1]}. *Does not hold*: "
        f"every interval lies outside {THRESHOLDS.not_half[0]} to {THRESHOLDS.not_half[1]}; or at some width "
        f"less than {fraction(THRESHOLDS.kept)} of R² is left once shrinkage is undone (Sae(x) rescaled by "
        f"its best scalar); or the strict and the paper's protocol differ by more than {THRESHOLDS.split}. "
        "*Partly*: anything else."
    ),
    falsifier=(
        f"R² below {THRESHOLDS.not_half[0]} on held-out documents; or mostly shrinkage; or an artefact of "
        "the split"
    ),
    written=(
        "Its thresholds were written before the result. Its guard against shrinkage was replaced after the "
        "first results were seen; chapter 04 tells how, and what the first form says."
    ),
    evidence=Evidence,
    verdict=verdict,
    here=Told("r2", "R² per dimension", say.by_width(say.three)),
    beside=(
        Told("kept", "share of it left once shrinkage is undone", say.by_width(say.three)),
        Told("split", "strict minus the paper's protocol", say.by_width(say.three)),
    ),
    effect=Effect("the error is linear in x, in part", lambda e: e.r2, of_kinds=True),
    protocol=protocol,
)

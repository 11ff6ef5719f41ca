"""Claim 6: NonlinearError is not a sparse linear code: its norm is the hardest of all parts to predict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, fraction, span
from . import say
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Told, Verdict


class Thresholds(NamedTuple):
    """How many SAEs and widths decide."""

    half: float = 0.5  # lowest at this share of SAEs or fewer, or a null as low at more widths: it fails


class Evidence(NamedTuple):
    """What the rule takes."""

    lowest: int  # at how many SAEs NonlinearError has the lowest norm R² of all parts, from x
    lowest_self: int  # the same from the part itself
    saes: int  # of how many
    nonlinear: Mapping[int, Estimate]  # by width of the suite, its R² from itself
    null: Mapping[int, Estimate]  # that of an oracle SAE that introduces nothing, matched in FVU and L0


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 6: is it the lowest part, and lower than where nothing is introduced?"""
    lowest, lowest_self, saes, nonlinear, null = evidence
    if not saes:
        return Verdict(UNKNOWN, "The study has no SAE of which the norm test could be made.")
    if not null:
        why = "No oracle SAE could be matched to this study, so the claim has no null to beat."
        return Verdict(UNKNOWN, why)
    widths = [width for width in nonlinear if width in null]
    as_low = sum(null[width].low <= nonlinear[width].high for width in widths)
    own, other = span(say.values(nonlinear)), span(say.values(null))
    why = (
        f"NonlinearError has the lowest norm R² of all parts at {counted(lowest, saes, 'SAE')} from x and at "
        f"{counted(lowest_self, saes, 'SAE')} from the part itself. From itself its R² is {own} over the "
        f"suite's widths; that of an SAE that introduces nothing, matched in FVU and L0, is {other}: as low "
        f"at {counted(as_low, len(widths))}."
    )
    numbers = {"saes": saes, "lowest": lowest, "lowest_self": lowest_self, "widths": len(widths)}
    numbers |= {"as_low": as_low, "measured": f"R² {own}, null {other}"}
    if as_low > len(widths) * thresholds.half or min(lowest, lowest_self) <= saes * thresholds.half:
        return Verdict(FAILS, why, numbers)
    every = lowest == lowest_self == saes and not as_low
    return Verdict(HOLDS if every else PARTLY, why, numbers)


CLAIM = Claim(
    number=6,
    short="NonlinearError is not a sparse linear code: its norm is the hardest of all parts to predict.",
    topic="NonlinearError is no sparse code",
    chapter="08_nonlinear_error",
    paper="notably lower than LinearError (§5.1); medians 0.86 and 0.94 (Fig. 6)",
    paper_place="§5.1, Fig. 6",
    paper_points=(
        "medians of 0.862 for NonlinearError, 0.892 SaeError, 0.941 LinearError, 0.954 Sae(x), 0.985 x: "
        "the lowest, by 0.03"
    ),
    rule=(
        "Norm test from x and from the part itself, for every SAE, on held-out documents. *Holds*: "
        "NonlinearError has the lowest R² of all parts at every SAE, both ways, and at every width of the "
        "suite the matched oracle's NonlinearError has a higher one, intervals apart. *Does not hold*: "
        f"NonlinearError is the lowest at {fraction(THRESHOLDS.half)} of the SAEs or fewer, or the oracle's "
        f"R² is as low (its interval reaches down to the SAE's) at more than {fraction(THRESHOLDS.half)} of "
        "the widths. *Partly*: anything else."
    ),
    falsifier="an oracle SAE that introduces no error has an equally low R²",
    evidence=Evidence,
    verdict=verdict,
    here=Told("nonlinear", "norm R² of NonlinearError, from itself", say.by_width()),
    beside=(Told("null", "an oracle SAE that introduces nothing", say.by_width()),),
)

"""The rules of claims 6 and 11: whether NonlinearError is special, and whether true parts land where the
paper reads them. Written before any of their numbers was seen.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..base.words import counted, percent, span
from .rules import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict

MISPLACED = 0.25
"""Claim 11: at most this share of a true part's variance may land in the other estimated part."""
READ_AS = {"absent": "LinearError", "introduced": "NonlinearError"}
"""Claim 11: the estimated part that each true part is read from."""


def parts_land(*, misplaced: Mapping) -> Verdict:
    """Claim 11, by cell (a world or a study's own dictionary): the share of the absent part's variance that
    lands in NonlinearError and of the introduced part's that lands in LinearError ({part: Estimate})."""
    if not misplaced:
        return Verdict(UNKNOWN, "No case with known parts was measured.")
    above = {part: [e for cell in misplaced.values() if (e := cell.get(part))] for part in READ_AS}
    high = sum(any(e.low > MISPLACED for e in cell.values()) for cell in misplaced.values())
    right = sum(all(e.high <= MISPLACED for e in cell.values()) for cell in misplaced.values())
    cells = len(misplaced)
    why = (
        f"With known parts, {span([e.value for e in above['absent']], percent)} of the absent "
        f"features' variance "
        f"lands in NonlinearError and {span([e.value for e in above['introduced']], percent)} of the "
        f"introduced "
        f"error's in LinearError; one of the two is above {percent(MISPLACED)}, interval and all, in "
        f"{counted(high, cells, 'case')}."
    )
    word = HOLDS if right == cells else FAILS if high > cells / 2 else PARTLY
    worst = {f"most {part}": max(e.value for e in found) for part, found in above.items() if found}
    return Verdict(
        word, why, {"cases": cells, "above": high, "below": right, "measured": _measured(above), **worst}
    )


def _measured(above) -> str:
    return "; ".join(
        f"{part} misplaced {span([e.value for e in found], percent)}"
        for part, found in above.items()
        if found
    )


def norm_lowest(*, lowest: int, lowest_self: int, saes: int, nonlinear: Mapping, null: Mapping) -> Verdict:
    """Claim 6: of `saes` SAEs, at how many NonlinearError has the lowest norm R² of all parts, from x and
    from the part itself; by width of the suite, its R² from itself (Estimate) and that of an oracle SAE that
    introduces nothing, matched in FVU and L0 (Estimate)."""
    if not saes:
        return Verdict(UNKNOWN, "The study has no SAE of which the norm test could be made.")
    if not null:
        return Verdict(
            UNKNOWN, "No oracle SAE could be matched to this study, so the claim has no null to beat."
        )
    widths = [width for width in nonlinear if width in null]
    as_low = sum(null[width].low <= nonlinear[width].high for width in widths)
    why = (
        f"NonlinearError has the lowest norm R² of all parts at {counted(lowest, saes, 'SAE')} from x and at "
        f"{counted(lowest_self, saes, 'SAE')} from the part itself. From itself its R² is "
        f"{span([e.value for e in nonlinear.values()])} over the suite's widths; that of an SAE that "
        f"introduces "
        f"nothing, matched in FVU and L0, is {span([e.value for e in null.values()])}: as low at "
        f"{counted(as_low, len(widths))}."
    )
    numbers = {
        "saes": saes,
        "lowest": lowest,
        "lowest_self": lowest_self,
        "widths": len(widths),
        "as_low": as_low,
        "measured": (
            f"R² {span([e.value for e in nonlinear.values()])}, null {span([e.value for e in null.values()])}"
        ),
    }
    if as_low > len(widths) / 2 or min(lowest, lowest_self) <= saes / 2:
        return Verdict(FAILS, why, numbers)
    every = lowest == lowest_self == saes and not as_low
    return Verdict(HOLDS if every else PARTLY, why, numbers)


LANDING_RULE = (
    "In simulated worlds over a range of superposition and width, and in the study's own dictionary "
    "with latents "
    "ablated and noise added: the share of a true part's variance that lands in the other estimated "
    "part, out of "
    "sample; the intervals are over worlds drawn anew, or over documents. *Holds*: in every case "
    "neither absent "
    f"features in NonlinearError nor introduced error in LinearError exceed {percent(MISPLACED)}, "
    f"interval and "
    "all. *Does not hold*: in more than half of the cases one of the two does, interval and all. *Partly*: "
    "anything else."
)
NORM_RULE = (
    "Norm test from x and from the part itself, for every SAE, on held-out documents. *Holds*: "
    "NonlinearError has "
    "the lowest R² of all parts at every SAE, both ways, and at every width of the suite the matched "
    "oracle's "
    "NonlinearError has a higher one, intervals apart. *Does not hold*: NonlinearError is the lowest "
    "at half of the "
    "SAEs or fewer, or the oracle's R² is as low (its interval reaches down to the SAE's) at more than "
    "half of the "
    "widths. *Partly*: anything else."
)

"""The rule of claim 8, written before any result was seen."""

from __future__ import annotations

from ..base.words import counted, interval, plain, span
from .rules import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict

PROPORTIONAL = (0.8, 1.25)
"""Claim 8: NonlinearError's share of the loss, divided by its share of the variance, is "proportional" in
this range."""
SAME = 0.1
"""Claim 8: slopes that differ by less than this are equal."""

NO_MODEL = "The study is simulated: there is no language model, so no loss that a part of x could cost."


def proportional(*, slope, controls: dict, apart: dict) -> Verdict:
    """Claim 8: slope through the origin of the share of the loss that NonlinearError wins back on its share
    of FVU, over the widths of the suite (Estimate); by kind of control, the same slope for vectors of equal
    norm, token by token (Estimate), and the error's slope minus the control's on the same SAEs and tokens
    (Estimate).
    """
    if slope is None:
        return Verdict(UNKNOWN, "The study has no SAE whose cost was measured.")
    low, high = PROPORTIONAL
    told = [name for name, e in apart.items() if e.low > SAME or e.high < -SAME]
    equal = [name for name, e in apart.items() if -SAME <= e.low and e.high <= SAME]
    numbers = {
        "slope": slope.value,
        "low": slope.low,
        "high": slope.high,
        "controls": len(apart),
        "apart": len(told),
        "equal": len(equal),
        "measured": f"slope {interval(slope)}",
    }
    why = (
        f"NonlinearError wins back {interval(slope)} times its share of the variance, in units of the "
        f"loss that the SAE "
        f"costs; proportional means {plain(low, 1)} to {plain(high)}."
    )
    if slope.high < low or slope.low > high:
        return Verdict(FAILS, why, numbers)
    if not (low <= slope.low and slope.high <= high):  # also where an end is NaN
        return Verdict(UNKNOWN, f"{why} The interval is not inside that range, nor outside.", numbers)
    if not apart:
        return Verdict(UNKNOWN, f"{why} No control of equal norm was run.", numbers)
    why += (
        f" For vectors of the same norm that are not the error, the same slope is "
        f"{span([e.value for e in controls.values()])}; {counted(len(told), len(apart), 'kind')} of "
        f"them can be told "
        f"apart from the error (by more than {plain(SAME, 1)}), and "
        f"{counted(len(equal), len(apart), 'kind')} equal it."
    )
    if len(told) == len(apart):
        return Verdict(HOLDS, why, numbers)
    if len(equal) == len(apart):
        return Verdict(FAILS, f"{why} So it is the norm that is proportional, whatever has it.", numbers)
    if told:
        return Verdict(PARTLY, why, numbers)
    why += " Whether it is the error that is proportional, or any vector of its norm, is left open."
    return Verdict(UNKNOWN, why, numbers)

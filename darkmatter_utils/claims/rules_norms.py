"""The rules for claims about the size of the error: is it linear in x (2), the same for all widths (3),
beyond what simple facts say (13)?
"""

from __future__ import annotations

from ..base.words import counted, interval, span
from .rules import FAILS, GAIN, HOLDS, NO_SUITE, NORM, NORM_FAILS, PARTLY, SAME_TOKENS, UNKNOWN, Verdict

TOO_MANY = 0.25
"""Claims 2 and 13: the share of places (a width at a layer) at which a claim may fail and still be partly
true."""


def norm_linear(*, r2: dict, simple: dict, layers: dict | None = None) -> Verdict:
    """Claim 2. By width: R² of ‖SaeError‖² from x (Estimate), and from all simple facts (float); `layers`: by
    any name, R² from x at further layers (Estimate), which count as places where the claim may fail."""
    if not r2:
        return Verdict(UNKNOWN, NO_SUITE)
    places = [*r2.values(), *(layers or {}).values()]
    reached = sum(e.high >= NORM for e in places)
    low = sum(e.high < NORM_FAILS for e in places)
    gains = {width: r2[width].value - simple[width] for width in r2}
    better = sum(gain >= GAIN for gain in gains.values())
    numbers = {
        "widths": len(r2),
        "places": len(places),
        "reached": reached,
        "low": low,
        "better": better,
        "least_gain": min(gains.values()),
        "most_gain": max(gains.values()),
        "measured": f"R² {span([e.value for e in places])}",
    }
    noun = "place" if layers else "width"
    further = f", and {span([e.value for e in layers.values()])} at other layers" if layers else ""
    suite = span([e.value for e in r2.values()])
    why = (
        f"From x, the squared norm of the error is predicted with an R² of {suite}, over the suite's "
        f"widths{further}; "
        f"the interval reaches {NORM} at {counted(reached, len(places), noun)}. Simple predictors together "
        f"reach {span(simple.values())} over the widths; x does better by {GAIN} or more at "
        f"{counted(better, len(r2))}."
    )
    if low > len(places) * TOO_MANY:
        return Verdict(
            FAILS, f"{why} The R² is below {NORM_FAILS} at {counted(low, len(places), noun)}.", numbers
        )
    if not better:
        return Verdict(FAILS, why, numbers)
    return Verdict(HOLDS if reached == len(places) and better == len(r2) else PARTLY, why, numbers)


def same_tokens(*, partial: dict, shuffled: dict | None = None, seeds=None) -> Verdict:
    """Claim 3. By pair of widths: R² of the wider SAE's error norm from the narrower's, with ‖x‖, position
    and token taken out of both (Estimate), and the same with tokens shuffled within documents; `seeds`: the
    same R² between two trainings of one width (Estimate), told beside it."""
    if not partial:
        return Verdict(UNKNOWN, NO_SUITE)
    values = [e.value for e in partial.values()]
    above = sum(e.low >= SAME_TOKENS for e in partial.values())
    below = sum(e.high < SAME_TOKENS for e in partial.values())
    numbers = {
        "pairs": len(partial),
        "above": above,
        "below": below,
        "measured": f"partial R² {span(values)}",
    }
    why = (
        f"With ‖x‖, position and token taken out, the R² between the error norms of two widths is "
        f"{span(values)}; the "
        f"interval is above {SAME_TOKENS} at {counted(above, len(partial), 'pair')}."
    )
    if seeds is not None:
        why += f" Two trainings of one width share {interval(seeds)}."
    worst = max((e.value for e in (shuffled or {}).values()), default=0.0)
    if above and worst >= SAME_TOKENS:
        why += (
            f" But with the tokens shuffled within each document up to {worst:.2f} is left: documents, not "
            f"tokens."
        )
        return Verdict(PARTLY, why, numbers)
    return Verdict(
        HOLDS if above == len(partial) else FAILS if below == len(partial) else PARTLY, why, numbers
    )


def beyond_simple(*, lead: dict, gain: dict) -> Verdict:
    """Claim 13. By place (a width at a layer): R² of ‖SaeError‖² from x minus that from ‖x‖, position and
    token (Estimate, paired), and what x adds to all simple facts and ten of its components (Estimate,
    paired)."""
    if not lead:
        return Verdict(UNKNOWN, NO_SUITE)
    reached = sum(e.low <= 0 for e in lead.values())
    adds = sum(e.low > 0 for e in gain.values())
    least, most = min(e.value for e in lead.values()), max(e.value for e in lead.values())
    numbers = {
        "places": len(lead),
        "reached": reached,
        "adds": adds,
        "least_lead": least,
        "most_lead": most,
        "measured": f"R² higher by {span([e.value for e in lead.values()])}",
    }
    adding = span([e.value for e in gain.values()])
    why = (
        f"The R² from x minus that from ‖x‖, position and token is "
        f"{span([e.value for e in lead.values()])}; the three "
        f"reach the R² of x at {counted(reached, len(lead), 'place')} (a place is a width at a layer). "
        f"To all simple "
        f"predictors and ten principal components of x, the rest of x adds {adding}; that is more than "
        f"nothing at "
        f"{counted(adds, len(gain), 'place')}."
    )
    if reached > len(lead) * TOO_MANY:
        return Verdict(FAILS, why, numbers)
    return Verdict(HOLDS if not reached and adds == len(gain) else PARTLY, why, numbers)

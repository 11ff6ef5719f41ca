"""Claim 9: better inference on the same dictionary barely reduces NonlinearError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, fraction, percent, span
from . import say
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict


class Thresholds(NamedTuple):
    """What "barely" means."""

    falls: float = 0.1  # a fall of FVU_nonlinear by more than this share is not "barely"
    half: float = 0.5  # such a fall at more than this share of the widths: it fails


class Evidence(NamedTuple):
    """What the rule takes, by width, from the SAE's encoder to the best inference: of those whose codes are
    non-negative and nowhere use more latents than the encoder, the one with the lowest FVU_nonlinear."""

    change: Mapping[int, Estimate]  # the change of FVU_nonlinear, as a share, negative where it falls
    total: Mapping[int, Estimate]  # the same change of FVU
    best: Mapping[int, str]  # the name of that inference


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 9 at every width of the suite."""
    change, total, best = evidence
    falls = thresholds.falls
    if not change:
        return Verdict(UNKNOWN, "The study has no SAE whose dictionary another inference could use.")
    beyond = sum(e.high < -falls for e in change.values())
    within = sum(e.low >= -falls for e in change.values())
    most = min(change, key=lambda width: change[width].value)
    why = (
        "From the encoder to the best inference, FVU_nonlinear changes by "
        f"{span(say.values(change), say.tenths)} over the suite's widths (most with {best[most]}), FVU by "
        f"{span(say.values(total), say.tenths)}. The fall is above {percent(falls)}, interval and all, at "
        f"{counted(beyond, len(change))}, and below it at {counted(within, len(change))}."
    )
    numbers = {"widths": len(change), "beyond": beyond, "within": within, "most": change[most].value}
    measured = f"FVU_nonlinear {span(say.values(change), percent)}, FVU {span(say.values(total), percent)}"
    numbers |= {"best": best[most], "measured": measured}
    fails = beyond > len(change) * thresholds.half
    return Verdict(HOLDS if within == len(change) else FAILS if fails else PARTLY, why, numbers)


def protocol(evidence: Evidence) -> dict[str, str]:
    """What an L0 that is equal as realised says."""
    if not evidence.change:
        return {}
    change = span(say.values(evidence.change), say.tenths)
    return {"L0 of a pursuit": f"at equal L0 and on the same tokens, FVU_nonlinear changes by {change}"}


CLAIM = Claim(
    number=9,
    short="Better inference on the same dictionary barely reduces NonlinearError.",
    topic="better inference barely helps",
    chapter="11_can_inference_shrink_it",
    paper=(
        'a "very slight decrease" (abstract); FVU lower by 3 to 5%, the nonlinear part almost unchanged (§6)'
    ),
    paper_place="abstract, §6.1, Fig. 9a",
    paper_points=(
        "FVU lower by 2.5% to 14.0%, FVU_nonlinear by −0.4% to 8.3%, as drawn (Figs. 1 and 9a); "
        "FVU_nonlinear by 4.5% to 13.2% on the same tokens (Figs. 2b and 9a), by more than 10% at three "
        "of six widths"
    ),
    rule=(
        "FVU_nonlinear of each inference against that of the SAE's own encoder, on the same tokens, with no "
        "more active latents than the encoder on any token; at each width of the suite the best of the "
        "non-negative inferences counts (the one with the lowest FVU_nonlinear), with an interval over "
        "documents and training seeds. *Holds*: at every width the interval of the fall stays below "
        f"{percent(THRESHOLDS.falls)}. *Does not hold*: it lies wholly above {percent(THRESHOLDS.falls)} at "
        f"more than {fraction(THRESHOLDS.half)} of the widths. *Partly*: anything else."
    ),
    falsifier=f"FVU_nonlinear falls by more than {percent(THRESHOLDS.falls)}",
    evidence=Evidence,
    verdict=verdict,
    here=Told("change", "change of FVU_nonlinear", say.by_width(say.tenths)),
    beside=(Told("total", "change of FVU", say.by_width(say.tenths)),),
    effect=Effect("better inference helps", lambda e: {width: say.minus(c) for width, c in e.change.items()}),
    protocol=protocol,
)

"""The rules of claims 9 and 10: whether better inference, or an earlier layer, makes NonlinearError smaller.
Written before any of their numbers was seen.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..base.words import counted, percent, plain, span
from .rules import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict

FALLS = 0.10
"""Claim 9: a fall of FVU_nonlinear by more than this share is not "barely"."""


def barely_helps(*, change: Mapping, total: Mapping, best: Mapping) -> Verdict:
    """Claim 9, by width: the change of FVU_nonlinear from the SAE's encoder to the best inference, as a share
    (Estimate, negative where it falls); the same change of FVU; the name of that inference.

    The best inference: of those whose codes are non-negative and nowhere use more latents than the encoder,
    the one with the lowest FVU_nonlinear.
    """
    if not change:
        return Verdict(UNKNOWN, "The study has no SAE whose dictionary another inference could use.")
    beyond = sum(e.high < -FALLS for e in change.values())
    within = sum(e.low >= -FALLS for e in change.values())
    most = min(change, key=lambda width: change[width].value)
    why = (
        f"From the encoder to the best inference, FVU_nonlinear changes by "
        f"{span([e.value for e in change.values()], lambda v: percent(v, 1))} over the suite's widths "
        f"(most with "
        f"{best[most]}), FVU by {span([e.value for e in total.values()], lambda v: percent(v, 1))}. "
        f"The fall is "
        f"above {percent(FALLS)}, interval and all, at {counted(beyond, len(change))}, and below it at "
        f"{counted(within, len(change))}."
    )
    numbers = {
        "widths": len(change),
        "beyond": beyond,
        "within": within,
        "most": change[most].value,
        "best": best[most],
        "measured": f"FVU_nonlinear {span([e.value for e in change.values()], percent)}, "
        f"FVU {span([e.value for e in total.values()], percent)}",
    }
    word = HOLDS if within == len(change) else FAILS if beyond > len(change) / 2 else PARTLY
    return Verdict(word, why, numbers)


def earlier_predicts(*, sae: Mapping, raw: Mapping, over_raw: Mapping, over_shuffled: Mapping) -> Verdict:
    """Claim 10, by earlier site: R² per dimension of NonlinearError from the site's SAE output and from as
    many directions of its raw activation (Estimates), and the first one's lead over the second and over the
    same from shuffled tokens (Estimates, paired)."""
    if not sae:
        return Verdict(UNKNOWN, "The study has no SAE at a site before the one that is decomposed.")
    more = sum(e.low > 0 for e in over_raw.values())
    signal = sum(e.low > 0 for e in over_shuffled.values())
    stands = sum(over_raw[site].low > 0 and over_shuffled[site].low > 0 for site in sae)
    why = (
        f"The SAE outputs of earlier sites predict NonlinearError with an R² of "
        f"{span([e.value for e in sae.values()])}, "
        f"as many directions of the raw activation with {span([e.value for e in raw.values()])}. The "
        f"SAE output is "
        f"ahead of shuffled tokens at {counted(signal, len(sae), 'site')} and ahead of the raw activation at "
        f"{counted(more, len(sae), 'site')}."
    )
    numbers = {
        "sites": len(sae),
        "over_raw": more,
        "over_shuffled": signal,
        "stands": stands,
        "most": max(e.value for e in sae.values()),
        "measured": (
            f"R² up to {plain(max(e.value for e in sae.values()))}, raw "
            f"{plain(max(e.value for e in raw.values()))}"
        ),
    }
    word = HOLDS if stands == len(sae) else FAILS if not stands else PARTLY
    return Verdict(word, why, numbers)


PURSUIT_RULE = (
    "FVU_nonlinear of each inference against that of the SAE's own encoder, on the same tokens, with "
    "no more active "
    "latents than the encoder on any token; at each width of the suite the best of the non-negative "
    "inferences "
    "counts (the one with the lowest FVU_nonlinear), with an interval over documents and training "
    "seeds. *Holds*: at "
    f"every width the interval of the fall stays below {percent(FALLS)}. *Does not hold*: it lies "
    f"wholly above "
    f"{percent(FALLS)} at more than half of the widths. *Partly*: anything else."
)
EARLIER_RULE = (
    "R² per dimension of NonlinearError, on held-out documents, from the SAE output of each earlier "
    "site that has "
    "one, beside as many directions of that site's raw activation (its principal components) and "
    "beside shuffled "
    "tokens (inputs of another document of the same fold). *Holds*: at every such site the SAE output "
    "is ahead of "
    "both, intervals of the paired differences above 0. *Does not hold*: at no site is it ahead of "
    "both. *Partly*: "
    "anything else."
)

"""Claim 10: reconstructions at earlier layers predict part of NonlinearError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, plain, span
from . import say
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict


class Thresholds(NamedTuple):
    """What a lead is judged against."""

    lead: float = 0.0  # a lead counts where its interval lies above this


class Evidence(NamedTuple):
    """What the rule takes, by earlier site that has an SAE."""

    sae: Mapping[str, Estimate]  # R² per dimension of NonlinearError from the site's SAE output
    raw: Mapping[str, Estimate]  # the same from as many directions of its raw activation
    over_raw: Mapping[str, Estimate]  # the first one's lead over the second
    over_shuffled: Mapping[str, Estimate]  # its lead over the same from shuffled tokens


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 10 at every earlier site."""
    sae, raw, over_raw, over_shuffled = evidence
    least = thresholds.lead
    if not sae:
        return Verdict(UNKNOWN, "The study has no SAE at a site before the one that is decomposed.")
    more = sum(e.low > least for e in over_raw.values())
    signal = sum(e.low > least for e in over_shuffled.values())
    stands = sum(over_raw[site].low > least and over_shuffled[site].low > least for site in sae)
    why = (
        f"The SAE outputs of earlier sites predict NonlinearError with an R² of {span(say.values(sae))}, as "
        f"many directions of the raw activation with {span(say.values(raw))}. The SAE output is ahead of "
        f"shuffled tokens at {counted(signal, len(sae), 'site')} and ahead of the raw activation at "
        f"{counted(more, len(sae), 'site')}."
    )
    most = max(say.values(sae))
    numbers = {"sites": len(sae), "over_raw": more, "over_shuffled": signal, "stands": stands, "most": most}
    numbers |= {"measured": f"R² up to {plain(most)}, raw {plain(max(say.values(raw)))}"}
    return Verdict(HOLDS if stands == len(sae) else PARTLY if stands else FAILS, why, numbers)


def protocol(evidence: Evidence) -> dict[str, str]:
    """What the raw activation adds, which the paper's Fig. 9b has not."""
    if not evidence.sae:
        return {}
    best, raw = (plain(max(say.values(found))) for found in (evidence.sae, evidence.raw))
    told = f"SAE outputs of earlier sites reach {best}, as many directions of the raw activation {raw}"
    return {"control of earlier layers": told}


CLAIM = Claim(
    number=10,
    short="Reconstructions at earlier layers predict part of NonlinearError.",
    topic="earlier layers predict it",
    chapter="12_can_earlier_layers_shrink_it",
    paper='a "larger reduction" (abstract); R² of 0.04 to 0.14 (§6, Fig. 9b)',
    paper_place="abstract, §6.2, Fig. 9b",
    paper_points=(
        "0.14 from the residual stream before, 0.07 from the MLP, 0.04 from attention; the 0.49 of Fig. "
        "9b is from Sae(x) at the same site, which §6.2 itself calls somewhat misleading"
    ),
    rule=(
        "R² per dimension of NonlinearError, on held-out documents, from the SAE output of each earlier "
        "site that has one, beside as many directions of that site's raw activation (its principal "
        "components) and beside shuffled tokens (inputs of another document of the same fold). *Holds*: at "
        "every such site the SAE output is ahead of both, intervals of the paired differences above "
        f"{THRESHOLDS.lead:.0f}. *Does not hold*: at no site is it ahead of both. *Partly*: anything else."
    ),
    falsifier="the raw activation, rank-matched, explains as much, or shuffled tokens do",
    evidence=Evidence,
    verdict=verdict,
    here=Told("sae", "R² from earlier SAE outputs", say.by_name()),
    beside=(
        Told("raw", "raw activation, as many directions", say.by_name()),
        Told("over_raw", "lead over it", say.by_name()),
        Told("over_shuffled", "lead over shuffled tokens", say.by_name()),
    ),
    effect=Effect("earlier SAE outputs tell of NonlinearError", lambda e: e.over_shuffled),
    protocol=protocol,
)

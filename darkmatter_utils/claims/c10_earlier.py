"""Claim 10: reconstructions at earlier layers predict part of NonlinearError."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, plain, span
from . import say
from .claim import Claim, Effect, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """What "part of it" means."""

    part: float = 0.01  # the least R² beyond shuffled tokens that is a part; the paper's smallest is 0.04


class Evidence(NamedTuple):
    """What the rule takes, by earlier site that has an SAE; the same site's Sae(x) is none of them."""

    sae: Mapping[str, Estimate]  # R² per dimension of NonlinearError from the site's SAE output
    over_shuffled: Mapping[str, Estimate]  # that minus the same from shuffled tokens
    raw: Mapping[str, Estimate]  # R² from as many directions of the raw activation; told, it does not decide
    over_raw: Mapping[str, Estimate]  # the SAE output's lead over that; told, it does not decide


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 10 at every earlier site: its SAE output predicts some of NonlinearError, and by the token."""
    return (
        Statement(
            name="part of it",
            quantity=(
                "the R² of NonlinearError from an earlier site's SAE output, less that from shuffled tokens,"
            ),
            inside=(thresholds.part, math.inf),
            values=lambda e: e.over_shuffled,
            noun="site",
            style=say.three,
        ),
    )


def note(evidence: Evidence) -> str:
    """What the raw activation of the same sites does, of which the claim does not speak."""
    if not evidence.raw:
        return ""
    ahead = counted(sum(e.low > 0 for e in evidence.over_raw.values()), len(evidence.over_raw), "site")
    raw = span(say.values(evidence.raw), say.three)
    return (
        f"As many directions of the raw activation have an R² of {raw}; the SAE output is ahead of it at "
        f"{ahead}."
    )


def protocol(evidence: Evidence) -> dict[str, str]:
    """What the raw activation adds, which the paper's Fig. 9b has not."""
    if not evidence.sae or not evidence.raw:
        return {}
    best, raw = (plain(max(say.values(found))) for found in (evidence.sae, evidence.raw))
    told = f"SAE outputs of earlier sites reach {best}, as many directions of the raw activation {raw}"
    return {"control of earlier layers": told}


THREE = lambda value: plain(value, 3)

CLAIM = Claim(
    number=10,
    short="Reconstructions at earlier layers predict part of NonlinearError.",
    topic="earlier layers predict it",
    chapter="12_can_earlier_layers_shrink_it",
    paper='a "larger reduction" (abstract); R² of 0.04 to 0.14 (§6, Fig. 9b)',
    paper_place="abstract, §6, §6.2, Fig. 9b",
    paper_points=(
        "0.14 from the residual stream before, 0.07 from the MLP, 0.04 from attention; the 0.49 of Fig. "
        "9b is from Sae(x) at the same site, which §6.2 itself calls somewhat misleading"
    ),
    rule=(
        "R² per dimension of NonlinearError, by the best maps, from the SAE output of each earlier site "
        "that has one, and from inputs of another document of the same fold (shuffled tokens); the interval "
        "of the difference is paired, over documents. Sae(x) of the same site is algebra and is not judged."
    ),
    falsifier="at an earlier site no more than from shuffled tokens",
    written=(
        "Its first form was written before the result; it also asked for a lead over the raw activation, of "
        "which the claim does not speak. The present one (one statement, its margin of 0.01 new) was fixed "
        "after tiny had been seen and before the model of the next study was measured."
    ),
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if e.sae else "The study has no SAE at a site before the one that is decomposed.",
    note=note,
    brief=lambda e: f"R² {span(say.values(e.sae))}",
    here=Told("sae", "R² from earlier SAE outputs", say.by_name(THREE)),
    beside=(
        Told("over_shuffled", "beyond shuffled tokens", say.by_name(THREE)),
        Told("raw", "raw activation, as many directions", say.by_name(THREE)),
        Told("over_raw", "lead over it", say.by_name(THREE)),
    ),
    effect=Effect("earlier SAE outputs are ahead of the raw activation", lambda e: e.over_raw),
    protocol=protocol,
)

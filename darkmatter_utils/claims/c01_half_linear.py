"""Claim 1: about half of the error vector is a linear function of the activation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import plain, span
from . import say
from .claim import NO_SUITE, Claim, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """The paper's two wordings, and what is more than shrinkage."""

    half: tuple[float, float] = (0.3, 0.7)  # an R² in this range is "about half"
    text: tuple[float, float] = (0.15, 0.72)  # the text has "between 15% and 72%" (§4.2)
    kept: float = 0.5  # the least share of R² that must be left once shrinkage is undone


class Evidence(NamedTuple):
    """What the rule takes."""

    r2: Mapping[int, Estimate]  # by width of the suite: R² per dimension of SaeError from x
    saes: Mapping[str, Estimate]  # the same by SAE, at every width and L0 that the suite's widths have
    kept: Mapping[int, Estimate]  # by width: the share of R² left once Sae(x) is rescaled by its best scalar
    split: Mapping[int, float]  # by width: R² minus that of the paper's protocol; it is told
    sources: Mapping[str, Mapping[int, float]] = {}  # by source of text, by width: R² of its documents alone


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 1 in both wordings; shrinkage must not explain it."""
    quantity = "the R² per dimension of the error from x"
    return (
        Statement(
            name="about half",
            quantity=quantity,
            inside=thresholds.half,
            values=lambda e: e.r2,
            sources=lambda e: e.sources,
        ),
        Statement(
            name="15% to 72%",
            quantity=f"{quantity}, at every width and L0,",
            inside=thresholds.text,
            values=lambda e: e.saes,
            noun="SAE",
        ),
        Statement(
            name="not shrinkage",
            quantity="the share of R² that is left once Sae(x) is rescaled by its best scalar",
            inside=(thresholds.kept, math.inf),
            values=lambda e: e.kept,
            guard=True,
        ),
    )


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
        "R² per dimension of the SAE's error from x. The abstract's wording is asked at each width of the "
        "suite, the text's at every SAE of these widths, whatever its L0."
    ),
    falsifier=(
        f"R² outside {THRESHOLDS.half[0]} to {THRESHOLDS.half[1]} over the widths (abstract), or outside "
        f"{THRESHOLDS.text[0]} to {THRESHOLDS.text[1]} over the SAEs (§4.2); or mostly shrinkage"
    ),
    written=(
        "Its present form, statements with margins, was fixed before the next study's model was measured and "
        "after tiny had been seen: the range of §4.2 is new, the other two thresholds are those of its first "
        "form, and its guard on the choice of protocol, which chapter 02 asks, is gone."
    ),
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if e.r2 else NO_SUITE,
    brief=lambda e: f"R² {span(say.values(e.r2))}",
    here=Told("r2", "R² per dimension", say.by_width(say.three)),
    beside=(
        Told("kept", "share of it left once shrinkage is undone", say.by_width(say.three)),
        Told("split", "less that of the paper's protocol", say.by_width(say.three)),
    ),
    protocol=protocol,
)

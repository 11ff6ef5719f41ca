"""Claim 4: the nonlinear part of the unexplained variance does not depend on the SAE width, at a fixed L0."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import plain, span
from . import say
from .claim import WIDE, WIDTHS, Claim, Effect, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """What "does not depend" means."""

    flat: float = 0.05  # a change of at most this share per doubling of the width is level
    whole: float = (
        0.2  # so is one of at most this share in all: ±5% a doubling would let 64 times the width do 27%
    )
    null: float = (
        0.01  # a point per doubling: by so much the change lies above that of where nothing is introduced
    )


class Evidence(NamedTuple):
    """What the rule takes, by L0 at which enough widths can be compared. Changes are shares."""

    change: Mapping[str, Estimate]  # change of FVU_nonlinear per doubling of the width, from the slope
    whole: Mapping[str, Estimate]  # its change from the narrowest to the widest SAE
    over_null: Mapping[str, Estimate]  # the change per doubling less the null's, at the suite's own L0
    null: Estimate | None  # that of an SAE that introduces no error, over the same widths, if measured
    steps: Mapping[str, Sequence[float]]  # the changes between neighbouring widths, per doubling
    misfit: Mapping[str, Sequence[float]]  # χ² per degree of freedom of the straight line, and its p
    narrow: Sequence[int]  # the widths that are left out, too few latents
    widths: int  # how many are left, at the L0 at which most can be compared
    l0: tuple[float, float]  # the smallest and the largest realised L0 of the suite as it is compared
    sources: Mapping[str, Mapping[str, float]] = {}  # by source of text, by L0: its documents alone
    whole_sources: Mapping[str, Mapping[str, float]] = {}  # the same from the narrowest to the widest


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 4 at every L0: level from width to width, and in all; the guard: flatter than without introduced
    error."""
    return (
        Statement(
            name="level",
            quantity="the change of FVU_nonlinear per doubling of the width",
            inside=(-thresholds.flat, thresholds.flat),
            values=lambda e: e.change,
            noun="L0",
            style=say.tenths,
            sources=lambda e: e.sources,
        ),
        Statement(
            name="over the range",
            quantity="its change from the narrowest to the widest SAE",
            inside=(-thresholds.whole, thresholds.whole),
            values=lambda e: e.whole,
            noun="L0",
            style=say.tenths,
            sources=lambda e: e.whole_sources,
        ),
        Statement(
            name="flatter than where nothing is introduced",
            quantity="the change per doubling less that of a matched SAE that introduces no error",
            inside=(thresholds.null, math.inf),
            values=lambda e: e.over_null,
            noun="L0",
            style=say.tenths,
            guard=True,
            introduced=True,
        ),
    )


def guard(evidence: Evidence) -> str:
    """Why too few widths can be compared."""
    if evidence.change:
        return ""
    return (
        f"A trend is tested with {WIDTHS} widths or more, at one L0, of at least {WIDE} times as many "
        f"latents as x has dimensions; this study has {evidence.widths}."
    )


def note(evidence: Evidence) -> str:
    """How well a straight line describes the widths, what single doublings do, what was left out."""
    said = []
    for l0, (chi2, p) in evidence.misfit.items():
        chance = "< 0.001" if p < 0.001 else f"= {plain(p, 3)}"
        said.append(
            f"At {l0} single doublings change it by {span(evidence.steps[l0], say.tenths)}; a straight "
            f"line has χ² per degree of freedom {chi2:.3g} (p {chance})."
        )
    if evidence.narrow:
        widths = ", ".join(f"{width:,}" for width in evidence.narrow)
        said.append(f"Left out, below {WIDE} d_model: {widths} latents.")
    return " ".join(said)


def protocol(evidence: Evidence) -> dict[str, str]:
    """What a slope says where the paper's Fig. 1 has a flat line, and at which L0 the widths are compared."""
    low, high = evidence.l0
    told = {"which SAEs": f"L0 over the suite: {plain(low)} to {plain(high)}"}
    if evidence.change:
        changes = span(say.values(evidence.change), say.tenths)
        told["flat line"] = f"{changes} per doubling, where the line is drawn flat"
    return told


CLAIM = Claim(
    number=4,
    short="The nonlinear part of the unexplained variance does not depend on the SAE width, at a fixed L0.",
    topic="the nonlinear part is flat in width",
    chapter="05_scaling",
    paper=(
        "constant at two middle layers (§4.3; 0.122 on average, Fig. 1), some decrease at others (App. A.2)"
    ),
    paper_place="§4.3, App. A.2, Figs. 1, 2, 10 and 11",
    paper_points=(
        "per doubling of the width, at L0 60: 0.1% at layer 20 of Gemma 2 9B, −1.8% at layer 12 of 2B, "
        "−2.8% to −7.5% at the other four layers; at each of the six the larger the L0, the more it falls"
    ),
    rule=(
        "Change of FVU_nonlinear per doubling of the width, from the slope of its logarithm, every width "
        f"with the same weight, at each L0 at which {WIDTHS} widths or more of at least {WIDE} d_model can "
        "be compared: the suite's own L0, and that times powers of √2. The interval carries documents, "
        "training seeds and, where a width is read between two L0s, the reading. The null, and the "
        "difference to it, are of SAEs that introduce no error and are matched to the suite, over the "
        "same widths and by the same slope."
    ),
    falsifier="a change outside these ranges, or one that is no flatter than where nothing is introduced",
    written=(
        "Its present form, statements with margins, was fixed before the model of the next study was "
        "measured and after tiny had been seen; ±5% is the threshold of its first form, ±20% and one point "
        "over the null are new, and so is the choice of widths and L0s. The first form's null was matched "
        "after the first result, on a coarse grid; the rule of the present one was written before its own "
        "first slope, and after a review had reported that of a similar fit."
    ),
    evidence=Evidence,
    statements=statements,
    guard=guard,
    note=note,
    brief=lambda e: f"{span(say.values(e.change), say.tenths)} per doubling",
    here=Told("change", "change per doubling", say.by_name(say.tenths)),
    beside=(
        Told("whole", "narrowest to widest", say.by_name(say.tenths)),
        Told("null", "an SAE that introduces no error", say.one(say.tenths)),
    ),
    effect=Effect(
        "the nonlinear part is flatter in width than where nothing is introduced", lambda e: e.over_null
    ),
    protocol=protocol,
)

"""Claim 5: the rest of the unexplained variance shrinks with width towards a floor above the nonlinear
part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import interval, plain
from . import say
from .claim import Claim, Told, trend
from .statement import Statement


class Thresholds(NamedTuple):
    """What "shrinks" and "a floor above the nonlinear part" mean."""

    fall: float = 0.01  # FVU that falls by less than this share per doubling does not shrink
    above: float = 0.05  # by this share of the widest SAE's FVU the floor lies above the nonlinear part
    linear: float = 0.1  # this share of FVU_linear, at the widest SAE, is floor


class Evidence(NamedTuple):
    """What the rule takes. The intervals of fitted numbers carry documents, seeds and the curve's misfit."""

    widths: int  # how many widths the suite has
    l0: tuple[float, float]  # the smallest and the largest realised L0 of what is compared
    fall: Estimate | None = None  # change of FVU per doubling of the width, as a share
    above: Estimate | None = None  # (floor c − mean FVU_nonlinear) / FVU of the widest SAE
    linear: Estimate | None = None  # floor of the curve fitted to FVU_linear, over that of the widest SAE
    c: Estimate | None = None  # the floor of the curve fitted to FVU
    nonlinear: Estimate | None = None  # mean FVU_nonlinear over the widths
    misses: Mapping[int, float] = {}  # by width, by how many standard errors the fit to the others misses it


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 5: FVU falls; its floor lies above the nonlinear part, the paper's own argument for linear error
    at any width (§4.3); and so says the linear part by itself."""
    return (
        Statement(
            name="falls",
            quantity="the change of FVU per doubling of the width",
            inside=(-math.inf, -thresholds.fall),
            values=lambda e: e.fall,
            style=say.tenths,
        ),
        Statement(
            name="above the nonlinear part",
            quantity="the fitted floor less the mean FVU_nonlinear, as a share of the widest SAE's FVU,",
            inside=(thresholds.above, math.inf),
            values=lambda e: e.above,
        ),
        Statement(
            name="linear error stays",
            quantity=(
                "the floor of the curve fitted to FVU_linear, as a share of the widest SAE's FVU_linear,"
            ),
            inside=(thresholds.linear, math.inf),
            values=lambda e: e.linear,
        ),
    )


def note(evidence: Evidence) -> str:
    """How well the curve predicts."""
    if not evidence.misses:
        return ""
    return f"Left-out widths are missed by up to {_worst(evidence):.1f} standard errors."


def _worst(evidence: Evidence) -> float:
    return max(abs(miss) for miss in evidence.misses.values())


def protocol(evidence: Evidence) -> dict[str, str]:
    """What a bounded fit and an interval say of the floor; the paper's Fig. 1 has a curve."""
    c = evidence.c
    if c is None or not evidence.misses:
        return {}
    wide = plain(c.high - c.low, 3)
    return {
        "fitted curve": f"left-out widths are missed by up to {_worst(evidence):.1f} standard errors",
        "uncertainty": f"the floor is {plain(c.value, 3)} with a 95% interval {wide} wide",
    }


def _in_brief(evidence: Evidence) -> str:
    if evidence.c is None:
        return ""
    return (
        f"c = {interval(evidence.c, say.three)}, mean FVU_nonlinear {interval(evidence.nonlinear, say.three)}"
    )


CLAIM = Claim(
    number=5,
    short="The rest of the unexplained variance shrinks with width towards a floor above the nonlinear part.",
    topic="the rest falls to a floor",
    chapter="05_scaling",
    paper="c = 0.186, above the nonlinear part (§4.3, Fig. 1)",
    paper_place="§4.3, Fig. 1",
    paper_points=(
        "seven points do not say where the floor is: every c from 0 to 0.21 is inside the 95% interval; "
        "the curve through six of them predicts 0.228 for the widest, drawn at 0.215"
    ),
    rule=(
        "Fit FVU = c + a·W^−m with c ≥ 0, and the same curve to FVU_linear. The interval of a fitted "
        "number carries documents and training seeds; it is widened by the misfit of left-out widths "
        "(times their root mean square in standard errors, where that is above 1), and moved out to the "
        "ends of the same without the one and without the two narrowest widths."
    ),
    falsifier="an FVU that does not fall, or a floor that is not above the nonlinear part",
    written=(
        "Its present form, statements with margins, was fixed before the model of the next study was "
        "measured and after tiny had been seen; all three thresholds are new: the first form asked for a "
        "floor above 0 and for left-out widths within two standard errors."
    ),
    evidence=Evidence,
    statements=statements,
    guard=lambda e: trend(e.widths, e.l0),
    note=note,
    brief=_in_brief,
    here=Told("c", "floor c", say.one(say.three)),
    beside=(
        Told("nonlinear", "mean FVU_nonlinear", say.one(say.three)),
        Told("fall", "change of FVU per doubling", say.one(say.tenths)),
        Told("misses", "left-out widths missed by (SE)", say.by_name(say.three)),
    ),
    protocol=protocol,
)

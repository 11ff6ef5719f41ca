"""Claim 8: NonlinearError costs the model its proportional share of the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import interval, plain, span
from . import say
from .claim import Claim, Effect, Told
from .statement import Statement

NO_MODEL = "The study is simulated: there is no language model, so no loss that a part of x could cost."


class Thresholds(NamedTuple):
    """What "proportional" and "specific" mean."""

    near: tuple[float, float] = (0.8, 1.25)  # shares of loss over shares of variance that are "proportional"
    specific: float = 1.1  # the least cost over that of a vector of equal norm: a tenth more


class Evidence(NamedTuple):
    """What the rule takes. A share is the mean of both orders: the part added first and added last."""

    slope: Estimate | None  # of NonlinearError's share of the loss on its share of FVU, over the widths
    orders: Mapping[str, Estimate]  # by order: the same slope of each alone; told, it does not decide
    saes: Mapping[str, Estimate]  # by SAE of the widths and of the L0s: share of the loss over share of FVU
    over_control: Mapping[str, Estimate]  # by kind: the cost over that of a vector of equal norm, mean width
    controls: Mapping[str, Estimate]  # by kind: the slope of such vectors; told, it does not decide


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 8: a share near its due, over widths and at each SAE, and more than any vector of its norm."""
    return (
        Statement(
            name="proportional",
            quantity="the slope of NonlinearError's share of the loss on its share of FVU, over the widths,",
            inside=thresholds.near,
            values=lambda e: e.slope,
        ),
        Statement(
            name="SAE by SAE",
            quantity="the share of the loss over the share of FVU, at each width and each L0,",
            inside=thresholds.near,
            values=lambda e: e.saes,
            noun="SAE",
        ),
        Statement(
            name="specific",
            quantity="the cost of NonlinearError over that of another vector of its norm",
            inside=(thresholds.specific, math.inf),
            values=lambda e: e.over_control,
            noun="kind",
        ),
    )


def note(evidence: Evidence) -> str:
    """What each order says alone, and what the slope of other vectors is."""
    orders = "; ".join(f"{order}, {interval(e)}" for order, e in evidence.orders.items())
    said = [f"The slope by one order alone: {orders}."] if orders else []
    if evidence.controls:
        said.append(
            "That of other vectors, with the norms of the error and its parts, is "
            f"{span(say.values(evidence.controls))}; where the loss is near quadratic it is near 1 for any, "
            "which is why the last statement compares costs."
        )
    return " ".join(said)


def above(evidence: Evidence) -> dict[str, Estimate]:
    """By kind, by what share NonlinearError costs more than a vector of its norm."""
    ratio = evidence.over_control
    return {kind: Estimate(*(end - 1 for end in (e.value, e.low, e.high))) for kind, e in ratio.items()}


def protocol(evidence: Evidence) -> dict[str, str]:
    """What the other order, and vectors of equal norm, add to the paper's Fig. 8."""
    if evidence.slope is None:
        return {}
    told = {order: plain(e.value) for order, e in evidence.orders.items()}
    found = {"order of the parts": "; ".join(f"slope {slope} {order}" for order, slope in told.items())}
    if evidence.over_control:
        times = f"{span(say.values(evidence.over_control))} times what vectors of its norm cost"
        found["control of the loss"] = f"NonlinearError costs {times}"
    return {key: text for key, text in found.items() if text}


CLAIM = Claim(
    number=8,
    short="NonlinearError costs the model its proportional share of the loss.",
    topic="it costs its share of the loss",
    chapter="10_what_it_costs",
    paper='proportional (abstract), "in proportion to its norm" (§1)',
    paper_place="abstract, §1, §5.3, Fig. 8",
    paper_points=(
        "share of the loss over share of R²: 0.83 to 1.13 over widths; 2.25 to 0.59 over L0, where the "
        "share of the loss falls as that of R² rises (correlation −0.85); over share of the norm 0.44 to "
        "1.18. LinearError: 1.22 to 1.42 and 0.86 to 1.03. Each part is added first; there is no control"
    ),
    rule=(
        "The share of the loss lost to Sae(x) that NonlinearError makes good is measured twice, added to "
        "Sae(x) first and added last, and averaged, as its share of FVU is (over the two parts such means "
        "add up to 1: Shapley's value). The slope is through the origin; its interval carries documents and "
        "training seeds, an SAE's alone documents. Other vectors of equal norm, token by token, are of four "
        "kinds, and their cost is compared at every width and averaged."
    ),
    falsifier="a slope, or an SAE, outside the range; or a cost that any vector of its norm has",
    written=(
        "Its first form was written before the result: it took the paper's order alone and counted against "
        "the claim that other vectors of equal norm are proportional too. The present one (statements with "
        "margins; the range of *proportional* unchanged, *SAE by SAE* and the margin 1.1 of *specific* new) "
        "was fixed after tiny had been seen and before the model of the next study was measured."
    ),
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if e.slope is not None else "The study has no SAE whose cost was measured.",
    note=note,
    brief=lambda e: f"slope {interval(e.slope)}",
    here=Told("slope", "slope", say.one()),
    beside=(
        Told("orders", "by one order alone", say.by_name()),
        Told("saes", "at each SAE", say.by_name()),
        Told("over_control", "cost over that of vectors of equal norm", say.by_name()),
        Told("controls", "slope of those", say.by_name()),
    ),
    effect=Effect("NonlinearError costs more than a vector of its norm", above),
    protocol=protocol,
)

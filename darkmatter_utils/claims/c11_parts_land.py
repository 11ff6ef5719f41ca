"""Claim 11: LinearError is mostly absent features, NonlinearError mostly error that the SAE introduces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import percent, span
from . import say
from .claim import Claim, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """What "mostly" means."""

    made: float = 0.5  # the least share of an estimated part's variance that it is mostly made of: half
    lands: float = 0.75  # the least share of a true part's variance that lands where it is read from


class Evidence(NamedTuple):
    """What the rule takes, by case with known parts (a world, or a study's own dictionary): covariance of a
    true part and an estimated part, over the variance of the whole that it is a share of."""

    linear: Mapping[str, Estimate]  # of LinearError's variance, what is absent features
    nonlinear: Mapping[str, Estimate]  # of NonlinearError's variance, what is introduced error
    introduced: Mapping[str, Estimate]  # of the introduced error's variance, what lands in NonlinearError
    absent: Mapping[str, Estimate]  # of the absent features' variance, what lands in LinearError


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 11 in both directions, in every case: what the estimated parts are made of, and where the true
    parts land.

    None says, where it holds, that a study's SAE introduces error: what a case introduces is known.
    """
    made, lands = (thresholds.made, math.inf), (thresholds.lands, math.inf)
    return (
        Statement(
            name="LinearError is mostly absent features",
            quantity="the share of LinearError's variance that is absent features",
            inside=made,
            values=lambda e: e.linear,
            noun="case",
            style=percent,
        ),
        Statement(
            name="NonlinearError is mostly introduced",
            quantity="the share of NonlinearError's variance that is introduced error",
            inside=made,
            values=lambda e: e.nonlinear,
            noun="case",
            style=percent,
        ),
        Statement(
            name="introduced error lands in NonlinearError",
            quantity="the share of the introduced error's variance that lands in NonlinearError",
            inside=lands,
            values=lambda e: e.introduced,
            noun="case",
            style=percent,
        ),
        Statement(
            name="absent features land in LinearError",
            quantity="the share of the absent features' variance that lands in LinearError",
            inside=lands,
            values=lambda e: e.absent,
            noun="case",
            style=percent,
        ),
    )


def brief(evidence: Evidence) -> str:
    """What each estimated part is made of, over the cases that have it."""
    told = {"LinearError absent": evidence.linear, "NonlinearError introduced": evidence.nonlinear}
    return "; ".join(f"{name} {span(say.values(found), percent)}" for name, found in told.items() if found)


NONE = "No case with known parts was measured."

CLAIM = Claim(
    number=11,
    short="LinearError is mostly absent features, NonlinearError mostly error that the SAE introduces.",
    topic="linear is absent, nonlinear introduced",
    chapter="07_models_of_activations",
    paper="a hypothesis (App. B.2); correlations of 0.98, 0.14, 0.10 and 0.90 (Table 1)",
    paper_place="App. B.2, C.3 and D, Fig. 15, Table 1",
    paper_points=(
        "the correlations over Fig. 15 are 0.97, −0.05, 0.18 and 0.92; there, 26% to 40% of the noise on "
        "x' lands in the nonlinear part, and 7% of that on Sae(x') in the linear one, which is fitted in "
        "sample. With the parts that were put in taken as uncorrelated, absent features and introduced error "
        "land where they are read from, and what an estimated part is made of turns with how loud the noises "
        "are and how much is ablated"
    ),
    rule=(
        "Cases are simulated worlds, over a range of superposition and width, and the study's own dictionary "
        "with latents ablated and noise added. Both directions are asked: what the estimated parts are made "
        "of, and where the true parts land. A share is a covariance over a variance, out of sample: "
        "Cov(part, whole) / Var(whole), so that a covariance of two parts is split evenly between them; of "
        "an estimated part the shares of absent features, dense part and introduced error add up to 1, of a "
        "true part those that land in LinearError and NonlinearError do. Intervals are over worlds drawn "
        "anew, or over documents. What a case introduces is known beforehand, so no statement says that a "
        "study's SAE introduces error."
    ),
    falsifier=(
        f"an estimated part of which less than {percent(THRESHOLDS.made)} is what it is read as, or a true "
        f"part of which less than {percent(THRESHOLDS.lands)} lands where it is read from"
    ),
    written=(
        "Its first form was written before the result and asked one direction alone: whether more than 25% "
        "of a true part lands in the other estimated part. The present one (statements with margins; the "
        "25% kept, as 75%, in the two about where parts land; the two about what the estimated parts are "
        "made of and their 50% new) was fixed after tiny had been seen and before the next study's model "
        "was measured."
    ),
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if any(e) else NONE,
    brief=brief,
    beside=(
        Told("introduced", "of introduced error, what lands in NonlinearError", say.by_name(percent)),
        Told("absent", "of absent features, what lands in LinearError", say.by_name(percent)),
    ),
)

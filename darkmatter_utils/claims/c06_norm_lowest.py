"""Claim 6: NonlinearError is not a sparse linear code: its norm is harder to predict than the error's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, span
from . import say
from .claim import Claim, Effect, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """What "lower" means, in R² of a squared norm from x."""

    linear: float = 0.05  # LinearError's is higher by this; the paper's medians differ by 0.08
    error: float = 0.02  # SaeError's is higher by this; the paper's medians differ by 0.03
    null: float = 0.02  # the fall from SaeError exceeds by this that of where nothing is introduced


class Evidence(NamedTuple):
    """What the rule takes, by width of the suite: R² of the squared norms of parts, from x."""

    over_linear: Mapping[int, Estimate]  # that of LinearError less that of NonlinearError
    over_error: Mapping[int, Estimate]  # that of SaeError less that of NonlinearError
    over_null: Mapping[int, Estimate]  # the second less the same of an SAE that introduces nothing
    nonlinear: Mapping[int, Estimate]  # that of NonlinearError
    null: Mapping[int, Estimate]  # the second, of an SAE that introduces nothing, matched to the suite
    itself: Mapping[int, Estimate]  # that of NonlinearError from NonlinearError itself, told
    null_itself: Mapping[int, Estimate]  # the same of an SAE that introduces nothing, told
    lowest_self: int  # from itself, at how many SAEs NonlinearError has the lowest R² of all parts
    saes: int  # of how many


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 6 at every width, as the paper tests it, from x; the guard: lower than without introduced
    error."""
    return (
        Statement(
            name="lower than LinearError",
            quantity="R² of ‖LinearError‖² less that of ‖NonlinearError‖², from x,",
            inside=(thresholds.linear, math.inf),
            values=lambda e: e.over_linear,
        ),
        Statement(
            name="lower than SaeError",
            quantity="R² of ‖SaeError‖² less that of ‖NonlinearError‖², from x,",
            inside=(thresholds.error, math.inf),
            values=lambda e: e.over_error,
        ),
        Statement(
            name="beyond the null",
            quantity="that fall from SaeError to NonlinearError less the same of a matched SAE that "
            "introduces no error",
            inside=(thresholds.null, math.inf),
            values=lambda e: e.over_null,
            guard=True,
            introduced=True,
        ),
    )


def note(evidence: Evidence) -> str:
    """The test from the part itself, which the argument is about."""
    if not evidence.itself:
        return ""
    told = (
        f"From itself NonlinearError has an R² of {span(say.values(evidence.itself))} over the widths, and "
        f"the lowest of all parts at {counted(evidence.lowest_self, evidence.saes, 'SAE')}"
    )
    if evidence.null_itself:
        told += f"; where nothing is introduced it is {span(say.values(evidence.null_itself))}"
    return f"{told}."


NONE = "The study has no SAE of which the norm test could be made."

CLAIM = Claim(
    number=6,
    short="NonlinearError is not a sparse linear code: its norm is the hardest of the error's to predict.",
    topic="NonlinearError is no sparse code",
    chapter="08_nonlinear_error",
    paper="notably lower than LinearError (§5.1); medians 0.86 and 0.94 (Fig. 6)",
    paper_place="abstract, §5, §5.1, Fig. 6",
    paper_points=(
        "medians of 0.862 for NonlinearError, 0.892 SaeError, 0.941 LinearError, 0.954 Sae(x), 0.985 x: "
        "the lowest, by 0.03"
    ),
    rule=(
        "Norm test from x, as in the paper, at every width of the suite: the R² of two parts' squared "
        "norms are subtracted SAE by SAE, on the same documents, with an interval over documents and "
        "training seeds, its ends moved out by what the maps' own error does to the difference. The null "
        "is SAEs that introduce nothing, of worlds matched to the suite; its interval is that of one more "
        "draw of one more such world. From the part itself the test is told, and does not decide."
    ),
    falsifier="an R² that is not lower, or one that falls as much where no error is introduced",
    written=(
        "Its present form, statements with margins, was fixed before the model of the next study was "
        "measured and after tiny had been seen; all three thresholds are new: the first form counted SAEs "
        "at which NonlinearError was lowest, from x and from itself, and compared the test from itself "
        "with the null."
    ),
    evidence=Evidence,
    statements=statements,
    note=note,
    guard=lambda e: "" if e.over_linear else NONE,
    brief=lambda e: (
        f"R² {span(say.values(e.nonlinear))}, LinearError's higher by {span(say.values(e.over_linear))}"
    ),
    here=Told("nonlinear", "norm R² of NonlinearError, from x", say.by_width()),
    beside=(
        Told("over_linear", "LinearError's is higher by", say.by_width()),
        Told("over_error", "SaeError's is higher by", say.by_width()),
        Told("null", "the same where nothing is introduced", say.by_width()),
    ),
    effect=Effect(
        "the norm of LinearError is more predictable than that of NonlinearError", lambda e: e.over_linear
    ),
)

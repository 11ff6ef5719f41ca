"""Claim 7: SAEs trained on NonlinearError find fewer and less interpretable features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import interval, plain
from . import say
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Effect, Told, Verdict

NO_COMPONENTS = "The study has no component SAEs: none was trained on parts of the error."


class Thresholds(NamedTuple):
    """What a gap is judged against: 0, and the spread of documents and seeds."""

    seeds: int = 2  # with fewer training seeds a target, nothing is known of the spread between them


class Evidence(NamedTuple):
    """What the rule takes: gaps, positive as claimed, and their excess over the same gap of matched noise."""

    seeds: int  # trained SAEs a target; 0 without component SAEs
    fvu_gap: Estimate | None = None  # NonlinearError's held-out FVU minus LinearError's
    fvu_excess: Estimate | None = None  # that minus the gap of the matched noises
    accuracy_gap: Estimate | None = None  # LinearError's mean detection accuracy minus NonlinearError's
    accuracy_excess: Estimate | None = None  # that minus the gap of the matched noises' dictionaries
    fvu: Mapping[str, float] | None = None  # Held-out FVU by part, for the words


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 7: do SAEs find less in NonlinearError, beyond what its spectrum explains?"""
    seeds, fvu_gap, fvu_excess, accuracy_gap, accuracy_excess, fvu = evidence
    if fvu_gap is None or fvu_excess is None:
        return Verdict(UNKNOWN, NO_COMPONENTS)
    if seeds < thresholds.seeds:
        needs = f"A gap is judged against the spread of {thresholds.seeds} training seeds or more"
        return Verdict(UNKNOWN, f"{needs}; there is {seeds}.")
    numbers = {"fvu_gap": fvu_gap.value, "fvu_excess": fvu_excess.value, "seeds": seeds}
    if fvu:
        numbers["measured"] = f"FVU {plain(fvu['NonlinearError'])} against {plain(fvu['LinearError'])}"
    why = (
        f"The FVU of the SAEs of NonlinearError, less that of LinearError's, is {interval(fvu_gap)}; that is "
        f"{interval(fvu_excess)} more than the same difference for noise of the two spectra."
    )
    if not (fvu_gap.low > 0 and fvu_excess.low > 0):
        return Verdict(FAILS, why, numbers)
    if accuracy_gap is None or accuracy_excess is None:
        return Verdict(PARTLY, f"{why} Its latents were not scored.", numbers)
    numbers |= {"accuracy_gap": accuracy_gap.value, "accuracy_excess": accuracy_excess.value}
    points = lambda value: say.tenths(value).removesuffix("%")
    why += (
        " The detection accuracy of the latents of LinearError, less that of NonlinearError's, is "
        f"{interval(accuracy_gap, points)} points; {interval(accuracy_excess, points)} more than for "
        "dictionaries of the matched noises that read the same parts."
    )
    return Verdict(HOLDS if accuracy_gap.low > 0 and accuracy_excess.low > 0 else PARTLY, why, numbers)


CLAIM = Claim(
    number=7,
    short="SAEs trained on NonlinearError find fewer and less interpretable features.",
    topic="it holds fewer features",
    chapter="09_features_in_the_error",
    paper="FVU 0.59 against 0.54, accuracy lower by about 5% (§5.2)",
    paper_place="abstract, §5.2, Fig. 7",
    paper_points=(
        "accuracy lower by 2.6 to 4.8 points over the deciles, 3.2 on average; no seeds, no matched noise"
    ),
    rule=(
        "Equal SAEs are trained on each part and on Gaussian noise of the same mean and covariance, several "
        "seeds each; the interval of every gap carries training seeds too. Two gaps count, both "
        "NonlinearError against LinearError: in held-out FVU, beside the same gap between the SAEs of the "
        "two matched noises; and in mean detection accuracy, beside the same gap when the dictionaries of "
        "the matched noises read the same two parts. *Does not hold*: the interval of the gap in FVU, or of "
        "its excess over the noise's, is not above 0. *Holds*: it is, and so are the accuracy's gap and "
        "excess. *Partly*: the FVU's are, the accuracy's are not."
    ),
    falsifier=(
        "a gap in FVU no larger than that of matched noise, or within the spread of documents and seeds"
    ),
    evidence=Evidence,
    verdict=verdict,
    here=Told("fvu_gap", "FVU, NonlinearError less LinearError", say.one()),
    beside=(
        Told("fvu_excess", "less that of matched noise", say.one()),
        Told("accuracy_gap", "detection accuracy, LinearError less NonlinearError", say.one()),
        Told("accuracy_excess", "less that of matched noise's dictionaries", say.one()),
    ),
    effect=Effect("NonlinearError is harder to learn", lambda e: e.fvu_gap),
)

"""The rule of claim 7: do SAEs find less in NonlinearError than in LinearError, beyond what its spectrum
explains?"""

from __future__ import annotations

from ..base.values import Estimate
from ..base.words import interval, percent, plain
from .rules import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict

NO_COMPONENTS = "The study has no component SAEs: none was trained on parts of the error."
LEAST_SEEDS = 2
"""With fewer training seeds a target, nothing is known of the spread between them."""

RULE = (
    "Equal SAEs are trained on each part and on Gaussian noise of the same mean and covariance, "
    "several seeds each; the "
    "interval of every gap carries training seeds too. Two gaps count, both NonlinearError against "
    "LinearError: in held-out "
    "FVU, beside the same gap between the SAEs of the two matched noises; and in mean detection "
    "accuracy, beside the same "
    "gap when the dictionaries of the matched noises read the same two parts. *Does not hold*: the "
    "interval of the gap in "
    "FVU, or of its excess over the noise's, is not above 0. *Holds*: it is, and so are the accuracy's "
    "gap and excess. "
    "*Partly*: the FVU's are, the accuracy's are not."
)
FALSIFIER = "a gap in FVU no larger than that of matched noise, or within the spread of documents and seeds"


def fewer_features(
    *,
    fvu_gap: Estimate | None = None,
    fvu_excess: Estimate | None = None,
    accuracy_gap: Estimate | None = None,
    accuracy_excess: Estimate | None = None,
    seeds: int = 0,
    fvu: dict | None = None,
) -> Verdict:
    """Claim 7. Gaps are NonlinearError's FVU minus LinearError's, and LinearError's accuracy minus
    NonlinearError's (positive: as claimed); excesses are those minus the same gap of the matched noises.
    ``seeds``: trained SAEs a target; ``fvu``: held-out FVU by part, for the words."""
    if fvu_gap is None or fvu_excess is None:
        return Verdict(UNKNOWN, NO_COMPONENTS)
    if seeds < LEAST_SEEDS:
        return Verdict(
            UNKNOWN,
            f"A gap is judged against the spread of {LEAST_SEEDS} training seeds or more; there is {seeds}.",
        )
    fvu = fvu or {}
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
    points = lambda value: percent(value, 1).removesuffix("%")
    why += (
        f" The detection accuracy of the latents of LinearError, less that of NonlinearError's, is "
        f"{interval(accuracy_gap, points)} points; {interval(accuracy_excess, points)} more than for "
        f"dictionaries of the "
        "matched noises that read the same parts."
    )
    clear = accuracy_gap.low > 0 and accuracy_excess.low > 0
    return Verdict(HOLDS if clear else PARTLY, why, numbers)

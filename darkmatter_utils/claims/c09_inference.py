"""Claim 9: better inference on the same dictionary barely reduces NonlinearError."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, percent, span
from . import say
from .claim import Claim, Effect, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """What "almost unchanged" and "a little lower" mean."""

    unchanged: float = 0.1  # FVU_nonlinear may change by this share: twice the 3 to 5% that §6 gives for FVU
    lower: float = 0.1  # FVU may fall by this share: twice the same; a rise is no "lower"


class Evidence(NamedTuple):
    """What the rule takes, by width, from the SAE's encoder to the best inference: of those whose codes are
    non-negative and nowhere use more latents than the encoder, the one with the lowest FVU_nonlinear."""

    change: Mapping[int, Estimate]  # the change of FVU_nonlinear, as a share, negative where it falls
    total: Mapping[int, Estimate]  # the same change of FVU
    lead: Mapping[int, Estimate]  # the first less the second, paired: above 0 where FVU_nonlinear falls less
    best: Mapping[int, str]  # the name of that inference


THRESHOLDS = Thresholds()


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 9 at every width, in the words of §6: the nonlinear part hardly changes, FVU falls a little."""
    return (
        Statement(
            name="almost unchanged",
            quantity="the change of FVU_nonlinear",
            inside=(-thresholds.unchanged, thresholds.unchanged),
            values=lambda e: e.change,
            style=percent,
        ),
        Statement(
            name="a little lower",
            quantity="the change of FVU",
            inside=(-thresholds.lower, 0.0),
            values=lambda e: e.total,
            style=percent,
        ),
    )


def note(evidence: Evidence) -> str:
    """Which inference is the best."""
    name, widths = Counter(evidence.best.values()).most_common(1)[0]
    return f"The best inference is “{name}” at {counted(widths, len(evidence.best))}."


def protocol(evidence: Evidence) -> dict[str, str]:
    """What an L0 that is equal as realised says."""
    if not evidence.change:
        return {}
    change = span(say.values(evidence.change), say.tenths)
    return {"L0 of a pursuit": f"at equal L0 and on the same tokens, FVU_nonlinear changes by {change}"}


def _of_fvu_nonlinear(change: Mapping[int, Estimate]) -> str:
    return f"FVU_nonlinear {say.by_width(say.tenths)(change)}" if change else ""


NO_OTHER = "The study has no SAE whose dictionary another inference could use."

CLAIM = Claim(
    number=9,
    short="Better inference on the same dictionary barely reduces NonlinearError.",
    topic="better inference barely helps",
    chapter="11_can_inference_shrink_it",
    paper=(
        'the nonlinear part "almost unchanged", FVU lower by 3 to 5% (§6); a "very slight decrease" '
        "(abstract)"
    ),
    paper_place="abstract, §6, §6.1, Figs. 1 and 9a",
    paper_points=(
        "FVU lower by 2.5% to 14.0%, FVU_nonlinear by −0.4% to 8.3%, as drawn (Figs. 1 and 9a); "
        "FVU_nonlinear by 4.5% to 13.2% on the same tokens (Figs. 2b and 9a), by more than 10% at three of "
        "six widths"
    ),
    rule=(
        "FVU_nonlinear and FVU of each inference against those of the SAE's own encoder, on the same "
        "tokens, with no more active latents than the encoder on any token; at each width of the suite the "
        "best of the non-negative inferences counts (the one with the lowest FVU_nonlinear), with an "
        "interval over documents and training seeds."
    ),
    falsifier=f"FVU_nonlinear or FVU falls by more than {percent(THRESHOLDS.unchanged)}",
    written=(
        "Its present form, statements with margins, was fixed before the model of the next study was "
        "measured and after tiny had been seen; the share for FVU_nonlinear is that of its first form, now "
        "on both sides, and the statement about FVU with its threshold is new."
    ),
    evidence=Evidence,
    statements=statements,
    note=note,
    guard=lambda e: "" if e.change else NO_OTHER,
    brief=lambda e: (
        f"FVU_nonlinear {span(say.values(e.change), percent)}, FVU {span(say.values(e.total), percent)}"
    ),
    here=Told("change", "change from the encoder to the best inference", _of_fvu_nonlinear),
    beside=(
        Told("total", "change of FVU", say.by_width(say.tenths)),
        Told("lead", "change of FVU_nonlinear less that of FVU", say.by_width(say.tenths)),
    ),
    effect=Effect("better inference lowers FVU_nonlinear by a smaller share than FVU", lambda e: e.lead),
    protocol=protocol,
)

"""Claim 11: LinearError is mostly absent features, NonlinearError mostly error that the SAE introduces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import counted, fraction, percent, span
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Claim, Told, Verdict

READ_AS = {"absent": "LinearError", "introduced": "NonlinearError"}
"""The estimated part that each true part is read from."""


class Thresholds(NamedTuple):
    """What "mostly" means."""

    misplaced: float = 0.25  # the share of a true part's variance that may land in the other estimated part
    half: float = 0.5  # more than that in more than this share of the cases: it fails


class Evidence(NamedTuple):
    """What the rule takes, by case (a world, or a study's own dictionary) and true part: the share of the
    absent's variance that lands in NonlinearError, and of the introduced's that lands in LinearError."""

    misplaced: Mapping[str, Mapping[str, Estimate]]  # by case, by true part


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Claim 11 in every case with known parts."""
    misplaced, most = evidence.misplaced, thresholds.misplaced
    if not misplaced:
        return Verdict(UNKNOWN, "No case with known parts was measured.")
    by_part = _by_part(misplaced)
    high = sum(any(e.low > most for e in case.values()) for case in misplaced.values())
    right = sum(all(e.high <= most for e in case.values()) for case in misplaced.values())
    cases = len(misplaced)
    why = (
        f"With known parts, {span(by_part['absent'], percent)} of the absent features' variance lands in "
        f"NonlinearError and {span(by_part['introduced'], percent)} of the introduced error's in "
        f"LinearError; one of the two is above {percent(most)}, interval and all, in "
        f"{counted(high, cases, 'case')}."
    )
    told = {part: found for part, found in by_part.items() if found}
    measured = "; ".join(f"{part} misplaced {span(found, percent)}" for part, found in told.items())
    numbers = {"cases": cases, "above": high, "below": right, "measured": measured}
    numbers |= {f"most {part}": max(found) for part, found in told.items()}
    fails = high > cases * thresholds.half
    return Verdict(HOLDS if right == cases else FAILS if fails else PARTLY, why, numbers)


def _by_part(misplaced: Mapping[str, Mapping[str, Estimate]]) -> dict[str, list[float]]:
    return {part: [case[part].value for case in misplaced.values() if case.get(part)] for part in READ_AS}


def _said(misplaced: Mapping[str, Mapping[str, Estimate]]) -> str:
    told = {part: found for part, found in _by_part(misplaced).items() if found}
    return ", ".join(f"{part} {span(found, percent)}" for part, found in told.items())


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
        "sample"
    ),
    rule=(
        "In simulated worlds over a range of superposition and width, and in the study's own dictionary "
        "with latents ablated and noise added: the share of a true part's variance that lands in the other "
        "estimated part, out of sample; the intervals are over worlds drawn anew, or over documents. "
        "*Holds*: in every case neither absent features in NonlinearError nor introduced error in "
        f"LinearError exceed {percent(THRESHOLDS.misplaced)}, interval and all. *Does not hold*: in more "
        f"than {fraction(THRESHOLDS.half)} of the cases one of the two does, interval and all. *Partly*: "
        "anything else."
    ),
    falsifier=f"more than {percent(THRESHOLDS.misplaced)} of a true part lands in the other estimated part",
    evidence=Evidence,
    verdict=verdict,
    here=Told("misplaced", "misplaced share", _said),
)

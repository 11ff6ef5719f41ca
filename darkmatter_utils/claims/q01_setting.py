"""The question of chapter 01: is the setting worth studying?"""

from __future__ import annotations

from typing import NamedTuple

from ..base.words import percent
from .claim import FAILS, HOLDS, PARTLY, UNKNOWN, Question, Verdict


class Thresholds(NamedTuple):
    """What is asked of a model and its SAEs."""

    gain: float = 0.7  # nats per token by which the model must beat the trigram
    dead: float = 0.1  # the share of latents that may be dead
    left: tuple[float, float] = (0.1, 0.4)  # FVU at a width near 8 d_model
    l0_off: float = 0.01  # the relative miss of a target L0


class Evidence(NamedTuple):
    """What the rule takes."""

    gain: float | None  # nats per token by which the model beats the trigram; None: there is no model
    dead: float  # the largest share of dead latents
    left: float  # FVU at a width near 8 d_model
    l0_off: float  # the largest relative miss of a target L0, on tokens that no threshold was set on


THRESHOLDS = Thresholds()


def verdict(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> Verdict:
    """Chapter 01: each thing that is asked for, and whether it is met; the model's loss decides."""
    gain, dead, left, l0_off = evidence
    if gain is None:
        why = "The activations are simulated: there is no language model to compare with a trigram."
        why += f" The SAE of the figure leaves {percent(left)} of the variance unexplained."
        return Verdict(UNKNOWN, why)
    least, most = thresholds.left
    beats = f"the model beats a trigram by {gain:.2f} nats per token (asked for: {thresholds.gain})"
    checks = {
        beats: gain >= thresholds.gain,
        f"at most {percent(dead, 1)} of an SAE's latents are dead (asked for: under "
        f"{percent(thresholds.dead)})": dead < thresholds.dead,
        f"an SAE of middle width leaves {percent(left)} of the variance unexplained (asked for: "
        f"{percent(least)} to {percent(most)})": least <= left <= most,
        f"the width suite's L0 on the scored tokens is within {percent(max(l0_off, 0.001), 1)} of its target "
        f"(asked for: {percent(thresholds.l0_off)})": l0_off <= thresholds.l0_off,
    }
    met = sum(checks.values())
    word = HOLDS if met == len(checks) else PARTLY if gain >= thresholds.gain else FAILS
    listed = "; ".join(f"{'' if ok else 'not met: '}{text}" for text, ok in checks.items())
    numbers = {"gain": gain, "dead": dead, "left": left, "l0": l0_off}
    return Verdict(word, f"{listed[0].upper()}{listed[1:]}.", numbers)


QUESTION = Question(
    short="The setting is worth studying: the model models its text, and the SAEs work.",
    evidence=Evidence,
    verdict=verdict,
)

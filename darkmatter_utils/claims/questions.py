"""The rules of the two chapters that ask a question of their own: is the setting sound, does the protocol
matter.
"""

from __future__ import annotations

from ..base.words import percent
from .rules import FAILS, HOLDS, PARTLY, SPLIT, UNKNOWN, Verdict

GAIN_OVER_TRIGRAM, DEAD, LEFT, L0_OFF = 0.7, 0.1, (0.1, 0.4), 0.01
"""Chapter 01: nats below the trigram, share of dead latents, FVU at a width of 8 d_model, relative miss of
the L0.
"""
AGREE = 0.01
"""Chapter 02: two protocols that differ by no more than this agree."""


def setting(*, gain, dead: float, left: float, l0_off: float) -> Verdict:
    """Chapter 01: nats per token by which the model beats the trigram (None: no model), the largest share of
    dead latents, FVU at a width near 8 d_model, the largest relative miss of a target L0.
    """
    if gain is None:
        return Verdict(
            UNKNOWN,
            "The activations are simulated: there is no language model to compare with a trigram. "
            f"The SAE of the figure leaves {percent(left)} of the variance unexplained.",
        )
    checks = {
        f"the model beats a trigram by {gain:.2f} nats per token (asked for: {GAIN_OVER_TRIGRAM})": gain
        >= GAIN_OVER_TRIGRAM,
        f"at most {percent(dead, 1)} of an SAE's latents are dead (asked for: under {percent(DEAD)})": dead
        < DEAD,
        f"an SAE of middle width leaves {percent(left)} of the variance unexplained (asked for: "
        f"{percent(LEFT[0])} to {percent(LEFT[1])})": LEFT[0] <= left <= LEFT[1],
        f"the width suite's L0 is within {percent(max(l0_off, 0.001), 1)} of its target (asked for: "
        f"{percent(L0_OFF)})": l0_off <= L0_OFF,
    }
    met = sum(checks.values())
    word = HOLDS if met == len(checks) else PARTLY if gain >= GAIN_OVER_TRIGRAM else FAILS
    listed = "; ".join(f"{'' if ok else 'not met: '}{text}" for text, ok in checks.items())
    return Verdict(
        word, f"{listed[0].upper()}{listed[1:]}.", {"gain": gain, "dead": dead, "left": left, "l0": l0_off}
    )


def protocols(*, differences: dict) -> Verdict:
    """Chapter 02, by metric: the largest absolute difference between strict and paper over all SAEs."""
    worst = max(differences.values())
    word = HOLDS if worst <= AGREE else PARTLY if worst <= SPLIT else FAILS
    listed = ", ".join(f"{value:.3f} in {name}" for name, value in differences.items())
    return Verdict(
        word,
        f"Over all SAEs, the two protocols differ by at most {listed}; up to {AGREE} counts as agreement.",
        dict(differences),
    )

"""Signs that an SAE was not measured as it was meant to be: told wherever its numbers are, never silently
passed over."""

from __future__ import annotations

import math

from .measure import manifest

L0_OFF = 1.5
"""A realised L0 this many times the published one, or its inverse, is another L0."""
GAIN_OFF = 1.5
"""So is a factor on Sae(x) that would fit x best: weights or activations are on another scale."""


def statistical(*, fvu: float, l0: float | None, published: float | None, gain: float | None) -> list[str]:
    """What an SAE's FVU, its L0 beside the published one, and the factor on Sae(x) that fits x best give
    away."""
    found = []
    if fvu >= 1:
        found.append(f"the SAE is no better than the mean (FVU {fvu:.3g}): is it this model's, this site's?")
    if published and l0 and abs(math.log(l0 / published)) > math.log(L0_OFF):
        found.append(
            (
                f"L0 is {l0:.3g}, but {published:.3g} was published: another text, <bos>, or another scale "
                f"of activations?"
            )
        )
    if l0 == 0:
        found.append("no latent fires on any token")
    elif gain is not None and not math.isnan(gain) and not 1 / GAIN_OFF < gain < GAIN_OFF:
        found.append(
            (
                f"Sae(x) would fit best times {gain:.3g}: are the model's norms folded, or the activations "
                f"scaled?"
            )
        )
    return found


def of_study(measurement) -> list[str]:
    """The signs of every SAE of a study that has weights, each with its id, after what was found when it was
    prepared."""
    found = list(manifest(measurement.study).get("warnings", []))
    trained = {entry.id for entry in measurement.study.selected() if entry.path}
    for sae in measurement.saes.merge(measurement.linear_shares[["id", "best_factor"]], on="id").itertuples():
        if sae.id in trained:
            published = None if math.isnan(sae.l0_target) else sae.l0_target
            signs = statistical(fvu=sae.fvu, l0=sae.l0, published=published, gain=sae.best_factor)
            found += [f"{sae.id}: {'; '.join(signs)}"] if signs else []
    return found

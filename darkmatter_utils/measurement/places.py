"""Whether a model has the places that an SAE is about: by reading two tokens there."""

from __future__ import annotations

import torch

from ..adapters.models import SITES, LanguageModel
from ..base.errors import BadInput

NORMED = "ln2.hook_normalized"
ANGLE = 0.05
"""Radians between an activation and what it is the norm of, at most."""


def check(model: LanguageModel, sites: tuple[str, ...], tokens: torch.Tensor) -> None:
    """BadInput, naming those of its block, for a site that this family of models does not have, or has
    another activation under the name of. Cost: two tokens through the model, up to the site."""
    for site in sites:
        block, place = site.split(".", 2)[:2], site.split(".", 2)[2]
        named = lambda other, block=block: ".".join([*block, other])
        if _there(model, named(place), tokens) is None:
            has = ", ".join(
                named(other) for other in SITES if _there(model, named(other), tokens) is not None
            )
            raise BadInput(f"{model.name} ({model.family}) has no site {site}; it has {has}")


def _there(model: LanguageModel, site: str, tokens: torch.Tensor) -> torch.Tensor | None:
    """The activation at a site; None where there is none, none of a token each, or not what its name says."""
    try:
        found = model.activations(tokens, site)
    except (KeyError, IndexError):  # no such hook; one whose tokens are not by context
        return None
    if not site.endswith(NORMED):
        return found
    stem = site.removesuffix(NORMED)
    before = [_there(model, stem + place, tokens) for place in ("hook_resid_mid", "hook_resid_pre")]
    return found if any(_normed(found, x) for x in before if x is not None) else None


def _normed(found: torch.Tensor, x: torch.Tensor) -> bool:
    """Whether ``found`` is x, or x without its mean over dimensions, times a number a token."""
    if found.shape != x.shape:
        return False
    length = lambda y: y.norm(dim=-1, keepdim=True)
    off = lambda y: length(found * length(y) - y * length(found)) <= ANGLE * length(found) * length(y)
    return any(bool(off(y).all()) for y in (x, x - x.mean(-1, keepdim=True)))

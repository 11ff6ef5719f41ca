"""How much of a sparse autoencoder's error is linear in the activation it reconstructs.

Public names are loaded when first used, so that ``decompose`` on plain arrays imports neither a language
model's nor an SAE's library.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "Study": "studies.study",
    "Measurement": "measurement.measure",
    "manifest": "measurement.measure",
    "measure": "measurement.measure",
    "decompose": "decomposition.decompose",
    "Decomposition": "decomposition.decompose",
    "Estimate": "base.values",
    "Moments": "stats.moments",
    "LinearMap": "stats.fits",
    "PowerLaw": "stats.power_law",
    "gradient_pursuit": "stats.pursuit",
    "BadInput": "base.errors",
    "World": "worlds.world",
    "open_chapter": "book.records",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'darkmatter_utils' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__():
    return __all__

"""How much of a sparse autoencoder's error is linear in the activation it reconstructs.

Public names are loaded when first used, so that ``decompose`` on plain arrays imports neither a language
model's nor an SAE's library.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "Study": "study",
    "Measurement": "measurement",
    "manifest": "measurement",
    "measure": "measurement",
    "decompose": "decomposition",
    "Decomposition": "decomposition",
    "Estimate": "metrics",
    "Moments": "moments",
    "LinearMap": "fits",
    "PowerLaw": "power_law",
    "gradient_pursuit": "pursuit",
    "BadInput": "errors",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'darkmatter_utils' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__():
    return __all__

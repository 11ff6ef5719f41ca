"""``darkmatter train``: an embedded study, made from seed."""

from __future__ import annotations

from ..training import embedded_saes
from .show import say


def tiny(options) -> None:
    """Goes on where it was cut off."""
    embedded_saes.train(log=say)

"""How large an SAE is by its name and SAELens' list, before anything of it is here."""

from __future__ import annotations

import math
import re

from . import releases
from .grid import latents as read_width

WIDTH = re.compile(r"(?:width[_-]|[-_]w|(?:res|att|mlp)-)(\d+[km])(?![a-z0-9])", re.IGNORECASE)
"""width_16k, w32k; in the list's other names of an SAE, 3-sae_bench-topk-res-4k."""
PLAIN = re.compile(r"_(\d{3,})$")
"""blocks.8.hook_resid_pre_98304."""


def latents(name: str) -> int | None:
    """Latents of an SAE that SAELens' list has under ``name``, release/id; None where no name says it."""
    release, _, id = name.partition("@")[0].partition("/")
    saes = releases.known().get(release, {}).get("saes", [])
    also = next((sae.get("neuronpedia") or "" for sae in saes if sae["id"] == id), "")
    said = f"{release}/{id} {also}"
    if found := WIDTH.search(said):
        width = read_width(found[1].lower())
        near = 1 << round(math.log2(width))  # 65k is 65,536, but 80k is 81,920
        return near if abs(near / width - 1) < 0.05 else width
    return int(found[1]) if (found := PLAIN.search(id)) else None

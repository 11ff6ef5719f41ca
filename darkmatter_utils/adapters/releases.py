"""SAELens' list of releases, read without importing SAELens: names of SAEs, and how large each is."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import math
import re
from pathlib import Path

import yaml

from .grid import latents as read_width


@functools.cache
def known() -> dict[str, dict]:
    """Every release by its name: repo_id, model, saes (id, path, l0)."""
    path = Path(importlib.util.find_spec("sae_lens").origin).parent / "pretrained_saes.yaml"
    return yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def holding(name: str) -> dict | None:
    """The release that ``release/id`` or ``owner/repository/folder`` is an SAE of; None for another name."""
    if about := known().get(name.partition("/")[0]):
        return about
    for about in known().values():
        inside = name.removeprefix(about["repo_id"] + "/")
        if inside != name and any(inside == (sae.get("path") or sae["id"]) for sae in about["saes"]):
            return about
    return None


def meant(name: str) -> str:
    """The release/id that a name is short of by a slip: a mistyped release, its two parts exchanged, or what
    Neuronpedia calls the SAE; "" for another name."""
    release, _, id = name.partition("/")
    first, _, last = name.rpartition("/")
    near = difflib.get_close_matches(release, known(), n=1, cutoff=0.8)
    for release, id in [(one, id) for one in near] + [(last, first)]:
        if release in known() and any(id == sae["id"] for sae in known()[release]["saes"]):
            return f"{release}/{id}"
    for release, about in known().items():
        for sae in about["saes"]:
            if sae.get("neuronpedia") == name:
                return f"{release}/{sae['id']}"
    return ""


WIDTH = re.compile(r"(?:width[_-]|[-_]w|(?:res|att|mlp)-)(\d+[km])(?![a-z0-9])", re.IGNORECASE)
"""width_16k, w32k; in the list's other names of an SAE, 3-sae_bench-topk-res-4k."""
PLAIN = re.compile(r"_(\d{3,})$")
"""blocks.8.hook_resid_pre_98304."""


def latents(name: str) -> int | None:
    """Latents of an SAE that SAELens' list has under ``name``, release/id; None where no name says it."""
    release, _, id = name.partition("@")[0].partition("/")
    saes = known().get(release, {}).get("saes", [])
    also = next((sae.get("neuronpedia") or "" for sae in saes if sae["id"] == id), "")
    said = f"{release}/{id} {also}"
    if found := WIDTH.search(said):
        width = read_width(found[1].lower())
        near = 1 << round(math.log2(width))  # 65k is 65,536, but 80k is 81,920
        return near if abs(near / width - 1) < 0.05 else width
    return int(found[1]) if (found := PLAIN.search(id)) else None

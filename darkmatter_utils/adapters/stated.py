"""What is said of an SAE beside its weights: by SAELens' list of releases, and its training contexts."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path

from .files import Fault, settings
from .formats import canonical, layer_of
from .hub import release_of
from .saes import Sae

SCALE = "norm_scaling_factor"
AVERAGE = "expected_average_only_in"
CENTRED = "center_writing_weights"
BLOCK = re.compile(r"(?:model\.layers|transformer\.h|gpt_neox\.layers)\.(\d+)")
"""What transformers call a block, whose output is the residual stream after it."""


def overrides(name: str) -> dict:
    """What SAELens' list says of a release's SAEs other than their files do; {} of a folder."""
    release = release_of(name) or {}
    id = name.partition("@")[0].partition("/")[2]
    factor = next((s.get("norm_scaling_factor") for s in release.get("saes", ()) if s["id"] == id), None)
    return (release.get("config_overrides") or {}) | ({SCALE: factor} if factor else {})


def honoured(sae: Sae, said: dict) -> Sae:
    """The SAE with what ``said`` changes: what is done to an activation first, its site, its model's name."""
    facts = {"model": said["model_name"]} if said.get("model_name") else {}
    if block := BLOCK.fullmatch(sae.card.site or ""):
        facts |= {"site": f"blocks.{block[1]}.hook_resid_post", "layer": int(block[1])}
    if site := said.get("hook_name"):
        facts |= {"site": canonical(site), "layer": layer_of(site)}
    if first := said.get("normalize_activations"):
        sae = sae.changed(normalize_activations=first)
        facts["normalisation"] = f"{first} (SAELens' list of releases)"
    if said.get(SCALE) and sae.card.normalisation == AVERAGE:
        sae.sae.scale_input(said[SCALE])
        facts["normalisation"] = f"folded: × {said[SCALE]:.6g} (SAELens' list of releases)"
        facts["warnings"] = tuple(line for line in sae.card.warnings if AVERAGE not in line)
    return dataclasses.replace(sae, card=dataclasses.replace(sae.card, **facts)) if facts else sae


def doubts(said: dict, folder: str | Path, window: tuple[int, int]) -> list[str]:
    """What of it a measurement in a window of positions does not follow, as warnings."""
    found = []
    if (said.get("model_from_pretrained_kwargs") or {}).get(CENTRED):
        how = f"({CENTRED}, SAELens' list of releases)"
        found.append(
            f"the SAE was trained on a model with centred writing weights {how}; the model here is as it is: "
            "subtract from each activation its mean over dimensions, or give a model that is centred"
        )
    seen = _context(Path(folder))
    if seen and seen < window[1]:
        beyond = f"positions {max(seen, window[0])} to {window[1] - 1} are beyond what it has seen"
        found.append(f"the SAE was trained on contexts of {seen} tokens (context_size): {beyond}")
    return found


def _context(folder: Path) -> int | None:
    for name in ("cfg.json", "config.json"):
        with contextlib.suppress(Fault, OSError):
            cfg = settings(folder / name)
            inner = (part for part in (cfg, cfg.get("metadata"), cfg.get("buffer")) if isinstance(part, dict))
            sizes = [part.get(said) for part in inner for said in ("context_size", "ctx_len")]
            if found := [size for size in sizes if isinstance(size, int)]:
                return found[0]
    return None

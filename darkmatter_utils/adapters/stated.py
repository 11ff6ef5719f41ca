"""What is said of an SAE beside its weights: by SAELens' list of releases, and its training contexts."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from pathlib import Path

from ..base.errors import BadInput
from .files import Fault, settings
from .formats import canonical, layer_of
from .hub import release_of
from .models import LanguageModel
from .saes import Sae, of_halves

SCALE = "norm_scaling_factor"
AVERAGE = "expected_average_only_in"
CENTRED = "center_writing_weights"
STEMS = "model|module|_orig_mod|language_model|text_model|transformer|gpt_neox|decoder"
MODULE = re.compile(
    rf"(?:(?:{STEMS})\.)*(?:layers|h)\.(\d+)(?:\.(mlp|self_attn|self_attention|attention|attn))?"
)
"""What transformers call a block, whose output is the residual stream after it, and its two halves."""


def overrides(name: str) -> dict:
    """What SAELens' list says of an SAE other than its files do; {} where it has none."""
    release, plain = release_of(name) or {}, name.partition("@")[0]
    mine = lambda sae: any(plain.endswith(f"/{own}") for own in (sae["id"], sae.get("path", sae["id"])))
    factor = next((sae.get(SCALE) for sae in release.get("saes", ()) if mine(sae)), None)
    return (release.get("config_overrides") or {}) | ({SCALE: factor} if factor else {})


def honoured(sae: Sae, said: dict) -> Sae:
    """The SAE with what ``said`` changes: what is done to an activation first, its site, its model's name."""
    facts = {"model": said["model_name"]} if said.get("model_name") else {}
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


def placed(sae: Sae, model: LanguageModel) -> Sae:
    """The SAE with its places by their names here, where it gives transformers' name of a module."""
    names = {name: site_of(getattr(sae.card, name), model) for name in ("site", "target")}
    if names == {name: getattr(sae.card, name) for name in names}:
        return sae
    names["layer"] = layer_of(names["site"] or "")
    return dataclasses.replace(sae, card=dataclasses.replace(sae.card, **names))


def site_of(name: str | None, model: LanguageModel) -> str | None:
    """The site that a module's output is, where ``name`` is transformers' name of a block or of its MLP or
    attention; any other name as it is. Raises BadInput for a half whose output is not what is added to the
    stream."""
    if not (found := MODULE.fullmatch(name or "")):
        return name
    layer, half = int(found[1]), found[2]
    if half and (what := of_halves(model)):
        why = f"in {model.name} ({model.family}) {what}, so that it is no site's activation"
        raise BadInput(f"the output of {name} cannot be read: {why}; give --x and --reconstruction")
    place = {None: "hook_resid_post", "mlp": "hook_mlp_out"}.get(half, "hook_attn_out")
    return f"blocks.{layer}.{place}"


def uncentred(said: dict) -> list[str]:
    """A warning where the model of an SAE was centred in training."""
    if not (said.get("model_from_pretrained_kwargs") or {}).get(CENTRED):
        return []
    return [
        f"the SAE was trained on a model with centred writing weights ({CENTRED}, SAELens' list of releases);"
        " the model here is as it is: subtract from each activation its mean over dimensions, or give a model"
        " that is centred"
    ]


def doubts(said: dict, folder: str | Path, window: tuple[int, int]) -> list[str]:
    """What of it a measurement in a window of positions does not follow, as warnings."""
    found, seen = uncentred(said), _context(Path(folder))
    if seen and seen < window[1]:
        beyond = f"positions {max(seen, window[0])} to {window[1] - 1} are beyond what it has seen"
        found.append(f"the SAE was trained on contexts of {seen} tokens (context_size): {beyond}")
    return found


def _context(folder: Path) -> int | None:
    for file in (folder / "cfg.json", folder / "config.json", folder.parent / "config.json"):
        with contextlib.suppress(Fault, OSError):
            cfg = settings(file)
            inner = (part for part in (cfg, cfg.get("metadata"), cfg.get("buffer")) if isinstance(part, dict))
            sizes = [part.get(said) for part in inner for said in ("context_size", "ctx_len")]
            if found := [size for size in sizes if type(size) is int and size > 0]:
                return found[0]
    return None

"""Gemma Scope, params.npz: SAEs of the residual stream, MLP and attention (hook_z), and transcoders."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from ..files import Fault, arrays
from . import Found

FILES = ("params.npz",)
MORE = ()
RELEASES = ("gemma_2", "gemma_2_transcoder")


def read(folder: Path) -> Found:
    """Site, layer and L0 are in the names of the folders; an attention SAE reads concatenated heads."""
    made = found(folder, FILES[0], arrays(folder / FILES[0]), transcoder="ln2.hook_normalized")
    if any(name.startswith("embedding") for name in folder.parts[-4:]):
        scale, state = made.cfg["d_in"] ** 0.5, made.state  # trained on √d_model times the embedding
        state["W_enc"], state["W_dec"] = state["W_enc"] / scale, state["W_dec"] * scale
        made.facts.update(site="hook_embed", layer=0)
    return made


def found(folder: Path, file: str, stored: dict[str, Tensor], *, transcoder: str, about: dict = {}) -> Found:
    """What a folder of either edition holds; ``transcoder``: where one reads; ``about``: its config.json."""
    state = {("W_" + name[2:] if name.startswith("w_") else name): value for name, value in stored.items()}
    if len(state) < len(stored):
        raise Fault(f"{file} holds weights under two spellings (W_enc and w_enc); which are the SAE's?")
    if "affine_skip_connection" in state:
        state["W_skip"] = state.pop("affine_skip_connection").T
    if missing := [name for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold") if name not in state]:
        raise Fault(f"{file} lacks {', '.join(missing)}; it holds {', '.join(stored) or 'nothing'}")
    if flat := [name for name in ("b_enc", "b_dec", "threshold") if state[name].ndim != 1]:
        raise Fault(f"{file}: {flat[0]} must be a vector, got {list(state[flat[0]].shape)}")
    d_sae, d_in = len(state["b_enc"]), len(state["b_dec"])
    part, layer, l0, model = _names(folder)
    for said, named in ((about.get("part"), part), (about.get("layer"), layer)):
        if None not in (said, named) and said != named:
            raise Fault(f"its config.json and its folders' names contradict each other: {said} and {named}")
    part, layer = about.get("part", part), about.get("layer", layer)
    sites = dict(res="hook_resid_post", mlp="hook_mlp_out", att="attn.hook_z", transcoder=transcoder)
    site = f"blocks.{layer}.{sites[part]}" if part and layer is not None else None
    target = f"blocks.{layer}.hook_mlp_out" if part == "transcoder" and site else None
    kind = "jumprelu" + "_skip" * ("W_skip" in state) + "_transcoder" * (part == "transcoder")
    if "W_skip" in state and part != "transcoder":
        raise Fault(f"{file} has a skip connection, but no folder above it is named transcoder")
    cfg = dict(architecture=kind, d_in=d_in, d_sae=d_sae, d_out=d_in, normalize_activations="none")
    cfg["apply_b_dec_to_input"] = False
    facts = dict(site=site, target=target, layer=layer, l0=about.get("l0", l0), prepend_bos=True)
    facts["model"] = about.get("model_name") or model
    if None not in (l0, about.get("l0")) and l0 != about["l0"]:
        facts["warnings"] = [f"its config.json says an L0 of {about['l0']}, its folder's name {l0}"]
    return Found(cfg, state, file, file, facts)


def _names(folder: Path) -> tuple[str | None, int | None, float | None, str | None]:
    """(part, layer, L0, model) from the names of folders: …-pt-res/layer_20/width_16k/average_l0_68."""
    found: dict[str, str] = {}
    patterns = dict(
        part=r"(?:^|-)(res|mlp|att|transcoder)s?(?:-all|-canonical)?$",
        layer=r"^layer_(\d+)",
        l0=r"l0_(\d+)$",
        model=r"gemma-scope-(\d+b-(?:pt|it))-",
    )
    new = r"^(resid_post|mlp_out|attn_out|transcoder)(?:_all)?$"
    parts = {"resid_post": "res", "mlp_out": "mlp", "attn_out": "att"}
    for name in reversed(folder.parts[-8:]):
        for key, pattern in patterns.items():
            if hit := re.search(pattern, name):
                found.setdefault(key, hit[1])
        if hit := re.match(new, name):
            found.setdefault("part", parts.get(hit[1], hit[1]))
    number = {key: int(found[key]) if key in found else None for key in ("layer", "l0")}
    model = f"google/gemma-2-{found['model'].replace('-pt', '')}" if "model" in found else None
    return found.get("part"), number["layer"], number["l0"], model

"""OpenAI's sparse_autoencoder, a .pt with pre_bias and latent_bias: ReLU and TopK SAEs of GPT-2 small."""

from __future__ import annotations

import re
from pathlib import Path

from ..files import Fault, torch_file, type_name
from . import Found

EACH = "*.pt"
KEYS = {"pre_bias", "latent_bias", "encoder.weight"}
MORE = ()
RELEASES = ()
SITES = {
    "resid_delta_attn": "hook_attn_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_mlp": "hook_resid_post",
}
"""What its folders' names say of the place in a block."""


def read(path: Path) -> Found:
    """A TopK SAE's tokens are normalised first, each to mean 0 and spread 1, and back at the end; the place
    is in the names of folders (resid_post_mlp_v5_32k/autoencoders/6.pt)."""
    stored = torch_file(path)
    made, inside = stored.get("activation", "ReLU"), stored.get("activation_state_dict") or {}
    if made not in ("ReLU", "TopK") or inside.get("postact_fn", "ReLU") != "ReLU":
        raise Fault(
            f"{path.name} has activation {made} {inside.get('postact_fn', '')}; known: ReLU, TopK of ReLU"
        )
    encoder = stored["encoder.weight"]
    decoder = stored.get("decoder.weight", encoder.T)  # tied
    state = {
        "W_enc": encoder.T,
        "W_dec": decoder.T,
        "b_enc": stored["latent_bias"],
        "b_dec": stored["pre_bias"],
    }
    cfg = dict(architecture="standard", d_in=encoder.shape[1], d_sae=len(encoder), apply_b_dec_to_input=True)
    facts = dict(model="openai-community/gpt2", stored=type_name(encoder.dtype))
    if made == "TopK":
        cfg |= dict(architecture="topk", k=inside.get("k"), normalize_activations="layer_norm")
        facts["l0"] = cfg["k"]
    place = next((site for said, site in SITES.items() if any(said in part for part in path.parts)), None)
    if place and (layer := re.fullmatch(r"(\d+)\.pt", path.name)):
        facts |= {"site": f"blocks.{layer[1]}.{place}", "layer": int(layer[1])}
    return Found(cfg, state, path.name, path.name, facts)

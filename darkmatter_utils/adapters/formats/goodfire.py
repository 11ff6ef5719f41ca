"""Goodfire, …-SAE-l<N>.pt or .pth: ReLU SAEs of the residual stream of Llama 3 Instruct."""

from __future__ import annotations

import re
from pathlib import Path

from ..files import torch_file, type_name
from . import Found

EACH = "*.pt*"
NAMES = {
    "encoder_linear.weight": "W_enc",
    "decoder_linear.weight": "W_dec",
    "encoder_linear.bias": "b_enc",
    "decoder_linear.bias": "b_dec",
}
KEYS = set(NAMES)
MORE = ()
RELEASES = ("goodfire",)


def read(path: Path) -> Found:
    """Two layers of torch; the model and the layer are in the file's name."""
    stored = torch_file(path)
    state = {ours: stored[theirs] for theirs, ours in NAMES.items()}
    state["W_enc"], state["W_dec"] = state["W_enc"].T, state["W_dec"].T
    d_sae, d_in = state["W_dec"].shape
    cfg = dict(architecture="standard", d_in=d_in, d_sae=d_sae, apply_b_dec_to_input=False)
    facts = dict(stored=type_name(stored["encoder_linear.weight"].dtype))
    if named := re.match(r"(.+)-SAE-l(\d+)\.pth?$", path.name):
        owner = "meta-llama/" if named[1].startswith("Llama") else ""
        facts |= {
            "site": f"blocks.{named[2]}.hook_resid_post",
            "layer": int(named[2]),
            "model": owner + named[1],
        }
    return Found(cfg, state, path.name, path.name, facts)

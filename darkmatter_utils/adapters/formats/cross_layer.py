"""Cross-layer transcoders, config.yaml, W_enc_<N> and W_dec_<N>.safetensors: what is written at layer N."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..files import Fault, opened, tensors, type_name
from . import Found
from .circuit_tracer import places

EACH = "W_enc_*.safetensors"
KEYS: set[str] = set()
MORE = ("config.yaml",)
RELEASES = ("mntss_clt_layer_transcoder",)
RELEASED = "W_enc_{}.safetensors"
"""The file of what SAELens' list calls by its layer alone."""


def needs(name: str) -> tuple[str, ...]:
    """The files of all layers up to the one of the file ``name``."""
    last = int(found[1]) if (found := re.search(r"_(\d+)\.", name)) else -1
    return (*MORE, *(f"W_{kind}_{layer}.safetensors" for layer in range(last + 1) for kind in ("enc", "dec")))


def read(path: Path) -> Found:
    """ŷ_N = Σ_{l ≤ N} f_l W_dec_l[:, N − l] + b_dec_N with f_l = act(x_l W_enc_l + b_enc_l). Of each decoder
    only what writes at N is read."""
    facts = places(path, "cross_layer_transcoder")
    last = facts["layer"]
    parts: dict[str, list] = {"W_enc": [], "b_enc": [], "W_dec": [], "threshold": []}
    for layer in range(last + 1):
        files = [path.with_name(f"W_{kind}_{layer}.safetensors") for kind in ("enc", "dec")]
        if missing := [file.name for file in files if not file.is_file()]:
            raise Fault(
                f"to layer {last} writes layer {layer} too, but {', '.join(missing)} is not beside it"
            )
        state = {re.sub(rf"_{layer}$", "", name): value for name, value in tensors(files[0]).items()}
        if over := sorted(set(state) - {"W_enc", "b_enc", "b_dec", "threshold"}):
            raise Fault(f"{files[0].name} holds {', '.join(over)}, which is not known of such a file")
        if lacks := [name for name in ("W_enc", "b_enc", "b_dec") if name not in state]:
            raise Fault(f"{files[0].name} lacks {', '.join(f'{name}_{layer}' for name in lacks)}")
        with opened(files[1]) as file:
            parts["W_dec"].append(file.get_slice(f"W_dec_{layer}")[:, last - layer])
        parts["W_enc"].append(state["W_enc"].T)
        parts["b_enc"].append(state["b_enc"])
        parts["threshold"] += [state["threshold"].flatten()] if "threshold" in state else []
    weights = {name: torch.cat(some, dim=-1 if "enc" in name else 0) for name, some in parts.items() if some}
    weights["b_dec"] = state["b_dec"]
    d_sae, d_out = weights["W_dec"].shape
    kind = "jumprelu_" * ("threshold" in weights) + "cross_layer_transcoder"
    cfg = dict(architecture=kind, d_in=len(weights["W_enc"]), d_sae=d_sae, d_out=d_out, layers=last + 1)
    cfg |= dict(apply_b_dec_to_input=False, normalize_activations="none")
    facts["earlier"] = tuple(facts["site"].replace(f".{last}.", f".{layer}.", 1) for layer in range(last))
    facts["stored"] = type_name(weights["W_dec"].dtype)
    return Found(cfg, weights, "config.yaml", path.name, facts)

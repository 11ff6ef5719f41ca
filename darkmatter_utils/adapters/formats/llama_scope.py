"""Llama Scope, hyperparams.json and checkpoints/final.safetensors: SAEs and transcoders."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..files import Fault, settings, tensors, type_name
from . import Found, canonical, layer_of

FILES = ("hyperparams.json", "checkpoints/final.safetensors")
MORE = ()
RELEASES = ("llama_scope",)


def read(folder: Path) -> Found:
    """x is scaled by k = √d_model / its mean norm; k goes into weights and threshold as in SAELens."""
    about, weights = settings(folder / "hyperparams.json"), tensors(folder / "checkpoints/final.safetensors")
    needs = ("d_model", "d_sae", "jump_relu_threshold", "dataset_average_activation_norm", "hook_point_in")
    names = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "decoder.weight": "W_dec"}
    names["decoder.bias"] = "b_dec"
    for found, wanted, file in ((about, needs, "hyperparams.json"), (weights, names, "final.safetensors")):
        if missing := [name for name in wanted if name not in found]:
            raise Fault(f"{file} lacks {', '.join(missing)}")
    only = {"act_fn": "jumprelu", "norm_activation": "dataset-wise", "use_glu_encoder": False}
    for name, valid in only.items():
        if about.get(name, valid) != valid:
            raise Fault(f"hyperparams.json says {name} {about[name]!r}; only {valid!r} can be read")
    norms, d_model = about["dataset_average_activation_norm"], about["d_model"]
    reads = canonical(about["hook_point_in"])
    writes = canonical(about.get("hook_point_out") or about["hook_point_in"])
    ins, outs = (_positive(norms.get(k) if k in norms else norms.get("in")) for k in ("in", "out"))
    k, back = d_model**0.5 / ins, d_model**0.5 / (ins if reads == writes else outs)
    wide = {name: weights[stored].float() for stored, name in names.items()}
    state = {
        "W_enc": wide["W_enc"].T * k,
        "b_enc": wide["b_enc"],
        "W_dec": wide["W_dec"].T / back,
        "b_dec": wide["b_dec"] / back,
        "threshold": torch.full((len(wide["b_enc"]),), about["jump_relu_threshold"] * k),
    }
    kind = "jumprelu" if reads == writes else "jumprelu_transcoder"
    cfg = dict(
        architecture=kind,
        d_in=d_model,
        d_sae=about["d_sae"],
        d_out=d_model,
        normalize_activations="none",
        apply_b_dec_to_input=_flag(about, "apply_decoder_bias_to_pre_encoder"),
        hook_name=reads,
    )
    layer, named = layer_of(reads), re.search(r"-L(\d+)(?:R|A|M|TC)-", folder.name)
    if named and layer is not None and int(named[1]) != layer:
        raise Fault(f"the folder's name says layer {named[1]}, but hyperparams.json reads at {reads}")
    facts = dict(
        site=reads,
        target=writes if writes != reads else None,
        layer=layer,
        l0=about.get("top_k"),
        model="meta-llama/Llama-3.1-8B" if "Llama3_1" in folder.name else None,
        prepend_bos=True,
        normalisation="folded",
        stored=type_name(weights["encoder.weight"].dtype),
    )
    return Found(cfg, state, "hyperparams.json", "final.safetensors", facts)


def _flag(about: dict, name: str) -> bool:
    if not isinstance(value := about.get(name) or False, bool):
        raise Fault(f"hyperparams.json gives {name} {value!r}; it must be true or false")
    return value


def _positive(norm) -> float:
    if isinstance(norm, bool) or not isinstance(norm, (int, float)) or not norm > 0:
        raise Fault(f"hyperparams.json gives dataset_average_activation_norm {norm!r}; it must be above 0")
    return float(norm)

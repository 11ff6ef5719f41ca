"""sparsify, sae.safetensors and cfg.json: TopK SAEs and transcoders, signed or with a skip."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..files import Fault, settings, tensors, type_name
from . import Found

FILES = ("sae.safetensors", "cfg.json")
MORE = ()
RELEASES = ()
NAMES = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
OUTPUTS = {"": "hook_resid_post", "mlp": "hook_mlp_out", "attention": "hook_attn_out"}
"""What an SAE of a module reads, by the module's name in a block."""


def read(folder: Path) -> Found:
    """The k largest latents of a ReLU encoder that reads x − b_dec (a transcoder: x); the site is in no file
    but may be in the folder's name (layers.5, layers.5.mlp)."""
    about, stored = settings(folder / FILES[1]), tensors(folder / FILES[0])
    if missing := [name for name in NAMES if name not in stored]:
        raise Fault(f"{FILES[0]} lacks {', '.join(missing)}; it holds {', '.join(stored) or 'nothing'}")
    if (made := about.get("activation", "topk")) != "topk":
        way = "give its reconstruction as an array: --x FILE --reconstruction FILE"
        raise Fault(f"cfg.json says activation {made!r}; only 'topk' can be read; {way}")
    for name in ("signed", "skip_connection", "transcode"):
        if not isinstance(about.get(name, False), bool):
            raise Fault(f"cfg.json gives {name} {about[name]!r}; it must be true or false")
    if type(k := about.get("k")) is not int:
        raise Fault(f"cfg.json gives k {k!r}; it must be a whole number")
    state = {ours: stored[theirs] for theirs, ours in NAMES.items()}
    state["W_enc"] = state["W_enc"].T
    skips, transcodes = about.get("skip_connection", False), about.get("transcode", False)
    if skips != ("W_skip" in stored):
        has = "has one" if "W_skip" in stored else "has no W_skip"
        raise Fault(f"cfg.json says skip_connection {skips}, but {FILES[0]} {has}")
    if skips:
        state["W_skip"] = stored["W_skip"]
        if not transcodes and torch.count_nonzero(state["W_skip"]):
            transcodes = True  # of x itself, but the arithmetic is a transcoder's
            state["b_enc"] = state["b_enc"] - state["b_dec"].to(state["W_enc"]) @ state["W_enc"]
    d_sae, d_in = state["W_dec"].shape if state["W_dec"].ndim == 2 else (None, None)
    for name, has in (("num_latents", d_sae), ("d_in", d_in)):
        if (said := about.get(name) or has) != has:
            raise Fault(f"cfg.json says {name} {said!r}, but {FILES[0]} has {has}")
    kind = ("abstopk" if about.get("signed") else "topk") + "_skip" * skips + "_transcoder" * transcodes
    cfg = dict(architecture=kind, d_in=d_in, d_sae=d_sae, d_out=d_in, k=k, normalize_activations="none")
    cfg |= dict(apply_b_dec_to_input=not transcodes, rescale_acts_by_decoder_norm=False)
    facts = dict(l0=k, stored=type_name(stored["W_dec"].dtype))
    facts |= _places(folder, about.get("transcode", False))
    if transcodes:  # also of an SAE with a skip of x itself: both ends at one site
        facts["target"] = facts.get("target") or facts.get("site")
    return Found(cfg, state, "cfg.json", FILES[0], facts)


def _places(folder: Path, transcodes: bool) -> dict:
    """Where it reads and writes, and the model, by the folder's name and the run's config.json above it."""
    run = folder.parent / "config.json"
    facts = {"model": settings(run).get("model") if run.is_file() else None}
    found = re.search(r"(?:^|\.)(?:layers|h)\.(\d+)(?:\.(\w+))?$", folder.name)
    part = (
        {"self_attn": "attention", "attn": "attention", None: ""}.get(found[2], found[2]) if found else None
    )
    if part not in OUTPUTS:
        return facts
    writes = f"blocks.{found[1]}.{OUTPUTS[part]}"
    if not transcodes:
        return facts | {"site": writes, "layer": int(found[1])}
    if part != "mlp":
        raise Fault(f"it transcodes {folder.name}; only an MLP's input is a site here (layers.N.mlp)")
    return facts | {"site": f"blocks.{found[1]}.mlp.hook_in", "target": writes, "layer": int(found[1])}

"""Any .safetensors, .pt or .pth with an encoder and a decoder: --k, --threshold, --b-dec-in say the rest."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from ..files import Fault, type_name, weights
from . import Found

EACH = "*"
KEYS: set[str] = set()
MORE = ()
TAKES = ("k", "threshold", "b_dec_in")
RELEASES = ("deepseek_r1", "connor_rob_hook_z")


def read(
    path: Path, k: int | None = None, threshold: float | None = None, b_dec_in: bool | None = None
) -> Found:
    """relu(x W_enc + b_enc), of which the ``k`` largest or those above ``threshold`` count; without either,
    and without a threshold in the file, all. ``b_dec_in``: b_dec is taken off x first. The encoder is told by
    its name, the side of the latents by the longer one. Fault for what could be read in two ways."""
    if k is not None and threshold is not None:
        raise Fault("--k and --threshold are two ways to choose latents; give one")
    stored = {name: value for name, value in weights(path).items() if isinstance(value, Tensor)}
    encoder, decoder = _matrices(path, stored)
    d_sae, d_in = max(stored[encoder].shape), min(stored[encoder].shape)
    state = {"W_enc": stored[encoder], "W_dec": stored[decoder]}
    for name, rows in (("W_enc", d_in), ("W_dec", d_sae)):
        state[name] = state[name] if len(state[name]) == rows else state[name].T
    vectors = {name: value for name, value in stored.items() if value.ndim == 1 and value.is_floating_point()}
    limits = [name for name in stored if "threshold" in name.lower()]
    state["b_enc"] = _bias(vectors, d_sae, limits, "encoder", "enc|latent|hidden|^b1$")
    state["b_dec"] = _bias(vectors, d_in, limits, "decoder", "dec|pre_bias|out|^b2$|^bias$")
    if k is None and threshold is None and limits:
        if len(limits) > 1 or "log" in limits[0].lower():
            raise Fault(f"{path.name} holds {', '.join(limits)}; which is meant? give it: --threshold")
        state["threshold"] = stored[limits[0]].flatten().expand(d_sae).clone()
    elif threshold is not None:
        state["threshold"] = torch.full((d_sae,), float(threshold))
    kind = "topk" if k is not None else "jumprelu" if "threshold" in state else "standard"
    cfg = dict(architecture=kind, d_in=d_in, d_sae=d_sae, apply_b_dec_to_input=bool(b_dec_in))
    cfg |= dict(normalize_activations="none") | (dict(k=k) if k is not None else {})
    facts = dict(l0=k, stored=type_name(stored[decoder].dtype))
    if layer := re.search(r"[-_]l(\d+)\.pth?$", path.name):
        facts |= {"site": f"blocks.{layer[1]}.hook_resid_post", "layer": int(layer[1])}
    assumed = [f"{encoder} as the encoder", f"{decoder} as the decoder, {d_sae} latents"]
    assumed += ["no k and no threshold: all that is positive"] * (kind == "standard")
    assumed += [] if b_dec_in else ["b_dec is not taken off first (--b-dec-in would)"]
    facts["warnings"] = [f"{path.name} says nothing of how it is run; taken: {'; '.join(assumed)}"]
    return Found(cfg, state, path.name, path.name, facts)


def _matrices(path: Path, stored: dict[str, Tensor]) -> tuple[str, str]:
    """The names of the encoder and the decoder."""
    wide = {name: tuple(v.shape) for name, v in stored.items() if v.ndim == 2 and v.shape[0] != v.shape[1]}
    holds = (
        ", ".join(f"{name} {list(value.shape)}" for name, value in list(stored.items())[:6]) or "no tensor"
    )
    named = {kind: [name for name in wide if kind in name.lower()] for kind in ("enc", "dec")}
    if len(wide) != 2 or any(len(names) != 1 for names in named.values()):
        needs = "one matrix with enc in its name and one with dec, of swapped shapes"
        raise Fault(f"{path.name} cannot be read as an SAE: it needs {needs}; it holds {holds}")
    (encoder,), (decoder,) = named["enc"], named["dec"]
    if sorted(wide[encoder]) != sorted(wide[decoder]):
        raise Fault(
            f"{encoder} {list(wide[encoder])} and {decoder} {list(wide[decoder])} are not of swapped shapes"
        )
    return encoder, decoder


def _bias(vectors: dict[str, Tensor], size: int, limits: list[str], whose: str, pattern: str) -> Tensor:
    """The bias of a side; zeros where there is none. Fault where it could be one of several."""
    fit = [name for name, value in vectors.items() if len(value) == size and name not in limits]
    named = [name for name in fit if re.search(pattern, name.lower())]
    if len(fit) > 1 and len(named) != 1:
        raise Fault(
            f"which of {', '.join(fit)} is the {whose}'s bias? name it so (b_enc, b_dec) and save again"
        )
    return vectors[(named or fit)[0]] if fit else torch.zeros(size)

"""dictionary_learning, ae.pt and config.json: SAEs of all its trainers."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from ..files import Fault, settings, torch_file, type_name
from . import Found

FILES = ("ae.pt", "config.json")
MORE = ()
RELEASES = ("dictionary_learning_1",)
KINDS = {
    "AutoEncoder": ("standard", True),
    "AutoEncoderNew": ("standard", False),
    "GatedAutoEncoder": ("gated", True),
    "AutoEncoderTopK": ("topk", True),
    "BatchTopKSAE": ("jumprelu", True),
    "MatryoshkaBatchTopKSAE": ("jumprelu", True),
    "JumpReluAutoEncoder": ("jumprelu", False),
}
"""dict_class → SAELens' architecture, and whether b_dec is taken off before the encoder."""
NAMES = {
    "b_dec": ("b_dec", "bias", "decoder_bias", "decoder.bias"),
    "b_enc": ("b_enc", "encoder.bias"),
    "b_gate": ("gate_bias",),
    "b_mag": ("mag_bias",),
    "r_mag": ("r_mag",),
}
"""Vectors by SAELens' names, and what the library calls them."""
SITES = {"resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out", "attn_out": "hook_attn_out"}
"""What submodule_name says of the place in a block."""


def read(folder: Path) -> Found:
    """As the library encodes at inference: BatchTopK by its saved threshold, TopK by a token's k largest,
    whatever threshold lies beside."""
    trainer, stored = settings(folder / FILES[1]).get("trainer"), torch_file(folder / FILES[0])
    if not isinstance(trainer, dict):
        raise Fault("config.json has no trainer; is it of another program?")
    if (kind := trainer.get("dict_class")) not in KINDS:
        raise Fault(f"config.json gives dict_class {kind!r}; valid: {', '.join(KINDS)}")
    architecture, taken_off = KINDS[kind]
    state = {ours: stored[name] for ours, names in NAMES.items() for name in names if name in stored}
    for ours, theirs in (("W_enc", "encoder.weight"), ("W_dec", "decoder.weight")):
        if ours in stored or theirs in stored:
            state[ours] = stored[ours] if ours in stored else stored[theirs].T
    if missing := [name for name in ("W_enc", "W_dec", "b_dec") if name not in state]:
        raise Fault(f"ae.pt lacks {', '.join(missing)}; it holds {', '.join(stored) or 'nothing'}")
    if not all(isinstance(value, Tensor) for value in stored.values()):
        raise Fault("ae.pt holds more than named tensors; save its state_dict()")
    d_sae, d_in = state["W_dec"].shape
    cfg = dict(architecture=architecture, d_in=d_in, d_sae=d_sae, normalize_activations="none")
    cfg |= dict(apply_b_dec_to_input=taken_off)
    k = int(stored["k"]) if "k" in stored else trainer.get("k")
    if architecture == "topk":
        cfg |= dict(k=k, rescale_acts_by_decoder_norm=False)
    if architecture == "jumprelu":
        state["threshold"] = _threshold(stored, d_sae)
    facts = dict(
        site=_site(trainer), l0=k, model=trainer.get("lm_name"), stored=type_name(state["W_dec"].dtype)
    )
    return Found(cfg, state, "config.json", "ae.pt", facts)


def _threshold(stored: dict[str, Tensor], d_sae: int) -> Tensor:
    if "threshold" not in stored:
        raise Fault("ae.pt lacks threshold, by which it is read at inference")
    threshold = stored["threshold"].float()
    if threshold.ndim == 0 and threshold < 0:
        raise Fault("ae.pt has a threshold below 0: it was never set in training; train it to the end")
    return threshold.expand(d_sae).clone() if threshold.ndim == 0 else threshold


def _site(trainer: dict) -> str | None:
    layer, name = trainer.get("layer"), str(trainer.get("submodule_name") or "resid_post")
    part = next((site for said, site in SITES.items() if said in name), None)
    if re.fullmatch(r"model\.layers\.\d+", name):
        part = SITES["resid_post"]
    return f"blocks.{layer}.{part}" if part and type(layer) is int else None

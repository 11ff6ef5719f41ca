"""sparsify, sae.safetensors and cfg.json: TopK SAEs."""

from __future__ import annotations

from pathlib import Path

from . import Fault, Found, settings, tensors, type_name

FILES = ("sae.safetensors", "cfg.json")
MORE = ()
RELEASES = ()
NAMES = {"encoder.weight": "W_enc", "encoder.bias": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
ONLY = {"activation": "topk", "signed": False, "skip_connection": False, "transcode": False}
"""Settings of what an SAE computes, and the values that can be read."""


def read(folder: Path) -> Found:
    """The k largest latents of a ReLU encoder that reads x − b_dec; the site is in no file but may be in the
    folder's name (layers.5, layers.5.mlp)."""
    about, stored = settings(folder / FILES[1]), tensors(folder / FILES[0])
    if missing := [name for name in NAMES if name not in stored]:
        raise Fault(f"{FILES[0]} lacks {', '.join(missing)}; it holds {', '.join(stored) or 'nothing'}")
    for name, valid in ONLY.items():
        if about.get(name, valid) != valid:
            way = "give its reconstruction as an array: --x FILE --reconstruction FILE"
            raise Fault(f"cfg.json says {name} {about[name]!r}; only {valid!r} can be read; {way}")
    if not isinstance(k := about.get("k"), int):
        raise Fault(f"cfg.json gives k {k!r}; it must be a whole number")
    state = {ours: stored[theirs] for theirs, ours in NAMES.items()}
    state["W_enc"] = state["W_enc"].T
    d_sae, d_in = state["W_dec"].shape if state["W_dec"].ndim == 2 else (None, None)
    cfg = dict(architecture="topk", d_in=d_in, d_sae=d_sae, k=k, normalize_activations="none")
    cfg |= dict(apply_b_dec_to_input=True, rescale_acts_by_decoder_norm=False)
    facts = dict(site=_site(folder.name), l0=k, stored=type_name(stored["W_dec"].dtype))
    return Found(cfg, state, "cfg.json", FILES[0], facts)


def _site(name: str) -> str | None:
    module, _, layer = name.partition(".")
    return f"blocks.{layer}.hook_resid_post" if module == "layers" and layer.isdigit() else None

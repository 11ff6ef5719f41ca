"""Llamascopium (lm-saes), config.json and sae_weights.safetensors: Llama Scope of R1-distill, and since."""

from __future__ import annotations

from pathlib import Path

from ..files import Fault, settings, tensors, type_name
from . import Found, canonical, layer_of

FILES = ("sae_weights.safetensors", "config.json")
MORE = ()
RELEASES = ("llama_scope_r1_distill",)
NAMES = {
    "W_enc": ("W_E", "encoder.weight"),
    "W_dec": ("W_D", "decoder.weight"),
    "b_enc": ("b_E", "encoder.bias"),
    "b_dec": ("b_D", "decoder.bias"),
    "threshold": ("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold"),
}
"""SAELens' names, and the library's today and at first, when matrices were those of layers of torch."""
KINDS = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}
"""act_fn → SAELens' architecture."""
NORM = "dataset_average_activation_norm."


def read(folder: Path) -> Found:
    """x is scaled by √d_model / its mean norm, which is in the file or in SAELens' list; a latent fires where
    its pre-activation times its decoder row's norm is above the threshold, if config.json says so."""
    about, stored = settings(folder / FILES[1]), tensors(folder / FILES[0])
    only = {"sae_type": "sae", "use_glu_encoder": False}
    for name, valid in only.items():
        if about.get(name, valid) != valid:
            raise Fault(f"config.json says {name} {about[name]!r}; only {valid!r} can be read")
    names = {ours: name for ours, both in NAMES.items() for name in both if name in stored}
    if missing := [name for name in ("W_enc", "W_dec", "b_enc") if name not in names]:
        raise Fault(f"{FILES[0]} lacks {', '.join(missing)}; it holds {', '.join(stored)}")
    state = {ours: stored[name] for ours, name in names.items()}
    for name in ("W_enc", "W_dec"):
        state[name] = state[name].T if names[name].endswith(".weight") else state[name]
    d_sae, d_in = state["W_dec"].shape
    state.setdefault("b_dec", state["W_dec"].new_zeros(d_in))
    if not isinstance(reads := about.get("hook_point_in"), str):
        raise Fault("config.json lacks hook_point_in: where it reads")
    reads, writes = canonical(reads), canonical(about.get("hook_point_out") or reads)
    kind = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk"}.get(
        made := about.get("act_fn", "relu")
    )
    if kind is None:
        raise Fault(f"config.json says act_fn {made!r}; valid: relu, jumprelu, topk")
    cfg = dict(architecture=kind, d_in=d_in, d_sae=d_sae, d_out=d_in, apply_b_dec_to_input=False)
    with_norm = about.get("sparsity_include_decoder_norm", True)
    if kind == "topk":
        cfg |= dict(k=about.get("top_k"), rescale_acts_by_decoder_norm=with_norm)
    elif kind == "jumprelu":
        threshold = state["threshold"].float().exp()
        state["threshold"] = threshold / state["W_dec"].float().norm(dim=1) if with_norm else threshold
    if writes != reads:
        cfg["architecture"] = {"standard": "transcoder"}.get(kind, f"{kind}_transcoder")
    facts = dict(site=reads, target=writes if writes != reads else None, layer=layer_of(reads))
    facts |= dict(stored=type_name(stored[names["W_dec"]].dtype), prepend_bos=True)
    first = about.get("norm_activation", "dataset-wise")
    if first == "dataset-wise":
        facts |= _scaled(stored, state, cfg, reads, writes)
    elif first == "token-wise" and writes == reads:
        cfg["normalize_activations"] = "constant_norm_rescale"
    elif first != "inference":
        raise Fault(f"config.json says norm_activation {first!r}; valid: dataset-wise, token-wise, inference")
    return Found(cfg, state, FILES[1], FILES[0], facts)


def _scaled(stored: dict, state: dict, cfg: dict, reads: str, writes: str) -> dict:
    """Fold the norms that the file holds into the weights; where it holds none, say that there is a scale."""
    norms = {canonical(n.removeprefix(NORM)): float(v) for n, v in stored.items() if n.startswith(NORM)}
    if not {reads, writes} <= set(norms):
        cfg["normalize_activations"] = "expected_average_only_in"
        return {}
    into, back = (cfg["d_in"] ** 0.5 / norms[place] for place in (reads, writes))
    state["W_enc"] = state["W_enc"].float() * into
    state["W_dec"], state["b_dec"] = (state[name].float() / back for name in ("W_dec", "b_dec"))
    return {"normalisation": "folded"}

"""SAELens, cfg.json and sae_weights.safetensors: every architecture that SAELens runs token by token."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..dictionary import ARCHITECTURES, quietly
from ..files import Fault, settings, tensors, type_name
from . import Found, canonical, layer_of

FILES = ("cfg.json", "sae_weights.safetensors")
MORE = ("sparsity.safetensors", "activation_scaler.json", "activation_whitening.safetensors")
RELEASES = (None,)
EXAMPLE = "blocks.8.hook_resid_pre"
RENAMED = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index"}
"""Names of versions 1 and 2."""


def read(folder: Path) -> Found:
    """A folder that SAELens saved, of any version; a training checkpoint as what it would be saved as."""
    cfg, state = settings(folder / "cfg.json"), tensors(folder / "sae_weights.safetensors")
    as_saved = cfg
    if lacks := [name for name in ("d_in", "d_sae") if name not in cfg]:
        raise Fault(f"cfg.json lacks {', '.join(lacks)}; is it of another program?")
    kind = cfg.get("architecture", "standard")
    if kind in ARCHITECTURES:
        cfg = _of_version_6(cfg)
    elif kind != "temporal":  # else the builder names the known ones
        cfg, state = _of_checkpoint(folder, kind) or (cfg | {"architecture": kind}, state)
    if "log_threshold" in state:  # checkpoints of SAELens 5
        state["threshold"] = state.pop("log_threshold").float().exp()
    applies = str(_said(as_saved, "activation_fn_str") or _said(as_saved, "activation_fn") or "relu")
    applies = applies.lower().strip()
    if applies not in ("relu", kind, cfg.get("architecture")):
        raise Fault(f"its latents are made by {applies} (activation_fn); {kind} SAEs are run with relu")
    stored = {}
    factor = state.pop("scaling_factor", None)  # of SAELens 1 to 5: unused without its flag
    if (flag := _said(as_saved, "finetuning_scaling_factor")) not in (None, True, False):
        raise Fault(f"cfg.json gives finetuning_scaling_factor {flag!r}; it must be true or false")
    if factor is not None and flag:
        if factor.shape != state["W_dec"].shape[:1]:
            raise Fault(f"scaling_factor must be [d_sae], a number a latent, got {list(factor.shape)}")
        stored = {"stored": type_name(state["W_dec"].dtype)}
        state["W_dec"] = factor.double()[:, None] * state["W_dec"]
    if cfg["architecture"] == "matching_pursuit":
        state.pop("W_enc", None)
    said = cfg.get("metadata") or {}
    for name in ("hook_name", "hook_name_out"):
        if said.get(name) is not None and not isinstance(said[name], str):
            raise Fault(f"cfg.json gives {name} {said[name]!r}; it must be a site, e.g. {EXAMPLE}")
    site, target = (canonical(said[k]) if said.get(k) else None for k in ("hook_name", "hook_name_out"))
    layer = layer_of(site or "")
    stated = as_saved.get("hook_layer", said.get("hook_layer"))
    if None not in (stated, layer) and str(stated) != str(layer):
        raise Fault(f"cfg.json contradicts itself: hook_name {site} and hook_layer {stated}")
    if (head := said.get("hook_head_index")) is not None:
        raise Fault(f"it reads one attention head (hook_head_index {head}); sites here are whole")
    facts = dict(
        site=site,
        target=target if target != site else None,
        layer=layer,
        model=said.get("model_name"),
        l0=cfg.get("k") or (said.get("training_architecture_details") or {}).get("k"),
        prepend_bos=said.get("prepend_bos"),
    )
    return Found(cfg, state, "cfg.json", "sae_weights.safetensors", facts | stored)


def _said(cfg: dict, name: str):
    """What cfg.json says of something, or its metadata does."""
    about = cfg.get("metadata")
    return cfg.get(name, about.get(name) if isinstance(about, dict) else None)


def _of_version_6(cfg: dict) -> dict:
    """Settings of any version by the names of version 6, which has those of the text in ``metadata``."""
    about = cfg.get("metadata") or {}
    if not isinstance(about, dict):
        raise Fault(f"cfg.json gives metadata {about!r}; it must be an object")
    if str(cfg.get("sae_lens_version") or about.get("sae_lens_version") or "0").split(".")[0] >= "6":
        return {"architecture": "standard"} | cfg
    cfg = {"architecture": "standard", "prepend_bos": True} | {RENAMED.get(k, k): v for k, v in cfg.items()}
    inner = cfg.get("activation_fn_kwargs") or {}
    applies = cfg.get("activation_fn_str") or cfg.get("activation_fn")
    if applies == "topk" and inner.get("k") is not None:
        cfg |= {"architecture": "topk", "k": inner["k"]}
    if isinstance(scaled := cfg.get("normalize_activations"), bool):
        cfg["normalize_activations"] = "expected_average_only_in" if scaled else "none"
    return cfg | {"metadata": cfg | about}


def _of_checkpoint(folder: Path, kind: str) -> tuple[dict, dict[str, Tensor]] | None:
    """Settings and weights as SAELens' training would save them for use; None for an unknown architecture."""
    with quietly():
        from sae_lens import TrainingSAE
        from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY

    if kind not in SAE_TRAINING_CLASS_REGISTRY:
        return None
    try:
        training = TrainingSAE.load_from_disk(folder, dtype="float32")
        state, cfg = training.state_dict(), training.cfg.get_inference_sae_cfg_dict()
        training.process_state_dict_for_saving_inference(state)
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        raise Fault(f"cfg.json cannot be used ({' '.join(str(error).split())[:160]})") from None
    return cfg, state

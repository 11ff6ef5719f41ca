"""SAELens, cfg.json and sae_weights.safetensors: every architecture that SAELens runs token by token."""

from __future__ import annotations

from pathlib import Path

from . import Fault, Found, canonical, layer_of, quietly, settings, tensors, type_name

FILES = ("cfg.json", "sae_weights.safetensors")
MORE = ("sparsity.safetensors", "activation_scaler.json")
RELEASES = (None,)


def read(folder: Path) -> Found:
    """A folder that SAELens saved, of any version; a training checkpoint as what it would be saved as."""
    with quietly():
        from sae_lens import TrainingSAE
        from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting
        from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    cfg, state = settings(folder / "cfg.json"), tensors(folder / "sae_weights.safetensors")
    as_saved = cfg
    if lacks := [name for name in ("d_in", "d_sae") if name not in cfg]:
        raise Fault(f"cfg.json lacks {', '.join(lacks)}; is it of another program?")
    kind = cfg.get("architecture", "standard")
    try:
        if kind not in SAE_CLASS_REGISTRY and kind in SAE_TRAINING_CLASS_REGISTRY:
            training = TrainingSAE.load_from_disk(folder, dtype="float32")
            state, cfg = training.state_dict(), training.cfg.get_inference_sae_cfg_dict()
            training.process_state_dict_for_saving_inference(state)
        elif kind in SAE_CLASS_REGISTRY:  # else the builder names the known ones
            cfg = handle_config_defaulting(cfg)
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        raise Fault(f"cfg.json cannot be used ({' '.join(str(error).split())[:160]})") from None
    if "log_threshold" in state:  # checkpoints of SAELens 5
        state["threshold"] = state.pop("log_threshold").float().exp()
    applies = as_saved.get("activation_fn_str") or as_saved.get("activation_fn") or "relu"
    if applies not in ("relu", kind, cfg.get("architecture")):
        raise Fault(f"its latents are made by {applies} (activation_fn); {kind} SAEs are run with relu")
    stored = {}
    factor = state.pop("scaling_factor", None)  # of SAELens 1 to 5: unused without its flag
    if factor is not None and as_saved.get("finetuning_scaling_factor"):
        stored = {"stored": type_name(state["W_dec"].dtype)}
        state["W_dec"] = factor.double()[:, None] * state["W_dec"]
    said = cfg.get("metadata") or {}
    site, target = (canonical(said[k]) if said.get(k) else None for k in ("hook_name", "hook_name_out"))
    layer = layer_of(site or "")
    stated = as_saved.get("hook_layer", said.get("hook_layer"))
    if None not in (stated, layer) and stated != layer:
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

"""circuit-tracer's sets, config.yaml and layer_<N>.safetensors: a transcoder a layer, perhaps with a skip."""

from __future__ import annotations

import re
from pathlib import Path

from ..files import Fault, settings, tensors, type_name
from . import Found, canonical

EACH = "layer_*.safetensors"
KEYS = {"W_enc", "W_dec", "b_enc", "b_dec"}
MORE = ("config.yaml", "wandb-config.yaml")
RELEASES = ("mwhanna_transcoder",)


def read(path: Path) -> Found:
    """One layer's transcoder: W_enc as a layer of torch holds it; JumpReLU where there is a threshold."""
    state = tensors(path)
    state["W_enc"] = state["W_enc"].T
    if "activation_function.threshold" in state:
        state["threshold"] = state.pop("activation_function.threshold").flatten()
    d_sae, d_out = state["W_dec"].shape
    kind = "jumprelu_" * ("threshold" in state) + "skip_" * ("W_skip" in state) + "transcoder"
    cfg = dict(architecture=kind, d_in=state["W_enc"].shape[0], d_sae=d_sae, d_out=d_out)
    cfg |= dict(apply_b_dec_to_input=False, normalize_activations="none")
    facts = places(path, "transcoder_set") | {"stored": type_name(state["W_dec"].dtype)}
    return Found(cfg, state, "config.yaml", path.name, facts)


def places(path: Path, kind: str) -> dict:
    """Where a layer reads and writes, and the model: config.yaml beside it; Fault for one of another kind."""
    if not (config := path.parent / "config.yaml").is_file():
        raise Fault("config.yaml, which says where it reads and writes, is not beside it; put it there")
    about = settings(config)
    if (said := about.get("model_kind", kind)) != kind:
        raise Fault(f"config.yaml says model_kind {said!r}, but {path.name} is a file of a {kind}")
    layer = re.search(r"_(\d+)\.safetensors$", path.name)
    ends = [about.get(f"feature_{end}_hook") for end in ("input", "output")]
    if not layer or not all(isinstance(end, str) for end in ends):
        raise Fault("config.yaml lacks feature_input_hook or feature_output_hook: where it reads and writes")
    site, target = (canonical(f"blocks.{layer[1]}.{end}") for end in ends)
    return {"site": site, "target": target, "layer": int(layer[1]), "model": about.get("model_name")}

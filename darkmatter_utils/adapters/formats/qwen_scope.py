"""Qwen-Scope, layer<N>.sae.pt: TopK SAEs of the residual stream; k and the model are in the folder's name."""

from __future__ import annotations

import re
from pathlib import Path

from ..files import Fault, torch_file, type_name
from . import Found

EACH = "layer*.sae.pt"
KEYS = {"W_enc", "W_dec", "b_enc", "b_dec"}
MORE = ()
TAKES = ("k",)
RELEASES = ("qwen_scope",)


def read(path: Path, k: int | None = None) -> Found:
    """Matrices as two layers of torch hold them; the repository is named SAE-Res-<model>-W<width>K-L0_<k>.
    ``k``: where no folder above has such a name."""
    stored = torch_file(path)
    state = {name: stored[name] for name in KEYS}
    state["W_enc"], state["W_dec"] = state["W_enc"].T, state["W_dec"].T
    named = [re.search(r"SAE-Res-(.+)-W(\d+)K-L0_(\d+)", part) for part in reversed(path.parts[:-1])]
    model, width, stated = next((one.groups() for one in named if one), (None, None, None))
    if stated is None and k is None:
        raise Fault("k is in no file and no folder above is named SAE-Res-…-W…K-L0_…; give it: --k")
    if None not in (stated, k) and int(stated) != k:
        raise Fault(f"--k {k}, but its folder's name says L0_{stated}")
    d_sae, d_in = state["W_dec"].shape
    if width and int(width) * 1024 != d_sae:
        raise Fault(f"its folder's name says {width}K latents, but {path.name} has {d_sae}")
    layer = re.match(r"layer(\d+)\.", path.name)
    cfg = dict(architecture="topk", d_in=d_in, d_sae=d_sae, k=k or int(stated), normalize_activations="none")
    cfg |= dict(apply_b_dec_to_input=False, rescale_acts_by_decoder_norm=False)
    facts = dict(
        l0=cfg["k"], stored=type_name(stored["W_dec"].dtype), model=f"Qwen/{model}" if model else None
    )
    if layer:
        facts |= {"site": f"blocks.{layer[1]}.hook_resid_post", "layer": int(layer[1])}
    return Found(cfg, state, path.name, path.name, facts)

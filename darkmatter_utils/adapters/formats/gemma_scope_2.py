"""Gemma Scope 2, params.safetensors and perhaps config.json: the same, and transcoders with a skip."""

from __future__ import annotations

import re
from pathlib import Path

from . import Found, settings, tensors
from .gemma_scope import found

FILES = ("params.safetensors",)
MORE = ("config.json",)
RELEASES = ("gemma_3",)
PARTS = {
    "output": "res",
    "post_feedforward_layernorm.output": "mlp",
    "self_attn.o_proj.input": "att",
}
"""What the end of hf_hook_point_in says of an SAE."""


def read(folder: Path) -> Found:
    """As Gemma Scope, but that config.json may say the model, the L0, and where it reads. Fault where that is
    not what the folders' names say."""
    about = settings(folder / MORE[0]) if (folder / MORE[0]).is_file() else {}
    if point := re.fullmatch(
        r"model\.(?:language_model\.)?layers\.(\d+)\.(.+)", _said(about, "hf_hook_point_in")
    ):
        about["layer"] = int(point[1])
        if _said(about, "type") in ("", "sae") and point[2] in PARTS:
            about["part"] = PARTS[point[2]]
    if "transcoder" in _said(about, "type"):
        about["part"] = "transcoder"
    return found(folder, FILES[0], tensors(folder / FILES[0]), transcoder="hook_mlp_in", about=about)


def _said(about: dict, name: str) -> str:
    return said if isinstance(said := about.get(name), str) else ""

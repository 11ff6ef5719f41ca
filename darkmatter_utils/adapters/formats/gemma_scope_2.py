"""Gemma Scope 2, params.safetensors and perhaps config.json: the same, and transcoders with a skip."""

from __future__ import annotations

import re
from pathlib import Path

from ..files import Fault, settings, tensors
from . import Found
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
READS, WRITES = "pre_feedforward_layernorm.output", "post_feedforward_layernorm.output"
"""The ends of a transcoder's two points: after the norms, weights and all."""
BLOCK = re.compile(r"model\.(?:language_model\.)?layers\.(\d+)\.(.+)")


def read(folder: Path) -> Found:
    """As Gemma Scope, but that config.json may say the model, the L0, and where it reads. Fault where that is
    not what the folders' names say, or no site."""
    about = settings(folder / MORE[0]) if (folder / MORE[0]).is_file() else {}
    transcodes = "transcoder" in _said(about, "type")
    known = {READS: "transcoder"} if transcodes else PARTS
    if said := _said(about, "hf_hook_point_in"):
        point = BLOCK.fullmatch(said)
        if not point or point[2] not in known:
            valid = ", ".join(f"layers.N.{end}" for end in known)
            raise Fault(f"its config.json has it read at {said}; known are {valid}")
        about |= {"layer": int(point[1]), "part": known[point[2]]}
        writes = _said(about, "hf_hook_point_out")
        if transcodes and writes and not writes.endswith(f"layers.{point[1]}.{WRITES}"):
            raise Fault(f"its config.json has it write at {writes}; known is layers.{point[1]}.{WRITES}")
    elif transcodes:
        about["part"] = "transcoder"
    return found(folder, FILES[0], tensors(folder / FILES[0]), transcoder="mlp.hook_in", about=about)


def _said(about: dict, name: str) -> str:
    return said if isinstance(said := about.get(name), str) else ""

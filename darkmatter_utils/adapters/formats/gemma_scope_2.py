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
    for name, valid in {"type": ("sae", "transcoder"), "architecture": ("jump_relu",)}.items():
        if (said := str(about.get(name) or valid[0])) and not any(word in said for word in valid):
            raise Fault(f"its config.json says {name} {about[name]!r}; known is {' or '.join(valid)}")
    if said := _said(about, "hf_hook_point_in"):
        point = BLOCK.fullmatch(said)
        if not point or point[2] not in known:
            valid = ", ".join(f"layers.N.{end}" for end in known)
            raise Fault(f"its config.json has it read at {said}; known are {valid}")
        about |= {"layer": int(point[1]), "part": known[point[2]]}
        writes = _said(about, "hf_hook_point_out")
        there = f"layers.{point[1]}.{WRITES if transcodes else point[2]}"
        if writes and not writes.endswith(there):
            raise Fault(f"its config.json has it write at {writes}; known is {there}")
    elif transcodes:
        about["part"] = "transcoder"
    stored = tensors(folder / FILES[0])
    if about.get("affine_connection") and "affine_skip_connection" not in stored:
        raise Fault(f"its config.json says affine_connection, but {FILES[0]} has no affine_skip_connection")
    made = found(folder, FILES[0], stored, transcoder="mlp.hook_in", about=about)
    width = about.get("width")
    if width is not None and not _nominal(width, made.cfg["d_sae"]):
        raise Fault(f"its config.json says width {width!r}, but {FILES[0]} has {made.cfg['d_sae']} latents")
    return made


def _nominal(width, d_sae: int) -> bool:
    """Whether a width is that of so many latents; 16k and 16000 stand for 16384."""
    if not (digits := re.fullmatch(r"(\d+)(k|m)?", str(width).lower())):
        return True  # says nothing that could be compared
    said = int(digits[1]) * {"k": 1000, "m": 1_000_000, None: 1}[digits[2]]
    return abs(said / d_sae - 1) < 0.06


def _said(about: dict, name: str) -> str:
    return said if isinstance(said := about.get(name), str) else ""

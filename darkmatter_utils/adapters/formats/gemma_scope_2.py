"""Gemma Scope 2, params.safetensors and perhaps config.json: the same, and transcoders with a skip."""

from __future__ import annotations

from pathlib import Path

from . import Found, settings, tensors
from .gemma_scope import found

FILES = ("params.safetensors",)
MORE = ("config.json",)
RELEASES = ("gemma_3",)


def read(folder: Path) -> Found:
    """As Gemma Scope, but that config.json may say the model and the L0."""
    about = settings(folder / MORE[0]) if (folder / MORE[0]).is_file() else {}
    return found(folder, FILES[0], tensors(folder / FILES[0]), transcoder="hook_mlp_in", about=about)

"""What lies where a model was said to be: refused by its name, where it is no model that can be read."""

from __future__ import annotations

from pathlib import Path

from ..base.errors import BadInput
from .files import LFS

ADAPTERS = ("adapter_config.json", "adapter_model.*", "adapters.safetensors", "pytorch_lora_weights.*")
"""Files of a LoRA or another adapter, which transformers leaves out."""
OTHERS = {"ONNX": "*.onnx", "TensorFlow": "*.h5", "MLX": "weights*.npz", "Core ML": "*.mlpackage"}
"""Weights that are not read, and their files."""
VALID = "a model is a transformers folder with config.json or a GGUF file"


def check_model(path: Path, name: str) -> None:
    """BadInput unless a path may be a transformers folder: one with config.json and no adapter, whose
    weights are not those of another program, nor pointers to them."""
    say = lambda line: BadInput(f"model {name}: {line}")
    if path.is_file():
        folder = (path.parent / "config.json").is_file()
        raise say(f"that file is no GGUF file; {f'give its folder, {path.parent}' if folder else VALID}")
    if not path.is_dir():
        raise say(f"there is no such folder; {VALID}")
    if found := [file.name for pattern in ADAPTERS for file in path.glob(pattern)]:
        merge = "merge it into the weights and save both as one model (peft: merge_and_unload)"
        lies = (
            "an adapter lies beside its weights" if (path / "config.json").is_file() else "it is an adapter"
        )
        raise say(f"{lies} ({found[0]}); {merge}")
    weights = [*path.glob("*.safetensors"), *path.glob("pytorch_model*")]
    other = [] if weights else [kind for kind, pattern in OTHERS.items() if any(path.glob(pattern))]
    if other:
        raise say(f"its weights are {other[0]}'s, which are not read; {VALID}, weights in safetensors")
    if not (path / "config.json").is_file():
        raise say("that folder has no config.json, nor a GGUF file")
    for file in weights:
        with file.open("rb") as opened:
            if opened.read(len(LFS)) == LFS:
                pointer = "is a Git LFS pointer, not the weights; fetch them with: git lfs pull"
                raise say(f"{file.name} {pointer}")

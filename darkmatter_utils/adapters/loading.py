"""A model's folder, refused by its name where it is none that can be read; weights, whole or drawn anew."""

from __future__ import annotations

from pathlib import Path

import torch

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


class Whole:
    """transformers' loader fills up weights that a file lacks with random ones; here that is an error.

    But for an output head: a model that was saved without one, or with another task's, can be read
    (``headless``).
    """

    @staticmethod
    def from_pretrained(source: str, **settings):
        """transformers' own, with that check."""
        from transformers import AutoModelForCausalLM

        model, info = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **settings)
        lacks = sorted(info["missing_keys"]) + sorted(key for key, *_ in info["mismatched_keys"])
        over = sorted(key for key in info["unexpected_keys"] if key.endswith(".weight"))
        head = next((n for n, m in model.named_modules() if m is model.get_output_embeddings()), "")
        model.headless = f"{head}.weight" in lacks
        if model.headless:
            lacks = [name for name in lacks if not name.startswith(f"{head}.")]
            over = [name for name in over if name.startswith(f"{model.base_model_prefix}.")]
        for names, what in ((lacks, "lacks"), (over, "has, beyond its config.json,")):
            if names:
                some = ", ".join(names[:2]) + ", ..." * (len(names) > 2)
                why = "its files and its config.json do not fit, or a file is missing"
                raise BadInput(f"model {Path(source).name} {what} {len(names)} weight(s) ({some}): {why}")
        return model


@torch.no_grad()
def randomise(model: torch.nn.Module, *, seed: int) -> None:
    """Draw every matrix anew, in place: normal, with its own mean and standard deviation; vectors stay.

    A model that computes nothing it learned while its activations keep their scale (Heap et al., 2501.17727).
    Tied matrices stay tied. The numbers depend on the seed and the order of the parameters only.
    """
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim >= 2:
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32).to(weight.device)
            weight.copy_(noise * weight.float().std() + weight.float().mean())

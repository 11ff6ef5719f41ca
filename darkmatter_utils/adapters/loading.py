"""Weights of a model as its files have them: whole, or drawn anew."""

from __future__ import annotations

from pathlib import Path

import torch

from ..base.errors import BadInput


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

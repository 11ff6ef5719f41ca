"""Language models: load one, name its sites, run it. The only module that knows transformer_lens."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from unittest import mock

import torch
from torch.nn import functional as F

from ..base.errors import BadInput, nearest
from . import gguf
from .loading import Whole, randomise

SITES = (
    "hook_resid_pre",
    "attn.hook_z",
    "hook_attn_out",
    "hook_resid_mid",
    "hook_mlp_in",
    "ln2.hook_normalized",
    "mlp.hook_in",
    "hook_mlp_out",
    "hook_resid_post",
)
"""Activations of a block that an SAE can be about, as they are computed; a site is ``blocks.<layer>.<one of
these>``. ``mlp.hook_in`` is what the MLP is given, ``ln2.hook_normalized`` that before the norm's weights."""
SAME = {"hook_mlp_in": "hook_resid_mid"}
"""A name that the library fires on demand only, and what it is a copy of."""
DTYPES = {name: getattr(torch, name) for name in ("float64", "float32", "bfloat16", "float16")}
ONE_KERNEL = ("llama", "mistral", "qwen2", "qwen3")
"""transformers' types whose attention is one kernel of torch's: no soft cap, no sink."""
MISREAD = ("cohere",)
"""transformers' types whose activations the bridge gives wrongly: 3% of a token's norm after one block."""
LONG = 256
"""Positions beyond which that kernel is the faster on a CPU."""

FAMILIES = {
    "gpt2": "gpt2",
    "gemma-2b": "gemma",
    "gemma-7b": "gemma",
    "gemma-2": "gemma2",
    "gemma-3": "gemma3",
    "llama": "llama",
    "pythia": "gpt_neox",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
"""Parts of models' names, and transformers' types."""


@dataclass(frozen=True)
class LanguageModel:
    """A loaded language model and what can be read from it."""

    name: str
    bridge: object
    layers: int
    d_model: int
    vocabulary: int
    context: int
    tokenizer: object = None
    """As the model's files have it: the bridge's own gives <bos> to one that has none."""
    quantised: str = ""
    """What most of its weights were rounded to before they were dequantised, such as Q4_1; "" for none."""

    def sites(self) -> list[str]:
        """Every site of every block, first to last."""
        return [f"blocks.{layer}.{site}" for layer in range(self.layers) for site in SITES]

    def width(self, site: str) -> int:
        """Dimensions of the activation at a site: at ``attn.hook_z`` those of all heads together."""
        cfg = self.bridge.cfg
        return cfg.n_heads * cfg.d_head if site.endswith("hook_z") else cfg.d_model

    @property
    def title(self) -> str:
        """Its name, and what was done to its weights: "m.gguf, dequantised from Q4_1"."""
        return f"{self.name}, dequantised from {self.quantised}" if self.quantised else self.name

    @property
    def special(self) -> list[int]:
        """Ids of the tokens that stand for no text: <bos>, padding, marks of a chat. An unknown word is text,
        unless its token is such a mark too."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return [id for id, token in added.items() if token.special and "unk" not in token.content.lower()]

    @property
    def parameters(self) -> int:
        """Numbers in the model's weights."""
        return sum(weight.numel() for weight in self.bridge.parameters())

    @property
    def family(self) -> str:
        """The kind of model that its configuration names, e.g. ``gemma2``."""
        return self.bridge.original_model.config.model_type

    def check_site(self, site: str) -> int:
        """The layer of ``site``; BadInput names the nearest valid sites if there is none of that name."""
        if site not in self.sites():
            raise BadInput(f"{self.name} has no site '{site}'; {nearest(site, self.sites())}")
        return int(site.split(".")[1])

    @torch.no_grad()
    def run(self, tokens: torch.Tensor, sites: Sequence[str], **how) -> tuple[dict, torch.Tensor]:
        """One pass: ({site: activations [context, position, d]}, logits [context, position, vocabulary]), in
        float32 where the model runs in less. Raises BadInput for a token id outside the vocabulary, and for a
        model without a head."""
        self.check_tokens(tokens)
        if "stop_at_layer" not in how and getattr(self.bridge.original_model, "headless", False):
            raise BadInput(f"{self.name} was saved without its output head: it has no logits and no loss")
        for site in sites:
            self.check_site(site)
        names = {site: _read_at(site) for site in sites}
        with self._one_kernel(tokens.shape[1]):
            logits, cache = self.bridge.run_with_cache(tokens, names_filter=list(names.values()), **how)
        return {site: _wide(cache[name]).flatten(2) for site, name in names.items()}, _wide(logits)

    @contextlib.contextmanager
    def _one_kernel(self, positions: int) -> Iterator[None]:
        """Attention of long contexts by transformers' module and torch's kernel: the library's own steps,
        there for hooks on scores and patterns, take SmolLM2 1.2 × as long at 512 positions."""
        blocks = self.bridge.blocks if positions > LONG and self.family in ONE_KERNEL else ()
        config = self.bridge.original_model.config
        before = config._attn_implementation

        def forward(attention, *given, **named):
            x, *given = (named.pop("hidden_states"),) if "hidden_states" in named else given
            out, weights = attention.original_component(attention.hook_in(x), *given, **named)
            return attention.hook_out(out), weights

        try:
            for block in blocks:
                config._attn_implementation = "sdpa"
                vars(block.attn)["forward"] = MethodType(forward, block.attn)  # its setattr goes further down
            yield
        finally:
            config._attn_implementation = before
            for block in blocks:
                vars(block.attn).pop("forward", None)

    def read(self, tokens: torch.Tensor, sites: Sequence[str]) -> dict[str, torch.Tensor]:
        """As `run`, without logits: the blocks after the last site are not run, nor is the unembedding."""
        last = max(self.check_site(site) for site in sites)
        return self.run(tokens, sites, stop_at_layer=last + 1)[0]

    def activations(self, tokens: torch.Tensor, site: str) -> torch.Tensor:
        """Activations [context, position, d] at one site; the blocks after it are not run."""
        return self.read(tokens, [site])[site]

    def check_tokens(self, tokens: torch.Tensor) -> None:
        """BadInput if a token id is not one of the model's."""
        low, high, last = int(tokens.min()), int(tokens.max()), self.vocabulary - 1
        if low < 0 or high > last:
            outside = f"token id {low if low < 0 else high} is outside the vocabulary of {self.name}"
            raise BadInput(f"{outside} (0 to {last}): the text was encoded with another tokenizer")

    @contextlib.contextmanager
    def replaced(self, site: str, function) -> Iterator[None]:
        """Inside the ``with``, the activation at ``site`` is ``function(activation)``."""
        self.check_site(site)
        hook = lambda value, hook: function(_wide(value)).to(value.dtype)
        with self.bridge.hooks(fwd_hooks=[(_read_at(site), hook)]):
            yield


def _read_at(site: str) -> str:
    block, _, place = site.rpartition(".")
    return f"{block}.{SAME.get(place, place)}"


def _wide(value: torch.Tensor) -> torch.Tensor:
    """What is read from a model in half precision is never reckoned with in less than float32."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def place(site: str) -> tuple[int, int] | None:
    """(block, place within it) of a site, which sorts sites as they are computed; None for another name."""
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", site)
    return (int(found[1]), SITES.index(found[2])) if found and found[2] in SITES else None


def token_losses(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Nats of predicting the *next* token at each position, [context, position]; NaN at the last position.

    A context at a time, its vocabulary side by side in memory: of 49,152 words that takes a sixth of the time
    and leaves a twentieth of the rounding error.
    """
    each = [F.cross_entropy(own[:-1], next[1:], reduction="none") for own, next in zip(logits, tokens)]
    return F.pad(torch.stack(each), (0, 1), value=float("nan"))


def load_model(
    source: str | Path,
    *,
    name: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    random_weights: int | None = None,
) -> LanguageModel:
    """Load a transformers folder, a hub name or a GGUF file through TransformerBridge, weights unprocessed.

    ``random_weights``: a seed; every matrix is drawn anew from a normal law with the trained matrix's mean
    and spread. Raises BadInput for a folder without a model, for weights that are missing or left over, and
    for an unknown dtype. Cost: a second's import, then the weights.
    """
    if dtype not in DTYPES:
        raise BadInput(f"unknown dtype '{dtype}'; valid: {', '.join(DTYPES)}")
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    path, given = Path(source), {"model_class": Whole}
    if packed := gguf.find(str(source)):
        whole, tokenizer = gguf.load(packed)
        given = {"hf_model": whole.to(device), "tokenizer": tokenizer}  # the bridge moves only its own
    elif path.is_dir() and not (path / "config.json").is_file():
        raise BadInput(f"{path} is not a transformers folder: it has no config.json")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.getLogger("transformer_lens").setLevel(logging.ERROR)
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoProcessor

    # Text needs no image processor, for which the bridge would install packages by pip.
    with mock.patch.object(AutoProcessor, "from_pretrained", lambda *_, **__: None):
        bridge = TransformerBridge.boot_transformers(str(source), device=device, **given)
    if (kind := bridge.original_model.config.model_type) in MISREAD:
        raise BadInput(f"{path.name} is of the family {kind}, whose activations TransformerLens misreads")
    if random_weights is not None:
        randomise(bridge.original_model, seed=random_weights)
    if any(weight.dtype != DTYPES[dtype] for weight in bridge.parameters()):  # takes 12 s of 30 layers
        with contextlib.redirect_stdout(io.StringIO()):  # the bridge prints every change of dtype
            bridge.to(DTYPES[dtype])
    bridge.eval()
    bridge.original_model.requires_grad_(False)
    try:
        tokenizer = given.get("tokenizer") or load_tokenizer(source)
    except (OSError, ValueError, KeyError, TypeError):
        tokenizer = None  # there is none
    cfg, name = bridge.cfg, name or path.name
    about = (cfg.n_layers, cfg.d_model, cfg.d_vocab, cfg.n_ctx, tokenizer)
    return LanguageModel(name, bridge, *about, gguf.quantisation(packed) if packed else "")


def load_tokenizer(source: str | Path):
    """The tokenizer of what `load_model` takes, without the model."""
    from transformers import AutoTokenizer

    if packed := gguf.find(str(source)):
        return AutoTokenizer.from_pretrained(str(packed.parent), gguf_file=packed.name)
    return AutoTokenizer.from_pretrained(str(source))


def family(name: str) -> str | None:
    """transformers' type of a model by its name; None for a name that says nothing of it."""
    return next((kind for part, kind in FAMILIES.items() if part in name.lower()), None)


def check_device(device: str) -> None:
    """BadInput unless tensors can be put on ``device``."""
    try:
        if torch.device(device).type not in ("cpu", "cuda", "mps"):
            raise ValueError("not one to compute on")
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises many kinds
        why = " ".join(str(error).split())[:80]
        has = "are cuda and cpu" if torch.cuda.is_available() else "is cpu"
        raise BadInput(f"device '{device}' cannot be used here ({why}); there {has}") from None

"""SAEs: load one, run it, read its card. The only module, beside its trainer, that knows sae_lens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..base.errors import BadInput

CHUNK = 1 << 19
"""Latents made at a time (tokens × d_sae): those of one chunk stay in the processor's cache."""


@dataclass(frozen=True)
class Codes:
    """The active latents of some tokens."""

    latent: Int[Tensor, "active"]
    """Latent of each entry, token after token."""
    value: Float[Tensor, "active"]
    l0: Int[Tensor, "token"]
    x: Tensor | None = None
    """The activations, kept only where decoding needs them."""

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return sum(t.nbytes for t in (self.latent, self.value, self.l0, self.x) if t is not None)


@dataclass(frozen=True)
class Sae:
    """A loaded SAE: a reconstruction of activations and how many latents each took."""

    id: str
    kind: str
    width: int
    """Latents, d_sae."""
    d_model: int
    sae: object
    """The sae_lens SAE, in eval mode."""

    def reconstruct(self, batch) -> tuple[Float[Tensor, "token d_model"], Int[Tensor, "token"]]:
        """(Sae(x), active latents) of a batch's ``x``, or of a plain array [token, d_model]."""
        codes = self.codes(batch)
        return self.decode(codes), codes.l0

    @torch.no_grad()
    def codes(self, batch) -> Codes:
        """The active latents of each token. Cost: tokens × d_model × d_sae multiplications, a chunk at a
        time."""
        x = torch.as_tensor(getattr(batch, "x", batch))
        parts, small = [], torch.int16 if self.width <= 1 << 15 else torch.int32
        for part in x.split(self.rows):
            latents = self.sae.encode(part.to(self.sae.W_dec))
            row, latent = latents.nonzero(as_tuple=True)
            parts.append(
                (latent.to(small), latents[row, latent], torch.bincount(row, minlength=len(part)).int())
            )
        latent, value, l0 = (torch.cat(arrays) for arrays in zip(*parts))
        return Codes(latent, value, l0, x if self._remembers else None)

    @property
    def rows(self) -> int:
        """Tokens encoded at a time."""
        return max(64, CHUNK // self.width)

    @torch.no_grad()
    def decode(self, codes: Codes) -> Float[Tensor, "token d_model"]:
        """Sae(x) from the active latents: a sum of decoder rows, so the silent ones cost nothing."""
        if (
            codes.x is not None
        ):  # the input was normalised token by token; sae_lens must see it again to undo that
            return torch.cat([self.sae(part.to(self.sae.W_dec)) for part in codes.x.split(self.rows)])
        first = (codes.l0.cumsum(0) - codes.l0).int()
        return self.sae.b_dec + F.embedding_bag(
            codes.latent.int(), self.sae.W_dec, first, mode="sum", per_sample_weights=codes.value
        )

    @property
    def _remembers(self) -> bool:
        cfg = self.sae.cfg
        return cfg.normalize_activations not in (None, "none") or cfg.reshape_activations not in (
            None,
            "none",
        )

    @torch.no_grad()
    def firing(self, x: Float[Tensor, "token d_model"]) -> Int[Tensor, "d_sae"]:
        """How many of the tokens each latent fires on."""
        x = torch.as_tensor(x)
        return sum((self.sae.encode(part.to(self.sae.W_dec)) != 0).sum(dim=0) for part in x.split(self.rows))


def load_sae(id: str, folder: Path, *, d_model: int, dtype: str = "float32", device: str = "cpu") -> Sae:
    """Load an SAE that SAELens saved; weights may be stored in float16, arithmetic is in ``dtype``.

    Raises BadInput where the folder holds no SAE, or weights of another shape than its configuration or the
    model's activations say, or values that are NaN or infinite.
    """
    if not (folder / "cfg.json").is_file() or not (folder / "sae_weights.safetensors").is_file():
        raise BadInput(
            f"SAE {id}: {folder.name} needs cfg.json and sae_weights.safetensors (SAELens' format)"
        )
    from sae_lens import SAE

    try:
        sae = SAE.load_from_disk(folder, device=device, dtype=dtype)
    except Exception as error:  # safetensors and sae_lens raise many kinds for a damaged folder
        raise BadInput(
            f"SAE {id}: {folder.name} cannot be read ({' '.join(str(error).split())[:160]})"
        ) from None
    sae.eval()
    for name, weight in sae.state_dict().items():
        if not torch.isfinite(weight).all():
            raise BadInput(
                f"SAE {id}: {name} holds NaN or infinite values; the file is damaged or overflowed"
            )
    if sae.cfg.d_in != d_model or tuple(sae.W_dec.shape) != (sae.cfg.d_sae, d_model):
        raise BadInput(
            f"SAE {id}: decodes to {sae.W_dec.shape[1]} dimensions (d_in {sae.cfg.d_in}), "
            f"but the site's activations have {d_model}; it belongs to another model or site"
        )
    return Sae(id, sae.cfg.architecture(), sae.cfg.d_sae, d_model, sae)


def shrink(folder: Path, threshold: Tensor | None = None) -> None:
    """Rewrite a saved SAE with weights in float16 and thresholds in float32 (new ones if given), in place."""
    from safetensors.torch import load_file, save_file

    path = folder / "sae_weights.safetensors"
    state = load_file(path)
    if threshold is not None:
        state["threshold"] = threshold
    for name, value in state.items():
        keep = torch.float32 if name == "threshold" else torch.float16
        if value.abs().max() > torch.finfo(keep).max:
            raise BadInput(f"{folder.name}: {name} overflows {keep}")
        state[name] = value.to(keep).contiguous()
    save_file(state, path)
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg = {k: v for k, v in cfg.items() if k != "metadata"} | {"dtype": "float32", "device": "cpu"}
    (folder / "cfg.json").write_text(json.dumps(cfg, indent=1, sort_keys=True) + "\n")


@torch.no_grad()
def threshold_for(sae, x: Float[Tensor, "token d_model"], l0: float) -> Float[Tensor, "d_sae"]:
    """The one threshold at which a JumpReLU SAE's mean number of active latents on ``x`` is ``l0``.

    The (l0 · tokens)-th largest pre-activation: a count decides, never an error. One pass; memory of about
    2 · l0 · tokens numbers. Raises BadInput if too few pre-activations are positive.
    """
    wanted, rows = round(l0 * len(x)), max(64, CHUNK // sae.cfg.d_sae)
    first = _pre(sae, x[:rows]).flatten()
    floor = float(
        first.kthvalue(max(1, len(first) - min(len(first) - 1, int(2 * l0 * min(rows, len(x)))))).values
    )
    for low in (floor, 0.0):  # the first chunk may not speak for all
        values = torch.cat([pre[pre > low] for part in x.split(rows) for pre in [_pre(sae, part)]])
        if len(values) > wanted:
            edge = values.kthvalue(len(values) - wanted).values
            return torch.full((sae.cfg.d_sae,), float(edge), dtype=torch.float32)
    raise BadInput(
        f"no threshold gives an L0 of {l0}: only {len(values) / len(x):.3g} latents a token are positive"
    )


def _pre(sae, x: Tensor) -> Tensor:
    return torch.relu(sae.process_sae_in(x.to(sae.W_enc)) @ sae.W_enc + sae.b_enc)


def nearest_l0(entries: Sequence, l0: float):
    """The entry whose target L0 is nearest on a log scale; the lower one of two equally near."""
    from math import log

    known = [e for e in entries if e.l0]
    if not known:
        raise BadInput("none of these SAEs says its L0, so none is nearest to one")
    return min(known, key=lambda e: (abs(log(e.l0 / l0)), e.l0))

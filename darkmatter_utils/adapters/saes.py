"""SAEs: load one of any published format, run it, read its card."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional as F

from ..base.errors import BadInput, nearest
from . import formats
from .dictionary import ARCHITECTURES, NORMALISATIONS, Dictionary, rows_at_once, threshold_for
from .files import Fault, settings, tensors, type_name
from .formats import Card, Found, canonical, check, layer_of, name_of, saelens
from .models import DTYPES, LanguageModel

OF_MODULES = ("sparsify", "dictionary-learning")
"""Formats of libraries that read a module's own output."""
AFTER = ("post_feedforward_layernorm", "post_mlp_layernorm")
"""Norms between an MLP and the stream: with one, what a half of a block gives out is no site."""
ADDS = ("bloom", "mpt")
"""transformers' types whose halves give out the stream after them."""
ODD = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
"""What a setting raises whose type or value none should have."""


@dataclass(frozen=True)
class Active:
    """The active latents of some tokens."""

    latent: Int[Tensor, "active"]
    """Token after token, ascending."""
    value: Float[Tensor, "active"]
    l0: Int[Tensor, "token"]
    x: Tensor | None = None
    """Kept only where decoding needs it."""

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return sum(t.nbytes for t in (self.latent, self.value, self.l0, self.x) if t is not None)

    def csr(self, d_sae: int) -> csr_array:
        """As a sparse matrix [token, d_sae], float64."""
        first = np.concatenate([[0], np.cumsum(self.l0.numpy(force=True))])
        value, latent = self.value.double().numpy(force=True), self.latent.numpy(force=True)
        return csr_array((value, latent.astype(np.int64), first), shape=(len(self.l0), d_sae))

    def padded(self) -> tuple[Int[Tensor, "token k"], Float[Tensor, "token k"]]:
        """(latents, values) with a row of slots for each token; unused ones hold 0."""
        l0 = self.l0.long()
        row = torch.repeat_interleave(torch.arange(len(l0), device=l0.device), l0)
        slot = torch.arange(len(row), device=l0.device) - (l0.cumsum(0) - l0)[row]
        shape = (len(l0), int(l0.max()) if len(l0) else 0)
        indices, values = torch.zeros(shape, dtype=torch.int64, device=l0.device), self.value.new_zeros(shape)
        indices[row, slot], values[row, slot] = self.latent.long(), self.value
        return indices, values


@dataclass(frozen=True)
class Sae:
    """A loaded SAE: a reconstruction of activations and how many latents each took."""

    id: str
    kind: str
    width: int
    d_model: int
    """Dimensions that it reads; it writes ``card.d_out``."""
    sae: Dictionary
    card: Card

    def reconstruct(self, batch) -> tuple[Float[Tensor, "token d_model"], Int[Tensor, "token"]]:
        """(Sae(x), active latents) of a batch's ``x``, or of a plain array [token, d_model]."""
        codes = self.codes(batch)
        return self.decode(codes), codes.l0

    @torch.no_grad()
    def codes(self, batch) -> Active:
        """The active latents of each token. Cost: tokens × d_model × d_sae multiplications."""
        x = torch.as_tensor(getattr(batch, "x", batch))
        parts, small = [], torch.int16 if self.width <= 1 << 15 else torch.int32
        for part in x.split(self.rows):
            latents = self.sae.encode(part.to(self.sae.W_dec))
            row, latent = latents.nonzero(as_tuple=True)
            l0 = torch.bincount(row, minlength=len(part)).int()
            parts.append((latent.to(small), latents[row, latent], l0))
        latent, value, l0 = (torch.cat(arrays) for arrays in zip(*parts))
        return Active(latent, value, l0, x if self.needs_x else None)

    @property
    def rows(self) -> int:
        """Tokens encoded at a time."""
        return rows_at_once(self.width)

    @torch.no_grad()
    def decode(self, codes: Active) -> Float[Tensor, "token d_model"]:
        """Sae(x) from the active latents: a sum of decoder rows, so the silent ones cost nothing."""
        if codes.x is not None:  # normalised token by token, or with a skip
            return torch.cat([self.sae(part.to(self.sae.W_dec)) for part in codes.x.split(self.rows)])
        first = (codes.l0.cumsum(0) - codes.l0).int()
        how = dict(mode="sum", per_sample_weights=codes.value)
        return self.sae.b_dec + F.embedding_bag(codes.latent.int(), self.sae.W_dec, first, **how)

    @property
    def dictionary(self) -> Float[Tensor, "d_sae d_model"]:
        """The decoder's rows."""
        return self.sae.W_dec.detach()

    @property
    def bias(self) -> Float[Tensor, "d_model"]:
        """The decoder's bias."""
        return self.sae.b_dec.detach()

    @property
    def weights(self) -> list[Tensor]:
        """Its tensors of weights."""
        return list(self.sae.parameters())

    @cached_property
    def digest(self) -> str:
        """Of its weights and settings. Cost: a read of the weights."""
        made = hashlib.blake2b(str(sorted(self.sae.cfg.items(), key=str)).encode(), digest_size=16)
        for name, weight in sorted(self.sae.named_parameters()):
            made.update(f"{name} {weight.dtype}".encode() + weight.numpy(force=True).tobytes())
        return made.hexdigest()

    def save(self, folder: Path) -> None:
        """Write it as SAELens does."""
        self.sae.save(folder)

    @property
    def needs_x(self) -> bool:
        """Whether Sae(x) is more than a sum of decoder rows and b_dec, so that decoding must see x again."""
        return self.sae.needs_x

    def changed(self, *, weights: dict | None = None, **settings) -> Sae:
        """The SAE with other settings or weights, by SAELens' names, its own untouched. Of ``weights``, a
        function is given what is there, and None leaves one out."""
        held = {name: weight.detach() for name, weight in self.sae.named_parameters()}
        for name, new in (weights or {}).items():
            held[name] = new(held[name]) if callable(new) and not isinstance(new, Tensor) else new
        held = {name: weight for name, weight in held.items() if weight is not None}
        made = Dictionary(self.sae.cfg | settings, held)
        return replace(self, kind=made.kind, sae=made, card=replace(self.card, architecture=made.kind))

    @torch.no_grad()
    def set_l0(self, x: Float[Tensor, "token d_model"], l0: float) -> None:
        """Move a JumpReLU SAE's threshold to where its mean L0 on ``x`` is ``l0``; see `threshold_for`."""
        self.sae.threshold.copy_(threshold_for(self.sae, x, l0))

    @torch.no_grad()
    def firing(self, x: Float[Tensor, "token d_model"]) -> Int[Tensor, "d_sae"]:
        """How many of the tokens each latent fires on."""
        x = torch.as_tensor(x)
        return sum((self.sae.encode(part.to(self.sae.W_dec)) != 0).sum(dim=0) for part in x.split(self.rows))


def load_sae(id: str, folder: Path, *, d_model: int, dtype: str = "float32", device: str = "cpu") -> Sae:
    """A study's SAE, in SAELens' format, weights in any type, arithmetic in ``dtype``. Raises BadInput as
    `load_any`, and for an SAE of other activations than the model's."""
    sae = _loaded(saelens, folder, id, dtype, device)
    if (sae.card.d_in, sae.card.d_out) != (d_model, d_model):
        what = f"decodes to {sae.card.d_out} dimensions (d_in {sae.card.d_in})"
        but = f"but the site's activations have {d_model}; it belongs to another model or site"
        raise BadInput(f"SAE {id}: {what}, {but}")
    return sae


def load_any(
    path: str | Path, *, dtype: str = "float32", device: str = "cpu", said: dict | None = None
) -> Sae:
    """The SAE in a folder or file of any published format. Thresholds are float32 or wider whatever ``dtype``
    is. ``said``: settings that its files do not hold (k, threshold, b_dec_in), for formats that take them.

    Raises BadInput for damaged, incomplete, contradictory or mis-shaped files, NaN, infinity, weights too
    large for ``dtype``, and a setting that is not the format's to take. Cost: one pass over the weights.
    """
    try:
        place, format = formats.recognise(path)
    except Fault as fault:
        raise BadInput(f"SAE {Path(path).name}: {fault}") from None
    return _loaded(format, place, place.stem if place.is_file() else place.name, dtype, device, said)


def of_halves(model: LanguageModel) -> str:
    """Why what a block's MLP and attention give out is not added to the stream as it is; "" where it is."""
    if any(part.endswith(AFTER) for part, _ in model.bridge.original_model.named_modules()):
        return "a norm follows it"
    return "it has the stream added to it" if model.family in ADDS else ""


def match(sae: Sae, model: LanguageModel, site: str | None = None) -> tuple[str, str]:
    """(site that the SAE reads, that it writes) in ``model``; ``site``: where the folder names none. Raises
    BadInput for another site than the SAE's own, a layer or site that the model lacks, and widths that
    differ."""
    card, say = sae.card, lambda line: BadInput(f"SAE {sae.id} {line}")
    asked = canonical(site) if site else None
    if asked and card.site and asked != card.site:
        raise say(f"was trained at {card.site}, not at {asked}; leave the site out, or give its own")
    if (reads := asked or card.site) is None:
        raise say("does not say where it reads; give a site, e.g. blocks.0.hook_resid_post")
    if "transcoder" in card.architecture and card.target is None:
        raise say("is a transcoder that does not say where it writes (hook_name_out in its metadata)")
    writes = card.target or reads
    ends = [(place, card.d_in, "reads") for place in (*card.earlier, reads)]
    if card.format in OF_MODULES and writes.endswith(("mlp_out", "attn_out")) and (why := of_halves(model)):
        what = f"was trained on what a module of {model.name} ({model.family}) gives out"
        raise say(f"{what}, but {why}: that is not {writes}, nor another site")
    for place, width, verb in (*ends, (writes, card.d_out, "writes")):
        if (layer := layer_of(place)) is not None and layer >= model.layers:
            raise say(f"{verb} at {place}, but {model.name} has layers 0 to {model.layers - 1}")
        model.check_site(place)
        if (has := model.width(place)) != width:
            but = f"but {place} of {model.name} has {has}; it belongs to another model or site"
            raise say(f"{verb} {width} dimensions, {but}")
    return reads, writes


def _loaded(format, path: Path, id: str, dtype: str, device: str, said: dict | None = None) -> Sae:
    if dtype not in DTYPES:
        raise BadInput(f"unknown dtype '{dtype}'; valid: {', '.join(DTYPES)}")
    name, takes = name_of(format), getattr(format, "TAKES", ())
    said = {key: value for key, value in (said or {}).items() if value is not None}
    if path.is_dir() and not all((path / file).is_file() for file in format.FILES):
        raise BadInput(f"SAE {id}: {path.name} needs {' and '.join(format.FILES)} ({name})")
    if over := [f"--{key.replace('_', '-')}" for key in said if key not in takes]:
        only = " and ".join(f"--{key.replace('_', '-')}" for key in takes) or "none of these"
        raise BadInput(f"SAE {id}: its files ({name}) say what {', '.join(over)} would; {name} takes {only}")
    try:
        return _built(format.read(path, **said), path, name, id=id, dtype=DTYPES[dtype], device=device)
    except Fault as fault:
        raise BadInput(f"SAE {id}: {fault}") from None
    except ODD as error:  # a setting of a type that none should have
        why = f"cannot be used ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        raise BadInput(f"SAE {id}: its {name} files {why}; compare them with a published SAE's") from None


@torch.no_grad()
def _built(found: Found, path: Path, format: str, *, id: str, dtype: torch.dtype, device: str) -> Sae:
    cfg, state, notes = dict(found.cfg), found.state, list(found.facts.pop("warnings", ()))
    if (kind := cfg["architecture"]) not in ARCHITECTURES:
        why = "reads whole contexts, not tokens" if kind == "temporal" else "is not known"
        raise Fault(f"architecture '{kind}' {why}; {nearest(kind, ARCHITECTURES)}")
    sizes = check(found)
    if "threshold" in state and (below := int((state["threshold"] < 0).sum())):
        lets = "where a JumpReLU lets all that is positive pass"
        notes.append(f"{below} of {sizes['d_sae']} thresholds are below 0, {lets}")
    fine = torch.promote_types(dtype, torch.float32)  # what is folded is folded in this
    stored = type_name(state["W_dec"].dtype)
    if "threshold" in state and state["threshold"].dtype in (torch.float16, torch.bfloat16):
        half = type_name(state["threshold"].dtype)
        notes.append(f"thresholds were stored in {half}: the L0 may differ from the published")
    if (normalisation := cfg.get("normalize_activations") or "none") not in NORMALISATIONS:
        valid = ", ".join(NORMALISATIONS)
        raise Fault(f"{found.about} says normalize_activations {normalisation!r}; valid: {valid}")
    sae = Dictionary(cfg, {name: weight.to(device, fine).contiguous() for name, weight in state.items()})
    if normalisation in ("expected_average_only_in", "covariance_whitening"):
        normalisation = _folded(sae, path, normalisation, notes)
    if dtype != fine:
        _cast(sae, dtype)
    facts = {"normalisation": normalisation, "stored": stored} | found.facts
    card = Card(format=format, architecture=kind, **sizes, **facts, warnings=tuple(notes))
    return Sae(id, kind, sizes["d_sae"], sizes["d_in"] * sae.layers, sae, card)


def _folded(sae: Dictionary, folder: Path, normalisation: str, notes: list[str]) -> str:
    """Fold what was done to all activations alike into the weights, where the folder says by how much."""
    about, matrices = folder / "activation_scaler.json", folder / "activation_whitening.safetensors"
    factor = settings(about).get("scaling_factor") if about.is_file() else None
    if factor is not None:
        sae.scale_input(factor)
    elif about.is_file() and matrices.is_file():
        whitening = tensors(matrices)
        sae.whiten_input(*(whitening[name] for name in ("mean", "matrix", "inverse_matrix")))
    if sae.normalises == "none":
        return "folded"
    notes.append(
        f"it was trained on activations scaled by {normalisation}, but the folder holds no factor "
        "(activation_scaler.json); it is applied to activations as they are"
    )
    sae.cfg["normalize_activations"] = "none"
    return normalisation


def _cast(sae: Dictionary, dtype: torch.dtype) -> None:
    """Weights to ``dtype``, thresholds as they are: rounding a threshold changes which latents fire."""
    for name, weight in sae.state_dict().items():
        if (most := float(weight.abs().max())) > torch.finfo(dtype).max:
            raise Fault(f"{name} reaches {most:.3g}, too large for {type_name(dtype)}; use float32")
    kept = sae.threshold.detach().clone() if "threshold" in sae.state_dict() else None
    sae.to(dtype=dtype)
    if kept is not None:
        sae.threshold = torch.nn.Parameter(kept, requires_grad=False)

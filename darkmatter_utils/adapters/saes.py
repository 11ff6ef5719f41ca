"""SAEs: load one, run it, read its card. The only module, beside its trainer, that knows sae_lens."""

from __future__ import annotations

import hashlib
import warnings
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
from .formats import Card, Fault, Found, canonical, check, layer_of, name_of, quietly, saelens, type_name
from .models import DTYPES, LanguageModel

CHUNK = 1 << 19
"""Latents made at a time (tokens × d_sae): those of one chunk stay in the processor's cache."""
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
    sae: object
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
        return max(64, CHUNK // self.width)

    @torch.no_grad()
    def decode(self, codes: Active) -> Float[Tensor, "token d_model"]:
        """Sae(x) from the active latents: a sum of decoder rows, so the silent ones cost nothing."""
        if codes.x is not None:  # normalised token by token: sae_lens must see it again to undo that
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
        made = hashlib.blake2b(str(sorted(self.sae.cfg.to_dict().items())).encode(), digest_size=16)
        for name, weight in sorted(self.sae.named_parameters()):
            made.update(f"{name} {weight.dtype}".encode() + weight.numpy(force=True).tobytes())
        return made.hexdigest()

    def save(self, folder: Path) -> None:
        """Write it as SAELens does."""
        self.sae.save_model(folder)

    @property
    def needs_x(self) -> bool:
        """Whether Sae(x) is more than a sum of decoder rows and b_dec, so that decoding must see x again."""
        cfg, plain = self.sae.cfg, (None, "none")
        return (
            cfg.normalize_activations not in plain
            or cfg.reshape_activations not in plain
            or "skip" in self.kind
            or getattr(cfg, "rescale_acts_by_decoder_norm", False)
            or (self.kind == "matching_pursuit" and not cfg.apply_b_dec_to_input)
        )

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


def load_any(path: str | Path, *, dtype: str = "float32", device: str = "cpu") -> Sae:
    """The SAE in a folder of any published format. Thresholds are float32 or wider whatever ``dtype`` is.

    Raises BadInput for damaged, truncated, incomplete, contradictory or mis-shaped files, NaN, infinity, and
    weights too large for ``dtype``. Cost: reading the files and one pass over the weights.
    """
    folder, format = formats.recognise(path)
    return _loaded(format, folder, folder.name, dtype, device)


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
    for place, width, verb in ((reads, card.d_in, "reads"), (writes, card.d_out, "writes")):
        if (layer := layer_of(place)) is not None and layer >= model.layers:
            raise say(f"{verb} at {place}, but {model.name} has layers 0 to {model.layers - 1}")
        model.check_site(place)
        if (has := model.width(place)) != width:
            but = f"but {place} of {model.name} has {has}; it belongs to another model or site"
            raise say(f"{verb} {width} dimensions, {but}")
    return reads, writes


def _loaded(format, folder: Path, id: str, dtype: str, device: str) -> Sae:
    if dtype not in DTYPES:
        raise BadInput(f"unknown dtype '{dtype}'; valid: {', '.join(DTYPES)}")
    name = name_of(format)
    if not all((folder / file).is_file() for file in format.FILES):
        raise BadInput(f"SAE {id}: {folder.name} needs {' and '.join(format.FILES)} ({name})")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _built(format.read(folder), folder, name, id=id, dtype=DTYPES[dtype], device=device)
    except Fault as fault:
        raise BadInput(f"SAE {id}: {fault}") from None
    except ODD as error:  # a setting of a type that none should have
        why = f"cannot be used ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        raise BadInput(f"SAE {id}: its {name} files {why}; compare them with a published SAE's") from None


def _built(found: Found, folder: Path, format: str, *, id: str, dtype: torch.dtype, device: str) -> Sae:
    with quietly():
        from sae_lens import SAE
        from sae_lens.registry import SAE_CLASS_REGISTRY
        from sae_lens.training.activation_scaler import ActivationScaler

    cfg, state, notes = found.cfg, found.state, []
    if (kind := cfg["architecture"]) not in SAE_CLASS_REGISTRY or kind == "temporal":
        valid = [name for name in SAE_CLASS_REGISTRY if name != "temporal"]
        why = "reads whole contexts, not tokens" if kind == "temporal" else "is not known"
        raise Fault(f"architecture '{kind}' {why}; {nearest(kind, valid)}")
    sizes = check(found)
    if "threshold" in state and (below := int((state["threshold"] < 0).sum())):
        lets = "where a JumpReLU lets all that is positive pass"
        notes.append(f"{below} of {sizes['d_sae']} thresholds are below 0, {lets}")
    fine = torch.promote_types(dtype, torch.float32)  # what is folded is folded in this
    stored = type_name(state["W_dec"].dtype)
    if "threshold" in state and state["threshold"].dtype in (torch.float16, torch.bfloat16):
        half = type_name(state["threshold"].dtype)
        notes.append(f"thresholds were stored in {half}: the L0 may differ from the published")
    # Heads come concatenated.
    settings = cfg | {"dtype": type_name(fine), "device": device, "reshape_activations": "none"}
    weights = {name: weight.to(device, fine).contiguous() for name, weight in state.items()}
    try:
        sae = SAE.load_from_disk(folder, device=device, converter=lambda *_, **__: (settings, weights))
    except ODD as error:
        raise Fault(f"SAELens refuses {found.about}: {' '.join(str(error).split())[:160]}") from None

    normalisation = cfg.get("normalize_activations") or "none"
    if normalisation in ("expected_average_only_in", "covariance_whitening"):
        scaler = ActivationScaler()
        if (folder / "activation_scaler.json").is_file():
            scaler.load(folder / "activation_scaler.json")
        if scaler.scaling_factor is not None:
            sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
        if (scale := scaler.whitening) is not None:
            sae.fold_activation_whitening(scale.mean, scale.matrix, scale.inverse_matrix)
        if sae.cfg.normalize_activations == "none":
            normalisation = "folded"
        else:
            notes.append(
                f"it was trained on activations scaled by {normalisation}, but the folder holds no factor "
                "(activation_scaler.json); it is applied to activations as they are"
            )
            sae.cfg.normalize_activations = "none"
    if dtype != fine:
        _cast(sae, dtype)
    sae.requires_grad_(False).eval()
    facts = {"normalisation": normalisation, "stored": stored} | found.facts
    card = Card(format=format, architecture=kind, **sizes, **facts, warnings=tuple(notes))
    return Sae(id, kind, sizes["d_sae"], sizes["d_in"], sae, card)


def _cast(sae, dtype: torch.dtype) -> None:
    """Weights to ``dtype``, thresholds as they are: rounding a threshold changes which latents fire."""
    for name, weight in sae.state_dict().items():
        if (most := float(weight.abs().max())) > torch.finfo(dtype).max:
            raise Fault(f"{name} reaches {most:.3g}, too large for {type_name(dtype)}; use float32")
    kept = sae.threshold.detach().clone() if "threshold" in sae.state_dict() else None
    sae.to(dtype=dtype)
    if kept is not None:
        sae.threshold = torch.nn.Parameter(kept, requires_grad=False)


@torch.no_grad()
def threshold_for(sae, x: Float[Tensor, "token d_model"], l0: float) -> Float[Tensor, "d_sae"]:
    """The one threshold at which a JumpReLU SAE's mean number of active latents on ``x`` is ``l0``.

    Just below the (l0 · tokens)-th largest pre-activation: a count decides, never an error. One pass; memory
    of about 2 · l0 · tokens numbers. Raises BadInput if too few pre-activations are positive.
    """
    wanted, rows = round(l0 * len(x)), max(64, CHUNK // sae.cfg.d_sae)
    made = lambda x: torch.relu(sae.process_sae_in(x.to(sae.W_enc)) @ sae.W_enc + sae.b_enc)
    first = made(x[:rows]).flatten()
    above = min(len(first) - 1, int(2 * l0 * min(rows, len(x))))
    floor = float(first.kthvalue(max(1, len(first) - above)).values)
    for low in (floor, 0.0):  # the first chunk may not speak for all
        values = torch.cat([pre[pre > low] for pre in map(made, x.split(rows))])
        if len(values) > wanted:
            # Halfway to the next one: on it, the last digit of a processor would decide whether it is active.
            below, above = (values.kthvalue(len(values) - wanted + more).values for more in (0, 1))
            return torch.full((sae.cfg.d_sae,), float((below + above) / 2), dtype=torch.float32)
    raise BadInput(f"no threshold gives an L0 of {l0}: only {len(values) / len(x):.3g} a token are positive")


def variant(sae: Sae, *, cfg: dict | None = None, state: dict | None = None) -> Sae:
    """The SAE with other settings or weights, by SAELens' names; of ``state``, a function is given the weight
    that is there, and None leaves one out. Raises BadInput for what does not fit its architecture."""
    weights = {name: weight.detach() for name, weight in sae.sae.state_dict().items()}
    for name, new in (state or {}).items():
        weights[name] = new(weights[name]) if callable(new) else new
    weights = {name: weight for name, weight in weights.items() if weight is not None}
    found = Found(sae.sae.cfg.to_dict() | (cfg or {}), weights, "its settings", "it")
    how = dict(id=sae.id, dtype=sae.sae.W_dec.dtype, device=str(sae.sae.W_dec.device))
    made = _built(found, Path(), sae.card.format, **how)
    card = replace(sae.card, architecture=made.card.architecture)
    return replace(sae, kind=made.kind, sae=made.sae, card=card)

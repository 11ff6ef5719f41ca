"""SAE folders as they are published: which format a folder is in, and the SAE in it with a card of what it
says.

    saelens        cfg.json, sae_weights.safetensors                 every architecture SAELens runs token by
    token llama-scope    hyperparams.json, checkpoints/final.safetensors   the norm of the dataset is folded
    in gemma-scope    params.npz                                        residual, MLP, attention (hook_z),
    transcoders gemma-scope-2  params.safetensors, perhaps config.json           the same, and transcoders
    with a skip

SAELens does the arithmetic; it has no reader of local Gemma Scope and Llama Scope folders, and it casts
thresholds to the weights' type, so both are done here.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..base.errors import BadInput, nearest
from ..base.weight_files import Fault, type_name
from . import sae_files as files
from .models import DTYPES, LanguageModel
from .saes import Sae

FORMATS = {
    "saelens": ("cfg.json", "sae_weights.safetensors"),
    "llama-scope": ("hyperparams.json", "checkpoints/final.safetensors"),
    "gemma-scope": ("params.npz",),
    "gemma-scope-2": ("params.safetensors",),
}
"""Formats, and the files that each must have."""


@dataclass(frozen=True)
class Card:
    """What a folder says about its SAE."""

    format: str
    architecture: str
    d_in: int
    d_sae: int
    d_out: int
    site: str | None = None
    """Where it reads, e.g. ``blocks.20.hook_resid_post``; None: the folder does not say."""
    target: str | None = None
    """Where it writes, if elsewhere (transcoders)."""
    layer: int | None = None
    model: str | None = None
    l0: float | None = None
    """Active latents a token, as published."""
    normalisation: str = "none"
    """What is done to an activation first; "folded": by a constant that is now in the weights."""
    prepend_bos: bool | None = None
    stored: str = "float32"
    """Type of the weights in the file."""
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Plain facts, for JSON."""
        return asdict(self) | {"warnings": list(self.warnings)}


@dataclass(frozen=True)
class PublishedSae(Sae):
    """A loaded SAE with its card. ``d_model`` is what it reads; it writes ``card.d_out`` dimensions."""

    card: Card

    @property
    def _remembers(self) -> bool:
        """Whether Sae(x) needs x again, or more than a sum of decoder rows and b_dec."""
        cfg, kind = self.sae.cfg, self.kind
        return (
            super()._remembers
            or "skip" in kind
            or getattr(cfg, "rescale_acts_by_decoder_norm", False)
            or (kind == "matching_pursuit" and not cfg.apply_b_dec_to_input)
        )


def recognise(path: str | Path) -> str:
    """The format of an SAE folder, or of the folder that one of its files is in: a key of `FORMATS`.

    Raises BadInput for a path that is not there, a folder of no format (naming the SAE folders in it, if
    any), and a folder that lacks one of a format's files.
    """
    return _folder(path)[1]


def load_any(
    path: str | Path, *, dtype: str = "float32", device: str = "cpu", id: str | None = None
) -> PublishedSae:
    """The SAE in a folder of any published format. Thresholds are float32 or wider whatever ``dtype`` is.

    Raises BadInput for damaged, truncated, incomplete, contradictory or mis-shaped files, NaN, infinity, and
    weights too large for ``dtype``. Cost: reading the files and one pass over the weights.
    """
    if dtype not in DTYPES:
        raise BadInput(f"unknown dtype '{dtype}'; valid: {', '.join(DTYPES)}")
    folder, format = _folder(path)
    id = id or folder.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _built(
                files.READERS[format](folder), folder, format, id=id, dtype=DTYPES[dtype], device=device
            )
    except Fault as fault:
        raise BadInput(f"SAE {id}: {fault}") from None
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
        OverflowError,
        RuntimeError,
    ) as error:
        # a setting of a type that none should have
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise BadInput(
            f"SAE {id}: its {format} files cannot be used ({why}); compare them with a published SAE's"
        ) from None


def match(sae: PublishedSae, model: LanguageModel, site: str | None = None) -> tuple[str, str]:
    """(site that the SAE reads, site that it writes) in ``model``; ``site`` is needed only where the folder
    names none.

    Raises BadInput for a contradiction: another site than the SAE's own, a layer or site that the model
    lacks, widths that differ.
    """
    card = sae.card
    asked = files.canonical(site) if site else None
    if asked and card.site and asked != card.site:
        raise BadInput(
            f"SAE {sae.id} was trained at {card.site}, not at {asked}; leave the site out, or give its own"
        )
    reads = asked or card.site
    if reads is None:
        raise BadInput(
            f"SAE {sae.id} does not say where it reads; give a site, e.g. blocks.0.hook_resid_post"
        )
    if "transcoder" in card.architecture and card.target is None:
        raise BadInput(
            f"SAE {sae.id} is a transcoder that does not say where it writes (hook_name_out in its metadata)"
        )
    writes = card.target or reads
    for place, width, verb in ((reads, card.d_in, "reads"), (writes, card.d_out, "writes")):
        layer = files.layer_of(place)
        if layer is not None and layer >= model.layers:
            raise BadInput(
                f"SAE {sae.id} {verb} at {place}, but {model.name} has layers 0 to {model.layers - 1}"
            )
        model.check_site(place)
        cfg = model.bridge.cfg
        has = cfg.n_heads * cfg.d_head if place.endswith("hook_z") else cfg.d_model
        if has != width:
            raise BadInput(
                f"SAE {sae.id} {verb} {width} dimensions, but {place} of {model.name} has {has}; "
                "it belongs to another model or site"
            )
    return reads, writes


def _folder(path: str | Path) -> tuple[Path, str]:
    path = Path(path).absolute()
    valid = "; ".join(f"{name} ({', '.join(needs)})" for name, needs in FORMATS.items())
    if not path.exists():
        raise BadInput(f"no SAE at {path}: there is no such file or folder")
    if path.is_file():
        names = {Path(file).name: len(Path(file).parts) for needs in FORMATS.values() for file in needs}
        if path.name not in names:
            raise BadInput(f"{path.name} is no file of an SAE; give a folder of one of the formats: {valid}")
        home = path.parents[names[path.name] - 1]
        for format, needs in FORMATS.items():
            if all((home / file).is_file() for file in needs) and any(home / file == path for file in needs):
                return home, format
        path = home
    whole = [format for format, needs in FORMATS.items() if all((path / file).is_file() for file in needs)]
    if len(whole) > 1:
        raise BadInput(
            f"{path.name} holds an SAE in {len(whole)} formats ({', '.join(whole)}); give the file of "
            f"one, e.g. "
            f"{path.name}/{FORMATS[whole[0]][0]}"
        )
    if whole:
        return path, whole[0]
    for format, needs in FORMATS.items():
        if any((path / file).exists() for file in needs):
            lacks = ", ".join(file for file in needs if not (path / file).is_file())
            raise BadInput(f"{path.name} looks like {format}, but lacks {lacks}")
    inside = sorted(
        {str(file.parent.relative_to(path)) for needs in FORMATS.values() for file in path.rglob(needs[0])}
    )
    if inside:
        raise BadInput(
            f"{path.name} is not an SAE but has {len(inside)} inside; give one, e.g. {', '.join(inside[:3])}"
        )
    raise BadInput(f"{path.name} holds no SAE of a known format; known: {valid}")


def _built(
    found: files.Found, folder: Path, format: str, *, id: str, dtype: torch.dtype, device: str
) -> PublishedSae:
    from sae_lens import SAE
    from sae_lens.registry import SAE_CLASS_REGISTRY
    from sae_lens.training.activation_scaler import ActivationScaler

    cfg, state, notes = found.cfg, found.state, list(found.notes)
    if (kind := cfg["architecture"]) not in SAE_CLASS_REGISTRY or kind == "temporal":
        valid = [name for name in SAE_CLASS_REGISTRY if name != "temporal"]
        why = "reads whole contexts, not tokens" if kind == "temporal" else "is not known"
        raise Fault(f"architecture '{kind}' {why}; {nearest(kind, valid)}")
    sizes = {name: cfg.get(name) for name in ("d_in", "d_sae")}
    sizes["d_out"] = cfg.get("d_out", cfg.get("d_in")) if "transcoder" in kind else cfg.get("d_in")
    if bad := [
        name
        for name, size in sizes.items()
        if not isinstance(size, int) or isinstance(size, bool) or size < 1
    ]:
        raise Fault(f"{found.about} gives no whole number for {', '.join(bad)}")
    files.check(found, **sizes)
    if (k := cfg.get("k")) is not None and not (isinstance(k, int | float) and 1 <= k <= sizes["d_sae"]):
        raise Fault(f"{found.about} gives k {k!r}; it must be a number from 1 to d_sae, {sizes['d_sae']}")
    if (l0 := found.facts.get("l0")) is not None and (
        isinstance(l0, bool) or not isinstance(l0, int | float) or l0 <= 0
    ):
        raise Fault(f"{found.about} gives an L0 of {l0!r}; it must be a number above 0")

    if "threshold" in state and (below := int((state["threshold"] < 0).sum())):
        notes.append(
            (
                f"{below} of {sizes['d_sae']} thresholds are below 0, where a JumpReLU lets all that is "
                f"positive pass"
            )
        )
    fine = torch.promote_types(dtype, torch.float32)  # what is folded is folded in this
    stored = type_name(state["W_dec"].dtype)
    if "threshold" in state and state["threshold"].dtype in (torch.float16, torch.bfloat16):
        notes.append(
            (
                f"thresholds were stored in {type_name(state['threshold'].dtype)}: the L0 may differ from "
                f"the published"
            )
        )
    settings = cfg | {
        "dtype": type_name(fine),
        "device": device,
        "reshape_activations": "none",
    }  # heads come concatenated
    weights = {name: weight.to(device, fine).contiguous() for name, weight in state.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sae = SAE.load_from_disk(folder, device=device, converter=lambda *_, **__: (settings, weights))
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        raise Fault(f"SAELens refuses {found.about}: {' '.join(str(error).split())[:160]}") from None

    normalisation = cfg.get("normalize_activations") or "none"
    if normalisation in ("expected_average_only_in", "covariance_whitening"):
        scaler = ActivationScaler()
        if (folder / "activation_scaler.json").is_file():
            scaler.load(folder / "activation_scaler.json")
        if scaler.scaling_factor is not None:
            sae.fold_activation_norm_scaling_factor(scaler.scaling_factor)
        if scaler.whitening is not None:
            scale = scaler.whitening
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
    return PublishedSae(id, kind, sizes["d_sae"], sizes["d_in"], sae, card)


def _cast(sae, dtype: torch.dtype) -> None:
    """Weights to ``dtype``, thresholds as they are: rounding a threshold changes which latents fire."""
    for name, weight in sae.state_dict().items():
        if float(weight.abs().max()) > torch.finfo(dtype).max:
            raise Fault(
                (
                    f"{name} reaches {float(weight.abs().max()):.3g}, too large for {type_name(dtype)}; "
                    f"use float32"
                )
            )
    kept = sae.threshold.detach().clone() if "threshold" in sae.state_dict() else None
    sae.to(dtype=dtype)
    if kept is not None:
        sae.threshold = torch.nn.Parameter(kept, requires_grad=False)

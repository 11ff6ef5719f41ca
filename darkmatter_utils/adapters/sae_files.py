"""The files of published SAEs: each format's reader, and the check that the weights are what they should be.

A reader turns a folder into SAELens' configuration and weights, as stored; `formats` builds the SAE from
them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..base.weight_files import Fault, arrays, settings, tensors, type_name


@dataclass(frozen=True)
class Found:
    """What a reader found in a folder."""

    cfg: dict
    """SAELens' configuration."""
    state: dict[str, Tensor]
    """Weights by SAELens' names, in the types they were stored in."""
    about: str
    """The file that the configuration comes from."""
    file: str
    """The file that the weights come from."""
    facts: dict = field(default_factory=dict)
    """Further entries of the card."""
    notes: tuple[str, ...] = ()
    """Warnings."""


def layer_of(site: str) -> int | None:
    """The block that a site is in."""
    found = re.search(r"blocks\.(\d+)\.", site)
    return int(found.group(1)) if found else None


def canonical(site: str) -> str:
    """A site by its TransformerLens name: the bridge calls a block's ends hook_in and hook_out."""
    return re.sub(
        r"^(blocks\.\d+)\.hook_(in|out)$",
        lambda m: f"{m[1]}.hook_resid_{'pre' if m[2] == 'in' else 'post'}",
        site,
    )


def _shapes(architecture: str, d_in: int, d_sae: int, d_out: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Weight → (its axes, its shape)."""
    sizes = {"d_in": d_in, "d_sae": d_sae, "d_out": d_out if "transcoder" in architecture else d_in}
    out = "d_out" if "transcoder" in architecture else "d_in"
    axes = {"W_dec": ("d_sae", out), "b_dec": (out,)}
    if architecture != "matching_pursuit":  # whose encoder is its decoder
        biases = ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc",)
        biases += ("threshold",) * ("jumprelu" in architecture)
        axes |= {"W_enc": ("d_in", "d_sae")} | {name: ("d_sae",) for name in biases}
    if "skip" in architecture:
        axes["W_skip"] = ("d_out", "d_in")
    return {name: (f"[{', '.join(names)}]", tuple(sizes[n] for n in names)) for name, names in axes.items()}


def check(found: Found, d_in: int, d_sae: int, d_out: int) -> None:
    """Raise Fault unless the weights are those of the architecture, of the right shapes, and finite."""
    architecture = found.cfg["architecture"]
    expected = _shapes(architecture, d_in, d_sae, d_out)
    if missing := [name for name in expected if name not in found.state]:
        raise Fault(f"{found.file} lacks {', '.join(missing)}; {architecture} has {', '.join(expected)}")
    if extra := [name for name in found.state if name not in expected]:
        raise Fault(
            f"{found.file} holds {', '.join(extra)}, which {architecture} has no use for; is the "
            "architecture right?"
        )
    for name, (axes, shape) in expected.items():
        got = tuple(found.state[name].shape)
        if got != shape:
            hint = (
                "it is transposed"
                if got == shape[::-1]
                else "d_in or d_sae is wrong, or the file is another SAE's"
            )
            raise Fault(f"{name} must be {axes} = {list(shape)}, but {found.file} has {list(got)}: {hint}")
    for name, weight in found.state.items():
        if not weight.dtype.is_floating_point or weight.dtype.itemsize < 2:
            raise Fault(
                (
                    f"{name} is stored as {type_name(weight.dtype)}; weights are float16, bfloat16, "
                    f"float32 or float64"
                )
            )
        if torch.isnan(weight).any():
            raise Fault(f"{name} holds NaN; the file is damaged or the training diverged")
        if torch.isinf(weight).any():
            stored = found.facts.get("stored", type_name(weight.dtype))
            raise Fault(
                (
                    f"{name} holds infinity: it overflowed when it was saved as {stored}; get the weights "
                    f"in float32"
                )
            )
    if "threshold" in expected and bool((found.state["threshold"] < 0).all()):
        raise Fault("all thresholds are below 0; a JumpReLU's are positive: are they logarithms, or negated?")


def saelens(folder: Path) -> Found:
    """A folder that SAELens saved, of any version; a training checkpoint is turned into what it would be
    saved as."""
    from sae_lens import TrainingSAE
    from sae_lens.loading.pretrained_sae_loaders import handle_config_defaulting
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    cfg, state = settings(folder / "cfg.json"), tensors(folder / "sae_weights.safetensors")
    if "d_in" not in cfg or "d_sae" not in cfg:
        raise Fault(
            (
                f"cfg.json lacks {', '.join(k for k in ('d_in', 'd_sae') if k not in cfg)}; is it of "
                f"another program?"
            )
        )
    kind = cfg.get("architecture", "standard")
    try:
        if kind not in SAE_CLASS_REGISTRY and kind in SAE_TRAINING_CLASS_REGISTRY:
            training = TrainingSAE.load_from_disk(folder, dtype="float32")
            state, cfg = training.state_dict(), training.cfg.get_inference_sae_cfg_dict()
            training.process_state_dict_for_saving_inference(state)
        elif kind in SAE_CLASS_REGISTRY:  # else the builder names the known ones
            cfg = handle_config_defaulting(cfg)
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError) as error:
        raise Fault(f"cfg.json cannot be used ({' '.join(str(error).split())[:160]})") from None
    if "log_threshold" in state:  # checkpoints of SAELens 5
        state["threshold"] = state.pop("log_threshold").float().exp()
    if "scaling_factor" in state and bool((state["scaling_factor"] == 1).all()):
        del state["scaling_factor"]
    said = cfg.get("metadata") or {}
    site, target = (canonical(said[k]) if said.get(k) else None for k in ("hook_name", "hook_name_out"))
    layer = layer_of(site or "")
    stated = settings(folder / "cfg.json").get("hook_layer", said.get("hook_layer"))
    if None not in (stated, layer) and stated != layer:
        raise Fault(f"cfg.json contradicts itself: hook_name {site} and hook_layer {stated}")
    if said.get("hook_head_index") is not None:
        raise Fault(
            f"it reads one attention head (hook_head_index {said['hook_head_index']}); sites here are whole"
        )
    facts = dict(
        site=site,
        target=target if target != site else None,
        layer=layer,
        model=said.get("model_name"),
        l0=cfg.get("k") or (said.get("training_architecture_details") or {}).get("k"),
        prepend_bos=said.get("prepend_bos"),
    )
    return Found(cfg, state, "cfg.json", "sae_weights.safetensors", facts)


def llama_scope(folder: Path) -> Found:
    """Llama Scope: x is scaled by k = √d_model / its mean norm; k goes into weights and threshold as in
    SAELens."""
    about, weights = settings(folder / "hyperparams.json"), tensors(folder / "checkpoints/final.safetensors")
    needs = ("d_model", "d_sae", "jump_relu_threshold", "dataset_average_activation_norm", "hook_point_in")
    names = {
        "encoder.weight": "W_enc",
        "encoder.bias": "b_enc",
        "decoder.weight": "W_dec",
        "decoder.bias": "b_dec",
    }
    for found, wanted, file in ((about, needs, "hyperparams.json"), (weights, names, "final.safetensors")):
        if missing := [name for name in wanted if name not in found]:
            raise Fault(f"{file} lacks {', '.join(missing)}")
    for name, valid in (
        ("act_fn", "jumprelu"),
        ("norm_activation", "dataset-wise"),
        ("use_glu_encoder", False),
    ):
        if about.get(name, valid) != valid:
            raise Fault(f"hyperparams.json says {name} {about[name]!r}; only {valid!r} can be read")
    norms, d_model = about["dataset_average_activation_norm"], about["d_model"]
    reads, writes = (
        canonical(about["hook_point_in"]),
        canonical(about.get("hook_point_out") or about["hook_point_in"]),
    )
    ins, outs = (_positive(norms.get(k) if k in norms else norms.get("in")) for k in ("in", "out"))
    k, back = d_model**0.5 / ins, d_model**0.5 / (ins if reads == writes else outs)
    wide = {name: weights[stored].float() for stored, name in names.items()}
    state = {
        "W_enc": wide["W_enc"].T * k,
        "b_enc": wide["b_enc"],
        "W_dec": wide["W_dec"].T / back,
        "b_dec": wide["b_dec"] / back,
        "threshold": torch.full((len(wide["b_enc"]),), about["jump_relu_threshold"] * k),
    }
    kind = "jumprelu" if reads == writes else "jumprelu_transcoder"
    cfg = dict(
        architecture=kind,
        d_in=d_model,
        d_sae=about["d_sae"],
        d_out=d_model,
        normalize_activations="none",
        apply_b_dec_to_input=_flag(about, "apply_decoder_bias_to_pre_encoder"),
        hook_name=reads,
    )
    layer, named = layer_of(reads), re.search(r"-L(\d+)(?:R|A|M|TC)-", folder.name)
    if named and layer is not None and int(named[1]) != layer:
        raise Fault(f"the folder's name says layer {named[1]}, but hyperparams.json reads at {reads}")
    facts = dict(
        site=reads,
        target=writes if writes != reads else None,
        layer=layer,
        l0=about.get("top_k"),
        model="meta-llama/Llama-3.1-8B" if "Llama3_1" in folder.name else None,
        prepend_bos=True,
        normalisation="folded",
    )
    facts["stored"] = type_name(weights["encoder.weight"].dtype)
    return Found(cfg, state, "hyperparams.json", "final.safetensors", facts)


def _flag(about: dict, name: str) -> bool:
    if not isinstance(value := about.get(name) or False, bool):
        raise Fault(f"hyperparams.json gives {name} {value!r}; it must be true or false")
    return value


def _positive(norm) -> float:
    if isinstance(norm, bool) or not isinstance(norm, (int, float)) or not norm > 0:
        raise Fault(f"hyperparams.json gives dataset_average_activation_norm {norm!r}; it must be above 0")
    return float(norm)


def gemma_scope(folder: Path) -> Found:
    """Gemma Scope: site, layer and L0 are in the names of the folders; an attention SAE reads concatenated
    heads."""
    old = (folder / "params.npz").is_file()
    file = "params.npz" if old else "params.safetensors"
    stored = arrays(folder / file) if old else tensors(folder / file)
    about = settings(folder / "config.json") if not old and (folder / "config.json").is_file() else {}
    state = {("W_" + name[2:] if name.startswith("w_") else name): value for name, value in stored.items()}
    if len(state) < len(stored):
        raise Fault(f"{file} holds weights under two spellings (W_enc and w_enc); which are the SAE's?")
    if "affine_skip_connection" in state:
        state["W_skip"] = state.pop("affine_skip_connection").T
    if missing := [name for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold") if name not in state]:
        raise Fault(f"{file} lacks {', '.join(missing)}; it holds {', '.join(stored) or 'nothing'}")
    if flat := [name for name in ("b_enc", "b_dec", "threshold") if state[name].ndim != 1]:
        raise Fault(f"{file}: {flat[0]} must be a vector, got {list(state[flat[0]].shape)}")
    d_sae, d_in = len(state["b_enc"]), len(state["b_dec"])
    part, layer, l0, model = _names(folder)
    sites = dict(
        res="hook_resid_post",
        mlp="hook_mlp_out",
        att="attn.hook_z",
        transcoder="ln2.hook_normalized" if old else "hook_mlp_in",
    )
    site = f"blocks.{layer}.{sites[part]}" if part and layer is not None else None
    target = f"blocks.{layer}.hook_mlp_out" if part == "transcoder" and site else None
    kind = (
        "jumprelu" + ("_skip" if "W_skip" in state else "") + ("_transcoder" if part == "transcoder" else "")
    )
    if "W_skip" in state and part != "transcoder":
        raise Fault(f"{file} has a skip connection, but no folder above it is named transcoder")
    if old and any(
        name.startswith("embedding") for name in folder.parts[-4:]
    ):  # trained on √d_model times the embedding
        state["W_enc"], state["W_dec"] = state["W_enc"] / d_in**0.5, state["W_dec"] * d_in**0.5
        site, layer = "hook_embed", 0
    cfg = dict(
        architecture=kind,
        d_in=d_in,
        d_sae=d_sae,
        d_out=d_in,
        normalize_activations="none",
        apply_b_dec_to_input=False,
    )
    facts = dict(
        site=site,
        target=target,
        layer=layer,
        l0=about.get("l0", l0),
        prepend_bos=True,
        model=about.get("model_name") or model,
    )
    return Found(cfg, state, file, file, facts)


def _names(folder: Path) -> tuple[str | None, int | None, float | None, str | None]:
    """(part, layer, L0, model) from the folders' names, nearest first:
    …-pt-res/layer_20/width_16k/average_l0_68."""
    found: dict[str, str] = {}
    patterns = dict(
        part=r"(?:^|-)(res|mlp|att|transcoder)s?(?:-all|-canonical)?$",
        layer=r"^layer_(\d+)",
        l0=r"l0_(\d+)$",
        model=r"gemma-scope-(\d+b-(?:pt|it))-",
    )
    new = r"^(resid_post|mlp_out|attn_out|transcoder)(?:_all)?$"
    for name in reversed(folder.parts[-8:]):
        for key, pattern in patterns.items():
            if hit := re.search(pattern, name):
                found.setdefault(key, hit[1])
        if hit := re.match(new, name):
            found.setdefault(
                "part", {"resid_post": "res", "mlp_out": "mlp", "attn_out": "att"}.get(hit[1], hit[1])
            )
    number = {key: int(found[key]) if key in found else None for key in ("layer", "l0")}
    model = f"google/gemma-2-{found['model'].replace('-pt', '')}" if "model" in found else None
    return found.get("part"), number["layer"], number["l0"], model


READERS = {
    "saelens": saelens,
    "llama-scope": llama_scope,
    "gemma-scope": gemma_scope,
    "gemma-scope-2": gemma_scope,
}
"""Format → its reader."""

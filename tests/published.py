"""Tiny SAEs in the formats that SAEs are published in, made by the tests."""

import json

import numpy as np
import torch
from safetensors.torch import save_file

D_IN, D_SAE, D_OUT = 6, 20, 5
SITE = "blocks.1.hook_resid_post"
SAELENS = {
    "standard": {},
    "gated": {},
    "jumprelu": {},
    "topk": {"k": 4},
    "abstopk": {"k": 4},
    "matching_pursuit": {"max_iterations": 3},
    "transcoder": {"d_out": D_OUT},
    "skip_transcoder": {"d_out": D_OUT},
    "jumprelu_transcoder": {"d_out": D_OUT},
    "jumprelu_skip_transcoder": {"d_out": D_OUT},
}
"""Architectures that SAELens runs token by token, and their settings."""
TRAINED = {
    "standard": {},
    "gated": {},
    "jumprelu": {},
    "topk": {"k": 4},
    "batchtopk": {"k": 4},
    "matryoshka_batchtopk": {"k": 4, "matryoshka_widths": [5, 10, 20]},
    "matching_pursuit": {},
}


def randomised(module, seed=0):
    """The module with every weight drawn anew; thresholds positive, dictionary rows of matching pursuit of
    norm 1."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in module.state_dict().items():
            draw = torch.randn(weight.shape, generator=rng, dtype=torch.float64)
            draw = 0.3 + 0.2 * draw.abs() if "threshold" in name else 0.6 * draw
            if "matching_pursuit" in module.cfg.architecture() and name == "W_dec":
                draw = draw / draw.norm(dim=1, keepdim=True)
            weight.copy_(draw)
    return module


def saelens(folder, architecture, *, metadata=None, **settings):
    """A SAELens folder; returns the SAE that was saved."""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    sae_class, config = get_sae_class(architecture)
    said = {"hook_name": SITE, "model_name": "toy", "prepend_bos": True} | (metadata or {})
    if "transcoder" in architecture:
        said.setdefault("hook_name_out", "blocks.1.hook_mlp_out")
        settings.setdefault("apply_b_dec_to_input", False)
    cfg = config(
        metadata=SAEMetadata(**said), **{"d_in": D_IN, "d_sae": D_SAE, **SAELENS[architecture], **settings}
    )
    sae = randomised(sae_class(cfg)).eval()
    sae.save_model(folder)
    return sae


def gemma_scope(folder, *, d_in=D_IN, d_sae=D_SAE, lower=False, seed=0, **changes):
    """A Gemma Scope folder (params.npz); returns its arrays by their upper-case names."""
    rng = np.random.default_rng(seed)
    made = {
        "W_enc": rng.normal(size=(d_in, d_sae)),
        "W_dec": rng.normal(size=(d_sae, d_in)),
        "b_enc": rng.normal(size=d_sae),
        "b_dec": rng.normal(size=d_in),
        "threshold": rng.uniform(0.5, 2, size=d_sae),
    }
    made = {name: value.astype(np.float32) for name, value in made.items()} | changes
    made = {name: value for name, value in made.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "params.npz",
        **{(name[0].lower() + name[1:] if lower else name): v for name, v in made.items()},
    )
    return made


def llama_scope(
    folder, *, d_in=D_IN, d_sae=D_SAE, dtype=torch.bfloat16, site="blocks.1.hook_resid_post", **changes
):
    """A Llama Scope folder; returns (hyperparameters, weights)."""
    rng = torch.Generator().manual_seed(0)
    about = {
        "d_model": d_in,
        "d_sae": d_sae,
        "hook_point_in": site,
        "hook_point_out": site,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.7,
        "dataset_average_activation_norm": {"in": 3.1, "out": 4.2},
        "top_k": 50,
        "norm_activation": "dataset-wise",
        "use_glu_encoder": False,
        "expansion_factor": 8,
    } | changes
    shapes = {
        "encoder.weight": (d_sae, d_in),
        "encoder.bias": (d_sae,),
        "decoder.weight": (d_in, d_sae),
        "decoder.bias": (d_in,),
    }
    weights = {name: torch.randn(shape, generator=rng).to(dtype) for name, shape in shapes.items()}
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.json").write_text(json.dumps(about))
    save_file(weights, folder / "checkpoints/final.safetensors")
    return about, weights

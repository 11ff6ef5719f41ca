"""Every published format: recognised, loaded, encode and decode as SAELens and as the written-out formula."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from published import (
    D_IN,
    D_OUT,
    D_SAE,
    SAELENS,
    SITE,
    TRAINED,
    gemma_scope,
    llama_scope,
    randomised,
    saelens,
)
from sae_lens import SAE, TrainingSAE
from safetensors.torch import load_file, save_file
from throwaway import ROOT

from darkmatter_utils import cli
from darkmatter_utils.adapters import formats
from darkmatter_utils.adapters.formats import name_of, recognise
from darkmatter_utils.adapters.models import DTYPES
from darkmatter_utils.adapters.saes import load_any
from darkmatter_utils.base.errors import BadInput

X = torch.from_numpy(np.random.default_rng(1).normal(size=(50, D_IN)))


def assert_same(ours, plain, x=X, *, atol=1e-12):
    """Sae(x), the codes and L0 of ours are those of a SAELens SAE."""
    with torch.no_grad():
        latents = plain.encode(x)
        codes = ours.codes(x)
        row = torch.arange(len(x)).repeat_interleave(codes.l0)
        dense = torch.zeros_like(latents).index_put_((row, codes.latent.long()), codes.value)
        torch.testing.assert_close(dense, latents, atol=atol, rtol=atol)
        x_hat, l0 = ours.reconstruct(x)
        torch.testing.assert_close(x_hat, plain(x), atol=atol, rtol=atol)
        assert torch.equal(l0.long(), (latents != 0).sum(dim=1)) and l0.sum() > 0


@pytest.mark.parametrize("architecture", SAELENS)
@pytest.mark.parametrize("b_dec_in", [True, False])
def test_saelens_folders(tmp_path, architecture, b_dec_in):
    saved = saelens(
        tmp_path, architecture, apply_b_dec_to_input=b_dec_in and "transcoder" not in architecture
    )
    ours = load_any(tmp_path, dtype="float64")
    assert name_of(recognise(tmp_path)[1]) == "saelens"
    assert_same(ours, saved.to(dtype=torch.float64))
    card = ours.card
    assert (card.architecture, card.site, card.layer, card.prepend_bos) == (architecture, SITE, 1, True)
    assert (card.d_in, card.d_sae, card.d_out) == (
        D_IN,
        D_SAE,
        D_OUT if "transcoder" in architecture else D_IN,
    )
    assert card.target == ("blocks.1.hook_mlp_out" if "transcoder" in architecture else None)
    assert card.l0 == (4 if "topk" in architecture else None) and card.warnings == ()
    json.dumps(card.to_dict())


@pytest.mark.parametrize("architecture", SAELENS)
@pytest.mark.parametrize("settings", [{}, {"normalize_activations": "layer_norm"}])
def test_the_latents_are_those_of_saelens_digit_for_digit(tmp_path, architecture, settings):
    """In float32, the same products in the same order: no latent flips at its threshold."""
    plain, x = saelens(tmp_path, architecture, **settings), X.float()
    with torch.no_grad():
        assert torch.equal(load_any(tmp_path).sae.encode(x), plain.encode(x))
        assert torch.equal(load_any(tmp_path).sae(x), plain(x))


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize_activations": "layer_norm"},
        {"reshape_activations": "hook_z"},
        {"normalize_activations": "constant_norm_rescale"},
    ],
)
def test_normalised_and_reshaped(tmp_path, settings):
    saved = saelens(tmp_path, "jumprelu", metadata={"hook_name": "blocks.1.attn.hook_z"}, **settings).to(
        dtype=torch.float64
    )
    ours = load_any(tmp_path, dtype="float64")
    if (
        "reshape_activations" in settings
    ):  # SAELens wants [token, head, d_head]; here the heads are concatenated
        with torch.no_grad():
            torch.testing.assert_close(ours.reconstruct(X)[0], saved(X.view(-1, 2, D_IN // 2)).flatten(1))
    else:
        assert_same(ours, saved)
        assert ours.card.normalisation == settings["normalize_activations"]


def test_topk_that_rescales_by_decoder_norms(tmp_path):
    saved = saelens(tmp_path, "topk", rescale_acts_by_decoder_norm=True)
    assert_same(load_any(tmp_path, dtype="float64"), saved.to(dtype=torch.float64))


@pytest.mark.parametrize("architecture", TRAINED)
@pytest.mark.parametrize("checkpoint", [False, True])
def test_what_training_saves(tmp_path, architecture, checkpoint):
    from sae_lens.registry import get_sae_training_class

    sae_class, config = get_sae_training_class(architecture)
    trained = randomised(sae_class(config(d_in=D_IN, d_sae=D_SAE, **TRAINED[architecture])))
    trained.save_inference_model(tmp_path / "final")
    trained.save_model(tmp_path / "checkpoint")
    ours = load_any(tmp_path / ("checkpoint" if checkpoint else "final"), dtype="float64")
    assert_same(ours, SAE.load_from_disk(tmp_path / "final", dtype="float64"), atol=1e-6)
    assert ours.kind == ("jumprelu" if "batchtopk" in architecture else architecture)
    assert ours.card.l0 == (4 if "topk" in architecture else None)


@pytest.mark.parametrize("normalisation", ["expected_average_only_in", "covariance_whitening"])
@pytest.mark.parametrize("architecture", ["standard", "gated", "topk", "jumprelu"])
def test_a_constant_normalisation_is_folded(tmp_path, normalisation, architecture):
    """Sae(x) = unscale(Sae'(scale(x))), as in training."""
    from sae_lens.training.activation_scaler import ActivationScaler, ActivationWhitening

    saved = saelens(tmp_path, architecture, normalize_activations=normalisation).to(dtype=torch.float64)
    assert "no factor" in load_any(tmp_path).card.warnings[0]
    matrix = torch.linalg.qr(torch.randn(D_IN, D_IN, dtype=torch.float64))[0] * torch.linspace(0.5, 2, D_IN)
    whitening = ActivationWhitening(X.mean(dim=0), matrix, torch.linalg.inv(matrix))
    scaler = ActivationScaler(2.5) if "average" in normalisation else ActivationScaler(whitening=whitening)
    scaler.save(str(tmp_path / "activation_scaler.json"))
    ours = load_any(tmp_path, dtype="float64")
    with torch.no_grad():
        torch.testing.assert_close(ours.reconstruct(X)[0], scaler.unscale(saved(scaler.scale(X))))
    assert ours.card.normalisation == "folded" and ours.card.warnings == ()


def test_a_folder_of_sae_lens_5(tmp_path):
    saved = saelens(tmp_path, "topk")
    old = {
        "d_in": D_IN,
        "d_sae": D_SAE,
        "hook_point": "blocks.3.hook_resid_pre",
        "hook_layer": 3,
        "model_name": "gpt2",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4},
        "normalize_activations": False,
        "dtype": "float32",
    }
    (tmp_path / "cfg.json").write_text(json.dumps(old))
    ours = load_any(tmp_path, dtype="float64")
    assert_same(ours, saved.to(dtype=torch.float64))
    assert (ours.card.site, ours.card.layer, ours.card.l0, ours.card.model) == (
        "blocks.3.hook_resid_pre",
        3,
        4,
        "gpt2",
    )


def old_standard(folder, **more):
    """(the SAE, its weights as saved) of SAELens 3, with what ``more`` says in cfg.json."""
    saved = saelens(folder, "standard").to(dtype=torch.float64)
    old = {"d_in": D_IN, "d_sae": D_SAE, "hook_point": "blocks.3.hook_resid_pre", "hook_layer": 3}
    (folder / "cfg.json").write_text(json.dumps(old | {"sae_lens_version": "3.12.1"} | more))
    return saved


@pytest.mark.parametrize("said", ["tanh-relu", "topk", "leaky_relu"])
def test_another_activation_function_is_refused_by_name(tmp_path, said):
    old_standard(tmp_path, activation_fn_str=said)
    with pytest.raises(BadInput, match=f"made by {said}"):
        load_any(tmp_path)
    old_standard(tmp_path, activation_fn_str="relu")
    assert load_any(tmp_path).kind == "standard"


@pytest.mark.parametrize("flag", [True, False, None])
def test_a_scaling_factor_counts_where_its_flag_is_set(tmp_path, flag):
    saved = old_standard(tmp_path, **({} if flag is None else {"finetuning_scaling_factor": flag}))
    file = tmp_path / "sae_weights.safetensors"
    factor = torch.linspace(0.5, 2, D_SAE)
    save_file(load_file(file) | {"scaling_factor": factor}, file)
    ours = load_any(tmp_path, dtype="float64")
    with torch.no_grad():
        latents = saved.encode(X) * (factor.double() if flag else 1)
        torch.testing.assert_close(ours.reconstruct(X)[0], latents @ saved.W_dec + saved.b_dec)
    assert ours.card.stored == "float32"


GEMMA = {
    "gemma-scope-9b-pt-res": "blocks.20.hook_resid_post",
    "gemma-scope-2b-it-mlp": "blocks.20.hook_mlp_out",
    "models--google--gemma-scope-27b-pt-att": "blocks.20.attn.hook_z",
}


@pytest.mark.parametrize("release", GEMMA)
@pytest.mark.parametrize("lower", [False, True])
def test_gemma_scope(tmp_path, release, lower):
    folder = tmp_path / release / "layer_20" / "width_16k" / "average_l0_68"
    p = {name: torch.from_numpy(value).double() for name, value in gemma_scope(folder, lower=lower).items()}
    ours = load_any(folder, dtype="float64")
    pre = torch.relu(X @ p["W_enc"] + p["b_enc"])
    latents = pre * (pre > p["threshold"])
    x_hat, l0 = ours.reconstruct(X)
    torch.testing.assert_close(x_hat, latents @ p["W_dec"] + p["b_dec"])
    assert torch.equal(l0, (latents > 0).sum(dim=1))
    card = ours.card
    assert (card.format, card.site, card.layer, card.l0, card.prepend_bos) == (
        "gemma-scope",
        GEMMA[release],
        20,
        68,
        True,
    )
    assert (
        card.model
        == {"9b-pt": "google/gemma-2-9b", "2b-it": "google/gemma-2-2b-it", "27b-p": "google/gemma-2-27b"}[
            release.split("gemma-scope-")[1][:5]
        ]
    )
    assert name_of(recognise(folder / "params.npz")[1]) == "gemma-scope"


def test_gemma_scope_transcoder_and_embedding(tmp_path):
    folder = tmp_path / "gemma-scope-2b-pt-transcoders" / "layer_3" / "width_16k" / "average_l0_5"
    gemma_scope(folder)
    card = load_any(folder).card
    assert (card.architecture, card.site, card.target) == (
        "jumprelu_transcoder",
        "blocks.3.ln2.hook_normalized",
        "blocks.3.hook_mlp_out",
    )
    folder = tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_4k" / "average_l0_6"
    p = gemma_scope(folder)
    ours = load_any(folder)
    torch.testing.assert_close(ours.sae.W_enc.data, torch.from_numpy(p["W_enc"]) / D_IN**0.5)
    assert (ours.card.site, ours.card.l0) == ("hook_embed", 6)


def test_gemma_scope_2(tmp_path):
    folder = tmp_path / "gemma-scope-2-1b-pt" / "transcoder" / "layer_7_width_16k_l0_medium_affine"
    rng = torch.Generator().manual_seed(0)
    p = {
        "w_enc": (D_IN, D_SAE),
        "w_dec": (D_SAE, D_IN),
        "b_enc": (D_SAE,),
        "b_dec": (D_IN,),
        "threshold": (D_SAE,),
        "affine_skip_connection": (D_IN, D_IN),
    }
    p = {name: torch.randn(shape, generator=rng) for name, shape in p.items()}
    folder.mkdir(parents=True)
    save_file(p, folder / "params.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"architecture": "jump_relu", "model_name": "gemma-v3-1b", "l0": 60})
    )
    ours = load_any(folder, dtype="float64")
    p = {name: value.double() for name, value in p.items()}
    pre = X @ p["w_enc"] + p["b_enc"]
    latents = torch.relu(pre) * (pre > p["threshold"])
    torch.testing.assert_close(
        ours.reconstruct(X)[0], latents @ p["w_dec"] + p["b_dec"] + X @ p["affine_skip_connection"]
    )
    assert (ours.card.format, ours.card.site, ours.card.target, ours.card.l0) == (
        "gemma-scope-2",
        "blocks.7.mlp.hook_in",
        "blocks.7.hook_mlp_out",
        60,
    )


def test_gemma_scope_2_reads_where_its_config_says(tmp_path):
    rng = torch.Generator().manual_seed(0)
    shapes = {"w_enc": (D_IN, D_SAE), "w_dec": (D_SAE, D_IN), "b_enc": (D_SAE,), "b_dec": (D_IN,)}
    p = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()} | {
        "threshold": torch.ones(D_SAE)
    }

    def put(folder, **said):
        folder.mkdir(parents=True)
        save_file(p, folder / "params.safetensors")
        (folder / "config.json").write_text(json.dumps({"l0": 30} | said))
        return folder

    sites = {
        "model.layers.3.output": "blocks.3.hook_resid_post",
        "model.language_model.layers.4.self_attn.o_proj.input": "blocks.4.attn.hook_z",
        "model.layers.5.post_feedforward_layernorm.output": "blocks.5.hook_mlp_out",
    }
    for number, (point, site) in enumerate(sites.items()):
        folder = put(tmp_path / f"mine{number}", hf_hook_point_in=point, type="sae")
        assert load_any(folder).card.site == site
    named = tmp_path / "gemma-scope-2-1b-pt" / "resid_post"
    agreed = put(named / "layer_3_width_16k", hf_hook_point_in="model.layers.3.output", type="sae")
    assert load_any(agreed).card.site == "blocks.3.hook_resid_post"
    for name, point in (
        ("layer_1_width_16k", "model.layers.2.output"),
        ("layer_2_x", "model.layers.2.self_attn.o_proj.input"),
    ):
        with pytest.raises(BadInput, match="contradict each other"):
            load_any(put(named / name, hf_hook_point_in=point, type="sae"))
    norm = "model.layers.6.{}_feedforward_layernorm.{}"
    reads, writes = norm.format("pre", "output"), norm.format("post", "output")
    made = put(tmp_path / "through", hf_hook_point_in=reads, hf_hook_point_out=writes, type="transcoder")
    card = load_any(made).card
    assert (card.site, card.target) == ("blocks.6.mlp.hook_in", "blocks.6.hook_mlp_out")
    for number, (ends, told) in enumerate(
        {
            (norm.format("pre", "input"), writes): "has it read at",
            (reads, "model.layers.6.mlp.output"): "has it write at",
            (reads, "model.layers.7.post_feedforward_layernorm.output"): "has it write at",
        }.items()
    ):
        said = dict(zip(("hf_hook_point_in", "hf_hook_point_out"), ends))
        with pytest.raises(BadInput, match=told):
            load_any(put(tmp_path / f"elsewhere{number}", **said, type="transcoder"))
    with pytest.raises(BadInput, match="has it read at"):
        load_any(put(tmp_path / "embedding", hf_hook_point_in="model.embed_tokens.output", type="sae"))


def test_sparsify_follows_the_formula(tmp_path):
    rng, k = torch.Generator().manual_seed(0), 3
    folder = tmp_path / "layers.5"
    folder.mkdir()
    weights = {
        "encoder.weight": torch.randn(D_SAE, D_IN, generator=rng),
        "encoder.bias": torch.randn(D_SAE, generator=rng),
        "W_dec": torch.randn(D_SAE, D_IN, generator=rng),
        "b_dec": torch.randn(D_IN, generator=rng),
    }
    save_file(weights, folder / "sae.safetensors")
    cfg = {
        "activation": "topk",
        "k": k,
        "signed": False,
        "skip_connection": False,
        "transcode": False,
        "multi_topk": True,
    }
    (folder / "cfg.json").write_text(json.dumps(cfg))
    ours, w = load_any(folder, dtype="float64"), {name: value.double() for name, value in weights.items()}
    value, at = torch.relu((X - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]).topk(k, dim=1)
    latents = torch.zeros(len(X), D_SAE, dtype=torch.float64).scatter(1, at, value)
    torch.testing.assert_close(ours.reconstruct(X)[0], latents @ w["W_dec"] + w["b_dec"])
    assert (ours.card.format, ours.card.site, ours.card.l0) == ("sparsify", "blocks.5.hook_resid_post", k)
    wrong = {"signed": "yes", "skip_connection": True, "activation": "groupmax", "k": "3"}
    for name, value in wrong.items():
        (folder / "cfg.json").write_text(json.dumps(cfg | {name: value}))
        with pytest.raises(BadInput, match=f"cfg.json (says|gives) {name}"):
            load_any(folder)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    save_file({"W_dec": weights["W_dec"]}, folder / "sae.safetensors")
    with pytest.raises(BadInput, match="sae.safetensors lacks encoder.weight, encoder.bias, b_dec"):
        load_any(folder)


def test_llama_scope_follows_the_formula(tmp_path):
    folder = tmp_path / "Llama3_1-8B-Base-L1R-8x"
    h, w = llama_scope(folder)
    ours = load_any(folder, dtype="float64")
    k = D_IN**0.5 / h["dataset_average_activation_norm"]["in"]
    w = {name: value.double() for name, value in w.items()}
    pre = torch.relu(k * X @ w["encoder.weight"].T + w["encoder.bias"])
    latents = pre * (pre > h["jump_relu_threshold"] * k)
    expected = (latents @ w["decoder.weight"].T + w["decoder.bias"]) / k
    torch.testing.assert_close(ours.reconstruct(X)[0], expected, atol=1e-6, rtol=1e-6)
    card = ours.card
    assert (card.site, card.layer, card.l0, card.normalisation, card.stored) == (
        SITE,
        1,
        50,
        "folded",
        "bfloat16",
    )
    assert card.model == "meta-llama/Llama-3.1-8B"
    assert name_of(recognise(folder / "checkpoints" / "final.safetensors")[1]) == "llama-scope"


def test_llama_scope_as_sae_lens_loads_it(tmp_path, monkeypatch):
    """SAELens' own reader, by the release's name, from a hub cache filled by hand; its norm comes from its
    own table."""
    from huggingface_hub import constants
    from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    factor = get_norm_scaling_factor("llama_scope_lxr_8x", "l1r_8x")
    hub, commit = tmp_path / "models--fnlp--Llama3_1-8B-Base-LXR-8x", "0" * 40
    folder = hub / "snapshots" / commit / "Llama3_1-8B-Base-L1R-8x"
    llama_scope(folder, dataset_average_activation_norm={"in": D_IN**0.5 / factor})
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    plain = SAE.from_pretrained("llama_scope_lxr_8x", "l1r_8x", dtype="float32").eval()
    assert_same(load_any(folder), plain, X.float(), atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ["jumprelu", "jumprelu_transcoder"])
def test_thresholds_are_never_rounded(tmp_path, architecture, dtype):
    saved = saelens(tmp_path, architecture)
    ours = load_any(tmp_path, dtype=dtype)
    assert ours.sae.W_enc.dtype == DTYPES[dtype]
    assert torch.equal(ours.sae.threshold, saved.threshold) and ours.sae.threshold.dtype == torch.float32
    assert torch.isfinite(ours.reconstruct(X)[0]).all()


def test_an_sae_none_of_whose_latents_fires(tmp_path):
    p = gemma_scope(tmp_path, threshold=np.full(D_SAE, 1e9, np.float32))
    x_hat, l0 = load_any(tmp_path).reconstruct(X)
    assert not l0.any() and torch.equal(x_hat, torch.from_numpy(p["b_dec"]).expand(len(X), -1))


def test_rounded_thresholds_are_said(tmp_path):
    saelens(tmp_path, "jumprelu", dtype="bfloat16")
    ours = load_any(tmp_path)
    assert ours.card.stored == "bfloat16" and "thresholds were stored in bfloat16" in ours.card.warnings[0]


def edit(folder, **changes):
    path = folder / "sae_weights.safetensors"
    state = load_file(path) | changes
    save_file({name: value.contiguous() for name, value in state.items() if value is not None}, path)


def configure(folder, **changes):
    cfg = json.loads((folder / "cfg.json").read_text()) | changes
    (folder / "cfg.json").write_text(json.dumps(cfg))


def truncate(path, size):
    path.write_bytes(path.read_bytes()[:size])


W = torch.zeros(D_SAE, D_IN)
FAULTS = {
    "transposed encoder": (
        lambda f: edit(f, W_enc=W),
        r"W_enc must be \[d_in, d_sae\] = \[6, 20\].*\[20, 6\].*transposed",
    ),
    "transposed decoder": (lambda f: edit(f, W_dec=W.T), "W_dec must be .*transposed"),
    "d_sae": (
        lambda f: configure(f, d_sae=30),
        r"must be \[d_sae, d_in\] = \[30, 6\].*has \[20, 6\]: d_in or d_sae is wrong",
    ),
    "d_sae missing": (lambda f: configure(f, d_sae=None), "no whole number for d_sae"),
    "bias": (lambda f: edit(f, b_enc=torch.zeros(7)), r"b_enc must be \[d_sae\] = \[20\]"),
    "NaN": (lambda f: edit(f, b_dec=torch.full((D_IN,), float("nan"))), "b_dec holds NaN"),
    "overflow": (
        lambda f: edit(f, W_enc=(W.T + 1e6).half()),
        "W_enc holds infinity: it overflowed .* float16",
    ),
    "missing weight": (lambda f: edit(f, threshold=None), "lacks threshold; jumprelu has W_dec"),
    "extra weight": (lambda f: edit(f, W_skip=W), "holds W_skip, which jumprelu has no use for"),
    "architecture": (
        lambda f: configure(f, architecture="jumprule"),
        "architecture 'jumprule' is not known; .*jumprelu",
    ),
    "temporal": (lambda f: configure(f, architecture="temporal"), "reads whole contexts"),
    "normalisation": (
        lambda f: configure(f, normalize_activations="z"),
        "says normalize_activations 'z'; valid: none",
    ),
    "hook and layer": (lambda f: configure(f, hook_layer=7), "contradicts itself: hook_name .*hook_layer 7"),
    "another program": (lambda f: (f / "cfg.json").write_text('{"num_latents": 5}'), "lacks d_in, d_sae"),
    "not JSON": (lambda f: truncate(f / "cfg.json", 40), "cfg.json is not JSON"),
    "truncated": (
        lambda f: truncate(f / "sae_weights.safetensors", 900),
        r"\(900 bytes\) is not a complete safetensors.*truncated",
    ),
    "truncated head": (
        lambda f: truncate(f / "sae_weights.safetensors", 60),
        "60 bytes.*not a complete safetensors",
    ),
    "empty": (lambda f: truncate(f / "sae_weights.safetensors", 0), "0 bytes.*not a complete safetensors"),
    "LFS": (
        lambda f: (f / "sae_weights.safetensors").write_text("version https://git-lfs.github.com/spec/v1"),
        "git lfs pull",
    ),
    "no weights": (
        lambda f: (f / "sae_weights.safetensors").unlink(),
        "looks like saelens, but lacks sae_weights",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_saelens_folder(tmp_path, fault):
    saelens(tmp_path, "jumprelu")
    change, says = FAULTS[fault]
    change(tmp_path)
    with pytest.raises(BadInput, match=says) as caught:
        load_any(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


NPZ = {
    "transposed": ({"W_enc": np.zeros((D_SAE, D_IN), np.float32)}, "W_enc must be .*transposed"),
    "d_sae": ({"threshold": np.ones(7, np.float32)}, r"threshold must be \[d_sae\] = \[20\]"),
    "missing": ({"threshold": None}, "params.npz lacks threshold; it holds W_enc"),
    "NaN": ({"W_dec": np.full((D_SAE, D_IN), np.nan, np.float32)}, "W_dec holds NaN"),
    "overflow": ({"b_enc": np.full(D_SAE, np.inf, np.float16)}, "b_enc holds infinity.*float16"),
    "ints": ({"b_enc": np.zeros(D_SAE, int)}, "holds b_enc of type int64"),
    "matrix": ({"b_enc": np.zeros((1, D_SAE), np.float32)}, "b_enc must be a vector"),
}


@pytest.mark.parametrize("fault", NPZ)
def test_faults_of_a_gemma_scope_folder(tmp_path, fault):
    changes, says = NPZ[fault]
    gemma_scope(tmp_path, **changes)
    with pytest.raises(BadInput, match=says):
        load_any(tmp_path)


def test_a_truncated_npz(tmp_path):
    gemma_scope(tmp_path)
    truncate(tmp_path / "params.npz", 700)
    with pytest.raises(BadInput, match=r"params.npz \(700 bytes\) is not a complete npz"):
        load_any(tmp_path)


LLAMA = {
    "activation": ({"act_fn": "topk"}, "says act_fn 'topk'; only 'jumprelu'"),
    "normalisation": ({"norm_activation": "token-wise"}, "says norm_activation 'token-wise'"),
    "norm": ({"dataset_average_activation_norm": {"in": 0}}, "norm 0; it must be above 0"),
    "layer": (
        {"hook_point_in": "blocks.2.hook_resid_post", "hook_point_out": None},
        "says layer 1, but .*blocks.2",
    ),
    "d_sae": ({"d_sae": 64}, r"= \[64, 6\], but final.safetensors has \[20, 6\]"),
}


@pytest.mark.parametrize("fault", LLAMA)
def test_faults_of_a_llama_scope_folder(tmp_path, fault):
    changes, says = LLAMA[fault]
    folder = tmp_path / "Llama3_1-8B-Base-L1R-8x"
    about, _ = llama_scope(folder)
    (folder / "hyperparams.json").write_text(json.dumps(about | changes))
    with pytest.raises(BadInput, match=says):
        load_any(folder)


def test_weights_too_large_for_the_type_asked_for(tmp_path):
    gemma_scope(tmp_path, W_dec=np.full((D_SAE, D_IN), 1e5, np.float32))
    assert load_any(tmp_path, dtype="bfloat16").card.stored == "float32"
    with pytest.raises(BadInput, match=r"W_dec reaches 1e\+05, too large for float16"):
        load_any(tmp_path, dtype="float16")
    with pytest.raises(BadInput, match="unknown dtype 'int8'"):
        load_any(tmp_path, dtype="int8")


def test_what_is_no_sae(tmp_path):
    with pytest.raises(BadInput, match="there is no such file or folder"):
        recognise(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="holds no SAE of a known format; known: .*saelens"):
        recognise(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(BadInput, match="model.safetensors .1 bytes. is not a complete safetensors file"):
        recognise(tmp_path / "model.safetensors")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match="notes.txt is no file of an SAE"):
        recognise(tmp_path / "notes.txt")
    gemma_scope(tmp_path / "layer_1" / "width_4k")
    with pytest.raises(BadInput, match="has 1 inside; give one, e.g. layer_1/width_4k"):
        recognise(tmp_path)
    shutil.rmtree(tmp_path / "layer_1")


def test_a_gemma_scope_folder_that_says_nothing(tmp_path):
    gemma_scope(tmp_path / "mine")
    card = load_any(tmp_path / "mine").card
    assert (card.site, card.layer, card.l0) == (None, None, None)


def test_training_classes_are_all_covered():
    from sae_lens.registry import SAE_CLASS_REGISTRY, SAE_TRAINING_CLASS_REGISTRY

    assert set(SAE_CLASS_REGISTRY) - {"temporal"} == set(SAELENS)
    assert set(SAE_TRAINING_CLASS_REGISTRY) - set(SAE_CLASS_REGISTRY) <= set(TRAINED)
    assert issubclass(TrainingSAE, SAE)


MINE = '''"""Mine, mine.json: what this test made up."""

from darkmatter_utils.adapters.formats.gemma_scope import FILES as THEIRS
from darkmatter_utils.adapters.files import arrays
from darkmatter_utils.adapters.formats import Found

FILES, MORE, RELEASES = ("mine.json",), THEIRS, ("mine",)


def read(folder):
    state = arrays(folder / MORE[0])
    cfg = dict(architecture="jumprelu", d_in=6, d_sae=20, apply_b_dec_to_input=False)
    return Found(cfg, state, FILES[0], MORE[0], dict(site="blocks.3.hook_mlp_out"))
'''


def test_a_format_is_added_by_adding_its_file(tmp_path, monkeypatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "my_own.py").write_text(MINE)
    folders = [*formats.__path__, str(tmp_path / "more")]
    monkeypatch.setattr(formats, "__path__", folders)
    monkeypatch.setattr(formats.__spec__, "submodule_search_locations", folders)
    gemma_scope(tmp_path / "sae")
    (tmp_path / "sae" / "mine.json").write_text("{}")
    with pytest.raises(BadInput, match="in 2 formats .gemma-scope, my-own."):
        load_any(tmp_path / "sae")
    card = load_any(tmp_path / "sae" / "mine.json").card
    assert (card.format, card.site) == ("my-own", "blocks.3.hook_mlp_out")


def test_the_help_of_measure_names_every_format(capsys):
    with pytest.raises(SystemExit):
        cli.main(["measure", "--help"])
    said = capsys.readouterr().out
    assert all(format.__doc__.splitlines()[0] in said for format in formats.known().values())


def test_the_readme_names_formats_by_their_first_files():
    """And for what it does not name, the help that lists all."""
    text = (ROOT / "README.md").read_text().partition("| format | files |")[2].partition("\n\n")[0]
    told = re.findall(r"^\| (\w[\w -]+) \| `(.*?)`", text, flags=re.MULTILINE)
    told = {(name.lower().replace(" ", "-"), file) for name, file in told}
    there = {(name, formats.files_of(format)[0]) for name, format in formats.known().items()}
    assert len(told) > 12 and told <= there


def test_what_config_json_of_gemma_scope_2_says_must_fit(tmp_path):
    rng = torch.Generator().manual_seed(0)
    shapes = {"w_enc": (D_IN, D_SAE), "w_dec": (D_SAE, D_IN), "b_enc": (D_SAE,), "b_dec": (D_IN,)}
    p = {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    save_file(p | {"threshold": torch.ones(D_SAE)}, tmp_path / "params.safetensors")
    point = "model.layers.3.output"
    good = {"type": "sae", "hf_hook_point_in": point, "hf_hook_point_out": point, "architecture": "jump_relu"}
    wrong = {
        "says width 99": {"width": 99},
        "says type 'crosscoder'": {"type": "crosscoder"},
        "says architecture 'topk'": {"architecture": "topk"},
        "no affine_skip_connection": {"affine_connection": True},
        "write at model.layers.4.output": {"hf_hook_point_out": "model.layers.4.output"},
    }
    for said, valid in (({"width": D_SAE}, True), ({"width": str(D_SAE)}, True), ({}, True)):
        (tmp_path / "config.json").write_text(json.dumps(good | said))
        assert load_any(tmp_path).card.site == "blocks.3.hook_resid_post"
    for says, said in wrong.items():
        (tmp_path / "config.json").write_text(json.dumps(good | said))
        with pytest.raises(BadInput, match=says):
            load_any(tmp_path)
    (tmp_path / "config.json").write_text("\ufeff" + json.dumps(good))  # a byte-order mark
    assert load_any(tmp_path).card.layer == 3


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"activation_fn_str": "topk"}, "made by topk"),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 8.5}}, "gives k 8.5"),
        ({"activation_fn_str": "ReLU"}, None),
        ({"finetuning_scaling_factor": "false"}, "factor .false.; it must be true or false"),
        ({"hook_layer": "3"}, None),
        ({"hook_point": 3}, "gives hook_name 3; it must be a site"),
    ],
)
def test_settings_of_odd_types(tmp_path, said, says):
    old_standard(tmp_path, **said)
    if says is None:
        assert load_any(tmp_path).kind == "standard"
    else:
        with pytest.raises(BadInput, match=says):
            load_any(tmp_path)


def test_a_scaling_factor_of_another_shape(tmp_path):
    old_standard(tmp_path, finetuning_scaling_factor=True)
    file = tmp_path / "sae_weights.safetensors"
    save_file(load_file(file) | {"scaling_factor": torch.ones(7)}, file)
    with pytest.raises(BadInput, match=r"scaling_factor must be \[d_sae\], a number a latent, got \[7\]"):
        load_any(tmp_path)

"""Formats of one file an SAE, of other libraries, of none: each by the formula that its own code computes."""

import json

import pytest
import torch
import yaml
from published import D_IN, D_SAE
from safetensors.torch import save_file
from torch.nn import functional as F

from darkmatter_utils.adapters import hub, stated
from darkmatter_utils.adapters.saes import load_any
from darkmatter_utils.base.errors import BadInput

K = 3
RNG = torch.Generator().manual_seed(0)
X = torch.randn(60, D_IN, generator=RNG, dtype=torch.float64)


def drawn(*shape):
    return torch.randn(*shape, generator=RNG)


def wide(weights):
    return {name: value.double() if torch.is_tensor(value) else value for name, value in weights.items()}


def topk(pre, k=K, signed=False):
    at = (pre.abs() if signed else pre).topk(k, dim=1).indices
    kept = torch.zeros_like(pre).scatter(1, at, pre.gather(1, at))
    return kept if signed else kept.relu()


def layers(**more):
    """An encoder and a decoder as two layers of torch hold them."""
    return {"encoder.weight": drawn(D_SAE, D_IN), "decoder.weight": drawn(D_IN, D_SAE)} | more


def same(path, expected, x=X, **said):
    ours = load_any(path, dtype="float64", said=said)
    torch.testing.assert_close(ours.reconstruct(x)[0], expected, atol=1e-6, rtol=1e-6)
    return ours.card


def qwen(folder, k=K, width="1", model="Qwen3-1.7B-Base"):
    folder = folder / f"SAE-Res-{model}-W{width}K-L0_{k}"
    folder.mkdir(parents=True)
    w = {"W_enc": drawn(1024, D_IN), "W_dec": drawn(D_IN, 1024), "b_enc": drawn(1024), "b_dec": drawn(D_IN)}
    torch.save(w, folder / "layer5.sae.pt")
    return folder, w


def test_qwen_scope(tmp_path):
    folder, w = qwen(tmp_path)
    w = wide(w)
    expected = topk(X @ w["W_enc"].T + w["b_enc"]) @ w["W_dec"].T + w["b_dec"]
    for path in (folder, folder / "layer5.sae.pt"):
        card = same(path, expected)
        assert (card.format, card.site, card.l0) == ("qwen-scope", "blocks.5.hook_resid_post", K)
        assert card.model == "Qwen/Qwen3-1.7B-Base"
    with pytest.raises(BadInput, match="--k 5, but its folder's name says L0_3"):
        load_any(folder, said={"k": 5})
    torch.save(w, folder / "layer6.sae.pt")
    with pytest.raises(BadInput, match="has 2 inside; give one, e.g. layer5.sae.pt, layer6.sae.pt"):
        load_any(folder)
    other = folder.rename(tmp_path / "mine")
    with pytest.raises(BadInput, match="k is in no file .* give it: --k"):
        load_any(other / "layer5.sae.pt")
    same(other / "layer5.sae.pt", expected, k=K)
    wrong = tmp_path / "SAE-Res-Qwen3-8B-Base-W64K-L0_3"
    other.rename(wrong)
    with pytest.raises(BadInput, match="says 64K latents, but layer5.sae.pt has 1024"):
        load_any(wrong / "layer5.sae.pt")


def test_qwen_scope_by_name_brings_one_file():
    repository, inside, _ = hub.sae_name("qwen-scope-3-1.7b-base-w32k-l50/layer7")
    assert (repository, inside) == ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", "layer7.sae.pt")
    assert hub._sae_files(inside) == ["layer7.sae.pt"]


@pytest.mark.parametrize("made", ["ReLU", "TopK"])
def test_openai(tmp_path, made):
    folder = tmp_path / "resid_delta_mlp_v5_32k" / "autoencoders"
    folder.mkdir(parents=True)
    w = layers(pre_bias=drawn(D_IN), latent_bias=drawn(D_SAE), stats_last_nonzero=torch.zeros(D_SAE).long())
    inside = {"k": K, "postact_fn": "ReLU"} if made == "TopK" else {}
    torch.save(w | {"activation": made, "activation_state_dict": inside}, folder / "6.pt")
    w, z, back = wide(w), X, lambda out: out
    if made == "TopK":
        mean = X.mean(dim=1, keepdim=True)
        std = (X - mean).std(dim=1, keepdim=True)
        z, back = (X - mean) / (std + 1e-5), lambda out: out * std + mean
    pre = (z - w["pre_bias"]) @ w["encoder.weight"].T + w["latent_bias"]
    f = topk(pre) if made == "TopK" else pre.relu()
    card = same(folder / "6.pt", back(f @ w["decoder.weight"].T + w["pre_bias"]))
    assert (card.format, card.site, card.l0) == (
        "openai",
        "blocks.6.hook_mlp_out",
        K if made == "TopK" else None,
    )
    torch.save(w | {"activation": "Identity"}, folder / "7.pt")
    with pytest.raises(BadInput, match="has activation Identity ; known: ReLU, TopK of ReLU"):
        load_any(folder / "7.pt")


def test_goodfire(tmp_path):
    w = {
        "encoder_linear.weight": drawn(D_SAE, D_IN),
        "encoder_linear.bias": drawn(D_SAE),
        "decoder_linear.weight": drawn(D_IN, D_SAE),
        "decoder_linear.bias": drawn(D_IN),
    }
    torch.save(w, path := tmp_path / "Llama-3.1-8B-Instruct-SAE-l19.pth")
    w = wide(w)
    f = (X @ w["encoder_linear.weight"].T + w["encoder_linear.bias"]).relu()
    card = same(path, f @ w["decoder_linear.weight"].T + w["decoder_linear.bias"])
    said = (card.format, card.site, card.model)
    assert said == ("goodfire", "blocks.19.hook_resid_post", "meta-llama/Llama-3.1-8B-Instruct")


SETTINGS = [
    ("layers.5", {}, "blocks.5.hook_resid_post", None),
    ("layers.5", {"signed": True}, "blocks.5.hook_resid_post", None),
    ("gpt_neox.layers.2.mlp", {}, "blocks.2.hook_mlp_out", None),
    ("layers.4.attention", {}, "blocks.4.hook_attn_out", None),
    ("h.3", {"skip_connection": True}, "blocks.3.hook_resid_post", "blocks.3.hook_resid_post"),
    ("layers.1.mlp", {"transcode": True}, "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"),
    (
        "layers.1.mlp",
        {"transcode": True, "skip_connection": True},
        "blocks.1.mlp.hook_in",
        "blocks.1.hook_mlp_out",
    ),
]


@pytest.mark.parametrize(("name", "settings", "site", "target"), SETTINGS)
def test_sparsify(tmp_path, name, settings, site, target):
    (folder := tmp_path / name).mkdir()
    w = {
        "encoder.weight": drawn(D_SAE, D_IN),
        "encoder.bias": drawn(D_SAE),
        "W_dec": drawn(D_SAE, D_IN),
        "b_dec": drawn(D_IN),
    }
    if settings.get("skip_connection"):
        w["W_skip"] = drawn(D_IN, D_IN)
    save_file(w, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"k": K, "activation": "topk", "d_in": D_IN} | settings))
    (tmp_path / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-160m"}))
    w = wide(w)
    z = X if settings.get("transcode") else X - w["b_dec"]
    pre = F.linear(z, w["encoder.weight"], w["encoder.bias"])
    f = topk(pre, signed=True) if settings.get("signed") else topk(pre.relu())
    skip = X @ w["W_skip"].mT if "W_skip" in w else 0
    card = same(folder, f @ w["W_dec"] + w["b_dec"] + skip)
    assert (card.site, card.target, card.model) == (site, target, "EleutherAI/pythia-160m")


HOOKS = {
    "feature_input_hook": "hook_resid_mid",
    "feature_output_hook": "hook_mlp_out",
    "model_name": "a/model",
}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("jump", [False, True])
def test_a_layer_of_a_circuit_tracer_set(tmp_path, skip, jump):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model_kind": "transcoder_set"} | HOOKS))
    w = {
        "W_enc": drawn(D_SAE, D_IN),
        "W_dec": drawn(D_SAE, D_IN),
        "b_enc": drawn(D_SAE),
        "b_dec": drawn(D_IN),
    }
    if jump:
        w["activation_function.threshold"] = drawn(D_SAE).abs()
    if skip:
        w["W_skip"] = drawn(D_IN, D_IN)
    for layer in (0, 1):
        save_file(w, tmp_path / f"layer_{layer}.safetensors")
    w = wide(w)
    pre = F.linear(X, w["W_enc"], w["b_enc"])
    f = pre * (pre > w["activation_function.threshold"]) if jump else pre.relu()
    expected = f @ w["W_dec"] + w["b_dec"] + (X @ w["W_skip"].T if skip else 0)
    card = same(tmp_path / "layer_1.safetensors", expected)
    assert (card.format, card.site, card.target, card.model) == (
        "circuit-tracer",
        "blocks.1.hook_resid_mid",
        "blocks.1.hook_mlp_out",
        "a/model",
    )
    with pytest.raises(BadInput, match="has 2 inside; give one, e.g. layer_0.safetensors"):
        load_any(tmp_path)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(BadInput, match="config.yaml, which says where it reads and writes, is not beside it"):
        load_any(tmp_path / "layer_1.safetensors")


@pytest.mark.parametrize("jump", [False, True])
def test_a_cross_layer_transcoder_writes_what_all_layers_up_to_there_write(tmp_path, jump):
    n, last = 4, 2
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model_kind": "cross_layer_transcoder"} | HOOKS))
    held = {}
    for i in range(n):
        enc = {f"W_enc_{i}": drawn(D_SAE, D_IN), f"b_enc_{i}": drawn(D_SAE), f"b_dec_{i}": drawn(D_IN)}
        enc |= {f"threshold_{i}": drawn(D_SAE).abs()} if jump else {}
        dec = {f"W_dec_{i}": drawn(D_SAE, n - i, D_IN)}
        save_file(enc, tmp_path / f"W_enc_{i}.safetensors")
        save_file(dec, tmp_path / f"W_dec_{i}.safetensors")
        held |= wide(enc | dec)
    x = torch.randn(40, n, D_IN, generator=RNG, dtype=torch.float64)
    expected = held[f"b_dec_{last}"].repeat(len(x), 1)
    for i in range(last + 1):
        pre = F.linear(x[:, i], held[f"W_enc_{i}"], held[f"b_enc_{i}"])
        f = pre * (pre > held[f"threshold_{i}"]) if jump else pre.relu()
        expected += f @ held[f"W_dec_{i}"][:, last - i]
    path = tmp_path / f"W_enc_{last}.safetensors"
    card = same(path, expected, x[:, : last + 1].flatten(1))
    assert card.earlier == ("blocks.0.hook_resid_mid", "blocks.1.hook_resid_mid")
    assert (card.site, card.target, card.d_sae) == (
        "blocks.2.hook_resid_mid",
        "blocks.2.hook_mlp_out",
        3 * D_SAE,
    )
    (tmp_path / "W_dec_1.safetensors").unlink()
    with pytest.raises(BadInput, match="layer 1, but|layer 1 .*W_dec_1.safetensors is not beside it"):
        load_any(path)


def test_a_cross_layer_transcoder_by_name_brings_the_layers_that_it_needs():
    repository, inside, _ = hub.sae_name("mntss-gemma-2-2b-2.5m-clt-as-per-layer/layer_1")
    assert (repository, inside) == ("mntss/clt-gemma-2-2b-2.5M", "W_enc_1.safetensors")
    names = {f"W_{kind}_{layer}.safetensors" for kind in ("enc", "dec") for layer in (0, 1)}
    assert set(hub._sae_files(inside)) == names | {"config.yaml"}


@pytest.mark.parametrize("today", [True, False])
@pytest.mark.parametrize("act", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("scaled", [True, False])
def test_llamascopium(tmp_path, today, act, scaled):
    """Pre-activations times decoder norms are what the threshold and the k largest are about."""
    site = "blocks.3.hook_resid_post"
    W, D, b, c, log = drawn(D_IN, D_SAE), drawn(D_SAE, D_IN), drawn(D_SAE), drawn(D_IN), 0.3 * drawn(D_SAE)
    if today:
        w = {"W_E": W, "W_D": D, "b_E": b, "b_D": c, "activation_function.log_jumprelu_threshold": log}
    else:
        w = {"encoder.weight": W.T, "decoder.weight": D.T, "encoder.bias": b, "decoder.bias": c}
        w["log_jumprelu_threshold"] = log
    if act != "jumprelu":
        w = {name: value for name, value in w.items() if "threshold" not in name}
    norm = 2.5 if scaled else None
    w |= {f"dataset_average_activation_norm.{site}": torch.tensor(norm)} if scaled else {}
    save_file({name: value.contiguous() for name, value in w.items()}, tmp_path / "sae_weights.safetensors")
    about = {"hook_point_in": site, "hook_point_out": site, "d_model": D_IN, "act_fn": act, "top_k": K}
    about |= {"norm_activation": "dataset-wise" if scaled else "inference", "expansion_factor": 2}
    (tmp_path / "config.json").write_text(json.dumps(about))
    W, D, b, c, log = (value.double() for value in (W, D, b, c, log))
    scale = D_IN**0.5 / norm if scaled else 1
    pre, n = scale * X @ W + b, D.norm(dim=1)
    f = (
        pre.relu()
        if act == "relu"
        else pre * (pre * n > log.exp())
        if act == "jumprelu"
        else topk(pre * n) / n
    )
    card = same(tmp_path, (f @ D + c) / scale)
    assert (card.format, card.site) == ("llamascopium", site)
    assert card.normalisation == ("folded" if scaled else "none")


def test_llamascopium_token_by_token(tmp_path):
    site = "blocks.3.hook_resid_post"
    w = {"W_E": drawn(D_IN, D_SAE), "W_D": drawn(D_SAE, D_IN), "b_E": drawn(D_SAE), "b_D": drawn(D_IN)}
    save_file(w, tmp_path / "sae_weights.safetensors")
    about = {"hook_point_in": site, "act_fn": "relu", "norm_activation": "token-wise"}
    (tmp_path / "config.json").write_text(json.dumps(about))
    w, scale = wide(w), D_IN**0.5 / X.norm(dim=1, keepdim=True)
    same(tmp_path, ((scale * X @ w["W_E"] + w["b_E"]).relu() @ w["W_D"] + w["b_D"]) / scale)
    wrong = {
        "norm_activation": "batch-wise",
        "act_fn": "batchtopk",
        "use_glu_encoder": True,
        "sae_type": "clt",
    }
    for name, value in wrong.items():
        (tmp_path / "config.json").write_text(json.dumps(about | {name: value}))
        with pytest.raises(BadInput, match=f"config.json says {name} {value!r}"):
            load_any(tmp_path)


def test_a_scale_that_only_the_list_knows_is_folded(tmp_path):
    """Llama Scope of R1-distill: its mean norm is in SAELens' list."""
    name = "llama_scope_r1_distill/l0r_800m_slimpajama"
    site = "blocks.0.hook_resid_post"
    w = layers(**{"encoder.bias": drawn(D_SAE), "decoder.bias": drawn(D_IN)})
    w["log_jumprelu_threshold"] = 0.3 * drawn(D_SAE)
    save_file(w, tmp_path / "sae_weights.safetensors")
    about = {"hook_point_in": site, "act_fn": "jumprelu", "sparsity_include_decoder_norm": False}
    (tmp_path / "config.json").write_text(json.dumps(about))
    plain = load_any(tmp_path, dtype="float64")
    assert "holds no factor" in plain.card.warnings[0]
    said = stated.overrides(name)
    ours = stated.honoured(plain, said)
    w, scale = wide(w), said["norm_scaling_factor"]
    pre = scale * X @ w["encoder.weight"].T + w["encoder.bias"]
    f = pre * (pre > w["log_jumprelu_threshold"].exp())
    expected = (f @ w["decoder.weight"].T + w["decoder.bias"]) / scale
    torch.testing.assert_close(ours.reconstruct(X)[0], expected, atol=1e-6, rtol=1e-6)
    assert scale > 1 and ours.card.normalisation.startswith("folded") and not ours.card.warnings


@pytest.mark.parametrize("end", ["pt", "pth", "safetensors"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("said", [{}, {"k": K}, {"threshold": 0.4}, {"b_dec_in": True, "k": K}])
def test_any_two_matrices(tmp_path, end, turned, said):
    W, D, b, c = drawn(D_IN, D_SAE), drawn(D_SAE, D_IN), drawn(D_SAE), drawn(D_IN)
    w = {"enc.w": W.T if turned else W, "dec.w": D.T if turned else D, "enc.b": b, "dec.b": c}
    w = {name: value.contiguous() for name, value in w.items()}
    path = tmp_path / f"mine.{end}"
    save_file(w, path) if end == "safetensors" else torch.save(w, path)
    W, D, b, c = (value.double() for value in (W, D, b, c))
    pre = (X - c if said.get("b_dec_in") else X) @ W + b
    f = topk(pre) if "k" in said else pre * (pre > 0.4) if "threshold" in said else pre.relu()
    card = same(path, f @ D + c, **said)
    assert card.format == "matrices" and "enc.w as the encoder" in card.warnings[0]
    assert ("all that is positive" in card.warnings[0]) == (not {"k", "threshold"} & set(said))


def test_two_matrices_that_could_be_read_in_two_ways_are_refused(tmp_path):
    good = {
        "W_enc": drawn(D_IN, D_SAE),
        "W_dec": drawn(D_SAE, D_IN),
        "b_enc": drawn(D_SAE),
        "b_dec": drawn(D_IN),
    }
    wrong = {
        "it needs one matrix with enc": {name[2:][::-1]: v for name, v in good.items()},
        "not of swapped shapes": good | {"W_dec": drawn(D_SAE + 1, D_IN)},
        "which of .* is the encoder's bias": good | {"b_encoder_too": drawn(D_SAE)},
        "holds log_threshold; which is meant": good | {"log_threshold": drawn(D_SAE)},
        "holds no named tensors": {"epoch": 3},
    }
    for says, weights in wrong.items():
        torch.save(weights, path := tmp_path / "mine.pt")
        with pytest.raises(BadInput, match=says) as told:
            load_any(path)
        assert "\n" not in str(told.value)
    torch.save(good, path)
    with pytest.raises(BadInput, match="--k and --threshold are two ways"):
        load_any(path, said={"k": 2, "threshold": 0.1})
    torch.save(good | {"threshold": torch.tensor(0.4)}, path)
    w = wide(good)
    pre = X @ w["W_enc"] + w["b_enc"]
    same(path, pre * (pre > 0.4) @ w["W_dec"] + w["b_dec"])


def test_what_the_files_say_cannot_be_said_again(tmp_path):
    (tmp_path / "layers.1").mkdir()
    from published import saelens

    saelens(tmp_path / "layers.1", "topk")
    with pytest.raises(BadInput, match="say what --k would; saelens takes none of these"):
        load_any(tmp_path / "layers.1", said={"k": 4})


def test_a_pickle_is_never_run(tmp_path):
    class Odd:
        def __reduce__(self):
            return (open, (str(tmp_path / "was-run"), "w"))

    torch.save({"W_enc": Odd()}, path := tmp_path / "layer0.sae.pt")
    with pytest.raises(BadInput, match="cannot be read without|can be read without running it"):
        load_any(path)
    assert not (tmp_path / "was-run").exists()


def test_a_modules_own_output_is_no_site_where_a_norm_follows(tmp_path):
    """sparsify hooks the module; Gemma 2 norms what its MLP makes, and hook_mlp_out is after that."""
    import gemma_toy

    from darkmatter_utils.adapters.models import load_model
    from darkmatter_utils.adapters.saes import match

    gemma_toy.model(tmp_path / "model")
    model = load_model(tmp_path / "model")
    tokens = torch.arange(3, 13)[None]
    made, block = {}, model.bridge.original_model.model.layers[1]
    for name in ("mlp", "post_feedforward_layernorm"):
        keep = lambda module, given, out, name=name: made.update({name: out})
        getattr(block, name).register_forward_hook(keep)
    found = model.read(tokens, ["blocks.1.hook_mlp_out"])["blocks.1.hook_mlp_out"]
    torch.testing.assert_close(found, made["post_feedforward_layernorm"])
    assert not torch.allclose(found, made["mlp"], rtol=0.1)
    d = model.width("blocks.1.hook_mlp_out")
    w = {"encoder.weight": drawn(D_SAE, d), "encoder.bias": drawn(D_SAE)}
    w |= {"W_dec": drawn(D_SAE, d), "b_dec": drawn(d)}
    for name in ("layers.1", "layers.1.mlp"):
        (tmp_path / name).mkdir()
        save_file(w, tmp_path / name / "sae.safetensors")
        (tmp_path / name / "cfg.json").write_text(json.dumps({"k": K}))
    assert match(load_any(tmp_path / "layers.1"), model)[0] == "blocks.1.hook_resid_post"
    with pytest.raises(BadInput, match="a norm follows it: that is not blocks.1.hook_mlp_out"):
        match(load_any(tmp_path / "layers.1.mlp"), model)

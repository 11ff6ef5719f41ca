"""SAEs of the library dictionary_learning: each of its classes by its own formula."""

import json

import pytest
import torch

from darkmatter_utils.adapters import stated
from darkmatter_utils.adapters.saes import load_any
from darkmatter_utils.base.errors import BadInput

D, S, K = 8, 24, 3
RNG = torch.Generator().manual_seed(0)
X = torch.randn(60, D, generator=RNG, dtype=torch.float64)


def drawn(*shape):
    return torch.randn(*shape, generator=RNG)


def put(folder, kind, state, **trainer):
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / "ae.pt")
    about = {"dict_class": kind, "activation_dim": D, "dict_size": S, "layer": 3, "lm_name": "a/model"}
    said = {"trainer": about | {"submodule_name": "resid_post_layer_3"} | trainer, "buffer": {"ctx_len": 128}}
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def linear(**more):
    """Weights as two layers of torch hold them."""
    return {"encoder.weight": drawn(S, D), "decoder.weight": drawn(D, S)} | more


def wide(state):
    return {name: value.double() for name, value in state.items()}


def standard(w, b):
    f = torch.relu((X - b) @ w["encoder.weight"].T + w["encoder.bias"])
    return f, f @ w["decoder.weight"].T + b


def by_kind():
    """(class, state, formula) of every class."""
    yield (
        "AutoEncoder",
        linear(**{"encoder.bias": drawn(S), "bias": drawn(D)}),
        lambda w: standard(w, w["bias"])[1],
    )
    new = linear(**{"encoder.bias": drawn(S), "decoder.bias": drawn(D)})
    yield (
        "AutoEncoderNew",
        new,
        lambda w: (
            torch.relu(X @ w["encoder.weight"].T + w["encoder.bias"]) @ w["decoder.weight"].T
            + w["decoder.bias"]
        ),
    )
    gated = linear(decoder_bias=drawn(D), r_mag=drawn(S), gate_bias=drawn(S), mag_bias=drawn(S))

    def of_gated(w):
        pre = (X - w["decoder_bias"]) @ w["encoder.weight"].T
        f = (pre + w["gate_bias"] > 0) * torch.relu(w["r_mag"].exp() * pre + w["mag_bias"])
        return f @ w["decoder.weight"].T + w["decoder_bias"]

    yield "GatedAutoEncoder", gated, of_gated
    k = {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(0.4)}
    batch = linear(**{"encoder.bias": drawn(S), "b_dec": drawn(D)}) | k

    def of_topk(w):
        f, _ = standard(w, w["b_dec"])
        value, at = f.topk(K, dim=1)
        return torch.zeros_like(f).scatter(1, at, value) @ w["decoder.weight"].T + w["b_dec"]

    def of_batch(w):
        f, _ = standard(w, w["b_dec"])
        return (f * (f > 0.4)) @ w["decoder.weight"].T + w["b_dec"]

    yield "AutoEncoderTopK", batch, of_topk
    yield "BatchTopKSAE", batch, of_batch
    plain = {"W_enc": drawn(D, S), "b_enc": drawn(S), "W_dec": drawn(S, D), "b_dec": drawn(D)}
    nested = plain | k | {"group_sizes": torch.tensor([8, 16])}

    def of_nested(w):
        f = torch.relu((X - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
        return (f * (f > 0.4)) @ w["W_dec"] + w["b_dec"]

    yield "MatryoshkaBatchTopKSAE", nested, of_nested
    threshold = 0.1 + torch.rand(S, generator=RNG)

    def of_jump(w):
        pre = X @ w["W_enc"] + w["b_enc"]
        return torch.relu(pre * (pre > w["threshold"])) @ w["W_dec"] + w["b_dec"]

    yield "JumpReluAutoEncoder", plain | {"threshold": threshold}, of_jump


@pytest.mark.parametrize(
    ("kind", "state", "formula"), list(by_kind()), ids=lambda one: one if type(one) is str else ""
)
def test_every_class_follows_its_formula(tmp_path, kind, state, formula):
    sae = load_any(put(tmp_path / "sae", kind, state), dtype="float64")
    torch.testing.assert_close(sae.reconstruct(X)[0], formula(wide(state)), atol=1e-6, rtol=0)
    card = sae.card
    assert (card.format, card.site, card.model) == (
        "dictionary-learning",
        "blocks.3.hook_resid_post",
        "a/model",
    )
    assert (card.l0 == K) == ("k" in state)


def test_places_and_contexts_are_read(tmp_path):
    kind, state, _ = next(by_kind())
    sites = {
        "mlp_out_layer_3": "blocks.3.hook_mlp_out",
        "model.layers.3": "blocks.3.hook_resid_post",
        "elsewhere": None,
    }
    for name, site in sites.items():
        folder = put(tmp_path / "sae", kind, state, submodule_name=name)
        assert load_any(folder).card.site == site
    (said,) = stated.doubts({}, folder, (64, 512))
    assert "contexts of 128 tokens" in said


class Odd:
    """Not a tensor: to read it, code would be run."""


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda s: s | {"threshold": torch.tensor(-1.0)}, "a threshold below 0: it was never set"),
        (lambda s: {n: v for n, v in s.items() if n != "threshold"}, "ae.pt lacks threshold"),
        (lambda s: {n: v for n, v in s.items() if n != "encoder.weight"}, "ae.pt lacks W_enc"),
        (lambda s: s | {"k": "3"}, "holds more than named tensors"),
        (lambda s: s | {"k": Odd()}, "no file of tensors that can be read without running it"),
    ],
)
def test_faults_are_one_line(tmp_path, change, line):
    kind, state, _ = next(one for one in by_kind() if one[0] == "BatchTopKSAE")
    with pytest.raises(BadInput, match=line):
        load_any(put(tmp_path / "sae", kind, change(state)))
    with pytest.raises(BadInput, match="gives dict_class 'CrossCoder'; valid: AutoEncoder, "):
        load_any(put(tmp_path / "sae", "CrossCoder", state))

"""Language models against plain transformers."""

import sys

import numpy as np
import pytest
import torch
import toys
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoProcessor,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)

from darkmatter_utils.adapters import models
from darkmatter_utils.adapters.models import load_model, place, token_losses
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.studies.study import Study

FOLDER = Study.load("nano").data_folder()
CLOSE = dict(atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def model():
    return load_model(FOLDER / "model", dtype="float64")


@pytest.fixture(scope="module")
def tokens():
    return torch.from_numpy(np.load(FOLDER / "tokens.npz")["score_tokens"][:6].astype(np.int64))


def test_logits_losses_and_residuals_are_those_of_plain_transformers(model, tokens):
    plain = AutoModelForCausalLM.from_pretrained(
        FOLDER / "model", dtype=torch.float64, attn_implementation="eager"
    )
    with torch.no_grad():
        answer = plain(tokens, output_hidden_states=True, labels=tokens)
    found, logits = model.run(tokens, ["blocks.0.hook_resid_post"])
    torch.testing.assert_close(logits, answer.logits, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        found["blocks.0.hook_resid_post"], answer.hidden_states[1], atol=1e-6, rtol=1e-6
    )
    losses = token_losses(logits, tokens)
    assert torch.isnan(losses[:, -1]).all()
    torch.testing.assert_close(losses[:, :-1].mean(), answer.loss.double(), atol=1e-6, rtol=1e-6)


def test_sites_are_sorted_as_they_are_computed(model, tokens):
    found = model.run(tokens, model.sites())[0]
    assert sorted(found, key=place) == model.sites() and set(model.read(tokens, model.sites())) == set(found)
    assert {site: x.shape[2] for site, x in found.items()} == {site: model.width(site) for site in found}
    assert place("blocks.10.hook_resid_pre") > place("blocks.9.hook_resid_post")
    assert place("blocks.2.hook_resid_mid") is not None and place("world") is None


def test_stopping_early_reads_the_same_activation(model, tokens):
    for site in ("blocks.0.hook_resid_post", "blocks.1.hook_mlp_out", "blocks.0.attn.hook_z"):
        torch.testing.assert_close(model.activations(tokens, site), model.run(tokens, [site])[0][site])


@pytest.mark.parametrize("kind", models.ONE_KERNEL)
def test_long_contexts_are_read_as_plain_transformers_and_as_the_library_reads_them(
    kind, tmp_path, monkeypatch
):
    torch.manual_seed(0)
    shape = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=2, vocab_size=64, head_dim=6)
    window = dict(sliding_window=100) if kind == "mistral" else {}
    config = AutoConfig.for_model(kind, num_attention_heads=4, num_key_value_heads=2, **shape, **window)
    plain = AutoModelForCausalLM.from_config(config).eval()
    plain.save_pretrained(toys.tokenizer(tmp_path))
    ours, tokens = load_model(tmp_path), torch.randint(64, (2, models.LONG + 20))
    found, logits = ours.run(tokens, ours.sites())
    monkeypatch.setattr(models, "LONG", 10_000)
    steps, by_steps = ours.run(tokens, ours.sites())
    same = dict(atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, steps, **same)
    torch.testing.assert_close(logits, by_steps, **same)
    with torch.no_grad():
        answer = plain(tokens, output_hidden_states=True)
    torch.testing.assert_close(found["blocks.0.hook_resid_post"], answer.hidden_states[1], **same)
    torch.testing.assert_close(logits, answer.logits, **same)


@pytest.mark.parametrize("kind", ["gemma3_text", "llama"])
def test_what_the_mlp_is_given_is_what_transformers_gives_it(kind, tmp_path):
    """After the norm and its weights, which is not the stream."""
    shape = dict(intermediate_size=24, num_key_value_heads=1, head_dim=8)
    folder, plain = toys.family(tmp_path, kind, **shape)
    tokens = torch.randint(1, 62, (2, 20))
    found = load_model(folder).activations(tokens, "blocks.1.mlp.hook_in")
    torch.testing.assert_close(found, toys.seen(plain, "model.layers.1.mlp", tokens, given=True), **CLOSE)
    norm = "pre_feedforward_layernorm" if kind == "gemma3_text" else "post_attention_layernorm"
    torch.testing.assert_close(found, toys.seen(plain, f"model.layers.1.{norm}", tokens), **CLOSE)


def test_a_site_is_replaced_only_inside_the_with(model, tokens):
    clean = model.run(tokens, [])[1]
    with model.replaced("blocks.0.hook_resid_post", lambda x: x):
        torch.testing.assert_close(model.run(tokens, [])[1], clean)
    with model.replaced("blocks.0.hook_resid_post", torch.zeros_like):
        assert (model.run(tokens, [])[1] - clean).abs().max() > 1e-3
    torch.testing.assert_close(model.run(tokens, [])[1], clean)


def test_an_error_inside_the_with_leaves_no_hook(model, tokens):
    clean = model.run(tokens, [])[1]
    with (
        pytest.raises(RuntimeError, match="on purpose"),
        model.replaced("blocks.0.hook_resid_post", torch.zeros_like),
    ):
        raise RuntimeError("on purpose")
    torch.testing.assert_close(model.run(tokens, [])[1], clean)


def test_an_unknown_site_names_the_nearest(model, tokens):
    with pytest.raises(BadInput, match="no site 'blocks.0.hook_resid_pots'.*blocks.0.hook_resid_post"):
        model.activations(tokens, "blocks.0.hook_resid_pots")


def test_a_token_outside_the_vocabulary_is_refused(model, tokens):
    with pytest.raises(BadInput, match="token id 64 is outside the vocabulary"):
        model.run(tokens.clone().fill_(64), [])


def test_a_folder_without_a_model_and_an_unknown_dtype_are_refused(tmp_path):
    with pytest.raises(BadInput, match="has no config.json"):
        load_model(tmp_path)
    with pytest.raises(BadInput, match="unknown dtype 'float8'; valid: float64"):
        load_model(FOLDER / "model", dtype="float8")


WATCH = {"on": False, "started": []}


def watch(event, arguments):
    """An audit hook, which cannot be taken away: while it is on, no process starts, and each try is noted."""
    if WATCH["on"] and event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec", "os.fork"):
        WATCH["started"].append((event, arguments))
        raise RuntimeError(f"{event} while a model is loaded")


def test_loading_a_multimodal_model_starts_no_installer(tmp_path):
    """Its image processor cannot be had, for which transformer_lens installs torchvision, and another torch
    with it."""
    text = dict(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=64,
    )
    vision = dict(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        vision_use_head=False,
    )
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    toys.tokenizer(tmp_path)
    processor = AutoProcessor.__dict__["from_pretrained"]
    sys.addaudithook(watch)
    WATCH["on"] = True
    try:
        loaded = load_model(tmp_path)
    finally:
        WATCH["on"] = False
    assert WATCH["started"] == [] and AutoProcessor.__dict__["from_pretrained"] is processor
    assert loaded.activations(torch.tensor([[1, 2, 3]]), "blocks.1.hook_resid_post").shape == (1, 3, 16)


def toy_llama(kind, folder):
    """A Llama of random weights as a class of transformers saves it."""
    import transformers

    torch.manual_seed(0)
    sizes = dict(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2)
    cfg = transformers.LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2, pad_token_id=0)
    made = getattr(transformers, kind)(cfg).eval()
    made.save_pretrained(folder)
    toys.tokenizer(folder)
    return made


@pytest.mark.parametrize("kind", ["LlamaModel", "LlamaForSequenceClassification"])
def test_a_model_saved_without_its_head_is_read_but_has_no_loss(tmp_path, kind):
    made = toy_llama(kind, tmp_path / "model")
    model, tokens = load_model(tmp_path / "model"), torch.arange(1, 11)[None]
    inner = getattr(made, "model", made)
    with torch.no_grad():
        theirs = inner(tokens, output_hidden_states=True).hidden_states[1]
    site = "blocks.0.hook_resid_post"
    torch.testing.assert_close(model.activations(tokens, site), theirs)
    with pytest.raises(BadInput, match="saved without its output head: it has no logits and no loss"):
        model.run(tokens, [site])


def test_a_weight_that_is_missing_beside_the_head_is_an_error(tmp_path):
    from safetensors.torch import load_file, save_file

    toy_llama("LlamaModel", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if "layers.1.mlp" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lacks 3 weight\(s\)"):
        load_model(tmp_path / "model")


def test_a_family_that_is_misread_is_refused(tmp_path):
    """Cohere's blocks after the first get another stream from the bridge than from transformers."""
    from transformers import CohereConfig, CohereForCausalLM

    sizes = dict(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2)
    CohereForCausalLM(CohereConfig(**sizes, num_attention_heads=2, num_key_value_heads=2)).save_pretrained(
        tmp_path / "model"
    )
    toys.tokenizer(tmp_path / "model")
    with pytest.raises(BadInput, match="is of the family cohere, whose activations TransformerLens misreads"):
        load_model(tmp_path / "model")

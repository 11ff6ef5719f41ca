"""Places that a family of models does not have, and transformers' names of those that it has."""

import pytest
import torch
import toys
from published import saelens

from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.adapters.stated import site_of
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.measurement.one_sae import Request, plan

TOKENS = torch.randint(1, 62, (3, 20), generator=torch.Generator().manual_seed(0))
KINDS = {
    "gpt_neox": dict(intermediate_size=24),
    "opt": dict(ffn_dim=24, word_embed_proj_dim=16, pad_token_id=1),
    "olmo2": dict(intermediate_size=24, num_key_value_heads=1),
    "gemma2": dict(intermediate_size=24, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8),
    "llama": dict(intermediate_size=24, num_key_value_heads=1),
    "gpt2": dict(),
    "bloom": dict(),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {kind: toys.family(folder / kind, kind, **settings) for kind, settings in KINDS.items()}
    return {kind: (where, load_model(where), plain) for kind, (where, plain) in made.items()}


@pytest.fixture(scope="module")
def ask(models, tmp_path_factory):
    text = toys.text(tmp_path_factory.mktemp("text") / "text.jsonl", documents=20)

    def asked(kind, sae, **settings):
        how = dict(text=str(text), positions=(4, 32), bootstrap=100) | settings
        return plan(Request(model=str(models[kind][0]), sae=str(sae), **how), model=models[kind][1])

    return asked


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("gpt_neox", "hook_resid_mid"),  # its halves read one stream
        ("gpt_neox", "hook_mlp_in"),
        ("opt", "mlp.hook_in"),
        ("opt", "ln2.hook_normalized"),  # its tokens are not by context
        ("olmo2", "ln2.hook_normalized"),  # a norm of another activation
    ],
)
def test_a_site_that_a_family_lacks_is_told_with_those_that_it_has(ask, tmp_path, kind, place):
    saelens(tmp_path / "sae", "topk", d_in=16, metadata={"hook_name": f"blocks.1.{place}"})
    with pytest.raises(BadInput) as told:
        ask(kind, tmp_path / "sae")
    first, _, has = str(told.value).partition("; it has ")
    assert first == f"{kind} ({kind}) has no site blocks.1.{place}"
    assert "blocks.1.hook_resid_post" in has and f"blocks.1.{place}" not in has


@pytest.mark.parametrize("kind", ["gemma2", "llama", "gpt2", "bloom", "gpt_neox"])
def test_the_norm_before_an_mlp_is_a_site_where_it_norms_the_stream(ask, tmp_path, kind):
    saelens(tmp_path / "sae", "topk", d_in=16, metadata={"hook_name": "blocks.1.ln2.hook_normalized"})
    assert ask(kind, tmp_path / "sae").reads == "blocks.1.ln2.hook_normalized"


NAMES = [
    ("llama", "model.layers.1"),
    ("llama", "model.layers.1.mlp"),
    ("llama", "model.layers.1.self_attn"),
    ("gpt2", "transformer.h.1"),
    ("gpt2", "transformer.h.1.mlp"),
    ("gpt2", "transformer.h.1.attn"),
    ("gpt_neox", "gpt_neox.layers.1"),
    ("gpt_neox", "gpt_neox.layers.1.mlp"),
    ("gpt_neox", "gpt_neox.layers.1.attention"),
    ("opt", "model.decoder.layers.1"),
    ("gemma2", "model.layers.1"),
    ("bloom", "transformer.h.1"),
]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_what_transformers_calls_a_module_is_the_site_that_it_gives_out(models, kind, name):
    _, ours, plain = models[kind]
    found = ours.activations(TOKENS, site_of(name, ours))
    torch.testing.assert_close(found, toys.seen(plain, name, TOKENS), atol=1e-4, rtol=1e-4)


def test_prefixes_of_wrapped_and_multimodal_models_do(models):
    ours = models["llama"][1]
    for stem in ("", "module.", "_orig_mod.model.", "model.language_model.", "language_model.model."):
        assert site_of(f"{stem}layers.1", ours) == "blocks.1.hook_resid_post"
    for other in ("vision_tower.encoder.layers.1", "model.layers.1.input_layernorm", "blocks.1.hook_mlp_out"):
        assert site_of(other, ours) == other
    assert site_of(None, ours) is None


@pytest.mark.parametrize(
    ("kind", "name", "why"),
    [
        ("gemma2", "model.layers.1.mlp", "a norm follows it"),
        ("olmo2", "model.layers.1.self_attn", "a norm follows it"),
        ("bloom", "transformer.h.1.mlp", "it has the stream added to it"),
    ],
)
def test_a_module_that_gives_out_no_site_is_refused(models, kind, name, why):
    with pytest.raises(BadInput, match=f"the output of {name} cannot be read: .*{why}"):
        site_of(name, models[kind][1])


def test_an_sae_of_a_module_is_measured_at_its_site(ask, tmp_path):
    saelens(tmp_path / "sae", "topk", d_in=16, metadata={"hook_name": "model.layers.1.mlp"})
    for site in (None, "blocks.1.hook_mlp_out", "model.layers.1.mlp"):
        assert ask("llama", tmp_path / "sae", site=site).reads == "blocks.1.hook_mlp_out"
    through = dict(hook_name="model.layers.0", hook_name_out="model.layers.1.mlp")
    saelens(tmp_path / "over", "transcoder", d_in=16, d_out=16, metadata=through)
    planned = ask("llama", tmp_path / "over")
    assert (planned.reads, planned.writes) == ("blocks.0.hook_resid_post", "blocks.1.hook_mlp_out")


def test_only_another_family_is_told_of(tmp_path):
    shape = dict(intermediate_size=24, num_key_value_heads=1, head_dim=8, sliding_window=32)
    folder, _ = toys.family(tmp_path / "model", "gemma3_text", **shape, query_pre_attn_scalar=8)
    text = toys.text(tmp_path / "text.jsonl", documents=20)
    for name, told in (("gemma-3-1b-pt", False), ("google/gemma-3-270m-it", False), ("gemma-2b", True)):
        saelens(tmp_path / name, "topk", d_in=16, metadata={"model_name": name})
        asked = Request(model=str(folder), sae=str(tmp_path / name), text=str(text), positions=(4, 32))
        said = [line for line in plan(asked).warnings() if "says that it is of" in line]
        assert bool(said) == told, (name, said)


def test_a_model_that_is_named_by_a_number_is_no_family(ask, tmp_path):
    saelens(tmp_path / "sae", "topk", d_in=16, metadata={"model_name": 3})
    assert not [line for line in ask("llama", tmp_path / "sae").warnings() if "says that it is of" in line]


def test_texts_of_special_tokens_alone_are_refused(models, tmp_path):
    sae = toys.sae(tmp_path / "sae")
    (tmp_path / "text.jsonl").write_text("\n".join('"' + "<bos> " * 20 + '"' for _ in range(9)))
    how = dict(sae=str(sae), site=toys.SITE, text=str(tmp_path / "text.jsonl"), positions=(4, 16))
    with pytest.raises(BadInput, match=r"0 document\(s\) with tokens in the window cannot make 5 folds"):
        plan(Request(model=str(models["llama"][0]), **how), model=models["llama"][1])

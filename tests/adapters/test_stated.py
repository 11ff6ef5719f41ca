"""What SAELens' list and an SAE's configuration say is followed, or said not to be."""

import json

import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig

from darkmatter_utils.adapters import stated
from darkmatter_utils.adapters.models import family
from darkmatter_utils.adapters.saes import load_any

D, WIDTH = 8, 24


@pytest.fixture
def folder(tmp_path):
    def made(**settings):
        torch.manual_seed(0)
        cfg = StandardSAEConfig(d_in=D, d_sae=WIDTH, device="cpu", **settings)
        sae = StandardSAE(cfg)
        with torch.no_grad():
            for weight in sae.parameters():
                weight.copy_(0.3 * torch.randn_like(weight))
        sae.save_model(tmp_path)
        return tmp_path

    return made


def test_a_normalisation_of_the_list_is_what_saelens_does(folder):
    x = 3 * torch.randn(50, D)
    sae = load_any(folder(normalize_activations="constant_norm_rescale"))
    plain = load_any(folder())
    made = stated.honoured(plain, {"normalize_activations": "constant_norm_rescale"})
    assert torch.allclose(made.reconstruct(x)[0], sae.reconstruct(x)[0], atol=1e-6)
    assert made.needs_x and made.card.normalisation.startswith("constant_norm_rescale")
    assert not torch.allclose(load_any(folder()).reconstruct(x)[0], sae.reconstruct(x)[0], atol=1e-2)


def test_what_the_list_says_of_releases_is_read_by_name_alone(folder):
    assert stated.overrides("mistral-7b-res-wg/blocks.8.hook_resid_pre") == {
        "normalize_activations": "constant_norm_rescale"
    }
    assert stated.overrides(str(folder())) == {} == stated.overrides("someone/else")
    centred = stated.overrides("gpt2-small-res-jb/blocks.8.hook_resid_pre")
    (said,) = stated.doubts(centred, folder(), (0, 8))
    assert "centred writing weights" in said
    sae = stated.honoured(load_any(folder()), {"hook_name": "blocks.12.hook_resid_post", "model_name": "m"})
    assert (sae.card.site, sae.card.layer, sae.card.model) == ("blocks.12.hook_resid_post", 12, "m")


@pytest.mark.parametrize("place", ["top", "metadata"])
def test_positions_that_an_sae_never_saw_are_told(folder, place):
    path = folder() / "cfg.json"
    cfg = json.loads(path.read_text())
    (cfg if place == "top" else cfg.setdefault("metadata", {}))["context_size"] = 16
    path.write_text(json.dumps(cfg))
    (said,) = stated.doubts({}, path.parent, (8, 128))
    assert "contexts of 16 tokens" in said and "positions 16 to 127" in said
    assert stated.doubts({}, path.parent, (1, 16)) == [] == stated.doubts({}, path.parent / "none", (0, 9))


def test_families_that_share_a_beginning_are_told_apart():
    told = {
        "gemma-2b": "gemma",
        "google/gemma-7b-it": "gemma",
        "gemma-2-2b": "gemma2",
        "gemma-3-270m": "gemma3",
    }
    assert {name: family(name) for name in told} == told


@pytest.mark.parametrize("size", ["16", 16.0, -16, 0, True, None, [16]])
def test_a_context_that_is_no_number_of_tokens_is_not_read(folder, size):
    path = folder() / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"context_size": size}))
    assert stated.doubts({}, path.parent, (1, 512)) == []


def test_the_contexts_of_a_training_run_are_beside_its_saes(folder):
    inside = folder() / "layers.1"
    inside.mkdir()
    (inside.parent / "config.json").write_text('{"ctx_len": 16}')
    (said,) = stated.doubts({}, inside, (8, 128))
    assert "contexts of 16 tokens" in said

"""Our reading of an SAE against SAELens' own."""

import json
import shutil

import numpy as np
import pytest
import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file

from darkmatter_utils.adapters.dictionary import threshold_for
from darkmatter_utils.adapters.grid import nearness
from darkmatter_utils.adapters.saes import load_sae
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.studies.study import SaeEntry, Study
from darkmatter_utils.training.shipping import shrink

FOLDER = Study.load("nano").data_folder() / "saes" / "w32"
ENTRY = SaeEntry(id="w32", width=32)


@pytest.fixture()
def folder(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "w32")


@pytest.fixture(scope="module")
def x():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(9000, 16)))


def edit(folder, **changes):
    path = folder / "sae_weights.safetensors"
    state = load_file(path)
    save_file(
        {
            name: change(state[name]).contiguous() if (change := changes.get(name)) else state[name]
            for name in state
        },
        path,
    )


def test_reconstruction_is_that_of_sae_lens(x):
    plain = SAE.load_from_disk(FOLDER, dtype="float64")
    ours = load_sae(ENTRY.id, FOLDER, d_model=16, dtype="float64")
    x_hat, l0 = ours.reconstruct(x)
    with torch.no_grad():
        torch.testing.assert_close(x_hat, plain(x), atol=1e-12, rtol=1e-12)
        assert torch.equal(l0, (plain.encode(x) != 0).sum(dim=1))
        assert torch.equal(ours.firing(x), (plain.encode(x) != 0).sum(dim=0))


def test_reconstruction_follows_the_formula(x):
    state = {name: value.double() for name, value in load_file(FOLDER / "sae_weights.safetensors").items()}
    shift = state["b_dec"] if json.loads((FOLDER / "cfg.json").read_text())["apply_b_dec_to_input"] else 0
    pre = torch.relu((x - shift) @ state["W_enc"] + state["b_enc"])
    expected = (pre * (pre > state["threshold"])) @ state["W_dec"] + state["b_dec"]
    torch.testing.assert_close(
        load_sae(ENTRY.id, FOLDER, d_model=16, dtype="float64").reconstruct(x)[0], expected
    )


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_an_sae_that_normalises_each_token_is_decoded_by_sae_lens(folder, x, normalisation):
    cfg = json.loads((folder / "cfg.json").read_text()) | {"normalize_activations": normalisation}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    with torch.no_grad():
        expected = SAE.load_from_disk(folder, dtype="float64")(x)
    torch.testing.assert_close(
        load_sae(ENTRY.id, folder, d_model=16, dtype="float64").reconstruct(x)[0], expected
    )


@pytest.mark.parametrize("l0", [1.5, 4, 9])
def test_the_threshold_gives_the_l0_that_was_asked_for(folder, x, l0):
    shrink(folder, threshold_for(load_sae(ENTRY.id, folder, d_model=16).sae, x, l0))
    assert load_sae(ENTRY.id, folder, d_model=16).reconstruct(x)[1].double().mean() == pytest.approx(
        l0, rel=1e-3
    )
    dtypes = {name: str(value.dtype) for name, value in load_file(folder / "sae_weights.safetensors").items()}
    assert dtypes.pop("threshold") == "torch.float32" and set(dtypes.values()) == {"torch.float16"}


def test_an_l0_that_no_threshold_reaches_is_refused(x):
    with pytest.raises(BadInput, match="no threshold gives an L0 of 33"):
        threshold_for(load_sae(ENTRY.id, FOLDER, d_model=16).sae, x, 33)


def test_damaged_and_foreign_weights_are_refused(folder):
    with pytest.raises(BadInput, match="decodes to 16 dimensions .* have 24"):
        load_sae(ENTRY.id, folder, d_model=24)
    edit(folder, b_enc=lambda b: b * float("nan"))
    with pytest.raises(BadInput, match="SAE w32: b_enc holds NaN"):
        load_sae(ENTRY.id, folder, d_model=16)
    edit(folder, W_dec=lambda w: w.T, b_enc=lambda b: b.nan_to_num())
    with pytest.raises(BadInput, match="SAE w32"):
        load_sae(ENTRY.id, folder, d_model=16)
    (folder / "sae_weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(BadInput, match=r"SAE w32: sae_weights.safetensors \(11 bytes\) is not a complete"):
        load_sae(ENTRY.id, folder, d_model=16)
    (folder / "cfg.json").unlink()
    with pytest.raises(BadInput, match="needs cfg.json"):
        load_sae(ENTRY.id, folder, d_model=16)


def test_weights_that_overflow_float16_are_refused(folder):
    edit(folder, b_enc=lambda b: b.float() + 1e6)
    with pytest.raises(BadInput, match="b_enc overflows torch.float16"):
        shrink(folder)


def test_nearest_l0_is_nearest_on_a_log_scale():
    assert min((10, 40), key=lambda l0: nearness(l0, 21)) == 40
    assert min((40, 10), key=lambda l0: nearness(l0, 20)) == 10

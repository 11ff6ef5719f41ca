"""A transcoder's error predicted from its input, and what a cross-layer transcoder writes, end to end."""

import numpy as np
import pytest
import torch
import toys
import yaml
from safetensors.torch import save_file
from sklearn.linear_model import LinearRegression
from torch.nn import functional as F

from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.cli import main
from darkmatter_utils.decomposition.decompose import decompose
from darkmatter_utils.measurement.answers import from_input
from darkmatter_utils.measurement.one_sae import probe
from darkmatter_utils.studies.recipes import Request

RNG = np.random.default_rng(0)
DOCUMENT = np.repeat(np.arange(60), 100)
HOW = dict(folds=5, draws=dict(bootstrap=100, seed=0))


def from_its_input(z, y, y_hat):
    result = decompose(y, y_hat, document=DOCUMENT, folds=5, bootstrap=100, seed=0)
    return result, from_input(result, z, y, y_hat, DOCUMENT, **HOW)


@pytest.fixture(scope="module")
def arrays():
    """(z, y, ŷ): y = tanh of a map of z and noise, and ŷ half of it."""
    z = RNG.normal(size=(6000, 8)) + 1
    y = np.tanh(z @ RNG.normal(size=(8, 8)) / 3) + 0.3 * RNG.normal(size=z.shape)
    return z, y, 0.5 * y + 0.2 * RNG.normal(size=z.shape)


def test_the_share_is_that_of_a_linear_regression_on_the_input(arrays):
    z, y, y_hat = arrays
    result, given = from_its_input(z, y, y_hat)
    left = (y - y_hat) - LinearRegression().fit(z, y - y_hat).predict(z)
    spread = ((y - y.mean(axis=0)) ** 2).sum()
    assert given["fvu_nonlinear"].value == pytest.approx((left**2).sum() / spread, rel=0.01)
    assert given["fvu_linear"].value + given["fvu_nonlinear"].value == pytest.approx(result.fvu.value)
    r2 = 1 - (left**2).sum() / (((y - y_hat) - (y - y_hat).mean(axis=0)) ** 2).sum()
    assert given["r2_total"].value == pytest.approx(r2, abs=0.01)
    assert given["fvu_nonlinear"].low < given["fvu_nonlinear"].value < given["fvu_nonlinear"].high


def test_with_a_fitted_skip_nothing_of_it_is_left(arrays):
    """Poles: a skip that was fitted leaves no share; of an error that is a map of z the share is one."""
    z, y, y_hat = arrays
    skip = LinearRegression().fit(z, y - y_hat).predict(z)
    assert from_its_input(z, y, y_hat + skip)[1]["r2_total"].value == pytest.approx(0, abs=0.01)
    assert from_its_input(z, y, y - z @ RNG.normal(size=(8, 8)))[1]["r2_total"].value == pytest.approx(1)


def test_the_error_from_y_and_from_the_input_are_one_where_y_is_the_input(arrays):
    z, _, _ = arrays
    result, given = from_its_input(z, z, 0.7 * z + 0.1 * RNG.normal(size=z.shape))
    for name in ("fvu_linear", "fvu_nonlinear", "r2_total"):
        assert given[name].value == pytest.approx(getattr(result, name).value, rel=1e-9)
        assert given[name].low == pytest.approx(getattr(result, name).low, rel=0.05)


@pytest.fixture(scope="module")
def clt(tmp_path_factory):
    """A cross-layer transcoder of the toy model's two layers; (its folder, weights)."""
    folder, generator, d, m = tmp_path_factory.mktemp("clt"), torch.Generator().manual_seed(0), 16, 40
    held = {}
    for i in range(2):
        draw = lambda *shape: 0.3 * torch.randn(*shape, generator=generator)
        enc = {f"W_enc_{i}": draw(m, d), f"b_enc_{i}": draw(m), f"b_dec_{i}": draw(d)}
        dec = {f"W_dec_{i}": draw(m, 2 - i, d)}
        save_file(enc, folder / f"W_enc_{i}.safetensors")
        save_file(dec, folder / f"W_dec_{i}.safetensors")
        held |= enc | dec
    ends = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "hook_mlp_out"}
    (folder / "config.yaml").write_text(yaml.safe_dump(ends | {"model_kind": "cross_layer_transcoder"}))
    return folder, held


def test_a_cross_layer_transcoder_on_a_model(tmp_path, clt, capsys):
    folder, w = clt
    model, text = toys.model(tmp_path / "model"), toys.text(tmp_path / "text.jsonl", documents=40)
    said = dict(model=str(model), text=str(text), positions=(4, 32), bootstrap=100)
    done = probe(Request(sae=str(folder / "W_enc_1.safetensors"), **said))
    assert done.plan.where == "blocks.0.hook_resid_mid to blocks.1.hook_resid_mid → blocks.1.hook_mlp_out"
    reading, loaded = done.plan.reading, load_model(model)
    counts = torch.from_numpy(reading.counts)
    sites = ["blocks.0.hook_resid_mid", "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out"]
    found = loaded.read(torch.from_numpy(reading.tokens[:, : counts.shape[1]]), sites)
    first, second, y = (found[site][:, : counts.shape[1]][counts] for site in sites)
    f0 = F.linear(first, w["W_enc_0"], w["b_enc_0"]).relu()
    f1 = F.linear(second, w["W_enc_1"], w["b_enc_1"]).relu()
    y_hat = f0 @ w["W_dec_0"][:, 1] + f1 @ w["W_dec_1"][:, 0] + w["b_dec_1"]
    fvu = ((y - y_hat) ** 2).sum() / ((y - y.mean(dim=0)) ** 2).sum()
    assert done.result.fvu.value == pytest.approx(float(fvu), rel=1e-5)
    assert done.l0 == pytest.approx(float((f0 > 0).sum(1).float().mean() + (f1 > 0).sum(1).float().mean()))
    assert set(done.given) >= {"fvu_linear", "fvu_nonlinear", "r2_total"}
    sae = str(folder / "W_enc_1.safetensors")
    files = ["--json", str(tmp_path / "numbers.json"), "--html", str(tmp_path / "page.html")]
    given = ["--model", str(model), "--text", str(text), "--positions", "4:32", "--bootstrap", "100"]
    assert main(["measure", "--sae", sae, *given, *files]) == 0
    assert "from its input" in (said := capsys.readouterr().out) and "what a skip could still" in said
    assert '"given_input"' in (tmp_path / "numbers.json").read_text()
    assert "from its input" in (tmp_path / "page.html").read_text()

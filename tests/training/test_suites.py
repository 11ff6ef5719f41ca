"""The SAEs of other kinds, activations of several sites at once, and shipping whatever is finished."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.adapters.saes import load_sae
from darkmatter_utils.base import cache
from darkmatter_utils.base.config import DATA
from darkmatter_utils.studies.study import Study
from darkmatter_utils.training import embedded, shipping
from darkmatter_utils.training.sae_training import SaeJob, search, train_sae


def quiet(line):
    pass


@pytest.fixture(scope="module")
def rows():
    """Sparse sums of 24 directions in 16 dimensions."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(24, 16))
    codes = (rng.random((6000, 24)) < 0.1) * rng.exponential(1.0, (6000, 24))
    return (codes @ directions + 0.05 * rng.normal(size=(6000, 16))).astype(np.float16)


@pytest.fixture(scope="module")
def trained(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    for kind in ("topk", "standard", "frozen"):
        job = SaeJob(id=kind, site="s", width=32, l0=3, seed=0, samples=64 * 600, batch=64, lr=3e-3)
        train_sae(job, rows, folder / kind, kind=kind, log=quiet)
        shipping.shrink(folder / kind)
    return folder


@pytest.mark.parametrize(
    "kind, saved_as", [("topk", "topk"), ("standard", "standard"), ("frozen", "jumprelu")]
)
def test_every_kind_is_saved_as_what_it_is_and_reconstructs(trained, rows, kind, saved_as):
    sae = load_sae(kind, trained / kind, d_model=16)
    x = torch.from_numpy(rows).float()
    x_hat, l0 = sae.reconstruct(x)
    assert sae.kind == saved_as
    assert float((x - x_hat).pow(2).sum() / (x - x.mean(0)).pow(2).sum()) < 0.6
    torch.testing.assert_close(sae.sae.W_dec.norm(dim=1), torch.ones(32), atol=2e-3, rtol=0)
    with torch.no_grad():  # decoding by active latents is what SAELens computes
        torch.testing.assert_close(sae.sae(x), x_hat, atol=1e-4, rtol=1e-4)
    if kind == "topk":
        assert int(l0.max()) <= 3 and float(l0.float().mean()) > 2.9


def test_a_frozen_decoder_is_the_random_one_it_began_with(trained):
    torch.manual_seed(0)
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

    shape = {"d_in": 16, "d_sae": 32, "dtype": "float32", "device": "cpu"}
    BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape, k=3, topk_threshold_lr=0.05))
    drawn = torch.nn.functional.normalize(torch.randn(32, 16), dim=1)
    saved = load_file(trained / "frozen" / "sae_weights.safetensors")["W_dec"].float()
    torch.testing.assert_close(saved, drawn, atol=1e-3, rtol=0)


def test_the_l1_coefficient_is_searched_on_training_rows(trained, rows):
    job = SaeJob(id="l1", site="s", width=32, l0=3, seed=0, samples=64 * 1500, batch=64, lr=3e-3)
    _, record = search(job, rows, log=quiet)
    runs = [run for run in record["search"] if run[2] == "full"]
    miss = [abs(np.log(run[1] / 3)) for run in runs]
    assert len(runs) <= 4 and record["l1_coefficient"] == runs[int(np.argmin(miss))][0]
    assert min(miss) < 0.2 and record["l0_in_training"] == pytest.approx(runs[int(np.argmin(miss))][1])
    saved = json.loads((trained / "standard" / "training.json").read_text())
    assert saved["trained_as"] == "standard" and {run[2] for run in saved["search"]} == {"short", "full"}


def test_an_unknown_kind_is_refused(tmp_path, rows):
    with pytest.raises(ValueError, match="valid: batchtopk, topk, matryoshka, jumprelu, standard, frozen"):
        train_sae(SaeJob("a", "s", 8, 2, 0, 640, batch=64), rows, tmp_path, kind="gated")


def test_several_sites_are_read_in_one_pass_and_a_twin_differs(tmp_path, monkeypatch):
    folder = DATA / "nano"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved").symlink_to(folder / "model")
    tokens = np.load(folder / "tokens.npz")["score_tokens"]
    np.savez(tmp_path / "held_out.npz", score_tokens=tokens[:8], component_tokens=tokens[8:24])
    np.save(tmp_path / "training.npy", tokens[24:40])
    monkeypatch.setattr(embedded.language_model, "CONTEXT", tokens.shape[1])
    target, sites = "blocks.0.hook_resid_post", ["blocks.1.hook_resid_post", "blocks.1.attn.hook_z"]
    monkeypatch.setattr(embedded, "SITE", target)
    monkeypatch.setattr(embedded, "WINDOW", (4, 31))
    rows = dict(rows=10_000, every=4, log=quiet)
    embedded.activations(tmp_path, [target], rows=10_000, log=quiet)
    embedded.activations(tmp_path, sites, **rows)
    embedded.activations(tmp_path, [target], random_weights=0, **rows)
    model = load_model(folder / "model")
    for site in sites:
        place = embedded.activations_folder(tmp_path, site)
        whole = model.activations(torch.from_numpy(tokens[:4].astype(np.int64)), site)[:, 4:31].flatten(0, 1)
        np.testing.assert_allclose(np.load(place / "score.npy")[: len(whole)], whole, atol=1e-5)
        assert np.load(place / "component.npy").shape == (4 * 31, 16)
        assert np.load(place / "training.npy").dtype == np.float16
        assert not list(place.glob("*.part"))
    assert np.load(tmp_path / "activations" / "component.npy").shape == (16 * 31, 16)
    twin = embedded.activations_folder(tmp_path, target, 0)
    plain = model.activations(torch.from_numpy(tokens[:4].astype(np.int64)), target)[:, 4:31].flatten(0, 1)
    assert np.abs(np.load(twin / "score.npy")[: len(plain)] - plain.numpy()).max() > 0.1


def finished(build, id, **entry):
    folder = build / "saes" / id
    folder.mkdir(parents=True)
    job = dict(
        id=id, site="s", width=8, l0=8.0, seed=0, samples=10, batch=5, lr=0.1, seconds=1, curve=[[10, 0.5]]
    )
    for name, value in {
        "cfg.json": {},
        "training.json": job,
        "card.json": dict(l0=8.0, fvu=0.2, dead=0.0),
    }.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "sae_weights.safetensors").write_bytes(b"weights of " + id.encode())
    if entry:
        (folder / "entry.json").write_text(json.dumps(entry))


@pytest.fixture
def build(tmp_path):
    build = tmp_path / "build"
    (build / "model" / "saved").mkdir(parents=True)
    (build / "model" / "saved" / "config.json").write_text("{}")
    (build / "model" / "held_out.json").write_text(
        json.dumps(dict(parameters=1, curve=[dict(tokens=1, seconds=1)], held_out={}))
    )
    (build / "text.json").write_text(json.dumps(dict(held_out_licences={"a": "free"})))
    np.savez(build / "held_out.npz", score_tokens=np.zeros(3))
    finished(build, "w8-l0-8")
    finished(build, "part-linear", suite="components", target="LinearError", kind="topk")
    return build


def test_whatever_is_finished_is_shipped_and_the_rest_left_alone(build, tmp_path):
    (build / "saes" / "cut-off").mkdir()
    out = tmp_path / "data"
    out.mkdir()
    shipping.ship(build, out)
    manifest = cache.verify(out)
    assert [entry["id"] for entry in manifest["saes"]] == ["w8-l0-8", "part-linear"]
    main, part = manifest["saes"]
    assert main["main"] and "suite" not in main and main["kind"] == "jumprelu"
    assert part["suite"] == "components" and part["target"] == "LinearError" and not part["main"]
    assert set(manifest["sae_curves"]) == set(manifest["sae_cards"]) == {"w8-l0-8", "part-linear"}
    weights = out / "saes" / "w8-l0-8" / "sae_weights.safetensors"
    stamp = weights.stat().st_mtime_ns
    finished(build, "twin-w8", suite="twin")
    shutil_gone = build / "saes" / "part-linear" / "card.json"
    shutil_gone.unlink()
    shipping.ship(build, out)
    assert weights.stat().st_mtime_ns == stamp
    assert [entry["id"] for entry in cache.verify(out)["saes"]] == ["w8-l0-8", "twin-w8"]
    assert not (out / "saes" / "part-linear").exists() and not list(tmp_path.glob("data-part-*"))


def test_what_is_planned_fits_the_package_and_no_id_is_used_twice():
    plans = shipping.planned()
    ids = [plan.job.id for plan in plans]
    assert len(set(ids)) == len(ids) == 42
    stored = sum(2 * plan.job.width * shipping.D_MODEL * 2 for plan in plans if plan.suite)
    assert stored < 5.3e6
    assert {plan.suite for plan in plans} == {"", "kinds", "twin", "sites", "depth"}


def test_every_planned_sae_is_in_the_package_near_its_l0():
    study = Study.load("tiny")
    shipped = {entry.id: entry for entry in study.saes}
    cards = json.loads((study.data_folder() / "manifest.json").read_text())["sae_cards"]
    for plan in shipping.planned():
        entry = shipped[plan.job.id]
        assert (entry.site, entry.width, entry.suite) == (plan.job.site, plan.job.width, plan.suite)
        allowed = 0.2 if plan.kind == "standard" else 0.05
        assert abs(cards[entry.id]["l0"] / plan.job.l0 - 1) <= allowed

"""A suite of SAEs from a few lines of YAML: the sparse step against SAELens' own, sets that share nothing,
runs that are killed, and what the study that comes out can do."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import toy_gguf
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from safetensors.torch import load_file

from darkmatter_utils.adapters.saes import load_sae
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.cli import main
from darkmatter_utils.experiments import components
from darkmatter_utils.measurement.measure import measure
from darkmatter_utils.studies.study import Study
from darkmatter_utils.training import rows, sparse, splitting, suite, suite_training
from darkmatter_utils.training.batches import beside, shuffled_rows
from darkmatter_utils.training.sae_training import SaeJob, fit, fit_sparse, made

SUITE = """
name: mine
model: toy.gguf
text: text.jsonl
site: blocks.0.hook_resid_post
context: 32
window: [4, 32]
score: 240
component: 120
held_out: [s4]
samples: 20000
batch: 256
lr: 0.005
saes:
  - {expansions: [1, 2], l0s: [4], main: true}
  - {expansions: [1], l0s: [4], seeds: [1], main: true}
  - {suite: depth, sites: [blocks.1.hook_resid_post], expansions: [1], l0s: [4]}
  - {suite: kinds, kinds: [topk, matryoshka], expansions: [1], l0s: [4]}
  - {suite: twin, random_weights: 0, widths: [72], l0s: [4]}
  - suite: components
    targets: [x, NonlinearError, noise like NonlinearError]
    widths: [48]
    l0s: [4]
    samples: 5000
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in GGUF, 400 documents of five sources, and the suite's file."""
    made_in = tmp_path_factory.mktemp("suite")
    _, words, merges = toy_gguf.tokenizer()
    toy_gguf.write(made_in / "toy.gguf", toy_gguf.model(len(words)), words, merges)
    rng = random.Random(0)
    with (made_in / "text.jsonl").open("w") as out:
        for i in range(400):
            liked = rng.sample(toy_gguf.WORDS, 8)
            words = [rng.choice(liked if rng.random() < 0.6 else toy_gguf.WORDS) for _ in range(150)]
            row = {"source": f"s{i % 5}", "name": f"d{i}", "group": f"g{i // 10}", "text": " ".join(words)}
            out.write(json.dumps(row) + "\n")
    (made_in / "mine.yaml").write_text(SUITE)
    return made_in


@pytest.fixture(scope="module")
def trained(folder):
    assert main(["train", str(folder / "mine.yaml"), "--build", str(folder / "build")]) == 0
    return folder / "mine" / "mine.yaml"


@pytest.mark.parametrize("kind", ["batchtopk", "topk"])
def test_a_sparse_step_is_saelens_step_dead_latents_and_all(kind, monkeypatch):
    monkeypatch.setattr(sparse, "DEAD_AFTER", 3)
    torch.manual_seed(0)
    job = SaeJob("a", "s", 256, 4, 0, 128 * 30, 128, 1e-2)
    theirs = made(job, kind, 32, 0.0)
    settings = dict(total_training_samples=job.samples, train_batch_size_samples=128, device="cpu")
    settings |= dict(lr=1e-2, lr_end=1e-2, dead_feature_window=3)
    trainer = SAETrainer(
        SAETrainerConfig(**settings, logger=LoggingConfig(log_to_wandb=False)), theirs, iter(())
    )
    ours = sparse.SparseStep(theirs, lr=1e-2, kind=kind, precision=torch.float32)
    generator = torch.Generator().manual_seed(1)
    basis = torch.randn(40, 32, generator=generator)
    for _ in range(30):
        x = (torch.rand(128, 40, generator=generator) < 0.1).float() @ basis
        output = trainer.step(x)
        trainer.n_training_steps += 1
        error, l0 = ours.step(x, 1e-2)
        assert error == pytest.approx(float((x - output.sae_out).pow(2).sum()), rel=1e-5)
        assert l0 == pytest.approx(float((output.feature_acts > 0).sum(1).float().mean()))
    assert int(trainer.dead_neurons.sum()) > 50  # the auxiliary loss was at work
    for own, value in zip(ours.weights, (theirs.W_enc.T, theirs.b_enc, theirs.W_dec, theirs.b_dec)):
        torch.testing.assert_close(own, value, atol=5e-6, rtol=1e-4)


def test_sums_and_products_of_active_latents_are_those_of_whole_matrices():
    torch.manual_seed(0)
    dense = torch.randn(7, 11) * (torch.rand(7, 11) < 0.3)
    token, latent = dense.nonzero(as_tuple=True)
    left, right = torch.randn(7, 5), torch.randn(11, 5)
    torch.testing.assert_close(sparse.sums(7, token, latent, dense[token, latent], right), dense @ right)
    torch.testing.assert_close(sparse.products(token, latent, left, right), (left @ right.T)[token, latent])
    nothing = token[:0]
    assert float(sparse.sums(7, nothing, nothing, dense[nothing, nothing], right).abs().sum()) == 0.0


def test_the_three_sets_share_no_group_and_keep_what_is_held_out(folder):
    fast, *_ = toy_gguf.tokenizer()
    documents = splitting.read(str(folder / "text.jsonl"))
    group = {f"{one.source}/{one.name}": (one.source, one.group) for one in documents}
    sizes = dict(context=32, score=100, component=60, train=300)
    held, about = splitting.split(documents, fast, **sizes, held_out=["s4"])
    groups = {name: {group[one] for one in held[f"{name}_names"]} for name in ("score", "component", "train")}
    assert not groups["score"] & groups["component"]
    assert not groups["train"] & (groups["score"] | groups["component"])
    assert set(held["score_source"]) == {f"s{i}" for i in range(5)}
    assert set(held["train_source"]) == {f"s{i}" for i in range(4)}
    assert held["train_tokens"].shape == (300, 32) and (held["score_tokens"][:, 0] == fast.bos_token_id).all()
    counts = np.bincount(held["score_document"])
    assert counts.max() <= splitting.SCORE_CONTEXTS and 95 <= len(held["score_tokens"]) <= 105
    shares = [row["train_tokens"] for row in about["sources"]]
    assert max(shares) <= 0.31 * sum(shares) and shares[4] == 0
    again, _ = splitting.split(documents, fast, **sizes, held_out=["s4"])
    assert all((again[name] == held[name]).all() for name in held)
    with pytest.raises(BadInput, match="leaves no contexts of 4096 tokens for 'score'"):
        splitting.split(documents, fast, **sizes | {"context": 4096})


def test_rows_in_pieces_are_read_as_one_array(tmp_path):
    whole = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
    for i, part in enumerate(np.split(whole, [10, 11, 40])):
        np.save(tmp_path / f"train-{i:02d}.npy", part)
    found = rows.Rows(sorted(tmp_path.glob("*.npy")))
    assert found.shape == (50, 3) and len(found) == 50
    assert (found[:12] == whole[:12]).all() and (
        found[np.array([3, 10, 11, 49])] == whole[[3, 10, 11, 49]]
    ).all()


def test_rows_beside_an_accelerator_come_in_the_order_of_those_on_disk():
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float16)
    moved = torch.from_numpy(rows.copy())  # as `beside` leaves them where the device is another
    pairs = zip(shuffled_rows(rows, 64, seed=1, start=3), shuffled_rows(moved, 64, seed=1, start=3))
    for (own, other), _ in zip(pairs, range(10)):
        assert isinstance(other, torch.Tensor) and (own == other.numpy()).all()
    assert beside(rows, "cpu") is rows
    held = beside(rows, "meta")  # a device without numbers: shape and type are what can be seen
    assert (held.shape, held.dtype, held.device.type) == ((300, 4), torch.float16, "meta")


def test_kept_activations_are_made_in_one_pass_of_a_model(trained, folder):
    mine, _ = suite.load(str(folder / "mine.yaml"))
    plans = mine.planned(lambda site: 16)
    at_once, one_by_one = (suite_training._passes(plans, keep) for keep in (True, False))
    assert len(at_once) == 1 and [[place] for place in at_once[0]] == one_by_one
    assert suite_training._passes([], True) == []


def test_a_suite_becomes_a_study_whose_l0_is_what_was_asked(trained):
    study = Study.load(trained)
    ids = {entry.id for entry in study.saes}
    assert {"w64-l0-4", "w128-l0-4", "w64-l0-4-seed1", "l1-resid-post-w64-l0-4", "twin-w72-l0-4"} <= ids
    assert {"topk-w64-l0-4", "matryoshka-w64-l0-4"} <= ids
    assert {entry.id for entry in study.saes if entry.main} == {"w64-l0-4", "w128-l0-4", "w64-l0-4-seed1"}
    measured = measure(study).saes.set_index("id")
    assert measured.loc["w128-l0-4", "fvu"] < measured.loc["w64-l0-4", "fvu"] < 0.9
    assert measured.loc["w64-l0-4", "l0"] == pytest.approx(4, rel=0.1)
    manifest = json.loads((trained.parent / "manifest.json").read_text())
    assert manifest["model"]["quantised"] == "F32" and len(manifest["model"]["sha256"]) == 64
    assert manifest["held_out"]["nats_per_byte"] > 0 and "trigram" in manifest["held_out"]
    card = manifest["sae_cards"]["w64-l0-4"]
    assert card["passes"] <= suite.EPOCHS and abs(card["fall_in_last_third"]) < 0.5
    assert [row["source"] for row in manifest["text"]["sources"]] == [f"s{i}" for i in range(5)]
    parts = components.entries(study)
    assert [entry.target for entry in parts] == ["x", "NonlinearError", "noise like NonlinearError"]
    kinds = measure(study.at(suite="kinds")).saes.set_index("id")
    assert kinds.loc["topk-w64-l0-4", "l0"] <= 4


def test_a_finished_suite_is_left_as_it_is(trained, folder, capsys):
    weights = trained.parent / "saes" / "w64-l0-4" / "sae_weights.safetensors"
    before = weights.stat().st_mtime_ns, (trained.parent / "manifest.json").read_text()
    assert main(["train", str(folder / "mine.yaml"), "--build", str(folder / "build")]) == 0
    assert "sae:" not in capsys.readouterr().out
    assert (weights.stat().st_mtime_ns, (trained.parent / "manifest.json").read_text()) == before


KILLED = """
import sys, numpy as np, torch
from pathlib import Path
from darkmatter_utils.training.sae_training import SaeJob, fit_sparse
torch.set_num_threads(1)
rows = np.load(sys.argv[1])
job = SaeJob("a", "s", 96, 4, 3, 128 * 1600, 128, 3e-3)
fit_sparse(job, "batchtopk", rows, rows[:512], Path(sys.argv[2]))
"""


def test_a_run_that_is_killed_loses_at_most_a_checkpoint_and_ends_with_the_same_weights(tmp_path):
    rng = np.random.default_rng(0)
    stored = ((rng.random((4000, 40)) < 0.1) @ rng.normal(size=(40, 24))).astype(np.float16)
    np.save(tmp_path / "rows.npy", stored)
    job = SaeJob("a", "s", 96, 4, 3, 128 * 1600, 128, 3e-3)
    torch.set_num_threads(1)
    right, record = fit_sparse(
        job, "batchtopk", stored, stored[:512], tmp_path / "whole", log=lambda line: None
    )
    state, moments, reached = tmp_path / "cut" / "checkpoint.pt", np.random.default_rng(1), 0
    command = [sys.executable, "-c", KILLED, str(tmp_path / "rows.npy"), str(tmp_path / "cut")]
    for _ in range(5):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None and (state.stat().st_mtime_ns if state.exists() else 0) == before:
            time.sleep(0.01)
        time.sleep(float(moments.uniform(0, 0.15)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        step = torch.load(state)["step"]  # whole, whenever it was killed
        assert step >= reached
        reached = step
    assert reached > 0
    again, other = fit_sparse(job, "batchtopk", stored, stored[:512], tmp_path / "cut", log=lambda line: None)
    for name, value in right.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert other["curve"] == record["curve"]


def test_jumprelu_and_matryoshka_saes_have_about_the_l0_that_was_asked():
    rng = np.random.default_rng(0)
    codes = (rng.random((8000, 48)) < 0.08) * rng.exponential(1.0, (8000, 48))
    stored = (codes @ rng.normal(size=(48, 32))).astype(np.float16)
    for kind in ("jumprelu", "matryoshka"):
        job = SaeJob(kind, "s", 64, 4.0, 0, 128 * 1000, 128, 4e-3)
        _, record = fit(job, kind, stored)
        assert record["l0_in_training"] == pytest.approx(4, rel=0.25), kind
        assert record["curve"][-1][1] < 0.3 * record["curve"][0][1], kind


@pytest.mark.parametrize(
    "line, said",
    [
        ("samples: 400000", "contexts to train on"),
        ("site: blocks.0.nowhere", "'blocks.0.nowhere' is no site"),
        ("window: [4, 64]", "the window ends at 64, behind the context of 32 tokens"),
        ("samples: 0", "samples"),
        ("speed: 3", "speed"),
        ("saes: [{widths: [8], kinds: [topkk]}]", "unknown 'topkk' in saes; nearest valid names: topk"),
        ("saes: [{l0s: [4]}]", "each group of saes needs expansions or widths"),
        ("saes: [{widths: [8]}, {widths: [8]}]", "SAE w8-l0-32 is listed twice"),
    ],
)
def test_a_suite_that_cannot_be_is_one_line(folder, tmp_path, line, said, capsys):
    key = line.split(":")[0]
    text = SUITE if key != "saes" else SUITE[: SUITE.index("saes:")]
    kept = [old for old in text.splitlines() if not old.startswith(f"{key}:")]
    shutil.copy(folder / "toy.gguf", tmp_path)
    shutil.copy(folder / "text.jsonl", tmp_path)
    (tmp_path / "mine.yaml").write_text("\n".join([line, *kept]))
    assert main(["train", str(tmp_path / "mine.yaml"), "--build", str(tmp_path / "build")]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


def test_a_damaged_text_and_a_suite_in_the_place_of_its_study_are_one_line(folder, tmp_path, capsys):
    (tmp_path / "bad.jsonl").write_text('{"text": "one"}\n{"text": 2}\n')
    how = ["--text", str(tmp_path / "bad.jsonl"), "--build", str(tmp_path / "build")]
    assert main(["train", str(folder / "mine.yaml"), *how]) == 2
    assert "bad.jsonl, line 2, holds int where text should be" in capsys.readouterr().err
    assert main(["measure", str(folder / "mine.yaml")]) == 2
    assert "becomes a study by: darkmatter train mine.yaml" in capsys.readouterr().err


def test_the_price_is_said_beforehand(folder, capsys):
    assert main(["train", str(folder / "mine.yaml"), "--build", str(folder / "elsewhere"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "blocks.0.hook_resid_post: 5 SAEs (5 to train)" in said and "h of one core" in said
    assert not (folder / "elsewhere").exists()


def test_one_sae_of_a_suite_can_be_trained_alone_and_loads_in_saelens(trained):
    from sae_lens import SAE

    folder = trained.parent / "saes" / "w64-l0-4"
    ours = load_sae("w64-l0-4", folder, d_model=64)
    theirs = SAE.load_from_disk(str(folder))
    x = torch.randn(50, 64) * 3
    torch.testing.assert_close(ours.reconstruct(x)[0], theirs(x), atol=1e-4, rtol=1e-4)
    assert load_file(folder / "sae_weights.safetensors")["W_dec"].dtype == torch.float16

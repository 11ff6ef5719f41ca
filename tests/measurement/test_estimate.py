"""What a measurement is said to take: exact where it can be, and said before anything is loaded."""

import numpy as np
import pytest
import torch
import toys
from loopback import Hub, serving
from published import gemma_scope
from safetensors.numpy import load_file

from darkmatter_utils.adapters import hub
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.measurement import about, estimate, prepare
from darkmatter_utils.measurement.answers import _Made, _Untrained
from darkmatter_utils.measurement.one_sae import plan
from darkmatter_utils.studies import recipes
from darkmatter_utils.studies.recipes import Request
from darkmatter_utils.worlds.saes import RandomSae

SITE, D = "blocks.0.hook_resid_post", 16
REPOSITORY = "google/gemma-scope-2b-pt-res"


@pytest.fixture()
def here(tmp_path, monkeypatch):
    toys.model(tmp_path / "model")
    toys.text(tmp_path / "text.jsonl", documents=20)
    gemma_scope(tmp_path / "toy-res" / "layer_0" / "width_48" / "average_l0_5", d_in=D, d_sae=48)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    return tmp_path


def asked(here, **changes):
    how = dict(model=str(here / "model"), sae=str(here / "toy-res/layer_0/width_48/average_l0_5"))
    how |= dict(text=str(here / "text.jsonl"), documents=20, positions=(4, 32))
    return Request(**how | changes)


@pytest.mark.parametrize("sae_dtype", ["float32", "float64"])
def test_bytes_of_weights_and_tokens_at_a_time_are_exact(here, sae_dtype):
    planned = plan(asked(here, sae_dtype=sae_dtype))
    work = estimate.of_plan(planned)
    assert work.sae_bytes == sum(weight.nbytes for weight in planned.sae.weights)
    assert work.model_bytes == sum(weight.nbytes for weight in planned.model.bridge.parameters())
    size = 4 if sae_dtype == "float32" else 8
    assert work.encoding == estimate.ARRAYS * size * planned.sae.rows * planned.sae.width
    assert work.counted == planned.tokens and work.memory()["host"] > work.sae_bytes + work.model_bytes


def work(**changes):
    how = dict(parameters=10**9, d_model=1024, widths=(1 << 16,), passed=10**5, counted=10**5, context=1024)
    how |= dict(device="cuda", dtype="float32", sae_dtype="float32")
    return estimate.Work(**how | changes)


def test_a_wider_sae_takes_in_proportion(monkeypatch):
    monkeypatch.setattr(estimate, "here", lambda device: device == "cpu")
    made = [work(widths=(width << 16,)) for width in (1, 2, 4)]
    for cost in ([w.seconds(nulls=False) for w in made], [w.memory()["cuda"] for w in made]):
        assert cost[2] - cost[1] == pytest.approx(2 * (cost[1] - cost[0]))


def test_a_study_holds_all_its_saes_and_loads_one_at_a_time(monkeypatch):
    monkeypatch.setattr(estimate, "here", lambda device: device == "cpu")
    one, four = work(parameters=1), work(parameters=1, widths=(1 << 16,) * 4)
    needs = [each.study_memory(50_000, kept=0) for each in (one, four)]
    assert needs[1]["cuda"] - needs[0]["cuda"] > 3 * one.sae_bytes and needs[0]["host"] == needs[1]["host"]
    more = one.study_memory(50_001, kept=7)["cuda"] - needs[0]["cuda"]
    assert more == 7 + estimate.CONTEXT_LOGITS * 4 * 1024


def test_weights_are_counted_by_their_headers(here):
    (size,) = estimate.weights(here / "model", "float32")
    assert size == 4 * sum(weight.size for weight in load_file(here / "model/model.safetensors").values())
    assert estimate.weights(here / "model", "bfloat16") == [size // 2]
    folder = here / "toy-res/layer_0/width_48/average_l0_5"
    assert estimate.weights(folder, "float32") == [(folder / "params.npz").stat().st_size]
    (here / "model" / "model.safetensors").write_bytes(b"cut")
    assert estimate.weights(here / "model", "float32") == [0]


def test_what_cannot_fit_is_refused_before_it_is_loaded_and_what_may_not_is_a_warning(here, monkeypatch):
    monkeypatch.setattr(
        "darkmatter_utils.measurement.one_sae.load_any", lambda *_, **__: pytest.fail("loaded")
    )
    monkeypatch.setattr(estimate, "has", lambda place: 1000)
    with pytest.raises(BadInput, match="model's weights take .* kB, the SAE's 7.8 kB, but this machine has"):
        plan(asked(here))
    monkeypatch.undo()
    planned = plan(asked(here))
    monkeypatch.setattr(estimate, "has", lambda place: 10**8)
    assert any("warning: it takes about " in line for line in about.cost_lines(planned))
    monkeypatch.undo()
    assert not any("of memory, but" in line for line in about.cost_lines(planned))


def test_time_and_memory_of_an_sae_on_the_hub_before_it_is_here(here, monkeypatch):
    folder = "layer_0/width_131k/average_l0_9"
    gemma_scope(here / "made", d_in=D, d_sae=1 << 17)
    files = {f"{folder}/params.npz": (here / "made" / "params.npz").read_bytes()}
    monkeypatch.setenv("HF_HOME", str(here / "hf"))
    with serving(Hub({REPOSITORY: files})) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        request = asked(here, sae=f"{REPOSITORY}/{folder}")
        lines = about.before_download(request, hub.downloads(request.model, request.sae))
        said = dict(line.split(": ", 1) for line in lines)
        assert f"download {REPOSITORY}" in said and " on cpu" in said["compute"]
        local = plan(asked(here, sae=str(here / "made"), site=SITE))
        facts = about.plan_facts(local)
        number = lambda line: float(line.removeprefix("about ").split()[0])
        assert number(said["memory"]) == pytest.approx(number(facts["memory"]), rel=0.1)
        # A recipe that says its model's size says the same of a study, and what comes from where.
        size = {"parameters": 21_000, "d_model": D, "vocabulary": 64}
        recipe = recipes.Recipe("mine", "model", "text.jsonl", saes=[request.sae], size=size, window=(4, 32))
        lines = prepare.check(recipe)
    assert lines[0] == "model: model, 21,000 parameters" and any(
        line.startswith("memory: ") for line in lines
    )
    assert any(line.startswith(f"download {REPOSITORY}: ") for line in lines)
    assert not list((here / "hf").rglob("*.npz"))


def test_a_size_that_no_name_tells_is_asked_for(here, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(here / "hf"))
    size = {"parameters": 9, "d_model": D, "vocabulary": 64}
    name = "gpt2-small-res-jb/blocks.2.hook_resid_pre"
    recipe = recipes.Recipe("mine", "model", "text.jsonl", saes=[name], size=size, window=(4, 32))
    with pytest.raises(BadInput, match="study mine: the name of SAE gpt2-small-res-jb/.* give size.latents"):
        prepare.check(recipe)
    with pytest.raises(hub.Unreachable):
        prepare.check(recipes.Recipe("mine", "model", "text.jsonl", saes=[name], window=(4, 32)))


def test_a_null_of_a_wide_sae_is_made_in_parts_to_the_same_numbers():
    x = np.random.default_rng(0).standard_normal((700, D)).astype(np.float32)
    mean = np.float64(x.mean(axis=0))
    wide = 1 << 17
    mine, theirs = (kind("n", torch.from_numpy(mean), wide, 8, 3) for kind in (_Untrained, RandomSae))
    assert torch.equal(mine.dictionary, theirs.dictionary.float())
    made, (right, _) = _Made(mine, x, 600)[:], theirs.reconstruct(torch.from_numpy(x[:600]).double())
    assert made.shape == (600, D) and torch.allclose(made.double(), right, atol=1e-5)

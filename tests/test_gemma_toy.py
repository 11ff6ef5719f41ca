"""A study of a Gemma-2-shaped model and a synthetic Gemma Scope release: prepared, measured, every chapter
built."""

import json
import os
import shutil
import subprocess
import sys

import gemma_toy
import numpy as np
import pytest
import torch
from published import gemma_scope, saelens
from throwaway import ROOT

from darkmatter_utils import Study, cli, measure
from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.book import chapters
from darkmatter_utils.experiments import floors
from darkmatter_utils.experiments.earlier import earlier_sites
from darkmatter_utils.experiments.error_norms import layers
from darkmatter_utils.measurement import prepare
from darkmatter_utils.measurement.about import of_study
from darkmatter_utils.measurement.widths import one_l0
from darkmatter_utils.studies import recipes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The toy with all its SAEs, and a cache of its own."""
    made = tmp_path_factory.mktemp("gemma")
    gemma_toy.study(made)
    before = os.environ.get("DARKMATTER_CACHE")
    os.environ["DARKMATTER_CACHE"] = str(made / "cache")
    yield made
    os.environ.pop("DARKMATTER_CACHE")
    if before:
        os.environ["DARKMATTER_CACHE"] = before


@pytest.fixture(scope="module")
def study(folder):
    prepare.prepare(recipes.load(folder / "mine.yaml"))
    return Study.load(folder / "mine.yaml")


def test_every_sae_of_the_release_is_in_the_study(study):
    assert (
        study.name == "gemtoy"
        and len(study.selected()) == 21
        and study.sites("depth") == ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]
    )
    main = [entry for entry in study.saes if entry.main]
    assert [entry.width for entry in main] == list(gemma_toy.WIDTHS) and {entry.l0 for entry in main} == {8}
    found = layers(measure(study))
    assert set(found["layer"]) == {0, 1, 2} and set(found["width"]) == {64, 256}
    with_saes = {earlier.site for earlier in earlier_sites(study, 64) if earlier.sae}
    assert {"blocks.1.attn.hook_z", "blocks.1.hook_mlp_out"} <= with_saes


def test_widths_of_different_l0_are_compared_at_one(study):
    made = measure(study)
    main = made.saes[made.saes["main"]]
    assert main["l0"].max() > 1.05 * main["l0"].min()
    assert main["l0"].min() <= one_l0(made) <= main["l0"].max()
    l0 = floors.floor(made).l0
    assert l0[0] == l0[1] == one_l0(made)


def test_what_is_odd_about_an_sae_is_said_everywhere(study, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    signs = of_study(measure(study))
    assert any(sign.startswith("w2048-l0-8: ") and "but 8 was published" in sign for sign in signs)
    assert cli.main(["measure", "mine.yaml", "--json", "a.json"]) == 0
    said = capsys.readouterr().out
    assert (
        all(f"warning: {sign}" in said for sign in signs)
        and json.loads((folder / "a.json").read_text())["warnings"] == signs
    )
    assert cli.main(["measure", "mine.yaml", "--strict"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("darkmatter: strict: w512-l0-4: ")


def test_a_model_in_half_precision_is_read_in_single(folder):
    file = gemma_toy.study(folder / "half", widths=(64,), l0s=(4, 8, 16), model_dtype="bfloat16", suites={})
    prepare.prepare(recipes.load(file))
    half, whole = Study.load(file), load_model(folder / "half" / "model")
    fvu = measure(half).saes["fvu"].to_numpy()
    assert half.model_dtype == "bfloat16" and np.isfinite(fvu).all()
    low = load_model(folder / "half" / "model", dtype="bfloat16")
    tokens = torch.arange(1, 41).view(1, -1)
    found, logits = low.run(tokens, [half.site])
    exact, _ = whole.run(tokens, [half.site])
    assert found[half.site].dtype == logits.dtype == torch.float32
    assert 0 < float((found[half.site] - exact[half.site]).norm() / exact[half.site].norm()) < 0.05
    seen = []
    with low.replaced(half.site, lambda value: seen.append(value.dtype) or value * 0):
        low.run(tokens, [half.site])
    assert seen == [torch.float32]


def test_a_gemma_scope_transcoder_reads_before_and_writes_after_the_mlp(folder, capsys, monkeypatch):
    """Its input is the activation that the norm before the MLP has made, without the norm's own weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.chdir(folder)
    made = gemma_scope(
        folder / "toy-scope-2b-pt-transcoders" / "layer_1" / "width_48" / "average_l0_5",
        d_in=gemma_toy.D,
        d_sae=48,
    )
    asked = [
        "measure",
        "--model",
        "model",
        "--sae",
        "toy-scope-2b-pt-transcoders/layer_1/width_48/average_l0_5",
        "--text",
        "text.jsonl",
        "--documents",
        "20",
        "--positions",
        "8:63",
        "--bootstrap",
        "100",
        "--json",
        "t.json",
    ]
    assert cli.main(asked) == 0
    assert "blocks.1.ln2.hook_normalized → blocks.1.hook_mlp_out" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained("model", attn_implementation="eager").eval()
    tokenizer, seen = AutoTokenizer.from_pretrained("model"), {}
    block = model.model.layers[1]
    block.pre_feedforward_layernorm.register_forward_hook(
        lambda m, given, out: seen.__setitem__("in", given[0])
    )
    block.post_feedforward_layernorm.register_forward_hook(lambda m, given, out: seen.__setitem__("out", out))
    reads, writes = [], []
    for line in (folder / "text.jsonl").read_text().splitlines()[:20]:
        ids = [0, *tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]][:63]
        with torch.no_grad():
            model(torch.tensor([ids]))
        x = seen["in"][0, 8:]
        reads.append(x / (x.pow(2).mean(-1, keepdim=True) + model.config.rms_norm_eps).sqrt())
        writes.append(seen["out"][0, 8:])
    x, y = torch.cat(reads).double().numpy(), torch.cat(writes).double().numpy()
    pre = x @ made["W_enc"] + made["b_enc"]
    hat = np.where((pre > made["threshold"]) & (pre > 0), pre, 0) @ made["W_dec"] + made["b_dec"]
    fvu = ((y - hat) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum()
    assert json.loads((folder / "t.json").read_text())["fvu"]["value"] == pytest.approx(fvu, rel=1e-4)


def test_an_sae_of_another_family_of_models_is_told(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    saelens(folder / "theirs", "topk", d_in=gemma_toy.D, metadata={"model_name": "gpt2"})
    assert (
        cli.main(
            [
                "measure",
                "--model",
                "model",
                "--sae",
                "theirs",
                "--text",
                "text.jsonl",
                "--documents",
                "20",
                "--positions",
                "8:63",
                "--bootstrap",
                "100",
            ]
        )
        == 0
    )
    assert (
        "warning: the SAE says that it is of gpt2, but the model's type is gemma2" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            lambda s: dict(saes=s["saes"][:1] + s["suites"]["sites"], suites={}),
            "a study has one site, those of other sites belong",
        ),
        (lambda s: dict(saes=s["saes"][:1], suites={"depth": s["saes"][1:2]}), "is at the study's own site"),
        (lambda s: dict(saes=s["saes"][:1] + [f"./{s['saes'][0]}"], suites={}), "is given twice"),
        (lambda s: dict(saes=s["saes"][:1] * 2), "average_l0_4 is given twice"),
        (lambda s: dict(name="../evil"), "a study's name is letters"),
        (lambda s: dict(name="tiny"), "that is the name of a study in the package"),
        (lambda s: dict(window=[8, 100]), "0 documents reach position 100, too few"),
    ],
)
def test_what_prepare_refuses_check_refuses_too(folder, changes, says):
    import yaml

    settings = yaml.safe_load((folder / "mine.yaml").read_text())
    (folder / "wrong.yaml").write_text(yaml.safe_dump(settings | changes(settings)))
    for command in (prepare.check, prepare.prepare):
        with pytest.raises(BadInput, match=says):
            command(recipes.load(folder / "wrong.yaml"))


def test_every_chapter_is_built(study, folder):
    """The issue's second measure: 7 widths × 3 L0s, `darkmatter build --study`, every chapter and its
    page."""
    root = folder / "project"
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("records", "results"))
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, root)
    ran = subprocess.run(
        [sys.executable, "-m", "darkmatter_utils.cli", "build", "--study", str(folder / "mine.yaml")],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for chapter in chapters.chapters(root):
        assert (root / "build" / "html" / "gemtoy" / "book" / f"{chapter.name}.html").is_file(), chapter.name
        assert json.loads(chapter.record("gemtoy").read_text())["study"] == "gemtoy"
    scaling = (root / "build" / "gemtoy" / "05_scaling.ipynb").read_text()
    assert "is read at L0" in scaling
    assert (
        "may not be what they seem"
        in (root / "build" / "html" / "gemtoy" / "book" / "00_index.html").read_text()
    )

"""Gemma 3, Qwen 3 and Pythia of toy size, SAEs in the formats of their recipes: from files to numbers."""

import json

import family_toys
import numpy as np
import pytest
import torch

from darkmatter_utils import Study, cli, measure
from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.experiments.error_norms import layers
from darkmatter_utils.studies import recipes

KINDS = {
    "gemma3": (family_toys.gemma3, family_toys.gemma_scope_2, "google/gemma-3-270m"),
    "qwen3": (family_toys.qwen3, family_toys.qwen_scope, "Qwen/Qwen3-1.7B-Base"),
    "gpt_neox": (family_toys.neox, family_toys.dictionary_learning, "EleutherAI/pythia-70m-deduped"),
}
"""transformers' type: a model of it, SAEs of it, and its name on the hub."""
MAIN = ((1024, 4), (1024, 8), (2048, 8), (4096, 8))
"""Width and L0 of the SAEs of layer 1."""


@pytest.fixture(params=KINDS)
def toy(request, tmp_path, monkeypatch):
    """(folder, its study's file, transformers' model, the formula of each main SAE)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    build, save, name = KINDS[request.param]
    made, formulas, depth = build(tmp_path / "model"), [], []
    assert load_model(tmp_path / "model").family.removesuffix("_text") == request.param
    for layer in (1, 0, 2):
        x = family_toys.activations(made, layer)
        for width, l0 in MAIN if layer == 1 else MAIN[1:3]:
            place, formula = save(tmp_path, x, width, l0, layer=layer, model=name)
            if layer == 1:
                formulas.append((str(place.relative_to(tmp_path)), formula))
            else:
                depth.append(str(place.relative_to(tmp_path)))
    saes = [folder for folder, _ in formulas]
    file = family_toys.recipe(tmp_path, "mine", saes, suites={"depth": depth}, l0=8)
    return tmp_path, file, made, formulas


def test_a_study_of_the_family_from_files_to_the_numbers_of_transformers_and_the_formula(toy, capsys):
    folder, file, made, formulas = toy
    for step in (["study", "check"], ["study", "prepare"], ["measure"]):
        assert cli.main([*step, str(file)]) == 0
    said = capsys.readouterr()
    assert "memory: about " in said.out and "the model's type is" not in said.out + said.err
    study = Study.load(file)
    measured, tokens = measure(study), np.load(study.data_folder() / "tokens.npz")["score_tokens"]
    states = family_toys.states(made, torch.from_numpy(tokens.astype(np.int64)), 1)
    x = states[:, slice(*study.window)].reshape(-1, family_toys.D).double().numpy()
    whole = ((x - x.mean(axis=0)) ** 2).sum()
    right = [((x - formula(x)) ** 2).sum() / whole for _, formula in formulas]
    assert measured.saes["fvu"].to_numpy() == pytest.approx(right, rel=1e-3)
    assert measured.saes.loc[measured.saes["main"], "width"].tolist() == [1024, 2048, 4096]
    found = layers(measured)  # chapter 03's numbers over depth
    assert set(found["layer"]) == {0, 1, 2} and set(found["width"]) == {1024, 2048}
    for site in study.sites("depth"):
        assert np.isfinite(measure(study.at(site, suite="depth")).saes[["fvu", "norm_error"]]).all(axis=None)
    assert json.loads((study.data_folder() / "manifest.json").read_text())["model"]["parameters"] > 0
    assert recipes.prepared(recipes.load(file)).is_file()

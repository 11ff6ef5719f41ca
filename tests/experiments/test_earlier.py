"""Predictions from earlier sites: against plain regressions, with the poles that algebra fixes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toys
from ideas import idea, play
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from darkmatter_utils import Moments, Study, measure
from darkmatter_utils.adapters.models import SITES
from darkmatter_utils.claims import c10_earlier
from darkmatter_utils.claims.claim import UNKNOWN
from darkmatter_utils.experiments.earlier import (
    Inputs,
    Model,
    Predictions,
    Tokens,
    earlier_sites,
    fit,
    with_others,
)
from darkmatter_utils.experiments.earlier_scores import earlier, evidence, few, tried
from darkmatter_utils.stats.moments import rank_of
from darkmatter_utils.studies.study import SaeEntry

MLP = "blocks.0.hook_mlp_out"
PREDICTORS = idea(12)


@pytest.fixture(scope="module")
def measurement():
    """The nano study with one of its SAEs named as that of an earlier site: trained or not, it is a nonlinear
    map."""
    study = toys.bare()
    early = SaeEntry(id="early", site=MLP, width=32, path="saes/w32", suite="sites")
    return measure(replace(study, saes=(*study.saes, early)))


@pytest.fixture(scope="module")
def tables(measurement):
    return earlier(measurement, predictors=PREDICTORS, contexts=120)


def test_sites_are_ordered_as_the_model_computes_them():
    sites = earlier_sites(Study.load("tiny"), 1024)
    assert [one.site for one in sites] == [
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_post",
        "blocks.2.attn.hook_z",
        "blocks.2.hook_mlp_out",
    ]
    assert all(one.sae is None or one.sae.width == 1024 for one in sites)
    assert earlier_sites(Study.load("world"), 64) == []


def test_a_study_of_any_site_has_the_sites_before_it():
    tiny = Study.load("tiny")
    for site in SITES:
        assert earlier_sites(replace(tiny, site=f"blocks.2.{site}"), 1024), site
    middle = [one.site for one in earlier_sites(replace(tiny, site="blocks.2.hook_resid_mid"), 1024)]
    assert middle == [f"blocks.{i}.hook_resid_post" for i in (0, 1)] + ["blocks.2.attn.hook_z"]


def test_sums_of_some_columns_fit_what_those_columns_alone_would():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 8)) @ rng.normal(size=(8, 8)) + 5, rng.normal(size=(300, 6))
    y[:, 2:4] += x[:, [1, 6]]
    whole = Moments(8, 6).update(x, y)
    index = torch.tensor([1, 4, 6])
    plain = LinearRegression().fit(x[:, index], y[:, 2:5])
    np.testing.assert_allclose(
        fit(whole, index, Model("a", (), slice(2, 5)))(x[:, index]), plain.predict(x[:, index]), atol=1e-9
    )
    pca = PCA(2).fit(x[:, index])
    on_two = LinearRegression().fit(pca.transform(x[:, index]), y)
    found = fit(whole, index, Model("a", (), slice(0, 6), 2))
    np.testing.assert_allclose(found(x[:, index]), on_two.predict(pca.transform(x[:, index])), atol=1e-9)
    flat = np.column_stack([x[:, :3], x[:, :3].sum(axis=1)])
    assert rank_of(Moments(4, 0).update(flat, np.empty((300, 0)))) == 3


def test_shuffled_targets_are_of_another_document_of_the_same_fold_or_of_the_same_context():
    rng = np.random.default_rng(1)
    stream = []
    for context, (document, fold) in enumerate([(0, 0), (0, 0), (1, 1), (2, 0), (3, 1), (3, 1), (4, 0)]):
        x = torch.full((5, 2), float(document)).double()
        errors = torch.from_numpy(rng.normal(size=(5, 2)) + 100 * context)
        stream.append(Tokens(x, errors, document, fold, context))
    seen = []
    for tokens, pairs in with_others(stream, 2, seed=0):
        other, permuted = pairs[:, :4], pairs[:, 4:]
        documents = set(other[:, 2].tolist())
        assert len(documents) == 1 and tokens.document not in documents
        assert {0: 0, 1: 1, 2: 0, 3: 1, 4: 0}[int(documents.pop())] == tokens.fold
        assert torch.equal(permuted[:, :2].sort(dim=0).values, tokens.errors.sort(dim=0).values)
        assert not torch.equal(other[:, :2], tokens.errors)
        seen.append(tokens.context)
    assert sorted(seen) == list(range(7))


def test_the_poles_of_the_same_site_are_what_algebra_says(tables):
    table = tables["whole"]
    own = table[(table["tokens"] == "own") & (table["site"] == "")].set_index(
        ["kind", "sae", "part", "metric"]
    )["value"]
    for metric in ("r2_per_dim", "r2_total"):
        assert own["x and Sae(x)", "w64", "NonlinearError", metric] == pytest.approx(1, abs=1e-9)
        assert own["x and Sae(x)", "w64", "SaeError", metric] == pytest.approx(1, abs=1e-9)
        assert own["x", "w64", "NonlinearError", metric] == pytest.approx(0, abs=2e-3)
        assert own["x", "w64", "LinearError", metric] == pytest.approx(1, abs=1e-9)


def test_r2_is_that_of_plain_regressions_out_of_fold_and_in_sample(measurement, tables):
    """The same numbers from arrays: for each fold, the parts under its map, fitted on the others by
    scikit-learn; and once, under the map of all, on all."""
    inputs = Inputs(measurement, ("w64",), tuple(earlier_sites(measurement.study, 64)), 120, PREDICTORS)
    tokens = list(inputs.stream())
    columns = inputs.columns()
    z, e = (torch.cat([getattr(t, name) for t in tokens]).numpy() for name in ("inputs", "errors"))
    fold = np.concatenate([np.full(len(t.inputs), t.fold) for t in tokens])
    maps, overall = measurement.maps("w64")
    both = lambda held_out, in_sample: (4 * held_out + 5 * in_sample) / 9
    for kind, blocks in {
        "SAE output": [f"SAE output {MLP}"],
        "x and SAE output": ["x", f"SAE output {MLP}"],
        "raw": [f"raw {MLP}"],
    }.items():
        used = np.concatenate([z[:, columns[block]] for block in blocks], axis=1)
        left, truth = np.empty_like(e), np.empty_like(e)
        for k in range(5):
            nonlinear = e - maps[k](z[:, columns["x"]])
            truth[fold == k] = nonlinear[fold == k]
            model = LinearRegression().fit(used[fold != k], nonlinear[fold != k])
            left[fold == k] = truth[fold == k] - model.predict(used[fold == k])
        every = e - overall(z[:, columns["x"]])
        rest = every - LinearRegression().fit(used, every).predict(used)
        left = both((left**2).sum(axis=0), (rest**2).sum(axis=0))
        n, total = len(e), both((truth**2).sum(axis=0), (every**2).sum(axis=0))
        total = total - both(truth.sum(axis=0), every.sum(axis=0)) ** 2 / n
        table = tables["whole"]
        row = table[
            (table["kind"] == kind)
            & (table["site"] == MLP)
            & (table["sae"] == "w64")
            & (table["tokens"] == "own")
            & (table["part"] == "NonlinearError")
        ].set_index("metric")["value"]
        assert row["r2_per_dim"] == pytest.approx((1 - left / total).mean(), abs=1e-6), kind
        assert row["r2_total"] == pytest.approx(1 - left.sum() / total.sum(), abs=1e-6), kind


def test_leads_are_differences_with_intervals_and_shuffled_tokens_predict_nothing(tables):
    table, leads = tables["whole"], tables["leads"]
    where = {"site": MLP, "sae": "w64", "part": "NonlinearError", "metric": "r2_per_dim"}
    pick = lambda frame, **more: frame[
        np.logical_and.reduce([frame[k] == v for k, v in (where | more).items()])
    ].iloc[0]
    sae, raw = (pick(table, kind=kind, tokens="own") for kind in ("SAE output", "raw"))
    lead = pick(leads, kind="SAE output", over="raw")
    assert (
        lead["value"] == pytest.approx(sae["value"] - raw["value"])
        and lead["low"] <= lead["value"] <= lead["high"]
    )
    shuffled = table[table["tokens"] == "other document"]
    assert (shuffled["value"] < 0.01).all() and (shuffled["value"] > -0.1).all()


def test_tokens_beyond_the_memory_are_read_twice_to_the_same_numbers(measurement, tables, monkeypatch):
    monkeypatch.setattr("darkmatter_utils.experiments.earlier.MEMORY", 0)
    inputs = Inputs(measurement, ("w64", "w32"), tuple(earlier_sites(measurement.study, 64)), 120, PREDICTORS)
    model = Model("raw", (f"raw {MLP}",), slice(0, 48))
    made = Predictions(inputs, lambda made: [model])
    table = tables["whole"]
    row = table[
        (table["kind"] == "raw")
        & (table["site"] == MLP)
        & (table["sae"] == "w64")
        & (table["tokens"] == "own")
        & (table["part"] == "SaeError")
        & (table["metric"] == "r2_total")
    ].iloc[0]
    assert made.r2("r2_total", "raw", ("w64", "SaeError")).value == pytest.approx(row["value"])


def test_what_the_rule_and_the_tables_take_are_the_numbers_of_the_sites_that_have_an_sae(measurement, tables):
    taken = evidence(tables)
    assert all(set(by_site) == {MLP} for by_site in taken)
    numbers = tables["numbers"].set_index(["sae", "site", "what"])["value"]
    assert numbers["w64", MLP, "SAE output, per dimension"] == taken.sae[MLP].value
    assert numbers["w64", MLP, "lead over raw"] == pytest.approx(taken.sae[MLP].value - taken.raw[MLP].value)
    assert numbers["w64", MLP, "lead over raw"] == taken.over_raw[MLP].value
    assert numbers["w64", MLP, "lead over shuffled"] == taken.over_shuffled[MLP].value
    gains = tables["gains"].query("sae == 'w64' and part == 'SaeError'").set_index(["site", "what"])["value"]
    by_sae, by_raw = (gains[MLP, f"gain by {kind}"] for kind in ("SAE output", "raw"))
    assert gains[MLP, "difference"] == pytest.approx(by_sae - by_raw)
    assert gains["all of them", "gain by raw"] > by_raw - 5e-3  # more inputs lose nothing to chance
    assert tried(few(measurement), PREDICTORS)["inputs"].tolist() == ["raw", "SAE output", "shuffled"]


@pytest.mark.parametrize(
    "edits",
    [
        [("output}", "raw.clamp(min=0)}")],
        [("output}", "raw[:, :width]}"), ("output):", "output, width=8):")],
        [("output}", "bent(raw)}"), ("@chapter", "def bent(x):\n    return x.clamp(min=0)\n@chapter")],
    ],
    ids=["source", "default", "helper"],
)
def test_other_predictors_change_the_main_figure_and_what_the_rule_takes(measurement, tables, edits):
    """Inputs that no SAE made are there at every site, and as many directions of the raw activation beside
    them."""
    edited = earlier(measurement, predictors=idea(12, *edits), contexts=120)
    rows = "kind == 'SAE output' and tokens == 'own' and sae == 'w64'"
    after, before = (
        made["whole"].query(rows).query("site == @MLP")["value"].to_numpy() for made in (edited, tables)
    )
    assert (after != before).all() and evidence(edited) != evidence(tables)
    assert len(evidence(edited).sae) == len(edited["sites"])


@pytest.mark.parametrize("study", ["world", "nano"])
def test_the_chapter_runs_where_no_earlier_site_has_an_sae(study, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_RECORDS", str(tmp_path))
    asked = toys.bare_file(tmp_path / "nano.yaml") if study == "nano" else study
    found = play(12, study=asked, contexts=40)["found"]
    assert c10_earlier.CLAIM.judge(evidence(found)).word == UNKNOWN
    assert "no site before" in found.reason if study == "world" else len(found["sites"]) == 2

"""The controls, the shape of b and the reader ladder: known answers, and someone else's code."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import toys
from ideas import idea, play

from darkmatter_utils import LinearMap, Moments, measure
from darkmatter_utils.claims.q13_controls import NULLS, QUESTION
from darkmatter_utils.experiments import baselines, controls, error_vectors, readers
from darkmatter_utils.experiments.cost_shares import Costs, relative
from darkmatter_utils.experiments.error_vectors import one_gain as rescaled
from darkmatter_utils.experiments.error_vectors import one_gain_a_latent
from darkmatter_utils.experiments.replacements import CONTEXTS, cost_tables, take
from darkmatter_utils.experiments.same_tokens import pairs, partial
from darkmatter_utils.stats.fits import centre, leave_out, merged, moments_by_fold
from darkmatter_utils.stats.intervals import interval
from darkmatter_utils.stats.metrics import r2_total
from darkmatter_utils.studies.saes import Collected, collect


def arrays(x, hats, saes=None, documents=40):
    document = np.arange(len(x)) % documents
    return Collected(
        torch.as_tensor(x),
        document,
        {i: i % 5 for i in range(documents)},
        0,
        200,
        saes or {},
        {id: torch.as_tensor(hat).float() for id, hat in hats.items()},
        dict.fromkeys(hats, 1.0),
    )


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    return rng.normal(size=(8000, 6)) @ np.diag([3, 2, 1, 1, 1, 0.5]) + rng.normal(size=6)


def test_a_shrunk_reconstruction_is_scaled_back(x):
    held = arrays(x, {"half": x.mean(0) + 0.5 * (x - x.mean(0))})
    torch.testing.assert_close(rescaled(held, "half").double(), held.x, atol=0.02, rtol=0.01)


def test_one_gain_a_latent_finds_the_gains_that_were_taken():
    entry = collect(toys.bare(), ["w32"], kinds=False)
    sae = entry.saes["w32"]
    gains = torch.linspace(0.5, 1.5, sae.width, dtype=torch.float64)
    dense = torch.from_numpy(sae.codes(entry.x).csr(sae.width).toarray())
    target = (dense * gains) @ sae.dictionary.double() + sae.bias.double()
    held = Collected(
        target, entry.document, entry.fold, 0, 200, {"w32": Same(sae, entry.x)}, entry.hats, entry.l0
    )
    found = one_gain_a_latent(held, "w32")
    folds = entry.folds()
    known = torch.stack([(dense[folds != k] > 0).any(0) for k in range(5)])[torch.from_numpy(folds)]
    told = ~((dense > 0) & ~known).any(dim=1)  # a latent that no other fold has seen keeps its gain
    assert told.float().mean() > 0.99
    torch.testing.assert_close(found.double()[told], target[told], atol=1e-4, rtol=1e-4)


class Same:
    """An SAE that always sees the same activations."""

    def __init__(self, sae, x):
        self.width, self.dictionary, self.bias = sae.width, sae.dictionary, sae.bias
        self.x, self.inner = x, sae

    def codes(self, _):
        return self.inner.codes(self.x)


def test_the_sweep_is_reduced_rank_regression(x):
    rng = np.random.default_rng(1)
    error = x @ rng.normal(size=(6, 2)) @ rng.normal(size=(2, 6)) + rng.normal(size=x.shape)
    held = arrays(x, {"a": x - error})
    folds = moments_by_fold(held.x, held.x.double() - held.hats["a"].double(), held.folds())
    table = error_vectors.sweep(held, "a", folds)
    for r in (1, 2, 6):
        plain, truth = torch.empty_like(held.x), held.x - held.hats["a"]
        for k, rest in enumerate(leave_out(folds)):
            mine = torch.from_numpy(held.folds() == k)
            plain[mine] = LinearMap.fit(rest).truncate(rest, r)(held.x[mine])
        every = LinearMap.fit(whole := merged(folds)).truncate(whole, r)(held.x)
        row = table[(table["kind"] == error_vectors.BEST) & (table["rank"] == r)].iloc[0]
        expected = centre(r2_total(truth, plain), r2_total(truth, every), len(folds))
        assert row.r2 == pytest.approx(expected, abs=1e-6)
        assert row.low < row.r2 < row.high
    both = table[table["rank"] == 6]["r2"].to_numpy()
    assert both[0] == pytest.approx(both[1], abs=1e-6)  # all components are all of x
    best = table[table["kind"] == error_vectors.BEST].set_index("rank")["r2"]
    assert best[2] == pytest.approx(best[6], abs=1e-3) and best[1] < best[2] - 0.02


def test_the_shape_of_a_scalar_gain_and_of_one_direction(x):
    folds = [
        Moments(6, 6).update(torch.from_numpy(x[i::5]), torch.from_numpy(0.3 * x[i::5])) for i in range(5)
    ]
    found = error_vectors.shape(folds)
    assert found["trace"].value == pytest.approx(0.3) and found["gain"].value == pytest.approx(0.3)
    spectrum = np.linalg.eigvalsh(np.cov(x.T))
    assert found["rank"].value == pytest.approx(spectrum.sum() ** 2 / (spectrum**2).sum(), rel=1e-3)
    assert found["top"].value == pytest.approx(1.0)
    direction = np.outer(np.ones(6), [1, 0, 0, 0, 0, 0])
    one = error_vectors.shape(
        [
            Moments(6, 6).update(torch.from_numpy(x[i::5]), torch.from_numpy(x[i::5] @ direction))
            for i in range(5)
        ]
    )
    assert one["rank"].value == pytest.approx(1.0) and one["trace"].value == pytest.approx(1 / 6)


def test_each_reader_reads_what_it_can():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(12_000, 5)))
    a, b, c, d, _ = rows.T
    error = torch.stack([a, b * c, torch.sin(3 * d)], dim=1) @ torch.eye(3, 5, dtype=torch.float64)
    whole = readers.Rows(
        rows, error + 0.1 * torch.from_numpy(rng.normal(size=(12_000, 5))), np.arange(12_000) % 60
    )
    part = [whole.where(whole.document % 3 == k) for k in range(3)]
    table = readers.scores(
        readers.ladder(part[0], part[1], steps=800), part[2], replicates=200, seed=0
    ).set_index("reader")
    third = 1 / 2.5  # the three signals have variances 1, 1 and a half
    assert table.loc["linear (OLS)", "r2"] == pytest.approx(third, abs=0.06)
    assert table.loc["quadratic", "r2"] == pytest.approx(2 * third, abs=0.06)
    assert table.loc["MLP", "r2"] > 0.9
    assert (
        table.loc["a scalar gain", "r2"]
        < table.loc["low rank", "r2"] + 1e-9
        <= table.loc["linear (OLS)", "r2"] + 0.02
    )
    assert table.loc["linear (OLS)", "gain"] == 0 and table.loc["quadratic", "gain_low"] > 0.2


def test_a_mlp_that_cannot_help_is_stopped_at_the_linear_map():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(6000, 4)))
    whole = readers.Rows(
        rows, 0.5 * rows + torch.from_numpy(rng.normal(size=(6000, 4))), np.arange(6000) % 60
    )
    part = [whole.where(whole.document % 3 == k) for k in range(3)]
    table = readers.scores(
        readers.ladder(part[0], part[1], steps=800), part[2], replicates=200, seed=0
    ).set_index("reader")
    assert abs(table.loc["MLP", "gain"]) < 0.02


@pytest.fixture(scope="module")
def nano():
    return controls.compared(measure(toys.bare()), reconstructions=idea(13), id="w32", wide="w64")


def test_the_trained_row_is_the_measurement_and_the_poles_are_poles(nano):
    scores = nano["scores"].set_index(["name", "claim"])
    row = measure(toys.bare()).sae("w32")
    assert scores.loc[(controls.TRAINED, 1), "value"] == pytest.approx(row["r2_per_dim"], abs=1e-4)
    assert scores.loc[(controls.TRAINED, 2), "value"] == pytest.approx(row["norm_error"], abs=1e-4)
    assert scores.loc[(controls.TRAINED, 6), "value"] == pytest.approx(row["norm_nonlinear"], abs=1e-4)
    for null in ("dead SAE", "shrunk activation"):
        assert scores.loc[(null, 1), "value"] == pytest.approx(1.0)
        assert (null, 6) not in scores.index  # nothing is left to test
    assert scores.loc[("dead SAE", 2), "value"] == pytest.approx(
        scores.loc[("shrunk activation", 2), "value"]
    )
    assert scores.loc[("shrunk activation", 1), "fvu"] == pytest.approx(row["fvu"], rel=1e-4)
    assert (scores["difference_low"] <= scores["difference_high"]).all()
    assert (scores.loc[controls.TRAINED, "difference"] == 0).all()
    assert 0 < nano["again"]["error"].iloc[0] < 1


def test_other_reconstructions_change_the_main_figure_and_what_the_rule_takes(nano):
    measurement, edit = measure(toys.bare()), ("l0=trained.l0", "l0=1")
    edited = controls.compared(measurement, reconstructions=idea(13, edit), id="w32", wide="w64")
    after, before = (controls.told(made["scores"]).set_index(["name", "claim"]) for made in (edited, nano))
    changed = (after["value"] != before["value"]).groupby("name").all()
    assert list(changed[changed].index) == ["random dictionary"]
    assert after.loc[("random dictionary", 1), "value"] > before.loc[("random dictionary", 1), "value"]
    assert after.loc[("random dictionary", 1), "fvu"] > before.loc[("random dictionary", 1), "fvu"]
    assert controls.evidence(edited["scores"]) != controls.evidence(nano["scores"])


def test_what_the_rule_takes_is_the_table(nano):
    evidence, told = controls.evidence(nano["scores"]), controls.told(nano["scores"])
    verdict = QUESTION.judge(evidence)
    rows = told[told["name"].isin(NULLS)].set_index(["claim", "name"])
    for claim in (1, 2, 3, 6, 8):
        mine, numbers = rows.loc[claim], verdict.numbers[f"claim {claim}"]
        assert (numbers["places"], numbers["fails"]) == (len(mine), mine["good"].sum())
        assert numbers["places"] - numbers["fails"] - numbers["holds"] == mine["open"].sum()
    assert not rows.loc[(1, "dead SAE"), ["good", "open"]].any(), "all of its error is linear, not about half"
    assert evidence.effects == {6: {}}, "this study has no other kind of SAE"
    scores = nano["scores"].replace({"name": {"random dictionary": "TopK SAE"}})
    drop = controls.evidence(scores).effects[6]["TopK SAE"]
    assert drop.low < drop.value < drop.high


def test_claim_3_is_the_number_of_chapter_06(nano):
    table, drawn, left_out = pairs(measure(toys.bare()), ["w32", "w64"], baselines.rest)
    here = nano["scores"].set_index(["name", "claim"]).loc[(controls.TRAINED, 3)]
    at = table["kind"].eq("partial").argmax()
    assert here["value"] == pytest.approx(table["value"][at], rel=1e-9)
    ends = interval(here["value"], drawn[at], left_out[at])
    assert here[["low", "high"]].tolist() == pytest.approx(ends, rel=1e-9)


def test_claim_8_is_the_number_of_chapter_10(nano):
    measurement, statistic = measure(toys.bare()), relative("ce", "NonlinearError")
    held, taken = collect(measurement.study, ["w32"], kinds=False), take(measurement, CONTEXTS)
    table = measurement.tokens[measurement.tokens["scored"]]
    given = controls.Given(held.hats["w32"][torch.from_numpy(taken.among(table))])
    made = cost_tables.anew(
        measurement, ids=["w32"], contexts=CONTEXTS, extra={"again": (given, measurement.maps("w32"))}
    )
    costs = Costs(**made, replicates=measurement.study.bootstrap, seed=measurement.study.seed)
    theirs, again = (costs.estimate(sae, statistic) for sae in ("w32", "again"))
    here = nano["scores"].set_index(["name", "claim"]).loc[(controls.TRAINED, 8)]
    assert here[["value", "low", "high"]].tolist() == [theirs.value, theirs.low, theirs.high]
    assert again.value == pytest.approx(theirs.value, rel=1e-4)  # the rows of a control are its own


def test_same_tokens_is_one_for_itself_and_near_zero_for_noise():
    measurement = measure(toys.bare())
    tokens = measurement.tokens[measurement.tokens["scored"]]
    own = np.sqrt(tokens["w64:error"].to_numpy())
    noise = np.random.default_rng(0).exponential(size=len(own))
    assert partial(measurement, own, own, baselines.rest)[0].value == pytest.approx(1.0)
    assert partial(measurement, noise, own, baselines.rest)[0].value < 0.01


def test_the_chapter_on_nano_records_what_it_shows(tmp_path, monkeypatch, nano):
    monkeypatch.setenv("DARKMATTER_RECORDS", str(tmp_path))
    play(13, study=toys.bare_file(tmp_path / "nano.yaml"), sae="w32")
    values = json.loads((tmp_path / "nano" / "13.json").read_text())["values"]
    scores = pd.DataFrame(values["scores"])
    assert values["verdict"]["word"] == "cannot be told here"  # nano speaks of no claim
    assert set(scores["claim"]) == {1, 2, 3, 6, 8} and scores["name"].iloc[0] == controls.TRAINED
    assert scores["value"].iloc[0] == pytest.approx(nano["scores"]["value"].iloc[0], rel=1e-4)
    ladder = pd.DataFrame(values["ladder"]).set_index("reader")
    assert ladder.loc["MLP", "r2"] > ladder.loc["linear (OLS)", "r2"]
    assert "for it cannot be run here: TopK SAE" in values["lacking"]
    said = " ".join(values["findings"].values())
    assert all(f"claim {claim}" in said for claim in values["as good"])
    assert ("No control" in values["finding"]) == (not values["as good"])
    shape = pd.DataFrame(values["shape"])
    assert ((shape["rank"] >= 1) & (shape["rank"] <= 16)).all() and (shape["trace"] > 0).all()

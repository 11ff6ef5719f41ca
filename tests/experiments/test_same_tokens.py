"""Pairs of SAEs token by token: against scikit-learn and scipy, and on tokens whose agreement is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression

from darkmatter_utils import measure
from darkmatter_utils.charts import Gallery
from darkmatter_utils.claims.c03_same_tokens import CLAIM
from darkmatter_utils.experiments.baselines import out_of_fold
from darkmatter_utils.experiments.grams import Grams, correlation
from darkmatter_utils.experiments.same_tokens import (
    KINDS,
    evidence,
    gallery,
    ladder,
    levels,
    mean,
    pairs,
    same_tokens,
    seed_spread,
    shuffled_within,
)
from darkmatter_utils.stats.intervals import resampled, totals
from darkmatter_utils.studies.activations import Activations


def rest(norm, tokens):
    """What chapter 06 takes out of a norm."""
    size, labels = tokens["norm2"], [tokens["position"], tokens["token"]]
    return norm - out_of_fold(norm, tokens["fold"], numbers=[np.sqrt(size), size], labels=labels)


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(0)
    document = rng.permutation(np.repeat(np.arange(40), rng.integers(10, 60, 40)))
    shared = rng.standard_normal(len(document)) + 0.5 * np.sin(document)
    made = {name: 5 + shared + rng.standard_normal(len(document)) for name in "abc"}
    return made, document, document % 4


def plain(x, y, fold) -> tuple[np.ndarray, np.ndarray]:
    """Squared residuals of LinearRegression, held out and in sample [token]."""
    held, fit = np.empty(len(y)), LinearRegression().fit(x, y)
    for k in np.unique(fold):
        of_others = LinearRegression().fit(x[fold != k], y[fold != k])
        held[fold == k] = y[fold == k] - of_others.predict(x[fold == k])
    return held**2, (y - fit.predict(x)) ** 2


def test_fits_from_gram_matrices_are_plain_regressions(columns):
    made, document, fold = columns
    grams = Grams(made, document, fold)
    held, inside = plain(np.column_stack([made["a"], made["b"]]), made["c"], fold)
    assert grams.residual("c", "a", "b") == pytest.approx(np.bincount(document, (3 * held + 4 * inside) / 7))
    assert grams.residual("c").sum() > grams.residual("c", "a").sum() > grams.residual("c", "a", "b").sum()
    assert grams.residual("a", "a").max() < 1e-9


def test_weights_are_fitted_anew_on_every_draw_of_documents(columns):
    made, document, fold = columns
    statistic, sums = Grams(made, document, fold).r2("c", "a", "b", over=["a"])
    drawn, left = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=3), []
    for times in (np.ones(40, int), *drawn):
        rows = np.repeat(np.arange(len(document)), times[document])
        y, few, more = made["c"][rows], made["a"][rows, None], np.column_stack([made["a"], made["b"]])[rows]
        r2 = [LinearRegression().fit(x, y).score(x, y) for x in (few, more)]
        left.append(1 - (1 - r2[1]) / (1 - r2[0]))
    shift = statistic(totals(sums)) - left[0]
    assert statistic(resampled(sums, drawn)) == pytest.approx(np.array(left[1:]) + shift)
    assert -0.05 < shift < 0, "in sample it is too high"


@pytest.mark.parametrize("truth", [0.0, 0.2, 0.9])
def test_r2_is_right_where_documents_agree_and_tokens_do_not(truth):
    """A held-out line pays for a mean and a slope of few documents, and the spread about the overall mean
    does not: their ratio is below the truth where a document's tokens are alike."""
    rng, found, held_out = np.random.default_rng(0), [], []
    document = np.repeat(np.arange(40), 20)
    r = np.sqrt(truth)
    for _ in range(150):
        shared, one, other = rng.standard_normal((3, 40))[:, document]
        a, b = (np.sqrt(r) * shared + np.sqrt(1 - r) * own for own in (one, other))
        statistic, sums = Grams({"a": a, "b": b}, document, document % 5).r2("b", "a")
        found.append(statistic(totals(sums)))
        held_out.append(1 - plain(a[:, None], b, document % 5)[0].sum() / ((b - b.mean()) ** 2).sum())
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(truth, abs=3 * error)
    assert np.mean(held_out) < truth - 3 * error


def test_the_rank_correlation_is_that_of_scipy(columns):
    made, document, fold = columns
    ranks = {name: pd.Series(values).rank().to_numpy() for name, values in made.items()}
    found = correlation(totals(Grams(ranks, document, fold).moments("a", "b")))
    assert found == pytest.approx(spearmanr(made["a"], made["b"]).statistic)


def test_shuffling_keeps_every_token_in_its_document(columns):
    document = columns[1]
    order = shuffled_within(document, seed=0)
    assert sorted(order) == list(range(len(document))) and (document[order] == document).all()
    assert (order != np.arange(len(document))).mean() > 0.9


def known(shared, *, n=8000, seed=0):
    """Two SAEs whose error norms have ‖x‖ and the token in common and, beyond that, a share of what is their
    own."""
    rng = np.random.default_rng(seed)
    token, norm, document = rng.integers(0, 20, n), rng.uniform(1, 2, n), np.repeat(np.arange(n // 50), 50)
    part = lambda v: (v - v.mean()) / v.std()
    common, hard = part(norm) + part(rng.standard_normal(20)[token]), rng.standard_normal(n)
    tokens = pd.DataFrame(
        {
            "token": token,
            "position": rng.integers(0, 50, n),
            "document": document,
            "fold": document % 5,
            "scored": True,
            "norm2": norm**2,
        }
    )
    for id in ("s", "t"):
        own = np.sqrt(shared) * hard + np.sqrt(1 - shared) * rng.standard_normal(n)
        tokens[f"{id}:error"] = (20 + common + own) ** 2
        tokens[f"{id}:linear"], tokens[f"{id}:nonlinear"] = tokens[f"{id}:error"], rng.uniform(1, 2, n)
    return SimpleNamespace(tokens=tokens, study=SimpleNamespace(seed=0, bootstrap=200))


@pytest.mark.parametrize("shared", [0.0, 0.6, 1.0])
def test_what_is_taken_out_is_what_all_saes_have_in_common(shared):
    made, replicates, left_out = pairs(known(shared), ["s", "t"], rest)
    found = made.set_index("kind")["value"]
    assert list(found.index) == list(KINDS)
    # var = 2 (common) + 1 (own): the correlation of the norms is (2 + shared) / 3, that of the rests is
    # `shared`.
    assert found["raw"] == pytest.approx(((2 + shared) / 3) ** 2, abs=0.03)
    assert found["partial"] == pytest.approx(shared**2, abs=0.03)
    assert found["rank"] == pytest.approx((2 + shared) / 3, abs=0.04)
    assert abs(found["shuffled"]) < 0.01
    # Where one norm is the other's, nothing is left over and no share of it can be removed.
    assert np.isnan(found["added"]) if shared == 1 else abs(found["added"]) < 0.01
    draws = replicates[made["kind"].eq("partial").argmax()]
    assert draws.mean() == pytest.approx(found["partial"], abs=0.02) and draws.std() < 0.03
    jackknife = left_out[made["kind"].eq("partial").argmax()]
    error = np.sqrt((len(jackknife) - 1) * jackknife.var())
    assert error == pytest.approx(draws.std(), rel=0.3 if shared < 1 else 100)


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_noise_of_a_tokens_mean_is_not_shared(alike):
    """‖x‖ moves both norms by three times what is their own, and a token is seen 16 times on other folds: the
    mean norm of a token has ‖x‖'s noise in both, which an agreement of nothing else would consist of."""
    rng, n = np.random.default_rng(0), 8000
    norm, document = 10 + rng.standard_normal(n), np.arange(n) // 50
    token, hard = rng.integers(0, n // 20, n), rng.standard_normal(n)
    about = {"position": np.arange(n) % 50, "token": token, "document": document, "fold": document % 5}
    tokens, of_token = pd.DataFrame(about | {"norm2": norm**2, "scored": True}), rng.standard_normal(n // 20)
    left = []
    for _ in range(2):
        own = np.sqrt(alike) * hard + np.sqrt(1 - alike) * rng.standard_normal(n)
        left.append(rest(3 * norm + of_token[token] + own, tokens))
    # What a token's effect was shrunk by, a seventeenth of it at 16 tokens, stays in both.
    assert np.corrcoef(*left)[0, 1] == pytest.approx(alike, abs=0.03)


def test_nothing_simple_is_left_in_a_residual():
    tokens = known(0.5).tokens
    left = rest(np.sqrt(tokens["s:error"].to_numpy()), tokens)
    assert abs(np.corrcoef(left, tokens["norm2"])[0, 1]) < 0.02 and left.var() == pytest.approx(1, abs=0.06)


def test_the_spread_between_seeds_is_found():
    rng = np.random.default_rng(0)
    effect = {(w, s): 0.05 * rng.standard_normal() for w in range(6) for s in range(5)}
    rows = [
        {"a": a, "b": b, "narrow": a[0], "wide": b[0], "value": effect[a] + effect[b]}
        for a in effect
        for b in effect
        if a[0] < b[0]
    ]
    assert seed_spread(pd.DataFrame(rows)) == pytest.approx(0.05, rel=0.3)


def test_pairs_of_nano_and_what_the_rule_takes(nano):
    found = same_tokens(nano, rest=rest)
    numbers = evidence(found)
    assert len(numbers.partial) == 6 and "16 and 128" in numbers.partial and numbers.seeds
    raw = found["ratios"].query("kind == 'raw'")
    assert raw[["ratio", "pairs"]].to_numpy().tolist() == [[1, 1], [2, 3], [4, 2], [8, 1]]
    table = found["pairs"].query("kind == 'partial'")
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()
    assert (found["pairs"].query("kind == 'raw'")["value"] < 1).all()
    verdict = CLAIM.judge(numbers)
    named = ("predictable", "same tokens", "not documents")
    assert [verdict.numbers[name]["places"] for name in named] == [6, 6, 6]
    wider = raw.query("ratio > 1")
    assert mean(found, "raw").value == pytest.approx(wider["value"] @ wider["pairs"] / 6)
    assert mean(found, "raw", same=True).value == pytest.approx(raw["value"].iloc[0])
    once = {"means": found["means"].query("not same")}
    assert "several seeds" in mean(once, "raw", same=True).reason
    assert list(levels(nano)["levels"]["width"]) == [16, 32, 64, 128]


def test_what_is_taken_out_is_the_chapters_to_say(nano):
    """Editing the idea changes the pairs that the figures draw and the numbers that the rule takes."""
    found, plain = same_tokens(nano, rest=rest), same_tokens(nano, rest=lambda norm, tokens: norm)
    kind = lambda of, name: of["pairs"].query("kind == @name")["value"].to_numpy()
    assert kind(plain, "partial") == pytest.approx(kind(plain, "raw"), rel=1e-9)
    assert (kind(plain, "partial") > kind(found, "partial")).all()
    assert (kind(plain, "raw") == kind(found, "raw")).all()
    values = [[e.value for e in evidence(of).partial.values()] for of in (found, plain)]
    assert (np.array(values[1]) > values[0]).all()


def test_the_ladder_ends_where_all_of_x_is_out_and_passes_the_rules_set(nano):
    steps = ladder(nano)["steps"]
    table = steps.pivot(index="pair", columns="taken_out", values="value").loc[steps["pair"].unique()]
    assert list(table.index) == ["16 and 32", "16 and 128", "64 and 128"]
    found = (
        same_tokens(nano, rest=rest)["pairs"].query("narrow == 64 and wide == 128").set_index("kind")["value"]
    )
    assert table.loc["64 and 128", ["nothing", "+ token"]].tolist() == pytest.approx(
        found[["raw", "partial"]].tolist()
    )
    tokens = nano.tokens[nano.tokens["scored"]]
    x = torch.cat([batch.x for batch in Activations(nano.study).batches(scored=True)]).numpy()
    size = tokens["norm2"].to_numpy(float)
    left = []
    for id in ("w64", "w128"):
        norm = np.sqrt(tokens[f"{id}:error"].to_numpy(float))
        known = dict(numbers=[np.sqrt(size), size, *x.T], labels=[tokens["position"], tokens["token"]])
        left.append(norm - out_of_fold(norm, tokens["fold"], **known))
    assert table.loc["64 and 128", "+ all of x"] == pytest.approx(np.corrcoef(*left)[0, 1] ** 2, abs=0.005)


def test_oracles_that_introduce_nothing_agree_too():
    found = same_tokens(measure("world"), rest=rest)["pairs"].query("narrow != wide")
    assert found.query("kind == 'partial'")["low"].min() > 0.2
    assert found.query("kind == 'shuffled'")["value"].max() < 0.2


def test_contexts_are_spread_over_the_range_of_errors(nano):
    chosen = gallery(nano, count=7)["strips"]
    level = chosen.drop_duplicates("context").set_index("context")["level"]
    assert len(level) == 7 and level.is_monotonic_increasing
    every = gallery(nano, count=10_000)["strips"].drop_duplicates("context")["level"]
    assert level.iloc[0] == every.min() and level.iloc[-1] == every.max()
    pd.testing.assert_frame_equal(gallery(nano, count=7)["strips"], chosen)


def test_a_gallery_is_light_and_shows_every_width_under_every_token(nano):
    frame = gallery(nano, shown=20)["strips"].assign(shade=0.5)
    html = Gallery(frame, "context", shade="shade", bars=["16", "32", "64"], unfolded=1)._repr_html_()
    assert html.count("<details") == 40 and html.count("<details open") == 1 and len(html) < 150_000
    assert html.count("<i>") == 40 * 20
    one = pd.DataFrame({"a": [0], "b": [0.3], "c": [1], "d": [5], "text": "<x", "fold": "f"})
    html = Gallery(one, "fold", shade="a", bars=list("abcd"), note="fold")._repr_html_()
    assert "▁▂▅█" in html and "&lt;x" in html and 'title="f: 0.0 0.3 1.0 5.0"' in html

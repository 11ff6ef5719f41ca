"""Pairs of SAEs token by token: against scikit-learn and scipy, and on tokens whose agreement is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression

from darkmatter_utils import measure
from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims.ledger import judge
from darkmatter_utils.claims.rules import FAILS, HOLDS, PARTLY
from darkmatter_utils.experiments.neighbours import (
    KINDS,
    Grams,
    _compute,
    _spread,
    correlation,
    residuals,
    same_evidence,
    shuffled_within,
    width_pairs,
)
from darkmatter_utils.pages.galleries import Gallery, bars, relative_norms, spread_contexts
from darkmatter_utils.pages.width_pairs import (
    added_words,
    level_words,
    oracle_words,
    pair_heat,
    ratio_chart,
    ratio_table,
    seed_pair_words,
    suite_ids,
)


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


def test_fits_from_gram_matrices_are_plain_regressions_out_of_fold(columns):
    made, document, fold = columns
    grams = Grams(made, document, fold)
    x, left = np.column_stack([made["a"], made["b"]]), np.empty(len(document))
    for k in range(4):
        fit = LinearRegression().fit(x[fold != k], made["c"][fold != k])
        left[fold == k] = made["c"][fold == k] - fit.predict(x[fold == k])
    assert grams.residual("c", "a", "b") == pytest.approx(np.bincount(document, left**2))
    assert grams.residual("c").sum() > grams.residual("c", "a").sum() > grams.residual("c", "a", "b").sum()
    assert grams.residual("a", "a").max() < 1e-9


def test_the_rank_correlation_is_that_of_scipy(columns):
    made, document, fold = columns
    ranks = {name: pd.Series(values).rank().to_numpy() for name, values in made.items()}
    found = correlation(Grams(ranks, document, fold).moments("a", "b").sum(axis=-1))
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
    made = _compute(known(shared), ["s", "t"])
    found = made["pairs"].set_index("kind")["value"]
    assert list(found.index) == list(KINDS)
    # var = 2 (common) + 1 (own): the correlation of the norms is (2 + shared) / 3, that of the rests is
    # `shared`.
    assert found["raw"] == pytest.approx(((2 + shared) / 3) ** 2, abs=0.03)
    assert found["partial"] == pytest.approx(shared**2, abs=0.03)
    assert found["rank"] == pytest.approx((2 + shared) / 3, abs=0.04)
    assert abs(found["shuffled"]) < 0.01
    # Where one norm is the other's, nothing is left over and no share of it can be removed.
    assert np.isnan(found["added"]) if shared == 1 else abs(found["added"]) < 0.01
    draws = made["replicates"].to_numpy()[made["pairs"]["kind"].eq("partial").argmax()]
    assert draws.mean() == pytest.approx(found["partial"], abs=0.02) and draws.std() < 0.03


def test_nothing_simple_is_left_in_a_residual():
    tokens = known(0.5).tokens
    fold = tokens["fold"].to_numpy()
    rest = residuals(np.sqrt(tokens["s:error"].to_numpy()), tokens, fold, 5)
    assert abs(np.corrcoef(rest, tokens["norm2"])[0, 1]) < 0.02 and rest.var() == pytest.approx(1, abs=0.06)


def test_the_spread_between_seeds_is_found():
    rng = np.random.default_rng(0)
    effect = {(w, s): 0.05 * rng.standard_normal() for w in range(6) for s in range(5)}
    rows = [
        {"a": a, "b": b, "narrow": a[0], "wide": b[0], "value": effect[a] + effect[b]}
        for a in effect
        for b in effect
        if a[0] < b[0]
    ]
    assert _spread(pd.DataFrame(rows)) == pytest.approx(0.05, rel=0.3)


def test_pairs_of_nano_in_words_tables_and_charts(nano):
    found = width_pairs(nano)
    assert sorted(found.estimates("partial")) == ["16 and 32", "16 and 64", "32 and 64"]
    assert found.by_ratio("raw")[["ratio", "pairs"]].to_numpy().tolist() == [[2, 2], [4, 1]]
    for row in found.rows("partial").itertuples():
        assert row.low < row.value < row.high
    assert (found.rows("raw")["value"].to_numpy() < 1).all()
    assert judge(3, **same_evidence(found)).numbers["pairs"] == 3
    assert "times wider" in repr(ratio_table(found, "raw", "rank"))
    for chart in (ratio_chart(found, None), pair_heat(found, "raw", "partial"), pair_heat(found, "added")):
        assert chart.to_dict()
    assert "from several seeds" in seed_pair_words(found) and "seed of the same" not in added_words(found)
    assert "oracle" in oracle_words(None) and "16 to 64 latents" in level_words(nano)


def test_oracles_that_introduce_nothing_agree_too():
    found = width_pairs(measure("world"))
    assert found.rows("partial")["low"].min() > 0.2 and found.rows("shuffled")["value"].max() < 0.2
    assert "introduce no error" in oracle_words(found)


def e(value, half=0.02):
    return Estimate(value, value - half, value + half)


@pytest.mark.parametrize(
    "partial, shuffled, word",
    [
        ([0.5, 0.25], [0.0, 0.1], HOLDS),
        ([0.5, 0.21], [0.0, 0.1], PARTLY),
        ([0.5, 0.25], [0.0, 0.3], PARTLY),
        ([0.1, 0.15], [0.0, 0.0], FAILS),
    ],
)
def test_wider_saes_fail_on_the_same_tokens(partial, shuffled, word):
    numbers = [dict(enumerate(map(e, values))) for values in (partial, shuffled)]
    verdict = judge(3, partial=numbers[0], shuffled=numbers[1], seeds=e(0.7))
    assert verdict.word == word and "0.70 [0.68, 0.72]" in verdict.why


def test_contexts_are_spread_over_the_range_of_errors(nano):
    ids = suite_ids(nano)
    chosen = spread_contexts(nano, ids, count=7)
    tokens = nano.tokens[nano.tokens["scored"]]
    level = pd.Series(relative_norms(tokens, ids).mean(axis=1)).groupby(tokens["context"].to_numpy()).mean()
    assert len(set(chosen)) == 7 and level[chosen].is_monotonic_increasing
    assert level[chosen[0]] == level.min() and level[chosen[-1]] == level.max()
    assert spread_contexts(nano, ids, count=7) == chosen


def test_a_gallery_is_light_and_shows_every_width_under_every_token(nano):
    ids = suite_ids(nano)
    html = Gallery(nano, ids, spread_contexts(nano, ids), shown=20)._repr_html_()
    assert html.count("<details") == 40 and html.count("<details open") == 1 and len(html) < 150_000
    assert html.count("<i>") == 40 * 20
    assert bars([0, 0.3, 1, 5]) == "▁▂▅█"

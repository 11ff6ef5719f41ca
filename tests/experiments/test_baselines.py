"""What simple facts about a token say of a number: with a known R², and never from the tokens themselves."""

import numpy as np
import pandas as pd
import pytest
from ideas import idea
from sklearn.linear_model import LinearRegression

from darkmatter_utils.experiments.baselines import LabelMeans, out_of_fold, rest, simple
from darkmatter_utils.stats.metrics import r2_total


def tokens(n=6000, seed=0, loss=True):
    """(error, tokens): an error that depends on the token (half of its variance) and on ‖x‖ (a quarter)."""
    rng = np.random.default_rng(seed)
    token, norm = rng.integers(0, 20, n), rng.uniform(1, 2, n)
    effect = rng.standard_normal(20)
    part = lambda v: (v - v.mean()) / v.std()
    error = 10 + np.sqrt(2) * part(effect[token]) + part(norm) + rng.standard_normal(n)
    columns = {
        "token": token,
        "position": rng.integers(0, 100, n),
        "fold": np.repeat(np.arange(n // 50), 50) % 5,
        "loss": rng.standard_normal(n) if loss else np.nan,
        "norm2": norm**2,
        "l0": rng.poisson(8, n),
    }
    return error, pd.DataFrame(columns)


def said(*names):
    error, table = tokens()
    facts = {
        "numbers": [f(table[n]) for n, f in (("norm2", np.sqrt), ("loss", np.asarray)) if n in names],
        "labels": [table[name] for name in ("position", "token") if name in names],
    }
    return r2_total(error[:, None], out_of_fold(error, table["fold"], **facts)[:, None])


def test_simple_predictors_find_what_was_put_in():
    assert said("token") == pytest.approx(0.5, abs=0.04) and said("norm2") == pytest.approx(0.25, abs=0.04)
    assert said("norm2", "loss", "position", "token") == pytest.approx(0.75, abs=0.03)
    assert abs(said("position")) < 0.02 and abs(said("loss")) < 0.02


def test_numbers_alone_are_a_plain_regression_and_frequent_labels_one_with_indicators():
    error, table = tokens()
    numbers, fold = [np.sqrt(table["norm2"]), table["norm2"]], table["fold"].to_numpy()
    dummies = pd.get_dummies(table[["token", "position"]].astype(str)).to_numpy(float)
    for labels, z in ([], np.empty((len(table), 0))), ([table["token"], table["position"]], dummies):
        plain, z = np.empty(len(error)), np.column_stack([*numbers, z])
        for k in range(5):
            fit = LinearRegression().fit(z[fold != k], error[fold != k])
            plain[fold == k] = fit.predict(z[fold == k])
        found = out_of_fold(error, fold, numbers=numbers, labels=labels)
        # A position, which says nothing, is shrunk away by the one and not by the other: 100 of 4,800 tokens.
        limit = 1e-6 if not labels else 0.2
        assert np.sqrt(np.mean((found - plain) ** 2)) < limit


def test_what_goes_with_a_label_is_told_from_the_label():
    """‖x‖ is mostly the token's: its weight and the tokens' effects are still both found."""
    rng, n = np.random.default_rng(0), 10_000
    token, fold = rng.integers(0, 50, n), np.arange(n) % 5
    of_token, effect = rng.standard_normal((2, 50))
    z = of_token[token] + 0.3 * rng.standard_normal(n)
    known = 2 * z + (effect - of_token)[token]
    found = out_of_fold(known + 0.1 * rng.standard_normal(n), fold, numbers=[z], labels=[token])
    assert np.std(found - known) < 0.02


def test_a_study_without_loss_leaves_it_out():
    error, table = tokens(loss=False)
    with_loss = simple(*tokens())
    assert simple(error, table) == pytest.approx(with_loss, abs=0.01) == pytest.approx(0.75, abs=0.03)
    assert simple(table["norm2"].to_numpy(), table) == pytest.approx(1)


def test_the_rest_is_what_chapter_06_compares():
    """One definition: the published function of the notebook is the one that controls are held to."""
    assert np.array_equal(rest(*tokens()), idea(6)(*tokens()))


def test_the_mean_of_a_label_never_contains_its_own_fold():
    rng = np.random.default_rng(0)
    target, label, fold = rng.standard_normal(1000), rng.integers(0, 5, 1000), rng.integers(0, 4, 1000)
    before = LabelMeans(target, label, fold).without(1)
    for own in range(4):
        changed = np.where((fold == own) | (fold == 1), 99.0, target)
        after = LabelMeans(changed, label, fold).without(1)
        assert np.allclose(before[fold == own], after[fold == own])


def test_rare_labels_are_shrunk_and_noise_is_not_learned():
    rng = np.random.default_rng(0)
    target, label = rng.standard_normal(4000), np.arange(4000) % 2000
    fold = rng.integers(0, 5, 4000)
    means = LabelMeans(target, label, fold)
    assert max(np.abs(means.without(k)).max() for k in range(5)) < 0.5 * np.abs(target).max()

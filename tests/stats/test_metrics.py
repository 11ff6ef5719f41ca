"""Metrics at both poles and on a 2x2 case worked by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from darkmatter_utils.base.values import Estimate
from darkmatter_utils.stats.metrics import fvu, r2_per_dim, r2_total, ratio_r2

X = np.random.default_rng(0).normal(size=(50, 4)) * [1, 2, 3, 40] + 5
HAND = np.array([[0.0, 0.0], [2.0, 4.0]])
GUESS = np.array([[0.0, 1.0], [1.0, 4.0]])


def test_poles():
    assert fvu(X, X) == 0 and r2_total(X, X) == 1 and r2_per_dim(X, X) == 1
    mean = np.broadcast_to(X.mean(0), X.shape)
    assert fvu(X, mean) == pytest.approx(1)
    assert r2_total(X, mean) == pytest.approx(0, abs=1e-12) == r2_per_dim(X, mean)


def test_by_hand():
    # Squared deviations 2 and 8 by dimension; squared residuals 1 and 1.
    assert fvu(HAND, GUESS) == pytest.approx(2 / 10)
    assert r2_total(HAND, GUESS) == pytest.approx(1 - 2 / 10)
    assert r2_per_dim(HAND, GUESS) == pytest.approx((1 - 1 / 2 + 1 - 1 / 8) / 2)


def test_as_scikit_learn():
    guess = X + np.random.default_rng(1).normal(size=X.shape)
    assert r2_per_dim(X, guess) == pytest.approx(r2_score(X, guess, multioutput="uniform_average"), abs=1e-12)
    assert r2_total(X, guess) == pytest.approx(r2_score(X, guess, multioutput="variance_weighted"), abs=1e-12)
    assert r2_per_dim(X[:, 0], guess[:, 0]) == pytest.approx(r2_score(X[:, 0], guess[:, 0]), abs=1e-12)


def test_sums_are_divided_once():
    batches = [(X[:10], X[:10] * 0.9), (X[10:], X[10:] * 0.5)]
    of_batches = np.mean([fvu(a, b) for a, b in batches])
    together = fvu(np.concatenate([a for a, _ in batches]), np.concatenate([b for _, b in batches]))
    assert abs(of_batches - together) > 1e-3


def test_a_dimension_that_does_not_vary():
    x, flat = X.copy(), 1e4 + 0.1
    x[:, 1] = flat
    exact, wrong = x.copy(), x.copy()
    wrong[:, 1] += 1
    assert r2_per_dim(x, exact) == 1
    assert r2_per_dim(x, wrong) == pytest.approx(3 / 4)
    # scikit-learn agrees where the mean has no rounding.
    assert r2_score(np.where(x == flat, 2.0, x), np.where(x == flat, 3.0, x)) == pytest.approx(3 / 4)
    assert ratio_r2(0.0, 0.0) == 1 and ratio_r2(1.0, 0.0) == 0


def test_torch_and_low_precision():
    low = X.astype(np.float16)
    assert fvu(torch.from_numpy(low), torch.from_numpy(low) * 0.5) == fvu(
        low.astype(float), (low * 0.5).astype(float)
    )


def test_nothing_varies():
    assert np.isnan(fvu(np.ones((3, 2)), np.ones((3, 2))))


def test_estimate():
    assert Estimate(0.5, 0.25, 0.75).to_dict() == {"value": 0.5, "low": 0.25, "high": 0.75}
    assert str(Estimate(0.5)) == "0.5" and str(Estimate(0.5, 0.25, 0.75)) == "0.5 [0.25, 0.75]"

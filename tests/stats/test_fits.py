"""Least squares from sums, against scikit-learn on plain arrays and on nasty ones."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.stats.fits import RIDGE_GRID, LinearMap, cross_fit, leave_out, merged, residual_squares
from darkmatter_utils.stats.moments import Moments

TOKENS, D_IN, D_OUT = 1500, 16, 4


def nasty_arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TOKENS, D_IN))
    yield "plain", x
    shifted = x.copy()
    shifted[:, :3] += [1e4, -1e5, 1e7]
    yield "huge means", shifted
    tied = x.copy()
    tied[:, 5], tied[:, 7], tied[:, 8] = 2 * tied[:, 4] + tied[:, 1], 3.0, 1e4 + 0.1
    yield "tied and constant columns", tied
    yield "low rank", rng.normal(size=(TOKENS, 5)) @ rng.normal(size=(5, D_IN))
    yield "low rank float32", (rng.normal(size=(TOKENS, 5)) @ rng.normal(size=(5, D_IN))).astype(np.float32)
    yield "scales from 1e-2 to 1e4", x * np.logspace(-2, 4, D_IN)
    turn = np.linalg.qr(rng.normal(size=(D_IN, D_IN)))[0]
    yield "ill conditioned", x * np.logspace(0, -5, D_IN) @ turn
    once = x.copy()
    once[:, 2] = 0
    once[TOKENS // 5 - 10 : TOKENS // 5, 2] = rng.normal(size=10)
    yield "a dimension alive in one fold only", once
    yield "float16", (x * 3).astype(np.float16)


NASTY = dict(nasty_arrays())


def targets(x, seed=1):
    rng = np.random.default_rng(seed)
    x = x.astype(np.float64)
    scaled = (x - x.mean(0)) / np.maximum(x.std(0), 1e-3)
    return (
        scaled @ rng.normal(size=(D_IN, D_OUT))
        + np.abs(scaled[:, :D_OUT])
        + rng.normal(size=(len(x), D_OUT))
        + 7
    )


def per_fold(x, y, folds=5):
    fold = np.arange(len(x)) * folds // len(x)
    return fold, [Moments(D_IN, y.shape[1]).update(x[fold == k], y[fold == k]) for k in range(folds)]


def r2(y, prediction):
    return 1 - ((y - prediction) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)


@pytest.mark.parametrize("ridge", [0.0, 0.3, 100.0])
@pytest.mark.parametrize("name", NASTY)
def test_fold_by_fold_as_scikit_learn(name, ridge):
    x, y = NASTY[name], targets(NASTY[name])
    fold, folds = per_fold(x, y)
    exact = x.astype(np.float64)
    for k, ours in enumerate(cross_fit(folds, ridge=ridge).maps):
        # 1e-7 of the largest singular value is where our maps drop directions; scikit-learn's
        # default is 1e-6.
        theirs = LinearRegression(tol=1e-7) if ridge == 0 else Ridge(alpha=ridge, solver="svd")
        theirs.fit(exact[fold != k], y[fold != k])
        held_out = fold == k
        np.testing.assert_allclose(
            r2(y[held_out], ours(x[held_out])),
            r2(y[held_out], theirs.predict(exact[held_out])),
            rtol=0,
            atol=1e-6,
        )
        from_sums = 1 - residual_squares(folds[k], ours) / folds[k].yy
        np.testing.assert_allclose(from_sums, r2(y[held_out], ours(x[held_out])), rtol=0, atol=1e-7)


def test_weights_and_bias_as_scikit_learn():
    x = NASTY["plain"] + 3
    y = targets(x)
    ours, theirs = LinearMap.fit(Moments(D_IN, D_OUT).update(x, y)), LinearRegression().fit(x, y)
    np.testing.assert_allclose(ours.weight, theirs.coef_.T, atol=1e-10)
    np.testing.assert_allclose(ours.bias, theirs.intercept_, atol=1e-9)


@pytest.mark.parametrize("name", ["plain", "huge means", "scales from 1e-2 to 1e4", "low rank"])
@pytest.mark.parametrize("ridge", [0.0, 5.0])
def test_without_intercept_as_scikit_learn(name, ridge):
    x, y = NASTY[name], targets(NASTY[name])
    # Without an intercept a mean is a direction, and at 1e7 it alone leaves the others below 1e-7 of
    # the largest.
    x = np.where(np.abs(x.mean(0)) > 1e6, x - x.mean(0) + 1e6, x)
    theirs = (
        LinearRegression(fit_intercept=False, tol=1e-9)
        if ridge == 0
        else Ridge(ridge, fit_intercept=False, solver="svd")
    )
    ours = LinearMap.fit(Moments(D_IN, D_OUT).update(x, y), ridge=ridge, intercept=False)
    np.testing.assert_allclose(r2(y, ours(x)), r2(y, theirs.fit(x, y).predict(x)), atol=1e-6)
    assert float(ours.bias.abs().max()) == 0


def test_two_points_by_hand():
    ours = LinearMap.fit(Moments(1, 1).update(np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])))
    assert ours.weight.item() == pytest.approx(2) and ours.bias.item() == pytest.approx(1)
    # With ridge alpha the slope is Sxy / (Sxx + alpha) = 4 / (2 + 2).
    ours = LinearMap.fit(Moments(1, 1).update(np.array([[0.0], [2.0]]), np.array([[1.0], [5.0]])), ridge=2.0)
    assert ours.weight.item() == pytest.approx(1) and ours.bias.item() == pytest.approx(2)


def test_residual_is_orthogonal_to_x():
    x = NASTY["huge means"]
    y = targets(x)
    residual = y - LinearMap.fit(Moments(D_IN, D_OUT).update(x, y))(x)
    centred = (x - x.mean(0)) / x.std(0)
    assert np.abs(centred.T @ residual).max() / TOKENS < 1e-8
    assert np.abs(residual.mean(0)).max() < 1e-8


def test_affine_change_of_x_changes_no_r2_at_ridge_0():
    x, rng = NASTY["plain"], np.random.default_rng(3)
    y = targets(x)
    turned = x @ (rng.normal(size=(D_IN, D_IN)) + 3 * np.eye(D_IN)) * 100 - 40
    for k, (a, b) in enumerate(
        zip(cross_fit(per_fold(x, y)[1]).maps, cross_fit(per_fold(turned, y)[1]).maps)
    ):
        held_out = per_fold(x, y)[0] == k
        np.testing.assert_allclose(
            r2(y[held_out], a(x[held_out])), r2(y[held_out], b(turned[held_out])), atol=1e-9
        )


def test_one_ill_scaled_fold_does_not_spoil_the_others():
    x = NASTY["plain"].copy()
    y = targets(x)
    fold, _ = per_fold(x, y)
    x[fold == 3] *= 1e8
    ours = cross_fit(per_fold(x, y)[1]).maps[3]
    theirs = LinearRegression().fit(x[fold != 3], y[fold != 3])
    np.testing.assert_allclose(ours.weight, theirs.coef_.T, atol=1e-10)


def test_leave_out_is_merging_the_others():
    x = NASTY["plain"]
    folds = per_fold(x, targets(x))[1]
    for k, moments in enumerate(leave_out(folds)):
        others = merged([m for i, m in enumerate(folds) if i != k])
        assert moments.n == others.n
        torch.testing.assert_close(moments.xx, others.xx)
        torch.testing.assert_close(moments.xy, others.xy)
    assert sum(m.n for m in folds) == merged(folds).n == TOKENS


def test_ridge_is_chosen_inside_the_training_folds():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(120, D_IN))
    y = np.concatenate([rng.normal(size=(120, 2)), x[:, :2] * 3 + 0.01 * rng.normal(size=(120, 2))], axis=1)
    fold, folds = per_fold(x, y)
    groups = [slice(0, 2), slice(2, 4)]
    chosen = cross_fit(folds, ridge="cv", groups=groups)

    def plain_choice(rows, columns):
        """Cross-validation over the folds in `rows`, with arrays and scikit-learn."""
        losses = np.zeros(len(RIDGE_GRID))
        for j in set(fold[rows].tolist()):
            training, scored = rows & (fold != j), rows & (fold == j)
            centred = x[training] - x[training].mean(0)
            for i, share in enumerate(RIDGE_GRID):
                alpha = share * (centred**2).sum() / D_IN
                model = Ridge(alpha, solver="svd").fit(x[training], y[training][:, columns])
                losses[i] += ((y[scored][:, columns] - model.predict(x[scored])) ** 2).sum()
        return RIDGE_GRID[losses.argmin()]

    everything = np.ones(120, dtype=bool)
    for rows, linear in [(fold != k, chosen.maps[k]) for k in range(5)] + [(everything, chosen.overall)]:
        unit = ((x[rows] - x[rows].mean(0)) ** 2).sum() / D_IN
        for columns, ridge in zip(groups, linear.ridge):
            assert ridge == pytest.approx(plain_choice(rows, columns) * unit)
    # Noise wants the largest ridge, a clean target almost none: each group has its own.
    assert chosen.overall.ridge[0] > 100 * chosen.overall.ridge[1]


def test_groups_get_the_weights_of_their_own_ridge():
    x = NASTY["plain"]
    y = targets(x)
    folds = per_fold(x, y)[1]
    both = cross_fit(folds, ridge="cv", groups=[slice(0, 1), slice(1, 4)])
    alone = cross_fit([m.targets(slice(1, 4)) for m in folds], ridge="cv")
    torch.testing.assert_close(both.maps[2].targets(slice(1, 4)).weight, alone.maps[2].weight)
    assert both.maps[2].targets(slice(1, 4), group=1).ridge == alone.maps[2].ridge


def test_truncation_is_the_best_map_of_its_rank():
    x = NASTY["plain"]
    y = targets(x)
    moments = Moments(D_IN, D_OUT).update(x, y)
    full = LinearMap.fit(moments)
    losses = [
        float(residual_squares(moments, full.truncate(moments, rank)).sum()) for rank in range(D_OUT + 1)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(float(residual_squares(moments, full).sum()))
    assert losses[0] == pytest.approx(float(moments.yy.sum()))
    assert int(torch.linalg.matrix_rank(full.truncate(moments, 2).weight)) == 2
    # What rank r loses is the tail of the spectrum of the predictions.
    spectrum = np.linalg.svd(full(x) - y.mean(0), compute_uv=False) ** 2
    np.testing.assert_allclose(
        np.array(losses) - losses[-1], [spectrum[r:].sum() for r in range(D_OUT + 1)], atol=1e-8
    )


def test_torch_in_torch_out():
    x = NASTY["plain"].astype(np.float32)
    linear = LinearMap.fit(Moments(D_IN, D_OUT).update(x, targets(x)))
    assert isinstance(linear(x), np.ndarray) and isinstance(linear(torch.from_numpy(x)), torch.Tensor)
    np.testing.assert_array_equal(linear(x), linear(torch.from_numpy(x)).numpy())


def test_bad_input():
    x = NASTY["plain"]
    folds = per_fold(x, targets(x))[1]
    for ridge in (-1.0, float("nan"), "best"):
        with pytest.raises(BadInput, match="ridge must be"):
            cross_fit(folds, ridge=ridge)
    with pytest.raises(BadInput, match="at least 2 folds"):
        cross_fit(folds[:1])
    with pytest.raises(BadInput, match="at least 3 folds"):
        cross_fit(folds[:2], ridge="cv")
    with pytest.raises(BadInput, match="fold 1 holds no token"):
        cross_fit([folds[0], Moments(D_IN, D_OUT), folds[1]])
    with pytest.raises(BadInput, match="at least one token"):
        LinearMap.fit(Moments(2, 2))
    with pytest.raises(BadInput, match="rank must be"):
        LinearMap.fit(folds[0]).truncate(folds[0], 9)

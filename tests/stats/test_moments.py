"""Running sums: the laws of merging, and the plain path."""

import numpy as np
import pytest
import torch

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.stats.moments import Moments

NAMES = ("x_mean", "y_mean", "xx", "xy", "yy")


def sums(x, y):
    return Moments(x.shape[1], y.shape[1]).update(x, y)


def assert_same(a, b, tolerance=1e-12):
    assert a.n == b.n
    for name in NAMES:
        mine, theirs = getattr(a, name), getattr(b, name)
        size = max(float(theirs.abs().max()), 1e-300)
        assert float((mine - theirs).abs().max()) <= tolerance * size, name


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3000, 7)), rng.normal(size=(3000, 5))
    x[:, 0] += 50
    return x, y + x[:, :5]


def test_two_by_two_by_hand():
    moments = sums(np.array([[0.0, 2.0], [2.0, 4.0]]), np.array([[1.0], [5.0]]))
    assert moments.n == 2
    assert moments.x_mean.tolist() == [1, 3] and moments.y_mean.tolist() == [3]
    assert moments.xx.tolist() == [[2, 2], [2, 2]]
    assert moments.xy.tolist() == [[4], [4]] and moments.yy.tolist() == [8]


def test_equal_the_plain_sums(arrays):
    x, y = arrays
    moments = sums(x, y)
    cx, cy = x - x.mean(0), y - y.mean(0)
    np.testing.assert_allclose(moments.xx, cx.T @ cx, atol=1e-9)
    np.testing.assert_allclose(moments.xy, cx.T @ cy, atol=1e-9)
    np.testing.assert_allclose(moments.yy, (cy**2).sum(0), atol=1e-9)


def test_batches_do_not_matter(arrays, monkeypatch):
    x, y = arrays
    whole, pieces = sums(x, y), Moments(7, 5)
    for start in range(0, len(x), 17):
        pieces.update(x[start : start + 17], y[start : start + 17])
    assert_same(pieces, whole)
    monkeypatch.setattr("darkmatter_utils.stats.moments.CHUNK_ELEMENTS", 12 * 64)
    assert_same(sums(x, y), whole)


def test_wide_x_is_multiplied_in_blocks():
    x = np.random.default_rng(1).normal(size=(300, 450))
    centred = x - x.mean(0)
    np.testing.assert_allclose(sums(x, x[:, :1]).xx, centred.T @ centred, atol=1e-10)


def test_merge_is_associative_and_commutative(arrays):
    x, y = arrays
    a, b, c = (lambda rows: sums(x[rows], y[rows])), slice(0, 10), slice(10, 900)
    rest = slice(900, None)
    left = a(b).merge(a(c)).merge(a(rest))
    right = a(b).merge(a(c).merge(a(rest)))
    swapped = a(rest).merge(a(b)).merge(a(c))
    for moments in (left, right, swapped):
        assert_same(moments, sums(x, y))


def test_empty_is_neutral(arrays):
    x, y = arrays
    assert_same(Moments(7, 5).merge(sums(x, y)), sums(x, y))
    assert_same(sums(x, y).merge(Moments(7, 5)), sums(x, y))
    assert_same(sums(x, y).update(x[:0], y[:0]), sums(x, y))


def test_a_copy_is_independent(arrays):
    x, y = arrays
    whole = sums(x, y)
    whole.copy().merge(whole)
    assert_same(whole, sums(x, y), 0.0)


def test_targets_share_xx(arrays):
    x, y = arrays
    part = sums(x, y).targets(slice(1, 3))
    assert_same(part, sums(x, y[:, 1:3]))
    whole = sums(x, y)
    assert whole.targets(slice(0, 2)).xx is whole.xx


def test_the_gram_of_the_same_tokens_need_not_be_made_again(arrays):
    x, y = arrays
    halves = [Moments(7, 5, gram=False).update(x[rows], y[rows]) for rows in (slice(900), slice(900, None))]
    assert_same(halves[0].merge(halves[1]).with_gram(sums(x, y[:, :1])), sums(x, y))


def test_huge_means_keep_their_digits():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(5000, 3))
    moments = sums(noise + 1e7, noise[:, :1])
    exact = noise - noise.mean(0)
    # x itself was rounded to 1e-9 by adding 1e7; nothing more may be lost.
    np.testing.assert_allclose(moments.xx / 5000, exact.T @ exact / 5000, atol=1e-8)


@pytest.mark.parametrize("make", [np.float16, np.float32, torch.float16, torch.bfloat16, torch.float32])
def test_any_float_type_is_summed_in_float64(arrays, make):
    x, y = arrays
    if isinstance(make, torch.dtype):
        low, exact = torch.from_numpy(x).to(make), torch.from_numpy(x).to(make).double().numpy()
    else:
        low, exact = x.astype(make), x.astype(make).astype(np.float64)
    assert_same(sums(low, y), sums(exact, y), 0.0)


def test_inputs_are_not_changed(arrays):
    x, y = arrays
    kept = x.copy()
    sums(torch.from_numpy(x), y)
    assert np.array_equal(x, kept)


def test_memory_mapped(arrays, tmp_path):
    x, y = arrays
    np.save(tmp_path / "x.npy", x)
    assert_same(sums(np.load(tmp_path / "x.npy", mmap_mode="r"), y), sums(x, y), 0.0)


def test_threads_do_not_matter(arrays):
    x, y = arrays
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = sums(x, y)
        torch.set_num_threads(2)
        assert_same(sums(x, y), one)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_numbers_are_named(arrays, bad):
    x, y = arrays
    x[1234, 3] = bad
    with pytest.raises(BadInput, match="x is NaN or infinite at token 1234"):
        sums(x, y)


def test_large_finite_numbers_are_not_taken_for_bad():
    assert sums(np.full((3, 2), 1e308), np.zeros((3, 1))).n == 3


@pytest.mark.parametrize("x, y", [((5, 3), (5, 2)), ((5, 7), (4, 5)), ((5, 7), (5,)), ((7,), (5,))])
def test_wrong_shapes(x, y):
    with pytest.raises(BadInput, match="must"):
        Moments(7, 5).update(np.zeros(x), np.zeros(y))
    with pytest.raises(BadInput, match="cannot be joined"):
        Moments(7, 5).merge(Moments(7, 4))

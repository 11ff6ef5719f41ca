"""Loud tokens: named with their share where there are any, nothing said where there are none."""

import numpy as np
import pytest
import torch

from darkmatter_utils.stats.loud import CUT, LoudSums, is_loud, loud_tokens, told
from darkmatter_utils.stats.metrics import fvu


def text(n=6000, d=12, *, mean=2.0, seed=0):
    """(x, a reconstruction of it)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.linspace(1, 2, d) + mean
    return x, x + 0.4 * rng.normal(size=(n, d))


def planted(x, rows, times=100.0):
    """A copy with those rows at so many times the median norm, all in about one direction."""
    x, norm = x.copy(), np.median(np.linalg.norm(x, axis=1))
    drawn = np.random.default_rng(1).normal(size=(len(rows), x.shape[1])) * 0.1 + 1
    x[rows] = times * norm * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return x


def test_twenty_planted_tokens_are_named_and_taken_out():
    x, hat = text()
    rows = np.arange(20) * 290 + 7
    loud = planted(x, rows)
    found, without = loud_tokens(loud, hat)
    assert sorted(found.rows) == rows.tolist() and found.tokens == len(x)
    np.testing.assert_allclose(found.times, 100, rtol=0.01)
    others = np.delete(np.arange(len(x)), rows)
    rest = loud[others]
    spread = lambda x, about: ((x - about) ** 2).sum()
    share = spread(loud[rows], loud.mean(0)) / spread(loud, loud.mean(0))
    assert found.share == pytest.approx(share) and share > 0.9
    gamma = lambda x: np.linalg.norm(x.mean(0)) / np.sqrt(spread(x, x.mean(0)) / len(x))
    assert (found.gamma, found.gamma_without) == pytest.approx((gamma(loud), gamma(rest)))
    assert found.variance_without == pytest.approx(spread(rest, rest.mean(0)))
    assert without == pytest.approx(fvu(rest, hat[others]))
    assert without == pytest.approx(fvu(x, hat), rel=0.01) and fvu(loud, hat) > 0.9


def test_nothing_is_said_where_none_is():
    rng = np.random.default_rng(2)
    normal, _ = text()
    laws = {
        "normal": normal,
        "a large mean": normal + 1e4,
        "Laplace": rng.laplace(size=(4000, 8)),
        "loud documents": rng.normal(size=(4000, 8)) * rng.uniform(0.3, 3, size=(4000, 1)),
        "sparse": np.maximum(rng.normal(size=(4000, 64)) - 1, 0) + 0.05,
        "just below the cut": planted(normal, np.arange(20), CUT - 0.2),
        "mostly nothing": np.where(np.arange(4000)[:, None] % 3 == 0, rng.normal(size=(4000, 8)), 0),
    }
    assert {name: loud_tokens(x, 0.9 * x) for name, x in laws.items()} == dict.fromkeys(laws)


@pytest.mark.parametrize("kind", [np.float16, np.float32, torch.float32, torch.bfloat16])
def test_any_type_and_batches_of_any_size(kind, monkeypatch):
    x, hat = text()
    x = planted(x, [3, 5000])
    cast = (
        (lambda a: torch.from_numpy(a).to(kind))
        if isinstance(kind, torch.dtype)
        else (lambda a: a.astype(kind))
    )
    found, without = loud_tokens(cast(x), cast(hat))
    monkeypatch.setattr("darkmatter_utils.stats.moments.CHUNK_ELEMENTS", 1)
    again, same = loud_tokens(cast(x), cast(hat))
    assert sorted(found.rows) == sorted(again.rows) == [3, 5000] and without == pytest.approx(same)
    exact, there = loud_tokens(x, hat)
    assert found.share == pytest.approx(exact.share, rel=1e-3) and without == pytest.approx(there, rel=0.05)


def test_sums_of_batches_are_those_of_the_whole():
    x, _ = text()
    x = planted(x, [1, 2, 4000], 30)
    norm = np.linalg.norm(x, axis=1)
    loud, mean = is_loud(norm, np.median(norm)), torch.from_numpy(x.mean(0))
    whole, pieces = LoudSums(mean), LoudSums(mean)
    whole.update(torch.from_numpy(x), loud)
    for rows in np.array_split(np.arange(len(x)), 7):
        pieces.update(torch.from_numpy(x[rows]), loud[rows])
    one, other = (sums.of(norm, np.median(norm)) for sums in (whole, pieces))
    assert (one.share, one.gamma_without) == pytest.approx((other.share, other.gamma_without))


def test_the_sentence_names_the_loudest_and_counts_the_others():
    x, hat = text()
    found, without = loud_tokens(planted(x, np.arange(25)), hat)
    names = [{"document": 1, "position": int(row), "text": "a\n"} for row in found.rows]
    facts = found.facts(names, fvu=0.97, fvu_without=without)
    said = told(facts)
    assert said.startswith("25 of 6,000 tokens (0.42%), louder than 10 times the median norm, hold 9")
    assert said.count("document 1 position ") == 20 == len(facts["loudest"]) and "'a\\n' (" in said
    assert " and 5 more; γ = " in said and f"FVU is 0.970 with and {without:.3f} without them" in said
    each = told(facts | {"fvu": {"w8": 0.5}, "fvu_without": {"w8": 0.25}}, sae="w8")
    assert "FVU of w8 is 0.500 with and 0.250 without them" in each

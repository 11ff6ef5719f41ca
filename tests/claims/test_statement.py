"""The one convention of every rule: an interval against a range, places and statements joined alike."""

import math
from itertools import product

import pytest

from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims.statement import (
    FAILS,
    HOLDS,
    PARTLY,
    UNKNOWN,
    WORDS,
    Statement,
    joined,
    more_data,
    word_at,
    word_of,
)

HALF = Statement(name="half", quantity="R²", inside=(0.3, 0.7), values=lambda e: e)
NULL = Statement(name="null", quantity="a lead", inside=(0.1, math.inf), values=lambda e: e, introduced=True)


def e(low, high):
    return Estimate((low + high) / 2, low, high)


@pytest.mark.parametrize(
    "low, high, word",
    [
        (0.3, 0.7, HOLDS),
        (0.29, 0.7, UNKNOWN),
        (0.3, 0.71, UNKNOWN),
        (0.0, 1.0, UNKNOWN),
        (0.1, 0.29, FAILS),
        (0.71, 0.9, FAILS),
        (math.nan, math.nan, UNKNOWN),
    ],
)
def test_an_interval_against_a_range(low, high, word):
    assert word_at(e(low, high), HALF.inside) == word


def test_noise_earns_no_word():
    for value in (0.0, 0.5, 1.0):
        assert word_at(Estimate(value, value - 9, value + 9), HALF.inside) == UNKNOWN


def test_words_join():
    assert joined([]) == UNKNOWN and all(joined([word] * 3) == word for word in WORDS)
    assert joined([HOLDS, FAILS]) == joined([HOLDS, UNKNOWN, FAILS]) == joined([PARTLY, FAILS]) == PARTLY
    assert joined([HOLDS, UNKNOWN]) == joined([FAILS, UNKNOWN]) == UNKNOWN
    for one, two, three in product(WORDS, repeat=3):
        assert joined([one, two, three]) == joined([three, one, two, one]), "neither order nor number counts"


def test_a_guard_counts_only_where_the_rest_holds():
    guard = Statement(name="g", quantity="g", inside=(0, 1), values=lambda e: e, guard=True)
    holds, fails, open_ = e(0.4, 0.6), e(2, 3), e(0.5, 3)
    word = lambda main, of_guard: word_of([HALF.judge(main), guard.judge(of_guard)])
    assert [word(holds, g) for g in (holds, fails, open_)] == [HOLDS, PARTLY, UNKNOWN]
    assert [word(fails, g) for g in (holds, fails, open_)] == [FAILS] * 3


def test_what_more_data_would_do():
    assert more_data(e(0.4, 0.6), HALF.inside) == 1 and more_data(e(0.71, 0.8), HALF.inside) == 1
    assert more_data(Estimate(0.4, 0.2, 0.6), HALF.inside) == pytest.approx(4), (
        "half the interval, four times the data"
    )
    assert more_data(Estimate(0.2, -0.2, 0.6), HALF.inside) == pytest.approx(16)
    assert (
        more_data(Estimate(0.3, 0.2, 0.4), HALF.inside) == more_data(Estimate(0.5), HALF.inside) == math.inf
    )
    assert "about 4 times" in HALF.judge(Estimate(0.4, 0.2, 0.6)).more_in_words()
    assert "no amount" in HALF.judge(Estimate(0.301, 0.2, 0.4)).more_in_words()
    assert HALF.judge(e(0.4, 0.6)).more_in_words() == "" == HALF.judge({}).more_in_words()


def test_points_have_no_interval():
    assert HALF.judge({1: Estimate(0.5), 2: Estimate(0.6)}).word == UNKNOWN
    assert HALF.judge({1: Estimate(0.5), 2: Estimate(0.6)}, points=True).word == HOLDS
    assert HALF.judge({1: Estimate(0.5), 2: Estimate(0.8)}, points=True).word == PARTLY


def test_the_words_of_a_statement():
    judged = HALF.judge({8: e(0.4, 0.5), 16: e(0.1, 0.2), 32: e(0.2, 0.4)})
    assert judged.word == PARTLY and [judged.count(word) for word in WORDS] == [1, 0, 1, 1]
    assert judged.told() == (
        "R² is 0.15 to 0.45 (half: inside 0.30 to 0.70): holds at 1 of 3 widths, does not hold at 1, "
        "cannot be told at 1."
    )
    assert HALF.judge(e(0.4, 0.5)).told() == "R² is 0.45 [0.40, 0.50] (half: inside 0.30 to 0.70): holds."
    assert HALF.judge(None).told() == "R² was not measured." and HALF.judge(None).word == UNKNOWN
    assert NULL.rule() == "*null*: a lead is 0.10 or more"


def test_sources_are_counted():
    by_source = {"a": {8: 0.5, 16: 0.6}, "b": {8: 0.5, 16: 0.8}}
    one = Statement(
        name="half", quantity="R²", inside=(0.3, 0.7), values=lambda e: e, sources=lambda e: by_source
    )
    judged = one.judge({8: e(0.4, 0.5), 16: e(0.4, 0.6)})
    assert (
        judged.sources == (1, 2)
        and "in 1 of 2 sources" in judged.told()
        and judged.numbers()["sources"] == [1, 2]
    )

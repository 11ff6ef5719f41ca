"""Claims 7, 8, 10 and 11, about what the parts of the error are: every word at and around its margins."""

import json
import math

import pytest

from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims import c07_fewer_features
from darkmatter_utils.claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN


def e(low, high):
    return Estimate((low + high) / 2, low, high)


POINT = Estimate(0.5)
"""A value without an interval."""


def judged(module, evidence):
    """The word, which a record of the evidence gives, too."""
    verdict = module.CLAIM.judge(evidence)
    assert module.CLAIM.from_record(json.loads(json.dumps(module.CLAIM.kept(evidence)))).word == verdict.word
    assert verdict.numbers.get("introduced", False) is False, "none of these rules says so"
    return verdict


OVER, UNDER, ACROSS = e(0.02, 0.05), e(-0.1, 0.0199), e(0.01, 0.05)
"""At claim 7's margins, one number for all of them: above, below, and across."""


@pytest.mark.parametrize(
    ("fvu", "accuracy", "excesses", "word"),
    [
        (OVER, OVER, (OVER, OVER), HOLDS),
        (OVER, UNDER, (OVER, OVER), PARTLY),
        (UNDER, OVER, (OVER, OVER), PARTLY),
        (UNDER, UNDER, (OVER, OVER), FAILS),
        (OVER, ACROSS, (OVER, OVER), UNKNOWN),
        (UNDER, ACROSS, (OVER, OVER), UNKNOWN),
        (OVER, OVER, (UNDER, OVER), PARTLY),
        (OVER, OVER, (OVER, UNDER), PARTLY),
        (OVER, OVER, (OVER, ACROSS), UNKNOWN),
        (OVER, OVER, (UNDER, ACROSS), PARTLY),
        (UNDER, UNDER, (UNDER, UNDER), FAILS),
        (OVER, None, (OVER, None), UNKNOWN),
        (POINT, OVER, (OVER, OVER), UNKNOWN),
    ],
)
def test_fewer_and_less_interpretable_features(fvu, accuracy, excesses, word):
    names = ("fvu_excess", "accuracy_excess")
    numbers = dict(zip(names, excesses)) | {"fvu_gap": fvu, "accuracy_gap": accuracy}
    taken = c07_fewer_features.Evidence(seeds=2, **numbers)
    assert judged(c07_fewer_features, taken).word == word
    assert judged(c07_fewer_features, taken._replace(seeds=1)).word == UNKNOWN
    assert judged(c07_fewer_features, c07_fewer_features.Evidence(seeds=0)).why.endswith("of the error.")


def test_a_gap_of_half_the_margin_is_none_and_noise_earns_nothing():
    all_of = lambda one: c07_fewer_features.Evidence(3, *[one] * 4)
    assert judged(c07_fewer_features, all_of(e(0.005, 0.015))).word == FAILS
    assert judged(c07_fewer_features, all_of(e(-9, 9))).word == UNKNOWN
    assert "no amount" in judged(c07_fewer_features, all_of(Estimate(0.02, -9, 9))).numbers["more data"]
    assert math.isnan(POINT.low) and c07_fewer_features.CLAIM.judge(all_of(POINT), points=True).word == HOLDS

"""Claims 7, 8, 10 and 11, about what the parts of the error are: every word at and around its margins."""

import json
import math

import pytest

from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims import c07_fewer_features, c08_proportional, c10_earlier, c11_parts_land
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


NEAR, FAR, OPEN = e(0.8, 1.25), e(0.5, 0.79), e(0.7, 0.9)
"""At claim 8's range: inside up to its ends, outside, and across one."""
MORE, EQUAL, ABOUT = e(1.1, 1.4), e(0.95, 1.05), e(1.0, 1.2)
"""A cost over that of a vector of its norm: a tenth more, the same, and open."""


@pytest.mark.parametrize(
    ("slope", "saes", "over", "word"),
    [
        (NEAR, (NEAR, NEAR), (MORE, MORE), HOLDS),
        (e(0.95, 1.05), (NEAR,), (MORE,), HOLDS),
        (NEAR, (NEAR, FAR), (MORE, MORE), PARTLY),
        (NEAR, (NEAR, OPEN), (MORE, MORE), UNKNOWN),
        (NEAR, (NEAR, NEAR), (MORE, EQUAL), PARTLY),
        (NEAR, (NEAR, NEAR), (EQUAL, EQUAL), PARTLY),
        (NEAR, (NEAR, NEAR), (MORE, ABOUT), UNKNOWN),
        (NEAR, (NEAR, NEAR), (), UNKNOWN),
        (FAR, (FAR, FAR), (EQUAL, EQUAL), FAILS),
        (FAR, (FAR, FAR), (MORE, MORE), PARTLY),
        (e(1.26, 2.0), (e(1.26, 2.0),), (e(0.7, 0.9),), FAILS),
        (OPEN, (OPEN, OPEN), (MORE, MORE), UNKNOWN),
        (Estimate(math.nan), (POINT,), (MORE,), UNKNOWN),
    ],
)
def test_its_share_of_the_loss(slope, saes, over, word):
    taken = c08_proportional.Evidence(slope, {}, dict(enumerate(saes)), dict(enumerate(over)), {})
    assert judged(c08_proportional, taken).word == word
    assert judged(c08_proportional, taken._replace(slope=None)).word == UNKNOWN


@pytest.mark.parametrize("control", [0.6, 1.0, 1.4])
def test_a_slope_of_one_is_proportional_whatever_the_slope_of_other_vectors_of_its_norm(control):
    """A loss that is quadratic gives every direction a slope of 1: that is the claim, not against it."""
    one = e(0.95, 1.05)
    taken = c08_proportional.Evidence(
        one, {}, {"a": one}, {"b": MORE}, {"b": Estimate(control, control, control)}
    )
    verdict = judged(c08_proportional, taken)
    assert verdict.numbers["proportional"]["word"] == verdict.word == HOLDS
    assert "near 1 for any" in verdict.why and c08_proportional.above(taken)["b"].low == pytest.approx(0.1)
    told = c08_proportional.protocol(taken)
    assert (
        set(told) == {"control of the loss"} and c08_proportional.protocol(taken._replace(slope=None)) == {}
    )


def test_changing_a_record_of_claim_8_changes_its_verdict_and_words():
    taken = c08_proportional.Evidence(NEAR, {"added last": FAR}, {"a": NEAR}, {"b": MORE}, {})
    kept = c08_proportional.CLAIM.kept(taken)
    assert c08_proportional.CLAIM.from_record(kept).word == HOLDS
    kept["numbers"]["slope"] = {"value": 0.4, "low": 0.3, "high": 0.5}
    after = c08_proportional.CLAIM.from_record(kept)
    assert after.word == PARTLY and "0.40 [0.30, 0.50]" in after.why and "added last, 0.65" in after.why


@pytest.mark.parametrize(
    ("leads", "word"),
    [
        ([e(0.01, 0.02)] * 2, HOLDS),
        ([e(0.01, 0.02), e(0.0, 0.009)], PARTLY),
        ([e(0.0, 0.009)] * 2, FAILS),
        ([e(-0.2, -0.1)] * 2, FAILS),
        ([e(0.01, 0.02), e(0.005, 0.02)], UNKNOWN),
        ([e(0.005, 0.02), e(0.0, 0.009)], UNKNOWN),
        ([POINT], UNKNOWN),
        ([], UNKNOWN),
    ],
)
@pytest.mark.parametrize("over_raw", [e(-0.3, -0.2), e(0.2, 0.3)])
def test_a_part_is_predicted_from_earlier_layers_whatever_the_raw_activation_does(leads, word, over_raw):
    found, raw = dict(enumerate(leads)), dict.fromkeys(range(len(leads)), over_raw)
    taken = c10_earlier.Evidence(found, found, raw, raw)
    verdict = judged(c10_earlier, taken)
    assert verdict.word == word and bool(c10_earlier.protocol(taken)) == bool(leads)
    if leads:
        ahead = "no" if over_raw.low < 0 else "the one" if len(leads) == 1 else "all 2"
        ahead = "none of 2" if over_raw.low < 0 and len(leads) == 2 else ahead
        assert f"ahead of it at {ahead} site" in verdict.why


HALF, LESS, NEARLY = e(0.5, 0.9), e(-0.1, 0.499), e(0.4, 0.9)
"""What an estimated part is made of, at claim 11's margin of a half."""
THERE, NOT, OPEN_THERE = e(0.75, 1.1), e(0.2, 0.749), e(0.7, 0.9)
"""What lands, at its margin of three quarters."""


@pytest.mark.parametrize(
    ("linear", "nonlinear", "introduced", "absent", "word"),
    [
        (HALF, HALF, THERE, THERE, HOLDS),
        (HALF, LESS, THERE, NOT, PARTLY),
        (LESS, HALF, THERE, THERE, PARTLY),
        (HALF, HALF, NOT, THERE, PARTLY),
        (HALF, HALF, THERE, NOT, PARTLY),
        (NEARLY, HALF, THERE, THERE, UNKNOWN),
        (HALF, NEARLY, THERE, THERE, UNKNOWN),
        (HALF, HALF, OPEN_THERE, THERE, UNKNOWN),
        (HALF, HALF, THERE, OPEN_THERE, UNKNOWN),
        (LESS, LESS, NOT, OPEN_THERE, UNKNOWN),
        (LESS, LESS, NOT, NOT, FAILS),
        (POINT, POINT, POINT, POINT, UNKNOWN),
    ],
)
def test_what_estimated_parts_are_made_of_and_where_true_parts_land(
    linear, nonlinear, introduced, absent, word
):
    shares = (linear, nonlinear, introduced, absent)
    taken = c11_parts_land.Evidence(*({"a": one, "b": one} for one in shares))
    assert judged(c11_parts_land, taken).word == word
    nothing = c11_parts_land.Evidence(*({} for _ in shares))
    assert judged(c11_parts_land, nothing).why == "No case with known parts was measured."


def test_one_case_in_which_a_statement_fails_is_partly_and_an_open_one_leaves_it_open():
    cases = lambda other: c11_parts_land.Evidence({"a": HALF, "b": other}, *({"a": THERE} for _ in range(3)))
    assert judged(c11_parts_land, cases(LESS)).word == PARTLY
    assert judged(c11_parts_land, cases(NEARLY)).word == UNKNOWN
    assert "in reach" not in judged(c11_parts_land, cases(HALF)).numbers["more data"]

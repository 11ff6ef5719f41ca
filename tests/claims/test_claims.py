"""Claims: every rule gives every verdict it can give, at the thresholds it states; the words stay
grammatical.
"""

import inspect
from pathlib import Path

import pytest

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Estimate
from darkmatter_utils.base.words import counted, interval, percent, span
from darkmatter_utils.claims import rules
from darkmatter_utils.claims.ledger import LEDGER, claim, judge
from darkmatter_utils.claims.rules import FAILS, HOLDS, PARTLY, UNKNOWN

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def e(low, high):
    return Estimate((low + high) / 2, low, high)


HALF = {"kept": {8: 0.9, 16: 0.8}, "split": {8: 0.01, 16: -0.02}}


@pytest.mark.parametrize(
    "r2, controls, word",
    [
        ((e(0.4, 0.5), e(0.31, 0.69)), {}, HOLDS),
        ((e(0.4, 0.5), e(0.25, 0.35)), {}, PARTLY),
        ((e(0.21, 0.25), e(0.21, 0.25)), {}, PARTLY),
        ((e(0.1, 0.15), e(0.05, 0.19)), {}, FAILS),
        ((e(0.85, 0.95), e(0.81, 0.9)), {}, FAILS),
        ((e(0.4, 0.5), e(0.4, 0.5)), {"kept": {8: 0.9, 16: 0.49}}, FAILS),
        ((e(0.4, 0.5), e(0.4, 0.5)), {"split": {8: -0.11, 16: 0.0}}, FAILS),
    ],
)
def test_half_of_the_error_is_linear(r2, controls, word):
    assert judge(1, r2=dict(zip((8, 16), r2, strict=True)), **(HALF | controls)).word == word


@pytest.mark.parametrize(
    "r2, simple, word",
    [
        ([e(0.89, 0.91)] * 4, [0.5] * 4, HOLDS),
        ([e(0.89, 0.91)] * 3 + [e(0.8, 0.85)], [0.5] * 4, PARTLY),
        ([e(0.89, 0.91)] * 4, [0.5] * 3 + [0.87], PARTLY),
        ([e(0.89, 0.91)] * 4, [0.87] * 4, FAILS),
        ([e(0.89, 0.91)] * 3 + [e(0.6, 0.69)], [0.5] * 4, PARTLY),
        ([e(0.89, 0.91)] * 2 + [e(0.6, 0.69)] * 2, [0.5] * 4, FAILS),
    ],
)
def test_the_norm_is_linear(r2, simple, word):
    widths = (8, 16, 32, 64)
    assert (
        judge(2, r2=dict(zip(widths, r2, strict=True)), simple=dict(zip(widths, simple, strict=True))).word
        == word
    )


@pytest.mark.parametrize(
    "partial, word",
    [
        ((e(0.3, 0.4), e(0.2, 0.4)), HOLDS),
        ((e(0.3, 0.4), e(0.1, 0.3)), PARTLY),
        ((e(0.0, 0.1), e(0.1, 0.19)), FAILS),
    ],
)
def test_the_same_tokens(partial, word):
    assert judge(3, partial=dict(enumerate(partial))).word == word


@pytest.mark.parametrize(
    "change, null, word",
    [
        (e(-0.05, 0.05), None, HOLDS),
        (e(-0.04, 0.04), e(-0.3, -0.2), HOLDS),
        (e(-0.04, 0.04), e(-0.01, 0.01), PARTLY),
        (e(-0.09, -0.051), None, FAILS),
        (e(0.06, 0.2), None, FAILS),
        (e(-0.09, -0.03), None, UNKNOWN),
    ],
)
def test_the_nonlinear_part_is_constant(change, null, word):
    assert (
        judge(4, change=change, whole=change, steps=[-0.02, 0.01], null=null, widths=6, l0=(8, 8.1)).word
        == word
    )
    assert (
        judge(4, change=change, whole=change, steps=[-0.02, 0.01], null=null, widths=3, l0=(8, 8)).word
        == UNKNOWN
    )


@pytest.mark.parametrize(
    "fall, c, miss, word",
    [
        (e(-0.3, -0.2), e(0.05, 0.09), 1.9, HOLDS),
        (e(-0.3, -0.2), e(0.05, 0.09), -2.1, PARTLY),
        (e(-0.3, -0.2), e(0.0, 0.04), 0.0, FAILS),
        (e(-0.3, -0.2), e(0.0, 0.06), 0.0, UNKNOWN),
        (e(-0.1, 0.01), e(0.05, 0.09), 0.0, FAILS),
    ],
)
def test_the_floor(fall, c, miss, word):
    numbers = {"fall": fall, "c": c, "misses": {8: 0.0, 16: miss}, "widest": 0.1}
    assert judge(5, **numbers, widths=4, l0=(8, 8.1)).word == word
    assert judge(5, **numbers, widths=3, l0=(8, 8)).word == UNKNOWN
    assert judge(5, **numbers, widths=4, l0=(8, 9)).word == UNKNOWN


def test_what_is_not_measured_cannot_be_told():
    for number in LEDGER:
        assert judge(number).word == UNKNOWN
        assert judge(number, unfit="because").why == "because"
    for number, empty in (
        (1, {"r2": {}, "kept": {}, "split": {}}),
        (2, {"r2": {}, "simple": {}}),
        (3, {"partial": {}}),
    ):
        assert judge(number, **empty).word == UNKNOWN


def test_the_ledger_is_whole():
    assert list(LEDGER) == list(range(1, 14))
    for entry in LEDGER.values():
        assert entry.short.endswith(".") and entry.paper and entry.paper_source
        assert (
            entry.rule.endswith(".")
            and entry.written.endswith(".")
            and entry.falsifier
            and not entry.falsifier.endswith(".")
        )
        assert entry.judged is not None and (entry.judged.__doc__ or "").strip()
        assert (NOTEBOOKS / f"{entry.chapter}.py").exists(), (
            f"claim {entry.number}: no chapter {entry.chapter!r}"
        )
        text = (NOTEBOOKS / f"{entry.chapter}.py").read_text()
        assert "judged(chapter, " in text, "the chapter records what its rule takes"
    # The words of a rule state the thresholds that the code compares with.
    for number, names in {
        1: ("HALF", "NOT_HALF", "SPLIT"),
        2: ("NORM", "NORM_FAILS", "GAIN"),
        3: ("SAME_TOKENS",),
    }.items():
        source = inspect.getsource(LEDGER[number].judged)
        for name in names:
            assert name in source
            value = getattr(rules, name)
            for number_ in value if isinstance(value, tuple) else (value,):
                assert str(number_) in LEDGER[number].rule


def test_an_unknown_claim_names_the_claims():
    with pytest.raises(BadInput, match="1 to 13"):
        claim(14)


def test_words():
    assert [counted(k, 6) for k in (0, 2, 6)] == ["none of 6 widths", "2 of 6 widths", "all 6 widths"]
    assert counted(1, 1) == "the one width" and counted(0, 1) == "no width"
    assert (
        percent(-0.0512, 1) == "−5.1%"
        and span([0.181, 0.184]) == "0.18"
        and span([0.2, 0.1]) == "0.10 to 0.20"
    )
    assert interval(e(-0.1, 0.3)) == "0.10 [−0.10, 0.30]" and interval(Estimate(0.5)) == "0.50"

"""Claims: every rule gives every verdict it can give, at the thresholds it states; the words stay
grammatical.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

from darkmatter_utils.base.config import modules
from darkmatter_utils.base.values import Estimate
from darkmatter_utils.base.words import counted, fraction, interval, percent, span, spelled
from darkmatter_utils.claims import q13_controls
from darkmatter_utils.claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN
from darkmatter_utils.claims.report import FILES, every

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CLAIMS = every()
MODULES = {module.CLAIM.number: module for module in modules("darkmatter_utils.claims", FILES)}


def judge(number, **numbers):
    """The verdict of a claim on the numbers that its rule takes."""
    return CLAIMS[number].judge(CLAIMS[number].evidence(**numbers))


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
    numbers = {"r2": dict(zip(widths, r2, strict=True)), "simple": dict(zip(widths, simple, strict=True))}
    assert judge(2, **numbers, layers={}).word == word


LINK, REST, DOCUMENTS = e(0.5, 0.9), e(0.2, 0.4), e(0.0, 0.2)
"""Claim 3 at its margins."""


@pytest.mark.parametrize(
    "raw, partial, shuffled, word",
    [
        ((LINK, LINK), (REST, REST), DOCUMENTS, HOLDS),
        ((LINK, e(0.49, 0.6)), (REST, REST), DOCUMENTS, UNKNOWN),
        ((LINK, e(0.3, 0.49)), (REST, REST), DOCUMENTS, PARTLY),
        ((LINK, LINK), (REST, e(0.19, 0.3)), DOCUMENTS, UNKNOWN),
        ((LINK, LINK), (REST, e(0.1, 0.19)), DOCUMENTS, PARTLY),
        ((LINK, LINK), (e(0.0, 0.1), e(0.1, 0.19)), DOCUMENTS, PARTLY),
        ((e(0.3, 0.4), e(0.3, 0.49)), (e(0.0, 0.1), e(0.1, 0.19)), DOCUMENTS, FAILS),
        ((LINK, LINK), (REST, REST), e(0.1, 0.21), UNKNOWN),
        ((LINK, LINK), (REST, REST), e(0.21, 0.3), PARTLY),
    ],
)
def test_the_same_tokens(raw, partial, shuffled, word):
    numbers = {"raw": dict(enumerate(raw)), "partial": dict(enumerate(partial))}
    assert judge(3, **numbers, shuffled=dict.fromkeys(range(2), shuffled), seeds=None).word == word


WHOLE, OVER = e(-0.2, 0.2), e(0.01, 0.05)
"""Claim 4 at its margins."""


@pytest.mark.parametrize(
    "change, whole, over_null, word",
    [
        (e(-0.05, 0.05), WHOLE, OVER, HOLDS),
        (e(-0.051, 0.05), WHOLE, OVER, UNKNOWN),
        (e(-0.05, 0.051), WHOLE, OVER, UNKNOWN),
        (e(-0.05, 0.05), e(-0.21, 0.0), OVER, UNKNOWN),
        (e(-0.05, 0.05), e(-0.3, -0.21), OVER, PARTLY),
        (e(-0.09, -0.051), e(-0.3, -0.21), OVER, FAILS),
        (e(0.06, 0.2), e(0.3, 0.9), OVER, FAILS),
        (e(-0.09, -0.051), e(-0.3, -0.1), OVER, UNKNOWN),
        (e(-0.05, 0.05), WHOLE, e(0.0, 0.02), UNKNOWN),
        (e(-0.05, 0.05), WHOLE, e(-0.02, 0.009), PARTLY),
        (e(-0.05, 0.05), WHOLE, None, UNKNOWN),
    ],
)
def test_the_nonlinear_part_is_constant(change, whole, over_null, word):
    numbers = {"change": {"L0 8": change}, "whole": {"L0 8": whole}, "null": None, "narrow": [16]}
    numbers |= {"over_null": {} if over_null is None else {"L0 8": over_null}, "widths": 6, "l0": (8, 8.1)}
    numbers |= {"steps": {"L0 8": [-0.02, 0.01]}, "misfit": {"L0 8": (30.0, 0.0)}}
    verdict = judge(4, **numbers)
    assert verdict.word == word and "χ²" in verdict.why and "16 latents" in verdict.why
    assert verdict.numbers["introduced"] == (over_null == OVER)
    of_two = numbers | {"change": {"L0 4": change, "L0 8": e(0.06, 0.09)}}
    assert judge(4, **of_two).word == (PARTLY if word == HOLDS else judge(4, **of_two).word)
    none = judge(4, **(numbers | {"change": {}, "whole": {}, "over_null": {}, "widths": 3}))
    assert none.word == UNKNOWN and "this study has 3" in none.why


ABOVE, LINEAR = e(0.05, 0.3), e(0.1, 0.4)
"""Claim 5 at its margins."""


@pytest.mark.parametrize(
    "fall, above, linear, word",
    [
        (e(-0.3, -0.01), ABOVE, LINEAR, HOLDS),
        (e(-0.3, -0.009), ABOVE, LINEAR, UNKNOWN),
        (e(-0.005, 0.1), ABOVE, LINEAR, PARTLY),
        (e(-0.3, -0.2), e(0.04, 0.3), LINEAR, UNKNOWN),
        (e(-0.3, -0.2), e(-0.1, 0.04), LINEAR, PARTLY),
        (e(-0.3, -0.2), ABOVE, e(0.09, 0.2), UNKNOWN),
        (e(-0.3, -0.2), ABOVE, e(0.0, 0.09), PARTLY),
        (e(-0.3, -0.2), e(-0.1, 0.04), e(0.0, 0.09), PARTLY),
        (e(-0.005, 0.1), e(-0.1, 0.04), e(0.0, 0.09), FAILS),
    ],
)
def test_the_floor(fall, above, linear, word):
    numbers = {"fall": fall, "above": above, "linear": linear, "c": e(0.1, 0.2), "nonlinear": e(0.1, 0.11)}
    numbers |= {"misses": {8: 0.0, 16: -4.0}}
    verdict = judge(5, **numbers, widths=4, l0=(8, 8.1))
    assert verdict.word == word and "missed by up to 4.0 standard errors" in verdict.why
    assert judge(5, **numbers, widths=3, l0=(8, 8)).word == UNKNOWN
    assert judge(5, **numbers, widths=4, l0=(8, 9)).word == UNKNOWN


@pytest.mark.parametrize(
    "change, total, word",
    [
        (e(-0.1, 0.0), e(-0.1, 0.0), HOLDS),
        (e(0.0, 0.1), e(-0.1, 0.0), HOLDS),
        (e(-0.11, -0.09), e(-0.1, 0.0), UNKNOWN),
        (e(0.09, 0.11), e(-0.1, 0.0), UNKNOWN),
        (e(-0.05, 0.0), e(-0.11, -0.09), UNKNOWN),
        (e(-0.05, 0.0), e(-0.02, 0.01), UNKNOWN),
        (e(-0.05, 0.0), e(-0.2, -0.11), PARTLY),
        (e(-0.05, 0.0), e(0.01, 0.02), PARTLY),
        (e(-0.3, -0.11), e(-0.05, -0.01), PARTLY),
        (e(0.2, 0.4), e(-0.05, -0.01), PARTLY),
        (e(-0.3, -0.11), e(-0.3, -0.11), FAILS),
        (e(-0.3, -0.11), e(-0.11, -0.09), UNKNOWN),
    ],
)
def test_better_inference(change, total, word):
    for many in (1, 3):
        both = {name: dict.fromkeys(range(many), one) for name, one in (("change", change), ("total", total))}
        lead = {width: e(0.0, 0.01) for width in range(many)}
        assert judge(9, **both, lead=lead, best=dict.fromkeys(range(many), "refit")).word == word
    one_beyond = {"change": {8: change, 16: e(-0.3, -0.2)}, "total": {8: total, 16: e(-0.05, -0.01)}}
    if word == HOLDS:
        assert judge(9, **one_beyond, lead={}, best={8: "refit", 16: "refit"}).word == PARTLY


LINE, ERROR, NULL = e(0.05, 0.2), e(0.02, 0.2), e(0.02, 0.1)
"""Claim 6 at its margins."""


@pytest.mark.parametrize(
    "line, error, null, word",
    [
        (LINE, ERROR, NULL, HOLDS),
        (e(0.04, 0.2), ERROR, NULL, UNKNOWN),
        (e(-0.1, 0.049), ERROR, NULL, PARTLY),
        (LINE, e(0.01, 0.2), NULL, UNKNOWN),
        (LINE, e(-0.1, 0.019), NULL, PARTLY),
        (e(-0.1, 0.049), e(-0.1, 0.019), NULL, FAILS),
        (LINE, ERROR, e(0.01, 0.1), UNKNOWN),
        (LINE, ERROR, e(-0.1, 0.019), PARTLY),
        (LINE, ERROR, None, UNKNOWN),
    ],
)
def test_the_norm_of_the_nonlinear_part_is_lowest(line, error, null, word):
    by = lambda one: {} if one is None else {8: one, 16: one}
    numbers = {"over_linear": by(line), "over_error": by(error), "over_null": by(null), "null": {}}
    told = {"nonlinear": by(e(0.7, 0.8)), "itself": by(e(0.1, 0.2)), "null_itself": by(e(0.2, 0.3))}
    verdict = judge(6, **numbers, **told, lowest_self=3, saes=4)
    assert verdict.word == word and "3 of 4 SAEs" in verdict.why
    assert verdict.numbers["introduced"] == (null == NULL)
    assert judge(6, **dict.fromkeys([*numbers, *told], {}), lowest_self=0, saes=0).word == UNKNOWN


def test_what_is_not_measured_cannot_be_told():
    for number, empty in (
        (1, {"r2": {}, "kept": {}, "split": {}}),
        (2, {"r2": {}, "simple": {}, "layers": {}}),
        (3, {"raw": {}, "partial": {}, "shuffled": {}, "seeds": None}),
        (7, {"seeds": 0}),
        (8, {"slope": None, "controls": {}, "apart": {}}),
        (9, {"change": {}, "total": {}, "lead": {}, "best": {}}),
        (10, {"sae": {}, "raw": {}, "over_raw": {}, "over_shuffled": {}}),
        (11, {"misplaced": {}}),
        (12, {"cells": []}),
        (13, {"lead": {}, "gain": {}}),
    ):
        assert judge(number, **empty).word == UNKNOWN


def test_the_claims_are_whole():
    assert list(CLAIMS) == list(range(1, 14)), "one file each, cNN_name.py, NN its number"
    for number, claim in CLAIMS.items():
        assert MODULES[number].__name__.rpartition(".")[2].startswith(f"c{number:02d}_")
        assert claim.short.endswith(".") and claim.topic
        words = (claim.paper, claim.paper_place, claim.paper_points)
        assert all(words) and not any(said.endswith(".") for said in words)
        assert claim.rule_in_words.endswith(".") and claim.written.endswith(".")
        assert claim.falsifier and not claim.falsifier.endswith(".")
        text = (NOTEBOOKS / f"{claim.chapter}.py").read_text()
        name = MODULES[number].__name__.rpartition(".")[2]
        assert f"chapter.judge({name}, " in text, "the chapter records what its rule takes"


def stated(value) -> set[str]:
    """How a threshold may stand in a sentence."""
    return {str(value), f"{value:.0f}", f"±{value}", percent(value), percent(value, 1), fraction(value)}


@pytest.mark.parametrize("number", CLAIMS)
def test_the_words_of_a_rule_state_the_thresholds_that_the_code_compares_with(number):
    module, claim = MODULES[number], CLAIMS[number]
    source = inspect.getsource(getattr(module, "statements", None) or module.verdict)
    for name, value in module.Thresholds()._asdict().items():
        assert f"thresholds.{name}" in source or "= thresholds\n" in source, name
        for one in value if isinstance(value, tuple) else (value,):
            assert any(
                re.search(rf"(?<![\d.]){re.escape(said)}", claim.rule_in_words) for said in stated(one)
            ), name


@pytest.mark.parametrize("number", CLAIMS)
def test_a_files_fields_are_documented(number):
    source = inspect.getsource(MODULES[number])
    for table in (MODULES[number].Evidence, MODULES[number].Thresholds):
        for name in table._fields:
            assert re.search(rf"^    {name}: .*  # \w", source, re.M), f"{table.__name__}.{name}"


def test_what_is_told_and_counted_are_fields_of_the_evidence():
    for claim in CLAIMS.values():
        told = [one.field for one in (claim.here, *claim.beside) if one]
        assert set(told) <= set(claim.evidence._fields) and len(set(told)) == len(told)


def test_the_controls_chapter_holds_claims_of_the_paper_against_them():
    assert set(q13_controls.CLAIMS) <= set(CLAIMS)


def test_words():
    assert [spelled(n) for n in (0, 13, 14, 20, 21)] == ["none", "thirteen", "fourteen", "twenty", "21"]
    assert [fraction(share) for share in (0.25, 0.5, 0.3)] == ["a quarter", "half", "30%"]
    assert [counted(k, 6) for k in (0, 2, 6)] == ["none of 6 widths", "2 of 6 widths", "all 6 widths"]
    assert counted(1, 1) == "the one width" and counted(0, 1) == "no width"
    assert (
        percent(-0.0512, 1) == "−5.1%"
        and span([0.181, 0.184]) == "0.18"
        and span([0.2, 0.1]) == "0.10 to 0.20"
    )
    assert interval(e(-0.1, 0.3)) == "0.10 [−0.10, 0.30]" and interval(Estimate(0.5)) == "0.50"


@pytest.mark.parametrize("number", CLAIMS)
def test_a_claims_file_knows_no_other_claim(number):
    tree = ast.parse(inspect.getsource(MODULES[number]))
    taken = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]
    of_claims = [node for node in taken if node.level == 1]
    assert {node.module for node in of_claims} <= {None, "claim", "statement"}
    assert {name.name for node in of_claims if node.module is None for name in node.names} <= {"say"}
    assert {node.module for node in taken if node.level == 2} <= {"base.values", "base.words"}

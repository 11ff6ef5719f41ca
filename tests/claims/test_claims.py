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
from darkmatter_utils.base.words import counted, interval, percent, span, spelled
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


SOME, MOST = e(0.3, 0.7), e(0.5, 0.9)
"""Claim 1 at its margins."""


@pytest.mark.parametrize(
    "r2, sae, kept, word",
    [
        (SOME, e(0.15, 0.72), MOST, HOLDS),
        (e(0.29, 0.5), SOME, MOST, UNKNOWN),
        (e(0.5, 0.71), SOME, MOST, UNKNOWN),
        (e(0.2, 0.29), SOME, MOST, PARTLY),  # in the text's range, outside the abstract's
        (SOME, e(0.1, 0.2), MOST, UNKNOWN),
        (SOME, e(0.1, 0.149), MOST, PARTLY),
        (SOME, e(0.721, 0.8), MOST, PARTLY),
        (e(0.8, 0.9), e(0.8, 0.9), MOST, FAILS),
        (e(0.05, 0.1), e(0.05, 0.1), e(0.0, 0.1), FAILS),
        (SOME, SOME, e(0.49, 0.9), UNKNOWN),
        (SOME, SOME, e(0.1, 0.49), PARTLY),
    ],
)
def test_half_of_the_error_is_linear(r2, sae, kept, word):
    numbers = {"r2": {8: r2}, "saes": {"w8": r2, "w8-l0-4": sae}, "kept": {8: kept}}
    assert judge(1, **numbers, split={8: -0.2}).word == word, "the choice of protocol does not decide"


HIGH, AHEAD = e(0.9, 0.95), e(0.05, 0.2)
"""Claim 2 at its margins."""


@pytest.mark.parametrize(
    "r2, layer, gain, word",
    [
        (HIGH, HIGH, AHEAD, HOLDS),
        (HIGH, e(0.89, 0.94), AHEAD, UNKNOWN),  # neither reaches nor misses the abstract's wording
        (HIGH, e(0.8, 0.89), AHEAD, PARTLY),  # the text's wording only
        (HIGH, e(0.91, 0.96), AHEAD, UNKNOWN),
        (HIGH, e(0.951, 0.97), AHEAD, PARTLY),  # the abstract's only
        (HIGH, e(0.6, 0.69), AHEAD, PARTLY),
        (e(0.7, 0.85), e(0.7, 0.89), AHEAD, PARTLY),  # the text's at both places, the abstract's at none
        (e(0.5, 0.69), e(-0.2, 0.1), AHEAD, FAILS),
        (HIGH, HIGH, e(0.04, 0.2), UNKNOWN),
        (HIGH, HIGH, e(0.0, 0.049), PARTLY),
        (e(0.5, 0.69), e(-0.2, 0.1), e(0.0, 0.049), FAILS),
    ],
)
def test_the_norm_is_linear(r2, layer, gain, word):
    numbers = {"r2": {8: r2}, "layers": {"layer 0, 8 latents": layer}, "gain": dict.fromkeys("ab", gain)}
    assert judge(2, **numbers, simple={8: 0.5}).word == word


@pytest.mark.parametrize(
    "lead, gain, word",
    [
        ((AHEAD, AHEAD), e(0.02, 0.1), HOLDS),
        ((AHEAD, e(0.04, 0.1)), e(0.02, 0.1), UNKNOWN),
        ((AHEAD, e(-0.1, 0.049)), e(0.02, 0.1), PARTLY),
        ((e(-0.3, -0.2), e(-0.1, 0.049)), e(0.02, 0.1), FAILS),
        ((AHEAD, AHEAD), e(0.01, 0.1), UNKNOWN),
        ((AHEAD, AHEAD), e(0.0, 0.019), PARTLY),
    ],
)
def test_x_beyond_simple_predictors(lead, gain, word):
    by_place = {"lead": dict(zip("ab", lead)), "gain": dict.fromkeys("ab", gain)}
    first = {"early": {"c": e(-0.5, -0.4)}, "best": dict(zip("abc", ("L0", "L0", "token")))}
    verdict = judge(13, **by_place, **first)
    assert verdict.word == word, "the first layers do not decide"
    assert "L0 at 2, token at 1" in verdict.why and "−0.45" in verdict.why
    assert judge(13, lead={}, gain={}, **first).word == UNKNOWN


def test_the_first_layers_are_a_tenth_and_at_least_two():
    early = MODULES[13].early
    assert [early(n, 4) for n in range(4)] == [True, True, False, False]
    assert [sum(early(n, layers) for n in range(layers)) for layers in (12, 30, 42)] == [2, 3, 4]
    assert not early(0, None)


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
        (1, {"r2": {}, "saes": {}, "kept": {}, "split": {}}),
        (2, {"r2": {}, "layers": {}, "gain": {}, "simple": {}}),
        (3, {"raw": {}, "partial": {}, "shuffled": {}, "seeds": None}),
        (7, {"seeds": 0}),
        (8, {"slope": None, "orders": {}, "saes": {}, "over_control": {}, "controls": {}}),
        (9, {"change": {}, "total": {}, "lead": {}, "best": {}}),
        (10, {"sae": {}, "raw": {}, "over_raw": {}, "over_shuffled": {}}),
        (11, dict.fromkeys(("linear", "nonlinear", "introduced", "absent"), {})),
        (12, {"cells": []}),
        (13, {"lead": {}, "gain": {}, "early": {}, "best": {}}),
    ):
        assert judge(number, **empty).word == UNKNOWN


def test_the_claims_are_whole():
    assert list(CLAIMS) == list(range(1, len(CLAIMS) + 1)), "one file each, cNN_name.py, NN its number"
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
    words = {0.25: "a quarter", 0.5: "half"}
    numbers = {str(value), f"{value:.0f}", f"±{value}", percent(value), percent(value, 1)}
    return numbers | ({words[value]} if value in words else set())


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


def controls(**differences):
    """What chapter 13's rule takes where a random dictionary's differences are these, by claim ("c1")."""
    found = {int(name[1:]): {"random dictionary": {"difference": d}} for name, d in differences.items()}
    return q13_controls.Evidence({claim: found.get(claim, {}) for claim in q13_controls.CLAIMS})


FAR = {
    "c1": e(-0.3, -0.05),
    "c2": e(-0.3, -0.05),
    "c3": e(-0.3, -0.05),
    "c6": e(0.05, 0.3),
    "c8": e(0.1, 0.3),
}
NEAR = {
    "c1": e(-0.049, 0.049),
    "c2": e(-0.049, 0.2),
    "c3": e(0.1, 0.2),
    "c6": e(-0.2, 0.049),
    "c8": e(0.0, 0.099),
}
"""Differences at which the trained SAE is ahead by the margin at every claim, and at which it is by less."""


@pytest.mark.parametrize(
    "differences, word",
    [
        (FAR, HOLDS),
        (NEAR, FAILS),
        (FAR | {"c1": NEAR["c1"]}, PARTLY),
        (FAR | {"c1": e(0.05, 0.3)}, HOLDS),  # a half is wanted: it differs, to whichever side
        (FAR | {"c1": e(-0.06, 0.04)}, UNKNOWN),
        (FAR | {"c2": e(-0.06, -0.04)}, UNKNOWN),
        (FAR | {"c6": e(0.04, 0.06)}, UNKNOWN),
        (FAR | {"c8": e(0.06, 0.099)}, PARTLY),
        (FAR | {"c8": e(0.09, 0.3)}, UNKNOWN),
    ],
)
def test_the_controls(differences, word):
    assert q13_controls.QUESTION.judge(controls(**differences)).word == word


def test_only_controls_that_learned_nothing_decide():
    evidence = controls(**FAR)
    for claim, found in evidence.measured.items():
        found["TopK SAE"] = {"difference": NEAR[f"c{claim}"]}
    assert q13_controls.QUESTION.judge(evidence).word == HOLDS
    assert q13_controls.QUESTION.judge(q13_controls.Evidence({})).word == UNKNOWN


def test_the_controls_chapter_holds_claims_of_the_paper_against_them():
    assert set(q13_controls.CLAIMS) <= set(CLAIMS)


def test_words():
    assert [spelled(n) for n in (0, 13, 14, 20, 21)] == ["none", "thirteen", "fourteen", "twenty", "21"]
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
    assert {node.module for node in taken if node.level == 2} <= {
        "base.values",
        "base.words",
        "stats.intervals",
    }

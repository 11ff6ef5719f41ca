"""What judges is fixed by its digest: a threshold or a source changes it, a word does not; a change needs an
entry; and what the next study measures is fixed for every claim."""

import json
from types import SimpleNamespace

import pytest
from throwaway import ROOT

from darkmatter_utils.base.config import PACKAGE
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.claims import fixed
from darkmatter_utils.claims.claim import WORDS
from darkmatter_utils.claims.report import every

RULE = "c03_same_tokens"
SOURCE = (PACKAGE / "claims" / f"{RULE}.py").read_text()
HELD = {"name": "rules-1", "rules": {"c01": "a", "c02": "b"}, "changes": []}
ENTRY = {
    "rule": "c02",
    "from": "b",
    "to": "c",
    "reason": "why",
    "before": {"t": "holds"},
    "after": {"t": "partly"},
}


def edited(old: str, new: str) -> str:
    assert old in SOURCE
    return SOURCE.replace(old, new, 1)


def test_no_rule_differs_from_what_is_fixed_without_an_entry():
    assert fixed.changed(more=fixed.later()) == [], (
        "a new rule: its digest as FIXED in its file; a change: under 'changes' of FIXED.json"
    )


@pytest.mark.parametrize(
    "old, new",
    [
        ("0.2", "0.25"),
        ("values=lambda e: e.partial", "values=lambda e: e.shuffled"),
        ("(least, math.inf)", "(-math.inf, least)"),
        ("guard=True", "guard=False"),
        ('"" if e.partial else NO_SUITE', '""'),
        ("partial: Mapping[str, Estimate]", "parts: Mapping[str, Estimate]"),
    ],
)
def test_what_judges_changes_the_digest(old, new):
    assert fixed.digest(RULE, edited(old, new)) != fixed.digest(RULE)


@pytest.mark.parametrize(
    "old, new",
    [
        ('"""Claim 3: wider', '"""The third claim: wider'),
        ("# a partial R² below this", "# below this one"),
        ("the same with tokens shuffled within each document", "what is left of it once tokens are shuffled"),
        ('noun="pair"', 'noun="couple"'),
        ("written=(", 'written="It is old. " + ('),
        (
            "Two trainings of one width share {interval(seeds)}.",
            "{interval(seeds)} is shared by two trainings.",
        ),
        ("partial: Mapping[str, Estimate]", "partial: dict"),
        ('topic="', 'topic="some '),
    ],
)
def test_a_word_or_a_comment_does_not(old, new):
    assert fixed.digest(RULE, edited(old, new)) == fixed.digest(RULE)


def test_the_convention_is_a_rule_and_its_sentences_are_not():
    source = (PACKAGE / "claims" / "statement.py").read_text()
    now = fixed.digest("statement")
    for old, new in [
        ("low <= estimate.low and", "low < estimate.low and"),
        ("if word == HOLDS else word", ""),
        ("guard: bool = False", "guard: bool = True"),
    ]:
        assert fixed.digest("statement", source.replace(old, new, 1)) != now, old
    assert "does not hold at {n}" in source
    assert fixed.digest("statement", source.replace("does not hold at {n}", "fails at {n}", 1)) == now


def test_a_threshold_that_another_rule_takes_counts_there():
    """Chapter 13's rule, or any other that uses a function of the package, follows it."""
    source = "from .claim import trend\n\ndef statements():\n    return trend\n"
    other = "from .claim import unfit\n\ndef statements():\n    return unfit\n"
    assert fixed.digest(RULE, source) != fixed.digest(RULE, other)


def test_a_draft_fixes_nothing_and_a_fixed_rule_needs_an_entry():
    assert fixed.changed(HELD | {"name": "draft"}, {}) == []
    assert fixed.changed(HELD, HELD["rules"]) == []
    now = {"c01": "a", "c02": "c"}
    assert fixed.changed(HELD, now) == [{"rule": "c02", "from": "b", "to": "c"}]
    assert fixed.changed(HELD | {"changes": [ENTRY]}, now) == []
    assert fixed.changed(HELD | {"changes": [ENTRY]}, HELD["rules"]) == [
        {"rule": "c02", "from": "c", "to": "b"}
    ]
    gone = fixed.changed(HELD, {"c01": "a", "c03": "d"})
    assert gone == [{"rule": "c02", "from": "b", "to": None}, {"rule": "c03", "from": None, "to": "d"}]


def test_a_rule_that_came_later_is_fixed_by_its_own_file(monkeypatch):
    """It stands in the list of changes with when it was written; then it changes as any other."""
    new = SimpleNamespace(__name__="claims.c03_new", FIXED="d", CLAIM=SimpleNamespace(written="Later."))
    old = SimpleNamespace(__name__=f"claims.{RULE}", FIXED="x", CLAIM=new.CLAIM)
    monkeypatch.setattr(fixed, "modules", lambda *_: [old, new, SimpleNamespace(__name__="claims.c04")])
    more = fixed.later()
    assert more == [{"rule": "c03_new", "from": None, "to": "d", "reason": "Later."}], "FIXED.json is first"
    now = HELD["rules"] | {"c03_new": "d"}
    assert fixed.changed(HELD, now, more=more) == []
    changed = fixed.changed(HELD, now | {"c03_new": "e"}, more=more)
    assert changed == [{"rule": "c03_new", "from": "d", "to": "e"}]
    entry = ENTRY | {"rule": "c03_new", "from": "d", "to": "e"}
    assert fixed.changed(HELD | {"changes": [entry]}, now | {"c03_new": "e"}, more=more) == []


@pytest.mark.parametrize("wrong", [{"reason": ""}, {"after": {}}, {"from": "a"}])
def test_an_entry_has_its_reason_both_verdicts_and_a_start(wrong):
    with pytest.raises(BadInput, match="lacks a field|does not start"):
        fixed.changed(HELD | {"changes": [ENTRY | wrong]}, {})


def test_rules_are_fixed_once(tmp_path):
    path = tmp_path / "FIXED.json"
    with pytest.raises(BadInput, match="'--help' is no name"):
        fixed.fix("--help", path)
    for name in ("draft", "rules-1"):
        fixed.fix(name, path)
    held = json.loads(path.read_text())
    assert held["name"] == "rules-1" and held["rules"] == fixed.rules()
    assert held["all"] == fixed.overall(held["rules"]) and fixed.changed(held) == []
    with pytest.raises(BadInput, match="fixed as 'rules-1'"):
        fixed.fix("rules-2", path)


def test_departures_are_whole_and_of_one_study():
    found = fixed.departures("smollm2")
    assert {tuple(one) for one in found} == {("of", "planned", "measured", "why", "seen")}
    assert all(all(one.values()) for one in found) and fixed.departures("tiny") == []


def test_every_claim_has_what_is_primary_for_it():
    told = fixed.preregistered()
    assert set(told["claims"]) <= set(every()) and all(told["claims"].values()), (
        "later claims were not fixed then"
    )
    assert (
        told["window"] == [32, 512] and told["context"] == 512 and told["site"] == "blocks.14.hook_resid_post"
    )
    assert told["loud"] == {"cut": 10, "rows": "component"}
    assert min(told["saes"]["widths"]) >= 4 and len(told["saes"]["widths"]) >= 4


def test_what_differs_is_printed_as_an_entry_with_the_words_by_study(monkeypatch):
    """As the published records have them, and as the rule says now; of the rule of all, how many of each."""
    differ = [
        {"rule": "c03_same_tokens", "from": "a", "to": "b"},
        {"rule": "statement", "from": "a", "to": "b"},
    ]
    monkeypatch.setattr(fixed, "changed", lambda **_: differ)
    claim, convention = fixed.entries(ROOT / "book")
    assert set(claim) == set(fixed.ENTRY) and claim["reason"] == ""
    assert set(claim["before"]) == {"smollm2", "tiny", "world"} and claim["before"]["tiny"] in WORDS
    assert claim["before"] == claim["after"] and "holds" in convention["after"]["tiny"]
    monkeypatch.setattr(fixed.report, "findings", lambda records: {})
    assert fixed.entries(ROOT / "book")[0]["after"] == {}

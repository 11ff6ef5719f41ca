"""What a verdict is worth: the same rule on the paper's points, on the null and on controls, from records."""

from types import SimpleNamespace

import pandas as pd
import pytest

from darkmatter_utils.base.values import Estimate
from darkmatter_utils.claims import c03_same_tokens, report, worth
from darkmatter_utils.claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict

CLAIM = c03_same_tokens.CLAIM


def evidence(value: float, half: float = 0.01):
    shared = {"8 and 16": Estimate(value, value - half, value + half)}
    same = {name: shared for name in CLAIM.evidence._fields if name != "seeds"}
    return CLAIM.evidence(**same | {"shuffled": {"8 and 16": Estimate(0.0, -half, half)}, "seeds": None})


def recorded(**who) -> dict:
    return {13: {"worth": {name: {"3": CLAIM.kept(found)} for name, found in who.items()}}}


def found(**words) -> dict:
    """Findings of claims with these words; a word in capitals is of a rule that says "introduced"."""
    verdicts = {int(n[1:]): Verdict(w.lower(), "", {"introduced": w.isupper()}) for n, w in words.items()}
    return {n: SimpleNamespace(verdict=verdict) for n, verdict in verdicts.items()}


def null(**words) -> dict:
    return {int(n[1:]): {worth.NULL: Verdict(word, "")} for n, word in words.items()}


def test_others_are_judged_anew_by_the_rule_of_the_claim():
    by = worth.others(recorded(**{worth.NULL: evidence(0.9), "dead SAE": evidence(0.0)}), {})
    assert {who: verdict.word for who, verdict in by[3].items()} == {worth.NULL: HOLDS, "dead SAE": FAILS}
    assert worth.words(by, worth.NULL) == {"3": HOLDS} and by[1] == {} and list(by) == list(report.every())


def test_evidence_of_an_earlier_form_of_a_rule_is_left_out():
    records = recorded(**{worth.NULL: evidence(0.9)})
    records[13]["worth"][worth.NULL]["3"]["numbers"]["gone"] = 1
    assert worth.others(records, {})[3] == {}


def test_the_papers_points_are_judged_without_intervals():
    point = lambda value: lambda: evidence(value, float("nan"))
    for value, word in {0.9: HOLDS, 0.0: FAILS}.items():
        by = worth.others({}, {3: point(value)})
        assert by[3][worth.PAPER].word == word
        denied = worth.denials(by, {3: point(value)})
        assert set(denied) == ({3} if word == FAILS else set())
        assert all("does not hold" in said and "nan" not in said for said in denied.values())


@pytest.mark.parametrize(
    "here, other, said",
    [
        ({"c1": HOLDS, "c2": FAILS}, {"c1": HOLDS, "c2": FAILS}, "two of two claims"),
        ({"c1": HOLDS, "c2": FAILS}, {"c1": HOLDS, "c2": FAILS}, "So here a verdict does not distinguish"),
        ({"c1": HOLDS, "c2": HOLDS}, {"c1": HOLDS, "c2": FAILS}, "(of two *holds* one)"),
        ({"c1": HOLDS, "c2": HOLDS}, {"c1": HOLDS, "c2": PARTLY}, "another word at claim 2 alone"),
        ({"c1": HOLDS, "c2": HOLDS}, {"c1": FAILS, "c2": FAILS}, "none of two claims"),
        ({"c1": HOLDS}, {"c1": HOLDS}, "No statement that would say that error is introduced holds."),
        ({"c1": "HOLDS"}, {"c1": PARTLY}, "is said by a statement of claim 1."),
        ({"c1": UNKNOWN}, {"c1": HOLDS}, "No verdict here could be held against the null"),
        ({"c1": HOLDS}, {"c1": UNKNOWN}, "No verdict here could be held against the null"),
    ],
)
def test_whether_words_distinguish_introduced_error_follows_from_them(here, other, said):
    assert said in worth.sentence(found(**here), null(**other))


def test_the_table_has_a_column_for_everyone_and_says_who_was_not_run():
    judged = report.findings({})
    table = worth.table(judged, worth.others(recorded(**{worth.NULL: evidence(0.9)}), {}), "s")
    assert list(table.columns) == ["claim", "s", "sources", *worth.WHO] and len(table) == len(judged)
    row = table.iloc[2]
    assert row[worth.NULL] == HOLDS and row["dead SAE"] == worth.NOT_RUN and row["sources"] == "–"


def test_in_how_many_sources():
    assert worth.in_sources(Verdict(HOLDS, "", {"a": {"word": HOLDS}, "b": {"sources": [4, 6]}})) == "4 of 6"


def test_a_simulated_study_is_a_null_and_not_judged():
    kept = {"3": CLAIM.kept(evidence(0.9))}
    rows = report.by_study({"world": {6: {"evidence": kept}}, "tiny": {6: {"evidence": kept}}})
    words = rows[rows["claim"].str.startswith("3.")].set_index("study")["verdict"]
    assert words.to_dict() == {"world": report.NULL, "tiny": HOLDS}
    assert set(rows.loc[rows["study"] == "world", "verdict"]) == {report.NULL}


def test_a_card_tells_what_more_data_would_do():
    given = evidence(0.21, 0.05)
    card = report.card(report.Finding("", "", "", CLAIM.judge(given), claim=CLAIM, evidence=given))
    assert "times the data would tell" in card["what more data would do"]


def test_a_rule_that_is_wrong_too_often_or_tells_too_seldom_cannot_answer():
    rates = pd.DataFrame({"rule": "3", "statement": list("abc"), "false": [0.01, 0.02, 0.065]})
    rates = rates.assign(upper=[0.02, 0.03, 0.1], power=[0.9, 0.5, 1.0])
    rates = rates.assign(sound=[True, True, False], answers=[True, False, True])
    assert not worth.cannot_answer(rates, 4)
    said = worth.cannot_answer(rates, 3)
    assert "*a*" not in said and said.startswith("This study cannot answer *b* (it tells 50% of ")
    assert said.endswith(" nor *c* (its rule is wrong in up to 10.0% of simulated studies at its margin).")
    assert not worth.cannot_answer(rates[:1], 3)

"""The evidence strip and the thresholds that can be moved: at their poles, and as the rules say."""

import json
import math
from dataclasses import replace

import pytest
from throwaway import ROOT

from darkmatter_utils.charts import evidence
from darkmatter_utils.claims import report, strips
from darkmatter_utils.experiments.paper_evidence import EVIDENCE

STUDIES = ("smollm2", "tiny")


def records(study):
    folder = ROOT / "book" / "records" / study
    return {int(p.stem): json.loads(p.read_text())["values"] for p in folder.glob("[0-9][0-9].json")}


@pytest.mark.parametrize(
    ("value", "inside", "at"),
    [
        (0.5, (0.3, 0.7), 1.0),
        (0.3, (0.3, 0.7), 0.0),
        (0.7, (0.3, 0.7), 0.0),
        (0.1, (0.3, 0.7), -1.0),
        (0.9, (0.9, math.inf), 0.0),
        (1.8, (0.9, math.inf), 1.0),
        (0.0, (-math.inf, 0.2), 1.0),
        (9.0, (0.0, math.inf), 1.0),
        (-99.0, (0.3, 0.7), -strips.FARTHEST),
    ],
)
def test_a_position_is_0_at_an_end_and_1_in_the_middle(value, inside, at):
    assert strips.position(value, inside, [9.0]) == pytest.approx(at)


@pytest.mark.parametrize("study", STUDIES)
def test_a_row_says_of_a_claim_what_its_rule_says(study):
    found = report.findings(records(study))
    rows = strips.rows(found, records(study), EVIDENCE)
    assert [row["claim"] for row in rows] == list(found)
    for row in rows:
        assert row["word"] == found[row["claim"]].verdict.word
        first = next((one for one in strips.statements(found[row["claim"]]) if one.found), None)
        if first is None:
            continue
        inside = [at > 0 for _, at, *_ in row["ours"]]
        low, high = first.statement.inside
        assert inside == [low < e.value < high for e in first.found.values()]
        assert all(low <= at <= high for _, at, low, high, _ in row["ours"])


@pytest.mark.parametrize("study", STUDIES)
def test_a_threshold_keeps_the_word_up_to_where_it_is_said_to_and_no_further(study):
    moved = 0
    for one in report.findings(records(study)).values():
        judged = {each.statement.name: each for each in strips.statements(one)}
        for flip in strips.flips(one):
            each, side = judged[flip["statement"]], flip["side"] == "at most"

            def word(threshold, each=each, side=side, one=one):
                inside = list(each.statement.inside)
                inside[side] = threshold
                return replace(each.statement, inside=tuple(inside)).judge(one.evidence).word

            assert flip["low"] <= flip["at"] <= flip["high"]
            for end, outwards in ((flip["low"], -1), (flip["high"], 1)):
                if math.isfinite(end):
                    near = 1e-9 * max(1.0, abs(end))
                    assert word(end - outwards * near) == each.word != word(end + outwards * near)
                    moved += 1
    assert moved > 20


def test_the_strip_is_complete_without_a_script():
    found = report.findings(records("tiny"))
    rows = strips.rows(found, records("tiny"), EVIDENCE)
    shown = evidence.strip(rows, others={"null": {"1": "holds"}, "paper": {"1": "partly"}})
    assert shown.count('class="strip-row"') == len(found) and "<script" not in shown
    assert shown.index("paper ◐") < shown.index("null ●")
    unfolded = evidence.strip(rows, others={}, more=lambda row: f"more of {row['claim']}")
    assert unfolded.count("<details") == len(found) and "more of 13" in unfolded
    drawn = evidence.thresholds(strips.flips(found[1]))
    assert drawn.count("data-bench") == len(strips.flips(found[1])) and "the same word" in drawn

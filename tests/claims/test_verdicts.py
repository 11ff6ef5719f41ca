"""Verdicts follow from what a record holds."""

import json
import math
from types import SimpleNamespace

from darkmatter_utils.base.values import Estimate, from_json
from darkmatter_utils.claims import ledger as claims
from darkmatter_utils.claims.verdicts import from_record, judged


def test_numbers_come_back_from_a_record_as_the_rule_takes_them():
    numbers = {
        "r2": {128: Estimate(0.5, 0.4, 0.6)},
        "one": Estimate(1.0),
        "list": [1, 2.5, "a"],
        "none": None,
    }
    chapter = SimpleNamespace(values={})
    judged(chapter, 3, {"partial": {"128 and 256": Estimate(0.5, 0.4, 0.6)}})
    from darkmatter_utils.base.values import to_json

    back = from_json(json.loads(json.dumps(to_json(numbers))))
    assert (
        back["r2"] == {128: Estimate(0.5, 0.4, 0.6)}
        and back["list"] == [1, 2.5, "a"]
        and back["none"] is None
    )
    assert back["one"].value == 1.0 and math.isnan(back["one"].low)


def test_a_changed_record_changes_the_verdict():
    chapter = SimpleNamespace(values={})
    verdict = judged(chapter, 3, {"partial": {"128 and 256": Estimate(0.5, 0.4, 0.6)}})
    assert verdict == from_record(3, chapter.values) and verdict.word == "holds"
    assert chapter.values["verdicts"]["3"]["word"] == "holds"
    chapter.values["evidence"]["3"]["numbers"]["partial"]["128 and 256"] |= {
        "value": 0.1,
        "low": 0.0,
        "high": 0.15,
    }
    assert from_record(3, chapter.values).word == "does not hold"


def test_what_a_study_cannot_speak_of_is_kept_with_its_reason():
    chapter = SimpleNamespace(values={})
    assert judged(chapter, 3, {}, unfit="Random weights.").why == "Random weights."
    assert from_record(3, chapter.values).word == "cannot be told here"
    assert from_record(3, {}).why == claims.judge(3).why

"""A chapter judges a claim by its file: the verdict follows from what its record holds."""

import json
import math
import re
from html import unescape
from types import SimpleNamespace

import pytest

from darkmatter_utils.base.config import modules
from darkmatter_utils.base.values import Estimate, from_json, to_json
from darkmatter_utils.book import records
from darkmatter_utils.book.records import Chapter
from darkmatter_utils.claims import c03_same_tokens, c07_fewer_features, q02_protocols
from darkmatter_utils.claims.claim import NOT_MEASURED, UNKNOWN
from darkmatter_utils.claims.worth import cannot_answer
from darkmatter_utils.experiments import calibration
from darkmatter_utils.studies.study import Study

PAIR = "128 and 256"
HALF = c03_same_tokens.Evidence(
    raw={PAIR: Estimate(0.7, 0.6, 0.8)},
    partial={PAIR: Estimate(0.5, 0.4, 0.6)},
    shuffled={PAIR: Estimate(0.0, 0.0, 0.1)},
    seeds=None,
)


@pytest.fixture
def chapter(monkeypatch):
    monkeypatch.setattr(records, "project", lambda: None)  # other editions' verdicts have a test of their own
    return Chapter(6, SimpleNamespace(name="tiny"), {})


def test_numbers_come_back_from_a_record_as_the_rule_takes_them():
    numbers = {
        "r2": {128: Estimate(0.5, 0.4, 0.6)},
        "one": Estimate(1.0),
        "list": [1, 2.5, "a"],
        "none": None,
    }
    back = from_json(json.loads(json.dumps(to_json(numbers))))
    assert (
        back["r2"] == {128: Estimate(0.5, 0.4, 0.6)}
        and back["list"] == [1, 2.5, "a"]
        and back["none"] is None
    )
    assert back["one"].value == 1.0 and math.isnan(back["one"].low)


def test_a_field_left_at_its_default_is_not_recorded():
    kept = c07_fewer_features.CLAIM.kept(c07_fewer_features.Evidence(seeds=0))
    assert kept == {"numbers": {"seeds": 0}, "unfit": ""}
    assert c07_fewer_features.CLAIM.recorded(kept) == c07_fewer_features.Evidence(seeds=0)
    assert c03_same_tokens.CLAIM.kept(HALF)["numbers"].keys() == {"raw", "partial", "shuffled", "seeds"}


def test_a_changed_record_changes_the_verdict(chapter):
    verdict = chapter.judge(c03_same_tokens, HALF)
    kept = chapter.values["evidence"]["3"]
    assert verdict == c03_same_tokens.CLAIM.from_record(kept) and verdict.word == "holds"
    assert chapter.values["verdicts"]["3"]["word"] == "holds"
    kept["numbers"]["partial"]["128 and 256"] |= {"value": 0.1, "low": 0.0, "high": 0.15}
    assert c03_same_tokens.CLAIM.from_record(kept).word == "partly"


def test_a_verdict_is_judged_from_what_the_record_will_hold(chapter):
    edge = c03_same_tokens.THRESHOLDS.partial
    below = HALF._replace(partial={"128 and 256": Estimate(0.3, edge - 1e-9, 0.4)})
    assert c03_same_tokens.CLAIM.judge(below).word != "holds"
    assert chapter.judge(c03_same_tokens, below).word == "holds", "six digits of it are the threshold"


def test_what_a_study_cannot_speak_of_is_kept_with_its_reason(chapter):
    assert chapter.judge(c03_same_tokens, HALF, unfit="Random weights.").why == "Random weights."
    kept = chapter.values["evidence"]["3"]
    assert c03_same_tokens.CLAIM.from_record(kept).word == UNKNOWN and kept["unfit"] == "Random weights."
    assert c03_same_tokens.CLAIM.from_record({}).why == NOT_MEASURED
    chapter.study.name = "nano"
    assert "format test" in chapter.judge(c03_same_tokens, HALF).why
    assert chapter.judge(c03_same_tokens, HALF, unfit="").word == "holds"


def test_the_first_screen_and_the_rule_are_the_claims_own_words(chapter):
    chapter.judge(c03_same_tokens, HALF)
    opening, rule = chapter.opening(c03_same_tokens), chapter.rules(c03_same_tokens)
    claim = c03_same_tokens.CLAIM
    shown = unescape(re.sub(r"<[^>]+>", "", opening))
    assert shown.startswith(f"Claim 3 of the paper. {claim.short}\n● holds here: ")
    assert f"the paper: {claim.paper} " in shown
    assert shown.index(f"the paper: {claim.paper}") < shown.index(chapter.values["verdicts"]["3"]["why"])
    assert cannot_answer(calibration.summary(), 3) in shown
    rule = unescape(re.sub(r"<[^>]+>", "", rule))
    said = [text.replace("*", "") for text in (claim.falsifier, claim.rule_in_words, claim.written)]
    assert [rule.index(text) for text in said] == sorted(rule.index(text) for text in said)
    assert "the null: 0.5" in chapter.opening(c03_same_tokens, control={3: "the null: 0.5"})
    told = chapter.values["claims"]["3"]
    assert told["short"] == claim.short and told["here"] == "128 and 256 0.70 [0.60, 0.80]"


def test_a_question_is_kept_beside_the_claims(chapter):
    near, far = Estimate(0.02, 0.01, 0.03), Estimate(0.09, 0.08, 0.10)
    chapter.judge(q02_protocols, q02_protocols.Evidence({"all": near, "some": far}))
    assert chapter.values["verdict"]["word"] == "partly" and "evidence" not in chapter.values
    assert set(chapter.values["question"]["numbers"]["differences"]) == {"all", "some"}
    assert "<strong>What this chapter checks.</strong> The paper's protocol" in chapter.opening(q02_protocols)
    assert "<summary>The rule of this chapter</summary>" in chapter.rules(q02_protocols)


@pytest.mark.parametrize(
    "module", modules("darkmatter_utils.claims", "[cq][0-9][0-9]_*"), ids=lambda m: m.__name__[-20:]
)
def test_every_file_has_what_a_chapter_asks_of_it(module):
    asked = getattr(module, "CLAIM", None) or module.QUESTION
    rule = module.statements if asked.verdict is None else module.verdict
    assert asked.evidence is module.Evidence and rule in (asked.statements, asked.verdict)
    assert rule.__doc__ and module.Thresholds.__doc__ and module.Thresholds() == module.THRESHOLDS
    assert asked.judge(None).word == UNKNOWN and asked.judge(None, unfit="because").why == "because"


def test_where_another_edition_has_another_verdict_the_page_says_what_differs(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "project", lambda: tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "editions.yml").write_text("- nano\n- tiny\n- mine\n")
    for study, word in {"tiny": "partly", "mine": "holds", "world": "partly"}.items():
        place = tmp_path / "book" / "records" / study
        place.mkdir(parents=True)
        (place / "06.json").write_text(json.dumps({"values": {"verdicts": {"3": {"word": word}}}}))
    chapter = Chapter(6, Study.load("nano"), {})
    chapter.judge(c03_same_tokens, HALF, unfit="")
    said = str(chapter.opening(c03_same_tokens))
    assert (
        "Here: A two-layer model" in said and "16 to 128 latents, L0 4; on <code>tiny</code> (a 1.4 M" in said
    )
    assert said.count("it is <strong>partly</strong>") == 1
    assert not re.search("<code>(mine|world)</code>", said)
    before = chapter.read["points"]["06 verdicts"]
    assert set(before) >= {"tiny", "mine"}
    (tmp_path / "book" / "records" / "tiny" / "06.json").write_text('{"values": {}}')
    assert "Here:" not in str(chapter.opening(c03_same_tokens))
    assert chapter.read["points"]["06 verdicts"] != before

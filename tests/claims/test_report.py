"""The report follows from records: change a number in a copy of one, and the verdict and the words around it
change."""

import copy
import json
import re
from html import unescape
from itertools import combinations

import nbformat
import pytest
from throwaway import ROOT

from darkmatter_utils.base import words
from darkmatter_utils.base.values import Estimate, to_json
from darkmatter_utils.book import chapters, records, running, staleness
from darkmatter_utils.book.chapters import EVERY
from darkmatter_utils.claims import fixed, report, say
from darkmatter_utils.claims.claim import FAILS, HOLDS, UNKNOWN, WORDS
from darkmatter_utils.claims.front import learned
from darkmatter_utils.claims.paper import CHOICES, PAPER_FIGURES, changes
from darkmatter_utils.claims.report import (
    by_study,
    card,
    counts,
    every,
    findings,
    headline,
    recorded,
    scaled,
    summary,
)
from darkmatter_utils.experiments.everywhere import by_layer, everywhere, sign

LEDGER = every()


def e(value, half=0.01):
    return Estimate(value, value - half, value + half)


EVIDENCE = {
    1: {"r2": {8: e(0.5), 16: e(0.45)}, "saes": {"w8": e(0.5)}, "kept": {8: e(0.9)}, "split": {8: 0.01}},
    2: {"r2": {8: e(0.92), 16: e(0.94)}, "layers": {}, "gain": {"8": e(0.2)}, "simple": {8: 0.6, 16: 0.7}},
    3: {
        "raw": {"8, 16": e(0.7)},
        "partial": {"8, 16": e(0.4)},
        "shuffled": {"8, 16": e(0.05)},
        "seeds": e(0.6),
    },
    4: {
        "change": {"L0 8": e(-0.01)},
        "whole": {"L0 8": e(-0.03)},
        "over_null": {"L0 8": e(0.05)},
        "null": e(-0.06),
        "steps": {"L0 8": [-0.02, 0.0, -0.01]},
        "misfit": {"L0 8": [1.5, 0.2]},
        "narrow": [],
        "widths": 4,
        "l0": (8.0, 8.1),
    },
    5: {
        "fall": e(-0.2),
        "above": e(0.2),
        "linear": e(0.5),
        "c": e(0.1),
        "nonlinear": e(0.05),
        "misses": {8: 0.5, 16: -1.0},
        "widths": 4,
        "l0": (8.0, 8.1),
    },
    6: {
        "over_linear": {8: e(0.1)},
        "over_error": {8: e(0.05)},
        "over_null": {8: e(0.05)},
        "nonlinear": {8: e(0.8)},
        "null": {8: e(0.0)},
        "itself": {8: e(0.3)},
        "null_itself": {8: e(0.6)},
        "lowest_self": 4,
        "saes": 4,
    },
    7: {
        "fvu_gap": e(0.05),
        "fvu_excess": e(0.04),
        "accuracy_gap": e(0.1),
        "accuracy_excess": e(0.08),
        "seeds": 3,
        "fvu": {"LinearError": 0.5, "NonlinearError": 0.55},
    },
    8: {
        "slope": e(1.0),
        "orders": {"added first": e(1.1), "added last": e(0.9)},
        "saes": {"w8": e(1.0)},
        "over_control": {"isotropic": e(1.4)},
        "controls": {"isotropic": e(1.0)},
    },
    9: {
        "change": {8: e(-0.02), 16: e(-0.03)},
        "total": {8: e(-0.04), 16: e(-0.05)},
        "lead": {8: e(0.02), 16: e(0.02)},
        "best": {8: "a refit", 16: "a refit"},
    },
    10: {
        "sae": {"blocks.0": e(0.4)},
        "raw": {"blocks.0": e(0.2)},
        "over_raw": {"blocks.0": e(0.2)},
        "over_shuffled": {"blocks.0": e(0.4)},
    },
    11: {
        "linear": {"a world": e(0.6)},
        "nonlinear": {"a world": e(0.7)},
        "introduced": {"a world": e(0.9)},
        "absent": {"a world": e(0.8)},
    },
    12: {
        "cells": [
            {"effect": "an effect", "family": family, "layer": layer, "kind": kind, "sign": 1}
            for family in ("a", "b", "c")
            for layer in range(4)
            for kind in ("topk", "jumprelu")
        ]
    },
    13: {"lead": {"8": e(0.2)}, "gain": {"8": e(0.1)}, "early": {}, "best": {"8": "token"}},
}
"""Numbers at which every claim holds."""
VALUES = (-1.0, -0.2, 0.0, 0.05, 0.15, 0.3, 0.5, 0.95, 1.5)
"""What a number of a record is changed to."""
COMMITTED = ROOT / "book" / "records" / chapters.DEFAULT_STUDY


def holding() -> dict[int, dict]:
    """Records at which every claim holds, as they are on disk."""
    made: dict[int, dict] = {}
    for number, numbers in EVIDENCE.items():
        claim = LEDGER[number]
        values = made.setdefault(int(claim.chapter[:2]), {})
        records.judged(values, claim, claim.evidence(**numbers), "")
    return made


def changed(found: dict[int, dict], number: int) -> dict[int, dict] | None:
    """A copy of records in which numbers under one key of a claim's evidence are others, so that its word is
    another; under two keys, or all, where one is not enough, as where several statements hold in part."""
    before = findings(found)[number]
    old = found[before.holder]["evidence"][str(number)]["numbers"]
    keys = [key for key in before.evidence._fields if key in old]
    for together in [*combinations(keys, 1), *combinations(keys, 2), tuple(keys)]:
        for value in VALUES:
            other = copy.deepcopy(found)
            kept = other[before.holder]["evidence"][str(number)]["numbers"]
            kept |= {key: moved(kept[key], value) for key in together}
            if kept != old:
                try:
                    after = findings(other)[number]
                except (ArithmeticError, ValueError):
                    continue
                if after.verdict.word != before.verdict.word:
                    return other
    return None


def moved(kept, value):
    """Every number in a part of a record set to a value; an estimate keeps the width of its interval."""
    if isinstance(kept, dict) and set(kept) == {"value", "low", "high"} and None not in kept.values():
        return {name: edge - kept["value"] + value for name, edge in kept.items()}
    if isinstance(kept, dict):
        return {key: item if key in ("layer", "family") else moved(item, value) for key, item in kept.items()}
    if isinstance(kept, list):
        return [moved(item, value) for item in kept]
    return value if isinstance(kept, int | float) and not isinstance(kept, bool) else kept


def follows(found: dict[int, dict], number: int) -> None:
    """The verdict of a claim and all words around it change with a number of its record."""
    other = changed(found, number)
    assert other is not None, f"no number of claim {number}'s record changes its verdict"
    before, after = findings(found), findings(other)
    assert after[number].verdict.word != before[number].verdict.word
    assert after[number].verdict.why != before[number].verdict.why
    assert card(before[number]) != card(after[number])
    assert summary(before, "s") != summary(after, "s")
    assert headline(before, "s") != headline(after, "s")
    for untouched in set(LEDGER) - {number}:
        assert after[untouched] == before[untouched]


def test_every_claim_whose_rule_is_fixed_has_its_numbers_here():
    of_claims = [int(rule[1:3]) for rule in fixed.fixed()["rules"] if rule[0] == "c"]
    assert sorted(of_claims) == sorted(EVIDENCE) and len(of_claims) == 13


def test_every_claim_holds_at_the_numbers_of_this_test():
    found = findings(holding())
    assert {number: found[number].verdict.word for number in EVIDENCE} == dict.fromkeys(EVIDENCE, HOLDS)
    every_claim, held = (words.spelled(len(claims)) for claims in (LEDGER, EVIDENCE))
    assert summary(found, "s").startswith(f"Of the paper's {every_claim} claims, on the study s, {held} hold")


@pytest.mark.parametrize("number", EVIDENCE)
def test_a_changed_number_changes_the_verdict_and_the_words(number):
    follows(holding(), number)


def committed() -> dict[int, dict]:
    """The book's own records."""
    study = chapters.DEFAULT_STUDY
    return chapters.read_records(ROOT, study, [], reader=0)[study]


def measured(found: dict[int, dict]) -> list[int]:
    """The claims with evidence in a record."""
    return [number for number, one in findings(found).items() if one.evidence is not None]


def test_the_same_in_copies_of_the_books_records():
    found = committed()
    there = [
        number for number in measured(found) if number != 12
    ]  # claim 12 is told by three families, not by a number
    assert there, "the book's records hold no evidence: make book"
    for number in there:
        follows(found, number)


def test_claim_twelve_follows_from_the_records_of_the_other_claims():
    studies = {chapters.DEFAULT_STUDY: holding()}
    words = LEDGER[13].effect.words
    before = everywhere(studies).cells
    assert {cell["sign"] for cell in before if cell["effect"] == words} == {1}
    kept = studies[chapters.DEFAULT_STUDY][3]["evidence"]["13"]["numbers"]
    kept["lead"] = moved(kept["lead"], -0.3)
    after = everywhere(studies).cells
    assert len(after) == len(before) and sum(a != b for a, b in zip(before, after, strict=True)) == 1
    assert {cell["sign"] for cell in after if cell["effect"] == words} == {-1}
    assert everywhere({"world": holding(), "nano": holding(), "no such study": holding()}).cells == []


def test_claim_twelve_counts_no_effect_that_is_positive_by_construction():
    assert not {1, 2, 3} & {number for number, claim in LEDGER.items() if claim.effect}


def test_claim_twelve_counts_layers_and_kinds_that_other_chapters_measured():
    found = holding()
    kept = found[3]["evidence"]["13"]["numbers"]
    kept["lead"] = {
        "layer 0, 256 latents": to_json(e(0.3)),
        "layer 1, 256 latents": to_json(e(0.0)),
        "512 latents": to_json(e(0.2)),
    }
    effects = {13: {"TopK SAE": e(0.4), "frozen random decoder": e(0.4), "L1 SAE": Estimate(0.5)}}
    found[13] = {"question": to_json({"numbers": {"measured": {}, "effects": effects}, "unfit": ""})}
    made = everywhere({chapters.DEFAULT_STUDY: found})
    words = LEDGER[13].effect.words
    leads = [(c["layer"], c["kind"], c["sign"]) for c in made.cells if c["effect"] == words]
    own = "jumprelu"
    assert leads == [(0, own, 1), (1, own, 0), (2, own, 1), (2, "topk", 1)], "no other kind, no interval"
    numbers = LEDGER[12].judge(made).numbers
    assert (numbers["families"], numbers["kinds"]) == (1, 2)


def test_every_chapter_is_in_the_table_of_contents():
    text = (ROOT / "_toc.yml").read_text()
    listed = re.findall(r"book/([a-z0-9_]+)", text)
    there = [chapter.name for chapter in chapters.chapters(ROOT)] + ["notation", "paper", "references"]
    assert sorted(listed) == sorted(there), "in the order of the story, each once"
    assert listed.index("07_models_of_activations") < listed.index("05_scaling")


def test_the_index_tells_the_pages_before_the_report_as_they_are_listed(tmp_path):
    story = chapters.story(ROOT)
    listed = re.findall(r"book/(\d\d)_", (ROOT / "_toc.yml").read_text().split("book/15_the_report")[0])
    assert [0, *story] == [int(number) for number in listed] and not {0, 2, 14, 15} & set(story)
    found = {n: {"finding": f"found in {n}"} for n in sorted(story)}
    lines = learned(found, story).splitlines()
    assert lines == [f"- [found in {n}]({name}.html)" for n, name in story.items()]
    assert learned({1: {}}, story) == learned(found, {}) == "No page has a record."


@pytest.mark.parametrize("path", ["README.md", "notebooks/00_index.py", "notebooks/15_the_report.py"])
def test_how_many_claims_there_are_is_counted_and_not_typed(path):
    assert not re.search(rf"\b{words.spelled(len(LEDGER))} (claims|rules)\b", (ROOT / path).read_text())


@pytest.mark.parametrize(
    ("signs", "word"),
    [
        ([1] * 24, HOLDS),
        ([-1] + [1] * 23, UNKNOWN),  # its interval ends at 20.2%
        ([-1, 1, *[0] * 22], UNKNOWN),
        ([-1] * 9 + [1] * 15, FAILS),  # starts at 21.2%
        ([-1] * 8 + [1] * 16, UNKNOWN),
        ([0] * 24, UNKNOWN),
    ],
)
def test_claim_twelve_at_its_thresholds(signs, word):
    placed = [cell | {"sign": s} for cell, s in zip(EVIDENCE[12]["cells"], signs, strict=True)]
    assert LEDGER[12].judge(LEDGER[12].evidence(placed)).word == word
    for missing in ("family", "layer", "kind"):
        few = [cell | {missing: "one"} for cell in placed]
        assert LEDGER[12].judge(LEDGER[12].evidence(few)).word == UNKNOWN
    rare = [cell | {"effect": "rare" if s < 0 else "common"} for cell, s in zip(placed, signs, strict=True)]
    if word == FAILS:
        assert "rare" in LEDGER[12].judge(LEDGER[12].evidence(rare)).why


def test_signs():
    assert sign(e(0.5)) == 1 and sign(e(-0.5)) == -1 and sign(e(0.001)) == 0
    assert by_layer({8: e(0.5), "layer 0, 256 latents": e(0.1)}, 2) == {
        0: {"layer 0, 256 latents": e(0.1)},
        2: {8: e(0.5)},
    }
    assert by_layer(e(0.5), 2) == {2: e(0.5)}
    assert sign({8: e(0.5), 16: e(0.001)}) == 0 and sign({}) == 0 and sign(None) == 0


def test_what_no_record_holds_or_an_older_rule_took_cannot_be_told():
    found = findings({})
    assert {one.verdict.word for one in found.values()} == {UNKNOWN}
    assert all(one.here == "–" and one.beside() == {} for one in found.values())
    assert f"{report.how_many()} cannot be told" in summary(found, "s")
    old = holding()
    old[4]["evidence"]["1"]["numbers"]["gone"] = 1.0
    assert "earlier form" in findings(old)[1].verdict.why
    unfit = holding()
    unfit[4]["evidence"]["1"]["unfit"] = "It is a test."
    assert findings(unfit)[1].verdict.why == "It is a test." and findings(unfit)[1].here == "–"


def test_what_is_shown_is_our_number_and_its_controls():
    found = findings(holding())
    assert "0.500 [0.490, 0.510] at 8 to 0.450 [0.440, 0.460] at 16" in found[1].here
    assert found[1].beside()["share of it left once shrinkage is undone"] == "8 0.900 [0.890, 0.910]"
    assert "−1.0% [−2.0%, 0.0%]" in found[4].here
    assert found[11].here == "LinearError absent 60%; NonlinearError introduced 70%"
    assert found[12].here == found[12].verdict.measured


@pytest.mark.parametrize(
    ("how", "value", "text"),
    [
        (say.one(), None, ""),
        (say.one(), 0.5, "0.50"),
        (say.one(), e(0.5), "0.50 [0.49, 0.51]"),
        (say.by_width(), {}, ""),
        (say.by_width(), {8: 1.0}, "8 1.00"),
        (say.by_width(words.percent), {8: 0.5, 32: 0.1, 16: 0.2}, "50% at 8 to 10% at 32"),
        (say.by_name(), None, ""),
        (say.by_name(), {"a": e(0.5)}, "a 0.50 [0.49, 0.51]"),
        (say.by_name(), {name: 0.5 for name in "abcde"}, "0.50"),
    ],
)
def test_numbers_in_a_few_words(how, value, text):
    assert how(value) == text


def test_numbers_survive_the_record():
    for number, numbers in EVIDENCE.items():
        evidence = LEDGER[number].evidence(**numbers)
        kept = json.loads(json.dumps(LEDGER[number].kept(evidence)))
        assert LEDGER[number].kept(LEDGER[number].recorded(kept)) == kept == LEDGER[number].kept(evidence)
    one = LEDGER[1].evidence(**EVIDENCE[1])
    half = scaled(LEDGER[1], one, 0.5)
    assert half.r2[8] == Estimate(0.25, 0.245, 0.255) and half.kept == one.kept


def test_a_card_has_the_papers_words_their_place_and_its_points():
    for number, one in findings({}).items():
        told, claim = card(one), LEDGER[number]
        place, points = f"In it: {claim.paper_place}.", f"Its own points: {claim.paper_points}."
        assert told["the paper"] == f"{claim.paper}. {place} {points}"
        assert re.search(r"§\d|abstract|App\. [A-E]", claim.paper_place)


def test_the_index_shows_what_the_chapters_said():
    studied = holding()
    found, judged = recorded(studied), findings(studied)
    assert list(found) == list(EVIDENCE)
    for number, one in found.items():
        other = judged[number]
        for name in ("short", "paper", "chapter", "here"):
            assert getattr(one, name) == getattr(other, name)
        assert (one.verdict.word, one.verdict.why) == (other.verdict.word, other.verdict.why)
    judged = {number: judged[number] for number in EVIDENCE}
    assert summary(found, "s") == summary(judged, "s") and headline(found, "s") == headline(judged, "s")
    del studied[4]
    left = len(LEDGER) - len(recorded(studied))
    assert summary(recorded(studied), "s").endswith(
        f" and {words.spelled(left)} {'has' if left == 1 else 'have'} no record."
    )


def test_a_fourteenth_claim_is_counted(monkeypatch):
    monkeypatch.setattr(
        report, "module_names", lambda *_: [f"c{number:02d}_a_claim" for number in range(1, 15)]
    )
    more = findings({}) | {14: findings({})[13]}
    assert summary(more, "s").startswith("Of the paper's fourteen claims, on the study s, fourteen cannot")


def test_counts_add_up():
    found = findings(holding())
    assert sorted(number for numbers in counts(found).values() for number in numbers) == list(
        LEDGER
    ) and list(counts(found)) == list(WORDS)
    assert set(by_study({"world": holding()})["study"]) == {"world"}


def test_every_choice_of_protocol_is_told_where_its_chapter_ran():
    """A chapter whose cells are those of its record says what each of its choices changes."""
    found = committed()
    assert {text for _, text in changes({})} == {"not measured", "not measured on this study"}
    for choice, text in changes(found):
        assert (text == "not measured") == (not choice.chapter), choice.name
        if choice.chapter and ran(choice.chapter):
            assert text != "not measured on this study", choice.name
    known = {choice.key: choice.chapter for choice in CHOICES if choice.chapter}
    for number, values in found.items():
        assert set(values.get("protocol", {})) <= {key for key, chapter in known.items() if chapter == number}
    assert len({choice.name for choice in CHOICES}) == len(CHOICES) == len(known) + 6


def ran(number: int) -> bool:
    """Whether a committed record was made by the chapter's present cells."""
    chapter = chapters.pick(ROOT, number)
    return json.loads((COMMITTED / f"{number:02d}.json").read_text())["cells"] == chapter.cells_hash()


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.chapter], ids=lambda choice: choice.key)
def test_every_choice_of_protocol_is_recorded_by_its_chapter_or_its_claim(choice):
    told = {
        key
        for n, c in LEDGER.items()
        if c.protocol and n in EVIDENCE
        for key in c.protocol(c.evidence(**EVIDENCE[n]))
    }
    source = chapters.pick(ROOT, choice.chapter).source.read_text()
    assert (choice.key in told) != (f'"{choice.key}"' in source), "by one of the two"


NUMBERS = ["§4", *"12345678", "9a", "9b", *map(str, range(10, 17)), "Table 1"]
"""Of every figure of the paper, and of its section on the data."""


def test_every_figure_and_experiment_is_in_the_index():
    assert [one.number for one in PAPER_FIGURES] == NUMBERS
    assert {f"E{n}" for n in range(13)} == {one.experiment for one in PAPER_FIGURES}
    assert {PAPER_FIGURES[n].name for n in (0, 1, -1)} == {"§4", "Fig. 1", "Table 1"}


@pytest.mark.parametrize("one", PAPER_FIGURES, ids=lambda one: one.name)
def test_every_entry_of_the_index_leads_to_a_figure(one):
    assert one.counterparts
    for chapter, label in one.counterparts:
        source = (ROOT / "notebooks" / f"{chapter}.py").read_text()
        labels = (f'"name": "{label}"', f"#| label: {label}\n")
        assert any(one in source for one in labels), f"{chapter} has no figure {label}"


# --- chapters that read records
# -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A project with the report alone and records at which every claim holds, once as they are and once
    changed."""
    root = tmp_path_factory.mktemp("reported")
    for name in ("notebooks", "book"):
        (root / name).mkdir()
    (root / "_toc.yml").write_text("")
    source = chapters.pick(ROOT, 15).source
    (root / "notebooks" / source.name).write_bytes(source.read_bytes())
    found = {number: values for number, values in holding().items() if number != 15}
    write(root, "world", found)
    chapter = chapters.pick(root, 15)
    pages = [text_of(running.run(chapter, study="world", log=str))]
    reasons = [staleness.stale_reason(chapter, "world")]
    for number in measured(found):
        found = changed(found, number)
    write(root, "world", found)
    reasons.append(staleness.stale_reason(chapter, "world"))
    pages.append(text_of(running.run(chapter, study="world", log=str)))
    return chapter, found, pages, reasons


def write(root, study: str, found: dict[int, dict]) -> None:
    folder = root / "book" / "records" / study
    folder.mkdir(parents=True, exist_ok=True)
    for number, values in found.items():
        (folder / f"{number:02d}.json").write_text(json.dumps({"values": values}))


def text_of(path) -> str:
    """What an executed chapter shows as text."""
    outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
    shown = [
        o.get("text", "") or o.get("data", {}).get("text/html", o.get("data", {}).get("text/plain", ""))
        for o in outputs
    ]
    shown += [
        text for o in outputs for name, text in o.get("data", {}).items() if name.endswith("/text/markdown")
    ]
    return unescape(re.sub(r"<[^>]+>", "", "\n".join(shown)))


def test_the_executed_report_follows_from_the_records(reported):
    _, found, (before, after), _ = reported
    held = [str(number) for number in EVIDENCE if number != 12]
    hold = f"{words.spelled(len(held))} hold"
    assert f"{hold} ({', '.join(held)})" in before and f"claims, on the study world, {hold}" not in after
    for number, one in findings(found).items():
        if number != 12:
            assert one.verdict.word != HOLDS
            assert one.here in after


def test_a_changed_record_makes_the_report_stale_and_no_other_change_does(reported):
    chapter, _, _, reasons = reported
    listed = ", ".join(sorted({f"world/{LEDGER[number].chapter[:2]}" for number in EVIDENCE if number != 12}))
    assert reasons == [None, f"records it reads changed: {listed}"]
    assert staleness.stale_reason(chapter, "world") is None
    path = chapter.root / "book" / "records" / "world" / "04.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"versions": {"numpy": "other"}}))
    assert staleness.stale_reason(chapter, "world") is None, "only values count"
    path.unlink()
    assert staleness.stale_reason(chapter, "world") == "records it reads changed: world/04"
    path.write_text("{}")
    assert "world/04.json is no record of a chapter" in staleness.stale_reason(chapter, "world")
    path.write_text(text)
    write(chapter.root, "another", {4: {"evidence": {}}})
    assert staleness.stale_reason(chapter, "world") == "records it reads changed: another/04"
    for name in ("nano/04", "world/00"):  # no study of this kind, no index
        write(chapter.root, name[:-3], {int(name[-2:]): {}})
    assert staleness.stale_reason(chapter, "world") == "records it reads changed: another/04"


def test_a_study_that_speaks_of_no_claim_has_none_that_the_report_judges_anew(reported):
    chapter = reported[0]
    write(chapter.root, "nano", {n: values for n, values in holding().items() if n != 15})
    for path in (chapter.root / "book" / "records" / "nano").glob("*.json"):
        record = json.loads(path.read_text())
        for kept in record["values"]["evidence"].values():
            kept["unfit"] = "It is a test."
        path.write_text(json.dumps(record))
    shown = text_of(running.run(chapter, study="nano", log=str))
    assert "as recorded:  cannot be told here" in shown


def test_an_edited_record_is_not_what_the_run_wrote(reported):
    chapter = reported[0]
    path = chapter.record("world")
    text = path.read_text()
    assert staleness.not_run_here(chapter, "world") is None
    path.write_text(text.replace("tally", "tolly"))
    assert (
        staleness.not_run_here(chapter, "world")
        == "build/world/records/15.json is not what its last run here wrote"
    )
    path.write_text(text)


def test_chapters_that_read_records_run_last_and_the_index_at_the_end():
    order = [chapter.number for chapter in chapters.run_order(ROOT)]
    assert order[-2:] == [15, 0] and order[:-2] == sorted(order[:-2])
    assert [c.number for c in chapters.chapters(ROOT)] == sorted(order)


def test_a_chapter_that_reads_records_is_due_once_a_record_changed_and_not_before(tmp_path):
    for name in ("notebooks", "book"):
        (tmp_path / name).mkdir()
    (tmp_path / "_toc.yml").write_text("")
    (tmp_path / "notebooks" / "01_one.py").write_text("# %%\n1\n")
    (tmp_path / "notebooks" / "02_two.py").write_text('# %% tags=["reads-records"]\n2\n')
    one, two = chapters.chapters(tmp_path)
    for chapter in (one, two):
        running.run(chapter, study="tiny", log=str)
        chapter.record("tiny").parent.mkdir(parents=True, exist_ok=True)
        made = {
            "cells": chapter.cells_hash(),
            "sources": {},
            "data": {},
            "versions": records.versions(),
            "records": {},
            "values": {},
        }
        made["data"] = records.data_hashes(records.open_chapter(1, "tiny").study)
        chapter.record("tiny").write_text(json.dumps(made))
        staleness.stamp(chapter, "tiny", seconds=1)
    assert staleness.due(tmp_path, "tiny") == []
    one.source.write_text("# %%\n3\n")
    assert staleness.due(tmp_path, "tiny") == [(one, "its cells changed (notebooks/01_one.py)")]
    made = json.loads(two.record("tiny").read_text()) | {"records": {"asked": ["tiny"], "found": {}}}
    two.record("tiny").write_text(json.dumps(made))
    assert dict(staleness.due(tmp_path, "tiny"))[two] == "records it reads changed: tiny/01"


def test_records_are_found_by_the_package_or_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chapter = records.open_chapter(15, chapters.DEFAULT_STUDY)
    assert set(chapter.reads(EVERY)[chapters.DEFAULT_STUDY]) >= {1, 2, 3, 4, 5}, "the installed book's"
    assert (
        15 not in chapter.reads()[chapters.DEFAULT_STUDY] and 0 not in chapter.reads()[chapters.DEFAULT_STUDY]
    )
    monkeypatch.setenv("DARKMATTER_PROJECT", str(tmp_path))
    assert chapter.reads() == {chapters.DEFAULT_STUDY: {}}
    assert chapter.content()["records"] == {"asked": [chapters.DEFAULT_STUDY], "found": {}}

"""What choices of protocol change: the numbers of a record follow from its other values, and its sentences
say the same."""

import json
import math

import altair as alt
import pandas as pd
import pytest
from throwaway import ROOT

from darkmatter_utils import charts
from darkmatter_utils.base.values import Absent, Estimate, from_json, to_json
from darkmatter_utils.base.words import plain, span
from darkmatter_utils.book import chapters
from darkmatter_utils.claims import c02_norm_linear, c04_flat, c08_proportional, c10_earlier, protocol, say
from darkmatter_utils.claims.paper import CHOICES
from darkmatter_utils.claims.protocol import R2, SHARE, difference, relative

STUDIES = ("smollm2", "tiny", "world")
WITHOUT = {"which SAEs", "fitted curve", "uncertainty", "L0 of a pursuit", "control of the loss"}
"""Choices that add a control or an interval, and change no number."""
ANY = Estimate(0.5, 0.4, 0.6)


def records(study: str) -> dict[int, dict]:
    """The published values of a study's chapters that the present cells made."""
    found = {}
    for path in sorted((ROOT / "book" / "records" / study).glob("[0-9][0-9].json")):
        record = json.loads(path.read_text())
        if record["cells"] == chapters.pick(ROOT, int(path.stem)).cells_hash():
            found[int(path.stem)] = record["values"]
    return found


def effects(values: dict, key: str, unit: str | None = None) -> list[protocol.Change]:
    """What a record holds of a choice."""
    found = [protocol.Change(**one) for one in values.get("effects", {}).get(key, [])]
    found = [one._replace(change=from_json(one.change)) for one in found]
    return [one for one in found if unit in (None, one.unit)]


def test_a_change_is_from_this_books_number_to_the_other():
    assert difference("R²", 0.4, 0.48, ends=(0.07, 0.09)).change == Estimate(pytest.approx(0.08), 0.07, 0.09)
    assert relative("FVU", 0.2, 0.1, tokens=5)[-3:] == (relative("FVU", 2, 1).change, "", 5)
    assert relative("FVU", 0.2, 0.1).change.value == pytest.approx(-0.5)
    assert math.isnan(relative("FVU", 0.0, 0.1).change.value), "of a perfect SAE"


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.7169, R2, "+0.72"),
        (0.0804, R2, "+0.080"),
        (-0.00048, R2, "−0.0005"),
        (0.000001, R2, "0.0000"),
        (0.0, R2, "0"),
        (-0.4835, SHARE, "−48%"),
        (0.0242, SHARE, "+2.4%"),
    ],
)
def test_a_change_is_said_with_its_sign(value, unit, said):
    assert protocol.signed(value, unit) == said


def test_what_a_claim_found_says_what_its_choice_changes():
    slope = protocol.of_slope(
        c04_flat.CLAIM.evidence({"L0 8": Estimate(-0.02, -0.03, -0.01)}, {}, {}, None, {}, {}, [], 4, (8, 8))
    )["flat line"]
    assert slope[0].change == Estimate(0.02, 0.01, 0.03) and slope[0].place == "L0 8"
    depth = lambda *r2: protocol.of_depth(
        c02_norm_linear.Evidence({}, {str(one): Estimate(one) for one in r2}, {}, {})
    )
    assert depth(0.1, 0.5, 0.9)["low R² over depth"][0].change.value == pytest.approx(0.2)
    assert depth(0.5, 0.9)["low R² over depth"][0].change.value == 0 and depth() == depth(0.1) == {}
    orders = {"added first, as in the paper": Estimate(0.6), "added last": ANY}
    order = c08_proportional.Evidence(Estimate(0.5), orders, {}, {}, {})
    assert protocol.of_orders(order, tokens=9)["order of the parts"][0][2:4] == (0.5, 0.6)
    assert protocol.of_orders(order._replace(slope=None), tokens=9) == {}
    raw = c10_earlier.Evidence({"a": Estimate(0.5)}, {}, {"a": ANY}, {"a": Estimate(0.0)})
    assert protocol.of_controls(raw, tokens=None)["control of earlier layers"][0].change == ANY
    none = Absent("no SAE")
    assert protocol.of_slope(none) == protocol.of_depth(none) == protocol.of_orders(none, tokens=None) == {}
    assert protocol.of_controls(none, tokens=None) == {} and protocol.fewer(none, 9) is None
    assert protocol.fewer(3, 9) == 3 and protocol.fewer(9, 9) is None


def test_the_largest_change_of_each_choice_is_drawn_in_order_of_size():
    made = {"weight": [difference("R² of the error", 0.4, 0.4 + by, place=str(by)) for by in (0.1, -0.3)]}
    made |= {"together": [difference("R² of it", 0.4, 0.4002), relative("FVU", 1.0, 1.02, tokens=1500)]}
    found = {4: {"effects": to_json(protocol.as_recorded(made))}}
    drawn = protocol.largest(protocol.table(found))
    assert drawn["key"].to_list() == ["weight", "together", "together"]
    assert drawn["place"].to_list() == ["-0.3", "", ""]
    assert drawn["label"].to_list()[1] == "the three together\n+2.0% FVU (2k)"
    assert "by −0.30 with weight of dimensions, by +0.0002 with" in protocol.sentence(drawn)
    for nothing in (
        protocol.largest(protocol.table({})),
        protocol.largest(protocol.table(found), world=True),
    ):
        assert isinstance(nothing, Absent) and nothing.reason.endswith(".")
    chart = charts.forest(drawn, rules=[0])
    axis = chart.to_dict()["layer"][1]["encoding"]["y"]
    assert axis["sort"] == drawn["label"].to_list() and "split" in axis["axis"]["labelExpr"]
    assert isinstance(chart, alt.LayerChart)


@pytest.mark.parametrize("study", STUDIES)
def test_every_sentence_has_its_numbers_or_is_of_no_number(study):
    for number, values in records(study).items():
        if number == 15:
            continue  # it draws them
        told, known = set(values.get("protocol", {})), {one.key for one in CHOICES if one.chapter == number}
        assert set(values.get("effects", {})) <= told <= known, number
        left = told - set(values.get("effects", {})) - WITHOUT
        assert left <= {"low R² over parts", "low R² over depth"}, "where every point is dropped"
        for key in values.get("effects", {}):
            for one in effects(values, key):
                by = one.other - one.here
                by = by / one.here if one.unit == SHARE and key != "flat line" else by
                assert one.change.value == pytest.approx(by, rel=1e-3, abs=2e-5), key
                assert not one.change.low > one.change.value and not one.change.high < one.change.value, key


SAID = {
    "positions": lambda found: plain(found[0].other, 3),
    "centre": lambda found: f"FVU {plain(found[0].here, 3)} → {plain(found[0].other, 3)}",
    "intercept": lambda found: f"{plain(found[0].here, 3)} → {plain(found[0].other, 3)}",
    "split": lambda found: f"{plain(found[0].here, 3)} → {plain(found[0].other, 3)}",
    "rows": lambda found: f"{plain(found[0].here, 3)} → {plain(found[0].other, 3)}",
    "together": lambda found: span([-one.change.value for one in found], lambda value: plain(value, 4)),
    "weight": lambda found: span([one.change.value for one in found], lambda value: plain(value, 4)),
    "flat line": lambda found: f"{span([one.here for one in found], say.tenths)} per doubling",
    "order of the parts": lambda found: f"slope {plain(found[0].other)} added first",
    "control of earlier layers": lambda found: (
        f"reach {plain(max(one.other for one in found))}, as many directions of the raw activation "
        f"{plain(max(one.change.value for one in found))}"
    ),
}
"""By choice, what its sentence says of its numbers."""


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("key", SAID)
def test_a_sentence_says_the_numbers_that_are_recorded(study, key):
    for values in records(study).values():
        if "protocol" in values and (found := effects(values, key, R2 if key == "together" else None)):
            assert SAID[key](found) in values["protocol"][key]


@pytest.mark.parametrize("study", STUDIES)
def test_the_numbers_are_those_of_the_rest_of_the_record(study):
    found = records(study)
    near = lambda numbers: pytest.approx(numbers, rel=2e-5)
    ends = lambda changes: ([one.here for one in changes], [one.other for one in changes])
    if 2 in found:
        defined, steps = found[2]["definitions"], list(found[2]["steps"].values())
        names = (
            "pooled over dimensions, divided once (this book)",
            "centred by one scalar mean for all dimensions",
        )
        assert ends(effects(found[2], "centre")) == ([defined[names[0]]], [defined[names[1]]])
        for key in ("split", "intercept", "rows"):
            (one,) = effects(found[2], key)
            values = [step["FVU_nonlinear" if key == "rows" else "R² per dimension"] for step in steps]
            assert one.here in values and one.other in values and one.here != one.other
    if 4 in found:
        each, pooled = (found[4][f"R2 {name}"]["value"] for name in ("per dimension", "total"))
        here, other = ends(effects(found[4], "weight"))
        assert (here, other) == (near(pooled), near(each))
        assert ends(effects(found[4], "together", R2))[0] == near(each)
        split = found[4]["evidence"]["1"]["numbers"]["split"].values()
        changes = [-one.change.value for one in effects(found[4], "together", R2)]
        assert sorted(changes) == pytest.approx(sorted(split), abs=2e-6)
    if 5 in found and effects(found[5], "flat line"):
        taken = from_json(found[5]["evidence"]["4"]["numbers"]["change"])
        assert [one.here for one in effects(found[5], "flat line")] == [e.value for e in taken.values()]
    if 8 in found:
        (one,) = effects(found[8], "from itself")
        medians = found[8]["medians"]
        assert [one.here, one.other] == [medians[of]["NonlinearError"] for of in ("from itself", "from x")]
        lost = found[8]["protocol"]["low R² over parts"].partition(" ")[0]
        assert all((one.change.value == 0) == (lost == "0") for one in effects(found[8], "low R² over parts"))
    if 10 in found:
        for one in effects(found[10], "order of the parts"):
            assert one.here == found[10]["evidence"]["8"]["numbers"]["slope"]["value"]
    if 12 in found:
        sites = {one.place: one for one in effects(found[12], "control of earlier layers")}
        taken = found[12]["evidence"]["10"]["numbers"]
        assert {site: one.other for site, one in sites.items()} == near(
            {site: e["value"] for site, e in taken["sae"].items()}
        )
        assert all(one.change == from_json(taken["raw"][site]) for site, one in sites.items())


@pytest.mark.parametrize("study", STUDIES)
def test_the_report_draws_them_for_a_language_model_and_says_so_of_a_simulated_one(study):
    found = records(study)
    if 15 not in found:
        return
    assert ("fig-protocol" in found[15]["findings"]) == (study != "world")
    if study == "world":
        return
    drawn = pd.DataFrame(found[15]["effects"])
    assert protocol.sentence(drawn) == found[15]["findings"]["fig-protocol"]
    names = {one.key: one.name for one in CHOICES}
    told = {key for values in found.values() for key in values.get("protocol", {}) if key in names}
    missing = found[15]["not drawn"]
    assert all(
        (key in set(drawn["key"])) != (names[key] in missing) for key in told & WITHOUT | set(drawn["key"])
    )

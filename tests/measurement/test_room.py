"""On a live study every estimate lies inside of its interval; values and intervals are of one estimator."""

from dataclasses import replace

import numpy as np
import pytest
from room import estimates_in, without_room

from darkmatter_utils import measure
from darkmatter_utils.experiments.error_norms import error_norms
from darkmatter_utils.experiments.error_vectors import error_vectors
from darkmatter_utils.experiments.floors import fit_floor, left_out
from darkmatter_utils.experiments.norm_test import norm_test
from darkmatter_utils.experiments.scaling import per_doubling
from darkmatter_utils.measurement import about
from darkmatter_utils.measurement.harvest import METRICS, NORMS
from darkmatter_utils.measurement.widths import width_suite
from darkmatter_utils.studies.study import Study


def test_both_poles_of_the_check_itself():
    inside, edge = {"value": 0.5, "low": 0.4, "high": 0.6}, {"value": 0.5, "low": 0.499, "high": 0.6}
    assert not without_room({"a": inside}) and without_room({"a": [edge]}) == [
        "/a[0]/value[0]: 0.5 [0.499, 0.6]"
    ]
    columns = {"x": [0.5, 0.5], "x_low": [0.4, 0.5], "x_high": [0.6, 0.6]}
    assert len(list(estimates_in(columns))) == 2 and len(without_room(columns)) == 1
    assert not without_room(
        [{"value": 1.0, "low": 1.0, "high": 1.1}, {"value": 3.0, "low": None, "high": None}]
    )


def squared(x, reconstruction):
    return ((x - reconstruction) ** 2).sum(dim=1)


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


def test_no_estimate_of_a_measurement_is_at_an_end(nano):
    assert not without_room(nano.saes) and not without_room(nano.paper)
    apart = [abs(nano.saes[f"{name}_held_out"] - nano.saes[name]).max() for name in (*METRICS, *NORMS)]
    assert np.count_nonzero(apart) == len(apart) - 1  # FVU alone has no map in it


def test_nor_of_what_is_regressed_on_x(nano):
    vectors = error_vectors(nano, error=lambda x, reconstruction: x - reconstruction)
    norms = error_norms(nano, target=squared)
    both = norm_test(nano, size=lambda z: (z**2).sum(dim=1), contexts=120)
    tables = [table for found in (vectors, norms, both) for table in found.values() if len(table)]
    assert sum(len(list(estimates_in(table))) for table in tables) > 400
    assert not [line for table in tables for line in without_room(table)]


def test_too_few_documents_leave_the_numbers_and_take_the_intervals():
    few = measure(replace(Study.load("nano"), contexts=30))
    assert few.card["documents"] == 15 and "15 documents are fewer" in about.of_study(few)[0]
    suite = width_suite(few, "fvu_nonlinear")
    told = [per_doubling(suite), fit_floor(suite).c, *suite.estimates().values()]
    assert all(np.isfinite(e.value) and np.isnan([e.low, e.high]).all() for e in told)
    assert np.isfinite(left_out(suite)["predicted"]).all()

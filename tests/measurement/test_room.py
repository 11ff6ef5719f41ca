"""On a live study every estimate lies inside of its interval; values and intervals are of one estimator."""

import numpy as np
import pytest
from ideas import idea
from room import estimates_in, without_room

from darkmatter_utils import measure
from darkmatter_utils.experiments.error_norms import error_norms
from darkmatter_utils.experiments.error_vectors import error_vectors
from darkmatter_utils.experiments.norm_test import norm_test
from darkmatter_utils.measurement.harvest import METRICS, NORMS


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


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


def test_no_estimate_of_a_measurement_is_at_an_end(nano):
    assert not without_room(nano.saes) and not without_room(nano.paper)
    apart = [abs(nano.saes[f"{name}_held_out"] - nano.saes[name]).max() for name in (*METRICS, *NORMS)]
    assert np.count_nonzero(apart) == len(apart) - 1  # FVU alone has no map in it


def test_nor_of_what_is_regressed_on_x(nano):
    found = error_vectors(nano, error=idea(4)) | error_norms(nano, target=idea(3))
    found |= norm_test(nano, size=idea(8), contexts=120)
    tables = {name: table for name, table in found.items() if len(table)}
    told = {name: without_room(table) for name, table in tables.items()}
    assert sum(len(list(estimates_in(table))) for table in tables.values()) > 500
    assert not {name: lines for name, lines in told.items() if lines}

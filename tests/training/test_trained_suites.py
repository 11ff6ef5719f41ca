"""The check by trained suites: nothing is shared between suites, and what ships is what the code makes."""

import numpy as np
import pandas as pd
import pytest

from darkmatter_utils.experiments import coverage
from darkmatter_utils.training import trained_suites

WIDTHS, SAMPLES = {64: 2, 128: 1}, 102_400


@pytest.fixture(scope="module")
def small():
    return trained_suites.trained(0, widths=WIDTHS, samples=SAMPLES)


def test_no_two_suites_share_a_document_nor_training_and_scoring_one():
    made = trained_suites.world()
    seen = [
        int(trained_suites.documents(made, suite, part).document[end])
        for suite in (0, 1)
        for part in ("train", "score")
        for end in (0, -1)
    ]
    assert seen == sorted(set(seen))


def test_a_suite_has_its_saes_at_the_asked_l0_and_trained_ones_beat_the_mean(small):
    assert small.saes["width"].tolist() == [64, 64, 128] and small.saes["seed"].tolist() == [0, 1, 0]
    assert np.allclose(small.saes["l0"], trained_suites.L0, rtol=0.05)
    assert (small.saes["fvu"] < 0.9).all()
    assert np.allclose(small.saes["fvu"], small.saes["fvu_linear"] + small.saes["fvu_nonlinear"])
    assert small.saes["fvu"].iloc[0] != small.saes["fvu"].iloc[1]


def changes(value, half):
    rows = {"metric": "fvu_nonlinear", "seed_sd": 0.01, "change": value, "change_low": value - half}
    return pd.DataFrame(rows | {"change_high": value + half})


def test_right_intervals_hold_the_mean_of_the_others_and_short_ones_do_not():
    value = np.random.default_rng(0).standard_normal(400)
    right = coverage.scatter(changes(value, np.full(400, 1.96)))
    assert 0.9 < right["spread"] < 1.1 and 0.92 < right["inside"] / right["suites"] < 0.98
    short = coverage.scatter(changes(value, np.full(400, 0.196)))
    assert short["spread"] == pytest.approx(10 * right["spread"])
    assert short["inside"] < 0.3 * short["suites"]


def test_what_ships_is_ten_suites_with_intervals():
    found = coverage.trained_suites()
    assert found["suite"].nunique() == trained_suites.SUITES
    assert (found["change_low"] <= found["change"]).all() and (found["change"] <= found["change_high"]).all()
    assert coverage.scatter(found)["suites"] == trained_suites.SUITES

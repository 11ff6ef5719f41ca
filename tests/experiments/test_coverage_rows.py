"""The table of coverages: the truth of its worlds, its digest, and one row made again."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from darkmatter_utils import decompose
from darkmatter_utils.base.config import DATA
from darkmatter_utils.experiments import coverage
from darkmatter_utils.experiments.coverage import Setting


@pytest.mark.parametrize(
    "setting",
    [Setting(loud=0.3), Setting(loud=0.4, noisy=0.3, together=0.7, unequal=0.5), Setting(tails=9.0)],
)
def test_the_truth_is_what_very_many_documents_give(setting):
    x, error, document = coverage.simulate(setting._replace(documents=40_000), np.random.default_rng(0))
    assert len(np.unique(document)) == 40_000 and x.shape[1] == setting.d
    found = decompose(x, x - error, document=document, bootstrap=0)
    for key, value in coverage.truth(setting).items():
        assert getattr(found, key).value == pytest.approx(value, rel=0.03)


def test_what_ships_is_whole_and_of_these_settings():
    found = coverage.shipped()
    assert list(found["setting"].unique()) == list(coverage.SETTINGS)
    assert (found.groupby("setting")["quantity"].agg(list).map(tuple) == tuple(coverage.QUANTITIES)).all()
    assert (found["draws"] >= 200).all() and (found["hits"] <= found["given"]).all()
    told = found[found["given"] > 0]
    assert (told["low"] <= told["value"]).all() and (told["value"] <= told["high"]).all()
    assert (found.loc[found["given"] == 0, "value"].isna()).all()
    assert (DATA / "calibration" / "manifest.json").is_file()


@pytest.mark.parametrize("name", ["documents differ mildly", "very loud documents, loud ones worse"])
def test_a_row_made_again_with_other_draws_agrees(name):
    shipped = coverage.shipped()
    again = pd.DataFrame(coverage.row(name, draws=60, seed=1))
    for new in again.itertuples():
        (old,) = shipped[(shipped["setting"] == name) & (shipped["quantity"] == new.quantity)].itertuples()
        table = [[r.hits, r.given - r.hits] for r in (new, old)]
        assert fisher_exact(table).pvalue > 0.001, (name, new.quantity, table)


def test_where_the_book_gives_no_interval_a_row_says_so():
    (few,) = {r["given"] for r in coverage.row("10 documents", draws=2)}
    assert few == 0

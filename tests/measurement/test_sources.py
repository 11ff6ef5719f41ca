"""Sources of documents: their scores from kept sums, and the interval over them."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy import stats

from darkmatter_utils import measure
from darkmatter_utils.base import cache
from darkmatter_utils.claims import c01_half_linear
from darkmatter_utils.experiments.error_norms import error_norms, norm_linear
from darkmatter_utils.experiments.error_vectors import error_vectors, half_linear
from darkmatter_utils.experiments.scaling import per_doubling
from darkmatter_utils.measurement import sources
from darkmatter_utils.measurement.harvest import METRICS, NORMS
from darkmatter_utils.measurement.widths import width_suite
from darkmatter_utils.studies.study import Study

SIZES = {"a": 30, "b": 20, "c": 10}
"""Documents of each source: the nano study's 60, which name none."""


def change(measurement):
    return per_doubling(width_suite(measurement, "fvu_nonlinear")).value


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The nano study with sources."""
    nano = Study.load("nano")
    folder = shutil.copytree(nano.data_folder(), tmp_path_factory.mktemp("sources") / "data")
    tokens = dict(np.load(folder / "tokens.npz"))
    names = [name for name, size in SIZES.items() for _ in range(size)]
    np.savez(folder / "tokens.npz", **tokens, score_source=np.array(names))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {k: v for k, v in cache.listed(folder).items() if k != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return measure(dataclasses.replace(nano, data=str(folder)))


def test_every_document_has_its_source_and_every_source_its_share(measured):
    assert measured.documents["source"].value_counts().to_dict() == SIZES
    assert sources.shares(measured) == pytest.approx({"a": 1 / 2, "b": 1 / 3, "c": 1 / 6})
    assert sources.shares(measure("nano")) == {} == sources.by_source(measure("nano"), "fvu", "w32")


@pytest.mark.parametrize("metric", [*METRICS, *NORMS])
def test_a_source_alone_is_not_all_and_ratios_of_sums_add_up(measured, metric):
    alone = sources.by_source(measured, metric, "w32")
    without = sources.by_source(measured, metric, "w32", kind=sources.WITHOUT)
    assert list(alone) == list(without) == list(SIZES) and len(set(alone.values())) == 3
    whole = measured.sae("w32")[metric]
    assert min(without.values()) < whole < max(without.values())
    spread = np.ptp(list(alone.values()))
    assert (
        np.ptp(list(without.values())) < spread
    )  # two thirds and more of the tokens differ less than a third


def test_the_interval_over_sources_is_the_jackknife_over_them(measured):
    """Of the mean error a token, of which closed forms are known: see `over_groups`."""
    fvu = lambda m: float(m.sae("w32")["fvu"])
    e, share = sources.over_sources(measured, fvu), np.array(list(sources.shares(measured).values()))
    h, left = 1 / share, np.array(list(sources.by_source(measured, "fvu", "w32", kind="without").values()))
    values = h * e.value - (h - 1) * left
    centre = 3 * e.value - ((1 - share) * left).sum()
    error = np.mean((values - centre) ** 2 / (h - 1)) ** 0.5
    assert e.value == measured.sae("w32")["fvu"]
    assert e.high - e.value == pytest.approx(stats.t.ppf(0.975, 2) * error)
    assert np.isnan(sources.over_sources(measure("nano"), fvu).low)


def test_any_statistic_of_a_measurement_is_had_by_source(measured):
    slopes = sources.each(measured, change)
    assert len(set(slopes.values())) == 3 and change(measured) == pytest.approx(
        np.mean(list(slopes.values())), abs=0.05
    )
    table = sources.told(measured, {"slope": change, "FVU": lambda m: m.sae("w32")["fvu"]})
    assert table["documents"].tolist() == ["all", *(f"without {name}" for name in SIZES)]
    assert table["tokens"].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 5 / 6])
    assert [e.value for e in table["slope, of that source alone"][1:]] == list(slopes.values())
    first, *left = table["FVU"]
    assert first.low < first.value < first.high and np.isnan([e.low for e in left]).all()
    assert not sources.told(measure("nano"), {"slope": change})


def test_what_claims_1_and_2_take_by_source_is_the_measurements(measured):
    vectors = half_linear(error_vectors.anew(measured, error=lambda x, reconstruction: x - reconstruction))
    size = lambda x, reconstruction: ((x - reconstruction) ** 2).sum(dim=1)
    norms = norm_linear(error_norms.anew(measured, target=size))
    for found, metric in ((vectors.sources, "r2_per_dim"), (norms.sources, "norm_error")):
        assert list(found) == list(SIZES) and all(list(one) == [16, 32, 64, 128] for one in found.values())
        alone = {id: sources.by_source(measured, metric, id) for id in ("w16", "w32", "w32-seed1")}
        for name, by_width in found.items():
            of_32 = np.mean([alone[id][name] for id in ("w32", "w32-seed1")])
            assert (by_width[16], by_width[32]) == pytest.approx((alone["w16"][name], of_32), rel=1e-4)
    told = c01_half_linear.CLAIM.judge(vectors).numbers["about half"]
    assert told["sources"][1] == len(SIZES)

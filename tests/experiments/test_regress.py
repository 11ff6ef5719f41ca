"""Any target regressed on x: with the published targets the measurement's own numbers, with others a plain
regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from darkmatter_utils import measure
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.decomposition.passes import PARTS
from darkmatter_utils.experiments.regress import noisier, of, of_each, regress
from darkmatter_utils.measurement.harvest import NORMS
from darkmatter_utils.stats.fits import cross_fit, moments_by_fold
from darkmatter_utils.studies.activations import Activations


@pytest.fixture(scope="module")
def nano():
    return measure("nano")


def squared(z):
    return (z**2).sum(dim=1)


def same(found, measurement, metric):
    """The estimates, intervals included, and the replicates: a kept measurement may be of another kernel."""
    frame, replicates = found
    theirs = measurement.saes[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy()
    assert frame["id"].tolist() == measurement.saes["id"].tolist()
    np.testing.assert_allclose(frame[["value", "low", "high"]], theirs, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        frame["held_out"], measurement.saes[f"{metric}_held_out"], rtol=1e-5, atol=1e-7
    )
    if metric in measurement.replicates:
        np.testing.assert_allclose(replicates, measurement.replicates[metric], rtol=1e-5, atol=1e-7)


def test_the_squared_norm_is_the_norm_test_of_the_measurement(nano):
    found = regress(nano, of(lambda x, reconstruction: squared(x - reconstruction)))
    same(found.r2(), nano, "norm_error")


def test_the_error_vector_is_the_vector_test_of_the_measurement(nano):
    found = regress(nano, of(lambda x, reconstruction: x - reconstruction))
    same(found.r2(), nano, "r2_total")
    same(found.r2("each"), nano, "r2_per_dim")


def test_the_squared_norm_of_each_part_is_the_measurement_s(nano):
    found = regress(nano, of_each({id: nano.maps(id).maps for id in nano.saes["id"]}, squared))
    for metric, part in NORMS.items():
        same(found.r2(only=PARTS.index(part)), nano, metric)


def test_any_target_is_a_plain_regression_out_of_fold(nano):
    found = regress(nano, of(lambda x, reconstruction: (x - reconstruction).abs().sum(dim=1)))
    x = torch.cat([b.x for b in Activations(nano.study).batches(scored=True)]).double().numpy()
    tokens = nano.tokens[nano.tokens["scored"]]
    fold = tokens["fold"].to_numpy()
    hat = np.concatenate([_reconstruction(nano, batch) for batch in Activations(nano.study).batches()])
    y = np.abs(x - hat).sum(axis=1)
    left = sum(
        ((y - LinearRegression().fit(x[fold != k], y[fold != k]).predict(x)) ** 2)[fold == k].sum()
        for k in range(nano.study.folds)
    )
    frame, _ = found.r2()
    assert frame.set_index("id")["held_out"]["w32"] == pytest.approx(
        1 - left / ((y - y.mean()) ** 2).sum(), rel=1e-9
    )


def _reconstruction(measurement, batch):
    from darkmatter_utils.studies.saes import load_saes

    sae = next(s for s in load_saes(measurement.study) if s.id == "w32")
    return sae.reconstruct(batch.source)[0][torch.from_numpy(batch.scored)].double().numpy()


def test_numpy_ideas_are_taken_and_wrong_shapes_are_named(nano):
    one = regress(nano, of(lambda x, r: np.linalg.norm(x - r, axis=1, keepdims=True) ** 2))
    assert one.r2()[0]["value"][0] == pytest.approx(nano.saes["norm_error"][0], rel=1e-6)
    with pytest.raises(BadInput, match="one row a token"):
        regress(nano, of(lambda x, reconstruction: (x - reconstruction).sum()))


def test_a_noisier_map_errs_twice_as_much():
    """Mean square of what a map's prediction is off, on tokens of its own fold; with two folds nothing is."""
    rng, off = np.random.default_rng(3), []
    for _ in range(10):
        x, noise = (torch.from_numpy(rng.standard_normal((1500, 8))) for _ in range(2))
        fold = np.arange(1500) % 5
        maps = cross_fit(moments_by_fold(x, x + noise, fold)).maps
        own = x[fold == 2]
        off.append([float(((z - own) ** 2).mean()) for z in (maps[2](own), noisier(maps, 2, own))])
    once, twice = np.mean(off, axis=0)
    assert twice / once == pytest.approx(2, rel=0.15)
    two = cross_fit(moments_by_fold(x, x + noise, np.arange(1500) % 2)).maps
    assert torch.equal(noisier(two, 0, x), two[0](x))


def test_one_r2_less_another_is_paired(nano):
    found = regress(nano, of_each({id: nano.maps(id).maps for id in nano.saes["id"]}, squared))
    (more, _), (less, _) = (found.r2(only=i) for i in (2, 4))
    both, drawn = found.r2("less", only=(2, 4))
    assert np.allclose(both["value"], more["value"] - less["value"])
    inside = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
    assert np.allclose(inside, both[["low", "high"]].to_numpy().T, atol=1e-9)

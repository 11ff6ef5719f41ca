"""Worlds against their own closed forms, and null SAEs at their poles."""

import math

import numpy as np
import pytest
import torch

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.studies.study import Study
from darkmatter_utils.worlds.known import (
    WORLD_PARTS,
    WorldBatch,
    feature_covariance,
    feature_variance,
    tokens_of,
)
from darkmatter_utils.worlds.saes import DeadSae, OracleSae, RandomSae, ShrunkSae, null_sae
from darkmatter_utils.worlds.world import World

RICH = World(
    d_model=16,
    features=200,
    context=64,
    l0=6,
    hierarchy=0.4,
    topics=5,
    topic_boost=2.5,
    common=0.3,
    manifolds=3,
    manifold_arc=2.0,
    dense=0.2,
    curved=0.1,
    noise=0.1,
    heteroscedastic=0.7,
    document_share=0.3,
    scale_document=0.2,
    scale_token=0.3,
    huge_mean=30.0,
    seed=1,
)
"""Every dial turned."""
ERRORS = {
    "gain": 0.9,
    "gain_spread": 0.1,
    "wrong": 0.3,
    "missed": 0.1,
    "false_fires": 1.5,
    "interference": 0.2,
}
FIELDS = ("x", "document", "position", "token", "row", "feature", "value")


def codes_of(batch, features):
    """The coefficients of the first features as a dense matrix."""
    dense, kept = torch.zeros(len(batch.x), features, dtype=batch.x.dtype), batch.feature < features
    dense[batch.row[kept], batch.feature[kept]] = batch.value[kept]
    return dense


def linear(error, x, train):
    """FVU, FVU_nonlinear and R² of the error outside ``train``, under a map fitted inside it."""
    x1 = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    weight = torch.linalg.lstsq(x1[train], error[train]).solution
    left = (error - x1 @ weight)[~train].square().sum()
    e, total = error[~train], (x[~train] - x[~train].mean(0)).square().sum()
    return e.square().sum() / total, left / total, 1 - left / (e - e.mean(0)).square().sum()


@pytest.mark.parametrize("dials", [{}, {"l0": 3}, ERRORS])
def test_the_parts_sum_to_x_and_to_its_reconstruction(dials):
    batch, sae = tokens_of(RICH, 4), OracleSae("a", RICH, 50, **dials)
    assert torch.equal(sum(batch.parts[name] for name in WORLD_PARTS), batch.x)
    assert torch.allclose(
        codes_of(batch, RICH.features) @ RICH.directions, batch.parts["features"], atol=1e-12
    )
    parts, (x_hat, _) = sae.parts(batch), sae.reconstruct(batch)
    assert torch.allclose(parts.learned + parts.absent + parts.dense, batch.x, atol=1e-12)
    assert torch.allclose(parts.learned + parts.introduced, x_hat, atol=1e-12)
    assert torch.allclose(batch.x - x_hat, parts.absent + parts.dense - parts.introduced, atol=1e-12)
    assert bool(parts.introduced.any()) == sae.introduces == (dials is ERRORS)


def test_a_document_is_the_same_however_documents_are_batched():
    whole = tokens_of(RICH, 7)
    again = WorldBatch.join([tokens_of(RICH, 4), RICH.document(4), RICH.document(5), RICH.document(6)])
    tail = WorldBatch.join([RICH.document(4), RICH.document(5), RICH.document(6)])
    sae = OracleSae("a", RICH, 50, l0=4, **ERRORS)
    for name in FIELDS:
        assert torch.equal(getattr(whole, name), getattr(again, name))
    assert torch.equal(whole.x[whole.document >= 4], tail.x)
    for ours, theirs in zip(sae.reconstruct(whole), sae.reconstruct(tail), strict=True):
        assert torch.equal(ours[whole.document >= 4], theirs)
    assert whole.document.unique().tolist() == list(range(7)) and whole.position.max() == RICH.context - 1
    assert not torch.equal(World(seed=2).document(0).x, World(seed=3).document(0).x)


def test_frequencies_are_as_asked_and_children_need_their_parents():
    batch = tokens_of(RICH, 400)
    fires = torch.zeros(400, RICH.context, RICH.features)
    fires[batch.document[batch.row], batch.position[batch.row], batch.feature] = 1
    assert RICH.frequency.sum() == pytest.approx(RICH.l0) and RICH.frequency.max() <= RICH.cap
    law = RICH.frequency[RICH.frequency < RICH.cap]
    assert np.all(np.diff(law) < 0) and law[-1] / law[-100] == pytest.approx((200 / 101) ** -RICH.exponent)
    by_document = fires.mean(1)
    doubt = (by_document.std(0) / math.sqrt(400)).clamp(1e-4)
    score = (by_document.mean(0) - torch.from_numpy(RICH.frequency)) / doubt
    assert float(score.abs().max()) < 5.5 and abs(float(score.mean())) < 0.5
    child = np.flatnonzero(~RICH.root)
    assert 0.3 < len(child) / RICH.features < 0.5 and np.all(RICH.parent[child] < child)
    assert bool((fires[:, :, child] <= fires[:, :, RICH.parent[child]]).all())
    assert bool((batch.value > 0).all())


def test_the_token_of_a_row_is_its_strongest_feature():
    batch = tokens_of(RICH, 60)
    codes = codes_of(batch, RICH.features)
    some = codes.amax(1) > 0
    assert torch.equal(batch.token[some], codes.argmax(1)[some])
    assert bool((batch.token[~some] == RICH.features).all()) and bool((~some).any())


def test_topics_make_documents_differ():
    """The variance between documents of a feature's firing rate is what the topic's levels say."""
    world = World(d_model=8, features=40, context=512, l0=4, cap=0.1, exponent=0.0, topics=4)
    batch = tokens_of(world, 400)
    cell = batch.document[batch.row] * 40 + batch.feature
    rate = torch.bincount(cell, minlength=400 * 40).view(400, 40) / 512
    (on, off), q = world.topic_levels, world.topic_share
    assert q * on + (1 - q) * off == pytest.approx(1)
    p, excess = 0.1, q * on**2 + (1 - q) * off**2 - 1
    expected = p**2 * excess + (p - p**2 * (1 + excess)) / 512
    assert float(rate.var(0).mean()) == pytest.approx(expected, rel=0.05)


def test_the_closed_form_equals_a_large_simulation():
    batch = tokens_of(RICH, 2000)
    truth = RICH.truth(40)
    x = batch.x.numpy()
    assert np.abs(x.mean(0) - truth.mean).max() < 0.02
    np.testing.assert_allclose(np.cov(x.T), truth.covariance, atol=0.03 * np.abs(truth.covariance).max())
    sae = OracleSae("a", RICH, 40)
    parts, total = sae.parts(batch), np.trace(truth.covariance)
    ours = {"learned": parts.learned, "absent": parts.absent} | {n: batch.parts[n] for n in WORLD_PARTS[2:]}
    for name, share in truth.shares.items():
        assert float(ours[name].var(0).sum() / total) == pytest.approx(share, rel=0.05), name
    error = batch.x - sae.reconstruct(batch)[0]
    fvu, nonlinear, r2 = linear(error, batch.x, batch.document % 2 == 0)
    assert float(r2) == pytest.approx(truth.r2_total, abs=0.01)
    assert float(nonlinear) == pytest.approx(truth.fvu_nonlinear, abs=0.01)
    assert truth.fvu == pytest.approx(truth.fvu_linear + truth.fvu_nonlinear)


@pytest.mark.parametrize("dials", [{}, {"hierarchy": 0.3}, {"topics": 5}, {"hierarchy": 0.3, "topics": 5}])
def test_the_variance_of_all_features_is_the_trace_of_their_covariance(dials):
    world = World(d_model=24, features=300, l0=6, **dials)
    directions = world.directions.numpy()
    trace = np.trace(feature_covariance(world, directions)[1])
    assert feature_variance(world, directions) == pytest.approx(trace, rel=1e-12)


def test_what_directions_have_in_common_is_their_mean_and_makes_the_squared_norm_linear():
    plain, shared = (World(d_model=64, features=2000, l0=12, common=c) for c in (0.0, 0.4))
    assert float(plain.directions.mean(0).norm()) < 0.05
    assert float(shared.directions.mean(0).norm()) == pytest.approx(0.4 / math.sqrt(1.16), abs=0.03)
    assert torch.allclose(shared.directions.norm(dim=1), torch.ones(2000, dtype=torch.float64))

    def r2(world):
        batch = tokens_of(world, 30)
        square = batch.x.square().sum(1, keepdim=True)
        return float(linear(square, batch.x, batch.document < 15)[2])

    assert r2(shared) > r2(plain) + 0.3


def test_the_linear_share_of_a_dense_part_worked_by_hand():
    """Only isotropic noise is left of x: R² is the mean of σ²/λ over the eigenvalues λ of cov(x)."""
    world = World(d_model=12, features=100, context=256, l0=5, noise=0.3)
    truth = world.truth(100)
    sigma2 = 0.3 / 1.3 * np.trace(truth.covariance) / 12
    assert truth.r2_total == pytest.approx((sigma2 / np.linalg.eigvalsh(truth.covariance)).mean())
    assert truth.fvu == pytest.approx(0.3 / 1.3) and truth.shares["absent"] == 0
    batch = tokens_of(world, 400)
    error = batch.x - OracleSae("a", world, 100).reconstruct(batch)[0]
    assert float(linear(error, batch.x, batch.document < 200)[2]) == pytest.approx(truth.r2_total, abs=0.01)


def test_without_superposition_absent_features_are_wholly_linear():
    """As many features as dimensions: x determines every coefficient by a linear map, so R² is 1."""
    truth = World(d_model=32, features=32, l0=4).truth(10)
    assert truth.fvu > 0.1 and truth.r2_total == pytest.approx(1)
    assert truth.fvu_nonlinear == pytest.approx(0, abs=1e-9)


def test_the_null_of_the_papers_reading():
    """d 64, 4,096 features, frequencies ∝ 1/i, L0 24: an SAE that only lacks features, and introduces none.

    From width 128 to 512 FVU falls by two fifths, FVU_nonlinear stays within 4% of 0.207, and about half of
    the error is linear. A wider grid tells: by width 2,048 FVU_nonlinear has halved.
    """
    world = World()
    truths = {width: world.truth(width) for width in (128, 256, 512, 2048)}
    floor = [truths[width].fvu_nonlinear for width in (128, 256, 512)]
    assert max(floor) / min(floor) < 1.07 and np.mean(floor) == pytest.approx(0.207, abs=0.002)
    assert truths[512].fvu / truths[128].fvu == pytest.approx(0.60, abs=0.01)
    assert [round(truths[width].r2_total, 1) for width in (128, 256, 512)] == [0.6, 0.5, 0.4]
    assert truths[2048].fvu_nonlinear < 0.5 * max(floor)
    batch = tokens_of(world, 120)
    for width in (128, 512):
        error = batch.x - OracleSae("a", world, width).reconstruct(batch)[0]
        fvu, nonlinear, r2 = linear(error, batch.x, batch.document < 60)
        assert float(fvu) == pytest.approx(truths[width].fvu, rel=0.03)
        assert float(nonlinear) == pytest.approx(truths[width].fvu_nonlinear, rel=0.03)
        assert float(r2) == pytest.approx(truths[width].r2_total, abs=0.02)


def test_a_shared_scale_makes_error_norms_predictable_and_noise_follows_the_fires():
    def norm_r2(**dials):
        world = World(d_model=32, features=300, l0=20, exponent=0.5, **dials)
        batch = tokens_of(world, 100)
        norm = (batch.x - OracleSae("a", world, 60).reconstruct(batch)[0]).square().sum(1, keepdim=True)
        return float(linear(norm, batch.x, batch.document < 50)[2])

    assert norm_r2() + 0.1 < norm_r2(scale_token=0.5)
    world = World(d_model=16, features=300, l0=6, noise=0.2, heteroscedastic=1.0)
    batch = tokens_of(world, 60)
    fired = torch.bincount(batch.row, minlength=len(batch.x)).double()
    noise = batch.parts["noise"].square().sum(1)
    assert bool((noise[fired == 0] == 0).all())
    for count in (3, 6, 9):
        expected = 0.2 * world._unit_variance * count / 6
        assert float(noise[fired == count].mean()) == pytest.approx(expected, rel=0.1)


def test_the_dense_code_moves_between_documents_and_the_curved_part_is_uncorrelated_with_it():
    world = World(
        d_model=8, features=50, context=64, l0=3, dense=1.0, curved=1.0, dense_rank=1, document_share=0.5
    )
    batch = tokens_of(world, 500)
    code = (batch.parts["dense"] @ batch.parts["dense"][0]).view(500, 64)
    curved = (batch.parts["curved"] @ batch.parts["curved"][0]).view(500, 64)
    assert float(code.mean(1).var() / code.var()) == pytest.approx(0.5, abs=0.07)
    assert abs(float(torch.corrcoef(torch.stack([code.flatten(), curved.flatten()]))[0, 1])) < 0.15
    assert float(torch.corrcoef(torch.stack([code.flatten() ** 2, curved.flatten()]))[0, 1].abs()) > 0.999


def test_manifolds_move_on_a_circle():
    world = World(d_model=8, features=50, l0=3, manifolds=1, manifold_frequency=0.5, spread=0.0)
    part = tokens_of(world, 20).parts["manifold"]
    length = part.norm(dim=1)
    on = length > 0
    assert torch.allclose(length[on], torch.ones(int(on.sum()), dtype=torch.float64))
    assert torch.linalg.matrix_rank(part, atol=1e-9) == 2 and float(part[on].mean(0).norm()) < 0.05


def test_what_the_dials_of_an_oracle_do():
    batch = tokens_of(RICH, 30)
    true = OracleSae("true", RICH, 80)
    mean, exact = batch.parts["mean"], true.parts(batch).learned
    shrunk, none = OracleSae("s", RICH, 80, gain=0.8), OracleSae("n", RICH, 80, missed=1.0)
    assert torch.allclose(shrunk.reconstruct(batch)[0] - mean, 0.8 * (exact - mean))
    assert torch.equal(none.reconstruct(batch)[0], mean) and int(none.reconstruct(batch)[1].sum()) == 0
    false = OracleSae("f", RICH, 80, missed=1.0, false_fires=2.0).reconstruct(batch)[1].double()
    assert 1.75 < float(false.mean()) <= 2.0 + 4 * math.sqrt(2 / len(batch.x))
    capped, l0 = OracleSae("c", RICH, 80, l0=2).reconstruct(batch)
    codes = codes_of(batch, 80)
    top = codes.topk(2, dim=1)
    expected = mean + torch.zeros_like(codes).scatter(1, top.indices, top.values) @ RICH.directions[:80]
    assert torch.allclose(capped, expected) and torch.equal(l0, (codes > 0).sum(1).clamp(max=2))
    full = OracleSae("o", World(d_model=4, features=9, l0=2, context=50), 9)
    sample = tokens_of(full.world, 3)
    assert torch.allclose(full.reconstruct(sample)[0], sample.x)
    assert (full.kind, shrunk.kind) == ("oracle", "introduced")


def test_interference_makes_an_introduced_error_that_follows_the_dense_part():
    batch = tokens_of(RICH, 60)
    parts = OracleSae("i", RICH, 80, interference=0.5).parts(batch)
    outside = parts.absent + parts.dense
    cosine = (parts.introduced * outside).sum() / (parts.introduced.norm() * outside.norm())
    assert float(cosine) > 0.2
    plain = OracleSae("w", RICH, 80, wrong=0.5).parts(batch)
    assert abs(float((plain.introduced * outside).sum() / (plain.introduced.norm() * outside.norm()))) < 0.05


def test_nulls_of_plain_arrays():
    x = np.random.default_rng(0).standard_normal((500, 10)) + 3
    mean = torch.from_numpy(x.mean(0))
    dead, shrunk = DeadSae("d", mean), ShrunkSae("s", mean, gain=0.7)
    random = RandomSae("r", mean, width=64, l0=4, seed=1)
    total = np.square(x - x.mean(0)).sum()

    def fvu(x_hat):
        return float(np.square(x - x_hat.numpy()).sum() / total)

    assert fvu(dead.reconstruct(x)[0]) == pytest.approx(1) and int(dead.reconstruct(x)[1].sum()) == 0
    assert fvu(shrunk.reconstruct(x)[0]) == pytest.approx(0.09)
    x_hat, l0 = random.reconstruct(x)
    assert 0.2 < fvu(x_hat) < 0.9 and int(l0.max()) == 4
    error, made = torch.from_numpy(x) - x_hat, x_hat - mean
    assert float((error * made).sum(1).abs().max()) < 1e-10  # the step is the best one
    single = RandomSae("r", mean.float(), width=64, l0=4, seed=1).reconstruct(torch.from_numpy(x).float())[0]
    assert single.dtype == torch.float32 and torch.allclose(single.double(), x_hat, atol=1e-4)


def test_the_world_study_is_small_and_every_entry_of_it_can_be_made():
    study = Study.load("world")
    settings = dict(study.world)
    documents = settings.pop("documents")
    world = World.of(settings)
    assert documents >= 150 and documents * world.context <= 60_000
    batch = tokens_of(world, 2)
    kinds = set()
    for entry in study.saes:
        sae = null_sae(
            entry.kind, id=entry.id, width=entry.width, world=world, seed=entry.seed, **entry.dials
        )
        x_hat, l0 = sae.reconstruct(batch)
        assert x_hat.shape == batch.x.shape and l0.shape == batch.token.shape and torch.isfinite(x_hat).all()
        kinds.add(sae.kind)
    assert kinds == {"oracle", "introduced", "dead", "shrunk", "random"}


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: World.of({"feature": 3}), "unknown key 'feature'.*features"),
        (lambda: World.of({"l0": "many"}), "a number"),
        (lambda: World.of({"features": 1.5}), "a whole number"),
        (lambda: World(features=10, l0=9), "at most cap"),
        (lambda: World(topics=2, topic_boost=10), "at most 1 / topic_share"),
        (lambda: World(noise=-1), "0 or more"),
        (lambda: World(common=-1), "0 or more"),
        (lambda: World(hierarchy=2), "between 0 and 1"),
        (lambda: RICH.truth(201), "0 .. 200"),
        (lambda: OracleSae("a", RICH, 0), "1 .. 200"),
        (lambda: null_sae("oracel", id="a", world=RICH), "oracle"),
        (lambda: null_sae("oracle", id="a", width=3, world=RICH, gian=1.0), "gain"),
        (lambda: null_sae("oracle", id="a", width=3, world=RICH, gain=0.5), "introduced"),
        (lambda: null_sae("introduced", id="a", width=3, world=RICH), "oracle"),
        (lambda: null_sae("oracle", id="a", width=3), "simulated world"),
        (lambda: null_sae("dead", id="a"), "mean"),
    ],
)
def test_bad_input_is_named(make, says):
    with pytest.raises(BadInput, match=says):
        make()

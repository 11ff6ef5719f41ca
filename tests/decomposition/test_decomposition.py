"""The decomposition: its laws, both poles, and every score fold by fold against scikit-learn."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.decomposition.decompose import decompose, score
from darkmatter_utils.decomposition.passes import PARTS, FirstPass, SecondPass, ThirdPass

D, DOCUMENTS = 12, 40


def world(kind="plain", seed=0):
    """x, reconstruction, document: an error that is partly linear, in documents that differ."""
    rng = np.random.default_rng(seed)
    document = np.repeat(rng.permutation(900)[:DOCUMENTS], rng.integers(20, 60, size=DOCUMENTS))
    x = rng.normal(size=(len(document), D)) + 0.5 * rng.normal(size=(901, D))[document]
    error = 0.3 * x @ rng.normal(size=(D, D)) / D**0.5 + 0.2 * np.abs(x) + 0.1 * rng.normal(size=x.shape)
    if kind == "huge means":
        x[:, :3] += [1e4, -1e5, 1e6]
    if kind == "rank deficient":
        x[:, 5], x[:, 7] = 2 * x[:, 4] - x[:, 3], 3.0
    if kind == "low rank":
        x = x[:, :4] @ rng.normal(size=(4, D))
    if kind == "duplicated documents":
        half = document < np.median(document)
        x = np.concatenate([x[half], x[half]])
        error = np.concatenate([error[half], error[half]])
        document = np.concatenate([document[half], document[half] + 1000])
    reconstruction = x - error
    if kind == "float16":
        x, reconstruction = (x * 4).astype(np.float16), (reconstruction * 4).astype(np.float16)
    if kind == "float32 torch":
        x, reconstruction = (torch.from_numpy(a).float() for a in (x, reconstruction))
    return x, reconstruction, document


KINDS = (
    "plain",
    "huge means",
    "rank deficient",
    "low rank",
    "duplicated documents",
    "float16",
    "float32 torch",
)
EXACT = ("plain", "float16", "float32 torch")
"""Of these scikit-learn itself keeps ten digits."""


def exact(array):
    return array.double().numpy() if isinstance(array, torch.Tensor) else array.astype(np.float64)


def plain_decomposition(x, reconstruction, document, fold, ridge):
    """Every score of every fold and of all, with scikit-learn, arrays and loops."""
    x, error = exact(x), exact(x) - exact(reconstruction)
    fold_of_token = np.array([fold[int(d)] for d in document])

    def out_of_fold(features, target):
        predicted = np.empty_like(target)
        for k in range(max(fold.values()) + 1):
            training = fold_of_token != k
            model = LinearRegression(tol=1e-7) if ridge == 0 else Ridge(ridge, solver="svd")
            model.fit(features[training], target[training])
            predicted[~training] = model.predict(features[~training]).reshape(predicted[~training].shape)
        return predicted

    linear = out_of_fold(x, error)
    parts = dict(zip(PARTS, (x, x - error, error, linear, error - linear)))
    norms = {part: (z**2).sum(1) for part, z in parts.items()}
    predicted = {part: out_of_fold(x, norms[part]) for part in PARTS}
    own = {part: out_of_fold(z, norms[part]) for part, z in parts.items()}

    def scores(rows):
        variance = ((x[rows] - x[rows].mean(0)) ** 2).sum()
        nonlinear = ((error - linear)[rows] ** 2).sum() / variance
        fvu = (error[rows] ** 2).sum() / variance
        answer = {
            "fvu": fvu,
            "fvu_linear": fvu - nonlinear,
            "fvu_nonlinear": nonlinear,
            "r2_total": r2_score(error[rows], linear[rows], multioutput="variance_weighted"),
            "r2_per_dim": r2_score(error[rows], linear[rows]),
        }
        for part in PARTS:
            answer[f"norm_r2 {part}"] = r2_score(norms[part][rows], predicted[part][rows])
            answer[f"norm_r2_self {part}"] = r2_score(norms[part][rows], own[part][rows])
        return answer

    return [scores(fold_of_token == k) for k in range(max(fold.values()) + 1)], scores(slice(None))


@pytest.mark.parametrize("ridge", [0.0, 20.0])
@pytest.mark.parametrize("kind", KINDS)
def test_fold_by_fold_as_scikit_learn(kind, ridge):
    x, reconstruction, document = world(kind)
    ours = decompose(x, reconstruction, document=document, ridge=ridge, bootstrap=0)
    folds, overall = plain_decomposition(x, reconstruction, document, ours.fold, ridge)
    estimates = ours.estimates()
    assert set(estimates) == set(overall)
    as_exact = 1e-10 if kind in EXACT else 1e-6
    for name in overall:
        assert ours.held_out[name] == pytest.approx(overall[name], abs=as_exact), name
        for k, scores in enumerate(folds):
            assert ours.per_fold[name][k] == pytest.approx(scores[name], abs=as_exact), (name, k)


def test_parts_sum_to_x_and_the_residual_is_orthogonal_to_x():
    x, reconstruction, document = world("huge means")
    linear = decompose(x, reconstruction, document=document, bootstrap=0).linear_map(x)
    nonlinear = x - reconstruction - linear
    np.testing.assert_allclose(reconstruction + linear + nonlinear, x, rtol=1e-15, atol=1e-15)
    centred = (x - x.mean(0)) / x.std(0)
    assert np.abs(centred.T @ nonlinear).max() / len(x) < 1e-9


def test_both_poles():
    x, _, document = world()
    rng = np.random.default_rng(1)
    perfect = decompose(x, x, document=document, bootstrap=50)
    assert perfect.fvu.value == perfect.fvu_nonlinear.value == 0 and perfect.r2_total.value == 1
    assert perfect.held_out["fvu_nonlinear"] == 0 and perfect.held_out["r2_total"] == 1
    dead = decompose(x, np.full_like(x, 0.3), document=document, bootstrap=50)
    shrunk = decompose(x, 0.7 * x - 1, document=document, bootstrap=50)
    for linear in (dead, shrunk):
        assert linear.fvu_nonlinear.value == pytest.approx(0, abs=1e-20)
        assert linear.r2_total.value == linear.r2_per_dim.value == 1
        assert linear.fvu_linear.value == linear.fvu.value
    mean = decompose(x, np.broadcast_to(x.mean(0), x.shape), document=document, bootstrap=50)
    assert mean.fvu.value == pytest.approx(1) and mean.fvu.low <= mean.fvu.value
    noise = decompose(x, x - rng.normal(size=x.shape), document=document, bootstrap=50)
    assert noise.held_out["r2_total"] < -0.002 and noise.held_out["fvu_nonlinear"] > noise.fvu.value
    assert abs(noise.r2_total.value) < 0.002 and noise.r2_total.low < 0 < noise.r2_total.high


def test_two_documents_by_hand():
    # One dimension, two folds of two tokens; the error is 2 at x = 0 and 0 at x = 2 in one document, 0
    # and 2 in the other, so each fold's map is the other's line and misses by 2 everywhere; that of both is
    # the mean, which misses by 1.
    x, error = np.array([[0.0], [2.0], [0.0], [2.0]]), np.array([[2.0], [0.0], [0.0], [2.0]])
    answer = decompose(x, x - error, document=np.array([0, 0, 1, 1]), folds=2, bootstrap=0)
    held_out, best = answer.held_out, (16 + 2 * 4) / 3  # ((K − 1) held-out + K in-sample) / (2K − 1)
    assert answer.fvu.value == held_out["fvu"] == pytest.approx(8 / 4)
    assert held_out["fvu_nonlinear"] == pytest.approx(16 / 4) and held_out["fvu_linear"] == pytest.approx(-2)
    assert held_out["r2_total"] == held_out["r2_per_dim"] == pytest.approx(1 - 16 / 4)
    assert answer.fvu_nonlinear.value == pytest.approx(best / 4)
    assert answer.r2_total.value == answer.r2_per_dim.value == pytest.approx(1 - best / 4)
    assert answer.per_fold["tokens"].tolist() == [2, 2]


def shuffled_within_folds(document, fold):
    order = np.random.default_rng(2).permutation(len(document))
    return order[np.argsort([fold[int(d)] for d in document[order]], kind="stable")]


def assert_equal(a, b, tolerance=1e-9):
    for name, estimate in a.estimates().items():
        for field, value in estimate.to_dict().items():
            assert value == pytest.approx(getattr(b.estimates()[name], field), abs=tolerance), (name, field)


def test_shuffling_tokens_inside_a_fold_changes_nothing():
    x, reconstruction, document = world("huge means")
    ours = decompose(x, reconstruction, document=document, bootstrap=200)
    order = shuffled_within_folds(document, ours.fold)
    assert_equal(ours, decompose(x[order], reconstruction[order], document=document[order], bootstrap=200))


def test_batches_threads_and_shards_change_nothing(monkeypatch):
    x, reconstruction, document = world("huge means")
    ours = decompose(x, reconstruction, document=document, ridge="cv", bootstrap=200)
    monkeypatch.setattr("darkmatter_utils.stats.moments.CHUNK_ELEMENTS", 64 * 7 * D)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert_equal(ours, decompose(x, reconstruction, document=document, ridge="cv", bootstrap=200))
    finally:
        torch.set_num_threads(before)

    def streamed(new):
        shards = []
        for rows in np.array_split(np.arange(len(x)), 3):
            shards.append(new())
            for batch in np.array_split(rows, 5):
                shards[-1].update(x[batch], {"sae": reconstruction[batch]}, document[batch])
        return shards[2].merge(shards[0]).merge(shards[1])

    first = streamed(lambda: FirstPass(D, ["sae"], ours.fold))
    second = streamed(lambda: SecondPass(first, ridge="cv"))
    third = streamed(lambda: ThirdPass(second))
    assert_equal(ours, score(third, "sae", replicates=200))


def test_saes_side_by_side_are_saes_alone():
    x, reconstruction, document = world()
    others = {"a": reconstruction * 0.5, "b": reconstruction, "c": x * 0.9}
    alone = decompose(x, reconstruction, document=document, ridge="cv", bootstrap=100)
    first = FirstPass(D, list(others), alone.fold).update(x, others, document)
    second = SecondPass(first, ridge="cv")
    norms = np.zeros((len(x), 13))
    second.update(x, others, document, norms=norms)
    third = ThirdPass(second).update(x, others, document)
    assert_equal(alone, score(third, "b", replicates=100))
    error = x - reconstruction
    np.testing.assert_allclose(norms[:, third.norm_column("b", "SaeError")], (error**2).sum(1))
    np.testing.assert_allclose(norms[:, third.norm_column("a", "x")], (x**2).sum(1))
    nonlinear = norms[:, third.norm_column("b", "NonlinearError")].sum() / ((x - x.mean(0)) ** 2).sum()
    assert nonlinear == pytest.approx(alone.held_out["fvu_nonlinear"])
    assert score(third, "b", replicates=100).linear_map.ridge == alone.linear_map.ridge


def test_memory_mapped_and_scattered_documents(tmp_path):
    x, reconstruction, document = world()
    order = np.random.default_rng(4).permutation(len(x))
    np.save(tmp_path / "x.npy", x[order].astype(np.float32))
    np.save(tmp_path / "r.npy", reconstruction[order].astype(np.float32))
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "r.npy")]
    assert_equal(
        decompose(*mapped, document=document[order], bootstrap=50),
        decompose(
            x.astype(np.float32),
            reconstruction.astype(np.float32),
            document=torch.from_numpy(document),
            bootstrap=50,
        ),
    )


def test_results_can_be_read():
    x, reconstruction, document = world()
    ours = decompose(x, reconstruction, document=document, bootstrap=100, seed=3)
    answer = json.loads(ours.to_json())
    for name in ("fvu", "fvu_linear", "fvu_nonlinear", "r2_total", "r2_per_dim"):
        assert answer[name] == getattr(ours, name).to_dict()
        assert answer[name]["low"] < answer[name]["value"] < answer[name]["high"]
    assert set(answer["norm_r2"]) == set(PARTS) == set(ours.norm_r2) == set(ours.norm_r2_self)
    assert answer["tokens"] == len(x) and answer["documents"] == DOCUMENTS and answer["folds"] == 5
    assert (
        len(ours.estimates()) == 15
        and ours.estimates().keys() == ours.held_out.keys() == answer["held_out"].keys()
    )
    assert len(ours.fold_frame()) == 5 and ours.fold_frame()["tokens"].sum() == len(x)
    assert ours.replicates["fvu"].shape == (100,)
    assert ours.fvu.value == pytest.approx(ours.fvu_linear.value + ours.fvu_nonlinear.value)
    assert (
        json.loads(decompose(x, reconstruction, document=document, bootstrap=0).to_json())["fvu"]["low"]
        is None
    )


def test_no_interval_of_too_few_documents_or_tokens_and_it_says_so():
    x, reconstruction, document = world()
    fine = decompose(x, reconstruction, document=document, bootstrap=50)
    assert fine.doubts() == [] and np.isfinite(fine.fvu.low)
    few = document < np.unique(document)[19]
    small = decompose(x[few], reconstruction[few], document=document[few], bootstrap=50)
    assert small.documents == 19 and "19 documents" in small.doubts()[0]
    some = np.sort(np.random.default_rng(0).permutation(len(x))[: 5 * D - 1])
    thin = decompose(x[some], reconstruction[some], document=np.arange(len(some)), bootstrap=50)
    assert thin.doubts()[0].startswith("no interval") and "per dimension" in thin.doubts()[0]
    for answer in (small, thin):
        assert all(np.isfinite(e.value) and np.isnan(e.low) for e in answer.estimates().values())
        assert np.isnan(answer.replicates["fvu"]).all()


def test_scores_of_sources_and_without_them_are_those_of_their_documents_to_the_maps():
    x, reconstruction, document = world()
    ids = np.unique(document)
    first = FirstPass(D, ["sae"], decompose(x, x, document=document).fold)
    second = SecondPass(first.update(x, {"sae": reconstruction}, document)).update(
        x, {"sae": reconstruction}, document
    )
    third = ThirdPass(second).update(x, {"sae": reconstruction}, document)
    found = score(third, "sae", source={int(d): int(d >= ids[15]) for d in ids}, replicates=50)
    error = x - reconstruction
    for group, rows in enumerate((document < ids[15], document >= ids[15])):
        variance = ((x[rows] - x[rows].mean(axis=0)) ** 2).sum()
        assert found.per_source["fvu"][group] == pytest.approx((error[rows] ** 2).sum() / variance)
        assert found.per_source["tokens"][group] == rows.sum()
        assert found.without_source["r2_total"][group] == found.per_source["r2_total"][1 - group]
    parts = (found.per_source["fvu"] - found.per_source["fvu_nonlinear"], found.per_source["fvu_linear"])
    np.testing.assert_allclose(*parts)


BAD = {
    "one of strict, paper": {"protocol": "loose"},
    "40 documents cannot make 41 folds": {"folds": 41},
    "folds must be at least 2": {"folds": 1},
    "ridge must be": {"ridge": -1.0},
    "at least 3 folds": {"ridge": "cv", "folds": 2},
    "bootstrap must be": {"bootstrap": -1},
    'train is for protocol="paper"': {"train": np.ones(3, dtype=bool)},
    "document must be ints": {"document": np.zeros(3, dtype=int)},
    "document must be ints .*float64": {"document": np.zeros(len(world()[2]))},
    "one shape": {"reconstruction": np.zeros((5, D))},
    r"\[token, d_model\]": {"x": np.zeros(5)},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input(message):
    given = dict(zip(("x", "reconstruction", "document"), world())) | BAD[message]
    x, reconstruction = given.pop("x"), given.pop("reconstruction")
    with pytest.raises(BadInput, match=message) as caught:
        decompose(x, reconstruction, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_bad_numbers_name_token_and_document(protocol):
    x, reconstruction, document = world()
    x[700, 3] = np.nan
    with pytest.raises(BadInput, match=rf"x is NaN or infinite at token 700 \(document {document[700]}\)"):
        decompose(x, reconstruction, document=document, protocol=protocol)
    x[700, 3] = 0
    reconstruction[650, 0] = np.inf
    with pytest.raises(BadInput, match=rf"reconstruction.* at token 650 \(document {document[650]}\)"):
        decompose(x, reconstruction, document=document, protocol=protocol)

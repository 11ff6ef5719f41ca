"""protocol="paper" against the released code's formulas, written out on plain arrays."""

import numpy as np
import pytest
import torch
from test_decomposition import world

from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.decomposition.decompose import decompose, score_paper
from darkmatter_utils.decomposition.passes import PARTS
from darkmatter_utils.decomposition.released import TRAIN_SHARE, PaperPasses, train_rows


def r2(target, residual):
    """1 − residual / total sum of squares about the mean, averaged over dimensions."""
    return 1 - (residual**2).sum(0) / ((target - target.mean(0)) ** 2).sum(0)


def released(x, reconstruction, train):
    """Least squares without intercept on `train`, R² on the rest, FVU on all rows."""
    x, error = (
        torch.as_tensor(x).double(),
        torch.as_tensor(x).double() - torch.as_tensor(reconstruction).double(),
    )
    train = torch.as_tensor(train)

    def held_out(target):
        solution = torch.linalg.lstsq(x[train], target[train], driver="gelsd", rcond=1e-9).solution
        return target[~train] - x[~train] @ solution, solution

    residual, solution = held_out(error)
    variance = ((x - x.mean(0)) ** 2).sum()
    every = x @ torch.linalg.lstsq(x, error, driver="gelsd", rcond=1e-9).solution
    parts = dict(zip(PARTS, (x, x - error, error, every, error - every)))
    norms = {part: (z**2).sum(1, keepdim=True) for part, z in parts.items()}
    return {
        "fvu": (error**2).sum() / variance,
        "fvu_nonlinear": ((error - x @ solution) ** 2).sum() / variance,
        "r2_per_dim": r2(error[~train], residual).mean(),
        "r2_total": 1 - (residual**2).sum() / ((error[~train] - error[~train].mean(0)) ** 2).sum(),
        **{f"norm_r2 {part}": r2(norm[~train], held_out(norm)[0]).mean() for part, norm in norms.items()},
    }


@pytest.mark.parametrize("kind", ["plain", "huge means", "low rank", "float32 torch", "float16"])
def test_as_the_released_formulas(kind):
    x, reconstruction, document = world(kind)
    train = np.random.default_rng(0).random(len(x)) < 0.6
    ours = decompose(x, reconstruction, document=document, protocol="paper", train=train, bootstrap=50)
    for name, value in released(x, reconstruction, train).items():
        assert ours.estimates()[name].value == pytest.approx(float(value), abs=1e-6), name
    assert float(ours.linear_map.bias.abs().max()) == 0 and ours.protocol == "paper"


@pytest.mark.parametrize(
    "kind", ["plain", "float32 torch"]
)  # with huge means single precision loses the sixth digit
def test_as_the_released_code_in_its_single_precision(kind):
    """What the authors run: everything in float32, `lstsq` as it comes."""
    x, reconstruction, document = world(kind)
    train = np.random.default_rng(1).random(len(x)) < 0.6
    ours = decompose(x, reconstruction, document=document, protocol="paper", train=train, bootstrap=50)
    x, rows = torch.as_tensor(x).float(), torch.as_tensor(train)
    error = x - torch.as_tensor(reconstruction).float()
    solution = torch.linalg.lstsq(x[rows], error[rows]).solution
    variance = ((x - x.mean(0)) ** 2).sum()
    assert ours.fvu.value == pytest.approx(float((error**2).sum() / variance), abs=1e-4)
    assert ours.fvu_nonlinear.value == pytest.approx(
        float(((error - x @ solution) ** 2).sum() / variance), abs=1e-4
    )
    assert ours.r2_per_dim.value == pytest.approx(
        float(r2(error[~rows], error[~rows] - x[~rows] @ solution).mean()), abs=1e-4
    )


def test_streamed_in_batches_several_saes_at_once():
    random = np.random.default_rng(3)
    x, document = random.normal(size=(700, 8)) + 3, np.arange(700) // 28
    hats = {"a": x + random.normal(size=x.shape), "b": np.tanh(x) @ random.normal(size=(8, 8))}
    train = train_rows(None, len(x), 0)
    passes = PaperPasses(8, list(hats), range(25), train)
    for size in (700, 33, 64):
        for rows in np.split(np.arange(len(x)), range(size, len(x), size)):
            passes.update(x[rows], {sae: hat[rows] for sae, hat in hats.items()}, document[rows])
    for sae, hat in hats.items():
        ours = score_paper(passes, sae, replicates=50)
        for name, value in released(x, hat, train).items():
            assert ours.estimates()[name].value == pytest.approx(float(value), rel=1e-9, abs=1e-12), name
        whole = decompose(x, hat, document=document, protocol="paper", bootstrap=50)
        for name, estimate in whole.estimates().items():
            for end in ("value", "low", "high"):
                expected = pytest.approx(getattr(estimate, end), rel=1e-9, abs=1e-12)
                assert getattr(ours.estimates()[name], end) == expected, name


def test_default_rows_follow_from_the_seed():
    x, reconstruction, document = world()
    rows = np.zeros(len(x), dtype=bool)
    rows[np.random.default_rng(5).permutation(len(x))[: round(TRAIN_SHARE * len(x))]] = True
    given = decompose(
        x, reconstruction, document=document, protocol="paper", train=torch.from_numpy(rows), seed=5
    )
    assert (
        given.to_json() == decompose(x, reconstruction, document=document, protocol="paper", seed=5).to_json()
    )
    assert given.r2_per_dim.low < given.r2_per_dim.value < given.r2_per_dim.high


def test_bad_rows():
    x, reconstruction, document = world()
    for train, message in (
        (np.ones(len(x), dtype=bool), "both sides"),
        (np.zeros(len(x), dtype=bool), "both sides"),
        (np.ones(3, dtype=bool), "must be bools"),
        (np.ones(len(x)), "must be bools"),
    ):
        with pytest.raises(BadInput, match=message):
            decompose(x, reconstruction, document=document, protocol="paper", train=train)

"""What controls and the null give the rules: laws of its pieces, and a dead SAE judged."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from darkmatter_utils import Study, measure
from darkmatter_utils.claims import c01_half_linear
from darkmatter_utils.claims.statement import FAILS
from darkmatter_utils.claims.worth import CONTROLS
from darkmatter_utils.experiments import worth

FOLD = np.arange(2000) % 5


@pytest.fixture(scope="module")
def x():
    return torch.randn(2000, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_what_rescaling_leaves_of_the_linear_part(x):
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shrunk = worth._rescaled(x, 0.5 * x + 0.01 * noise, FOLD)
    assert shrunk["r2"] > 0.99 and shrunk["kept"] < 0.05, "only shrinkage"
    turned = x[:, [1, 0, 3, 2, 5, 4, 7, 6]]
    other = worth._rescaled(x, 0.5 * turned + 0.01 * noise, FOLD)
    assert other["r2"] > 0.99 and other["kept"] > 0.9, "no shrinkage in it"


def test_pairs_at_both_poles(x):
    facts, document = x[:, :2].numpy(), np.repeat(np.arange(20), 100)
    one, other = np.abs(x[:, 2].numpy()), np.abs(x[:, 3].numpy())
    same_and_other = worth._pairs({8: one, 16: 2 * one, 32: other}, facts, document, document % 5)
    rows = {row["pair"]: row for row in same_and_other}
    assert rows["8 and 16"]["raw"] == pytest.approx(1) and rows["8 and 16"]["partial"] == pytest.approx(1)
    assert rows["8 and 16"]["shuffled"] < 0.02 and rows["8 and 32"]["raw"] < 0.02


def test_draws_of_worlds_become_a_mean_with_the_interval_of_one_more():
    cells = product(range(3), (0, 1), (8, 16))
    rows = [(world, draw, w, w + world + 0.1 * draw) for world, draw, w in cells]
    found = worth._combined(pd.DataFrame(rows, columns=["world", "draw", "width", "v"]), "width", "v")
    assert list(found) == [8, 16]
    for width, e in found.items():
        assert e.value == pytest.approx(width + 1.05) and e.low < e.value - 1 < e.value + 1 < e.high


def test_each_control_is_the_study_with_one_sae():
    nano = Study.load("nano")
    found = worth.alone(nano, 64)
    assert set(found) == set(CONTROLS)
    for study in found.values():
        (entry,) = study.selected()
        assert entry.main and study.saes == (entry,)
    assert found["random-weights model"].random_weights == 0
    assert not worth.controls(SimpleNamespace(study=Study.load("world")), id="oracle-64")


def test_a_dead_saes_error_is_wholly_linear_and_claim_one_denies_it():
    nano = measure(Study.load("nano"))
    kept = worth.controls(nano, id=str(nano.saes["id"].iloc[0]))["dead SAE"]
    assert set(kept) == {"1", "2", "13"}, "there is no nonlinear part to test"
    evidence = c01_half_linear.CLAIM.recorded(kept["1"])
    assert [e.value for e in evidence.r2.values()] == pytest.approx([1.0])
    assert c01_half_linear.CLAIM.from_record(kept["1"]).word == FAILS

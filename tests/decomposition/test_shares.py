"""The simple parts of an error: against reconstructions that really are rescaled."""

import numpy as np
import pytest
import torch

from darkmatter_utils.decomposition.passes import FirstPass
from darkmatter_utils.decomposition.scores import linear_shares, rescaled
from darkmatter_utils.stats.metrics import fvu


def shares_of(x, hats, document):
    """The table of `rescaled` for reconstructions by name."""
    first = FirstPass(x.shape[1], list(hats), {d: int(d) % 3 for d in np.unique(document)})
    first.update(x, hats, document)
    table = linear_shares(first.moments["error"], {id: first.columns(id) for id in hats}).assign(
        fvu=[fvu(x, hat) for hat in hats.values()]
    )
    return rescaled(table).set_index("id")


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((3000, 6)) * np.array([3, 2, 1, 1, 0.5, 0.5]) + 1)
    bent = x + 0.3 * torch.from_numpy(rng.standard_normal((3000, 6))) + 0.1 * (x.roll(1, 1) ** 2 - 1)
    return x, bent, np.repeat(np.arange(60), 50)


@pytest.mark.parametrize("size", [0.3, 0.9, 1.0, 1.4, 3.0, -1.0])
def test_undone_shrinkage_is_that_of_the_rescaled_reconstruction(made, size):
    """Whatever the SAE's scale, 1.4 and more (it writes too much) too: the same s·Sae(x), and the same R²."""
    x, bent, document = made
    own = shares_of(x, {"sae": size * bent}, document).loc["sae"]
    fitted = np.polyfit((size * (bent - bent.mean(0))).flatten(), (x - x.mean(0)).flatten(), 1)[0]
    assert own["scale"] == pytest.approx(fitted) and own["scale"] == own["best_factor"]
    undone = shares_of(x, {"sae": own["scale"] * size * bent}, document).loc["sae"]
    assert own["after"] == pytest.approx(undone["full"]) and undone["scale"] == pytest.approx(1)
    assert undone["after"] == pytest.approx(undone["full"])


def test_what_is_left_of_an_exact_copy_and_of_nothing(made):
    x, _, document = made
    found = shares_of(x, {"shrunk": 0.5 * x, "dead": torch.ones_like(x)}, document)
    assert found.loc["shrunk", ["scale", "after"]].tolist() == pytest.approx([2, 0])
    assert found.loc["dead", ["scale", "after"]].tolist() == pytest.approx([0, 1])

"""Do 95% intervals of FVU_nonlinear hold the population's value 95% of the time?

Worlds with 100 documents and 100 tokens for every dimension, whose population value is in closed form: x is
normal about a mean that its document has, and the part of the error that no linear map predicts is a
quadratic of x's noise and independent noise, both scaled by the document.
"""

import numpy as np
import pytest

from darkmatter_utils.decomposition.decompose import score
from darkmatter_utils.decomposition.passes import FirstPass, SecondPass, ThirdPass
from darkmatter_utils.stats.documents import assign_folds

D, DOCUMENTS, WORLDS = 8, 100, 300
LINEAR = np.random.default_rng(0).normal(size=(D, D)) / 4
SPREAD, CURVE, NOISE = 0.5, 0.2, 0.3
# Σ over dimensions of E[(curve (g² − 1) + noise h)²] and of the variance of x, for a document of scale 1.
POPULATION = (2 * CURVE**2 + NOISE**2) / (1 + SPREAD**2)


def sample(seed, log_spread):
    """Documents whose residual is scaled by q, E[q²] = 1: lognormal with that spread of log q²; 0: all
    alike."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(D // 2, D * 3 // 2 + 1, size=DOCUMENTS) if log_spread else np.full(DOCUMENTS, D)
    document = np.repeat(np.arange(DOCUMENTS), lengths)
    q = np.exp((log_spread * rng.normal(size=DOCUMENTS) - log_spread**2 / 2) / 2)[document, None]
    g, h = rng.normal(size=(2, len(document), D))
    x = g + SPREAD * rng.normal(size=(DOCUMENTS, D))[document]
    error = x @ LINEAR + 1 + q * (CURVE * (g**2 - 1) + NOISE * h)
    return x, x - error, document


def intervals(log_spread):
    """(value, low, high, held-out value) of FVU_nonlinear in each world."""
    rows = []
    for seed in range(WORLDS):
        x, reconstruction, document = sample(seed, log_spread)
        fold = assign_folds(*np.unique(document, return_counts=True), 5, seed=seed)
        batch = (x, {"sae": reconstruction}, document)
        first = FirstPass(D, ["sae"], fold, self_norms=False).update(*batch)
        second = SecondPass(first).update(*batch)
        answer = score(ThirdPass(second).update(*batch), "sae", replicates=500, seed=seed)
        rows.append([*answer.fvu_nonlinear.to_dict().values(), answer.held_out["fvu_nonlinear"]])
    return np.array(rows).T


@pytest.mark.parametrize("log_spread", [0.0, 0.5])
def test_coverage(log_spread):
    value, low, high, held_out = intervals(log_spread)
    coverage = ((low <= POPULATION) & (POPULATION <= high)).mean()
    print(
        f"documents of log spread {log_spread}: coverage {coverage:.3f}, value "
        f"{value.mean() / POPULATION - 1:+.2%}, held out {held_out.mean() / POPULATION - 1:+.2%}"
    )
    assert 0.91 <= coverage <= 0.98
    assert ((low < value) & (value < high)).all()
    # Held-out residuals carry the maps' own error, about D / tokens of them; the value does not.
    standard_error = value.std() / WORLDS**0.5
    assert held_out.mean() - POPULATION > 0.005 * POPULATION
    assert abs(value.mean() - POPULATION) < 4 * standard_error


def test_heavy_tailed_documents_are_covered_less_often():
    """With a log spread of 2 a few documents hold most of the error and 100 do not show the tail: said, not
    hidden."""
    _, low, high, _ = intervals(2.0)
    coverage = ((low <= POPULATION) & (POPULATION <= high)).mean()
    print(f"heavy-tailed documents: coverage {coverage:.3f}")
    assert 0.5 < coverage < 0.95
    assert (high < POPULATION).mean() > (low > POPULATION).mean()

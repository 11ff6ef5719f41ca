"""Few tokens and documents a dimension: the sums of contexts give what arrays give, and the known answers."""

import numpy as np
import pytest

from darkmatter_utils import Study, decompose, measure
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.base.values import Absent, Estimate
from darkmatter_utils.claims import q02_protocols
from darkmatter_utils.claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN
from darkmatter_utils.experiments import sample_size
from darkmatter_utils.experiments.sample_size import CENTRE, HELD_OUT, PAPER, Piece
from darkmatter_utils.stats.moments import Moments

D = 6


def arrays(documents, tokens, *, alike=0.0, seed=0):
    """x, an error that is 0.5 x, noise, and a linear map of each document's own, and documents, fitted."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((documents, tokens, D))
    own = alike * rng.standard_normal((documents, D, D)) / np.sqrt(D)
    error = 0.5 * x + x @ own + rng.standard_normal(x.shape)
    document = np.repeat(np.arange(documents), tokens)
    fitted = rng.random(len(document)) < 0.6
    return x.reshape(-1, D), error.reshape(-1, D), document, fitted


def pieces(x, error, document, fitted):
    halves = lambda i: [
        Moments(D, D).update(x[m], error[m]) for m in ((document == i) & on for on in (fitted, ~fitted))
    ]
    return [Piece(int(i), *halves(i)) for i in np.unique(document)]


def test_sums_of_contexts_give_what_arrays_give():
    x, error, document, fitted = arrays(12, 30, seed=1)
    found = sample_size.scores(pieces(x, error, document, fitted), folds=5, seed=3)
    strict = decompose(x, x - error, document=document, bootstrap=0, seed=3)
    paper = decompose(x, x - error, document=document, protocol="paper", train=fitted, bootstrap=0)
    for name in ("r2_per_dim", "fvu_nonlinear"):
        assert found[CENTRE][name] == pytest.approx(getattr(strict, name).value, rel=1e-9)
        assert found[HELD_OUT][name] == pytest.approx(strict.held_out[name], rel=1e-9)
        assert found[PAPER][name] == pytest.approx(getattr(paper, name).value, rel=1e-9)
    assert found[HELD_OUT]["r2_per_dim"] < found[CENTRE]["r2_per_dim"]
    with pytest.raises(BadInput, match="4 documents cannot make 5 folds"):
        sample_size.scores(pieces(x, error, document, fitted)[:4], folds=5, seed=3)


def test_neighbours_raise_the_papers_number_and_new_documents_do_not():
    """Where every document has a map of its own, the paper's split learns it; truth: 0.25 / 2.25."""
    mean = {}
    for alike in (0.0, 1.0):
        draws = [
            sample_size.scores(pieces(*arrays(10, 60, alike=alike, seed=s)), folds=5, seed=s)
            for s in range(40)
        ]
        mean[alike] = {name: np.mean([one[name]["r2_per_dim"] for one in draws]) for name in draws[0]}
    assert mean[0.0][CENTRE] == pytest.approx(0.2, abs=0.01)
    assert abs(mean[0.0][PAPER] - mean[0.0][HELD_OUT]) < 0.01
    assert mean[1.0][PAPER] > mean[1.0][CENTRE] + 0.02 > mean[1.0][HELD_OUT]
    assert mean[1.0][CENTRE] == pytest.approx(0.25 / 2.25, abs=0.03)


def test_sizes_begin_at_the_papers_place_and_end_at_half():
    assert sample_size.sizes(274, 128, 4, folds=5) == [(n, c) for n in (11, 22, 44, 88) for c in (1, 2, 4)]
    assert sample_size.sizes(300, 3584, 1, folds=5) == []
    assert sample_size.sizes(60, 16, 2, folds=5)[0] == (5, 1), "no fewer documents than folds"


@pytest.fixture(scope="module")
def swept():
    measurement = measure(Study.load("nano"))
    return measurement, sample_size.sweep.anew(measurement, sae="w64", draws=6)


def test_all_documents_give_the_measurement(swept):
    measurement, found = swept
    full = found["full"].set_index("protocol")
    paper = measurement.paper.set_index("id").loc["w64"]
    at = list(measurement.saes["id"]).index("w64")
    for name in ("r2_per_dim", "fvu_nonlinear"):
        assert full.loc[CENTRE, name] == pytest.approx(measurement.saes[name].iloc[at], rel=1e-6)
        assert full.loc[PAPER, name] == pytest.approx(paper[name], rel=1e-6)
    assert full["tokens"].unique() == [measurement.card["tokens"]]


def test_the_summary_and_the_gap_are_of_the_draws(swept):
    measurement, found = swept
    draws = found["draws"]
    table = sample_size.summary(found, 16)
    *drawn, _, _, _ = table.itertuples()
    assert {row.draws for row in drawn} == {6} and all(row.low <= row.r2_per_dim <= row.high for row in drawn)
    assert set(table.tail(3)["draws"]) == {1} and table.tail(3)["documents"].eq(60).all()
    assert sample_size.in_words(table).startswith(
        "At 0.312 documents and 17 tokens a dimension, 6 draws of 5"
    )
    here = sample_size.place(draws)
    assert set(here["documents"]) == {5} and set(here["contexts"]) == {2}
    r2 = here.pivot(index="draw", columns="protocol", values="r2_per_dim")
    assert sample_size.gap(found).value == pytest.approx((r2[PAPER] - r2[CENTRE]).mean())
    evidence = sample_size.evidence(measurement, found, "w64")
    assert list(evidence.differences) == ["all of its text", "the paper's place"]
    few = {"draws": Absent("few"), "full": found["full"]}
    assert sample_size.gap(few) is None and not len(sample_size.summary(few, 16))
    assert list(sample_size.evidence(measurement, few, "w64").differences) == ["all of its text"]


def e(value, half=0.01):
    return Estimate(value, value - half, value + half)


@pytest.mark.parametrize(
    "full, papers, word",
    [
        (0.003, 0.02, HOLDS),
        (0.09, -0.07, FAILS),
        (0.003, 0.09, PARTLY),
        (0.003, 0.045, UNKNOWN),
        (0.003, None, UNKNOWN),
    ],
)
def test_the_protocols_agree_where_their_difference_lies_inside_the_margin(full, papers, word):
    places = {"all of its text": e(full)} | ({} if papers is None else {"the paper's place": e(papers)})
    verdict = q02_protocols.QUESTION.judge(q02_protocols.Evidence(places))
    assert verdict.word == word
    assert ("R² per dimension by the paper's protocol" in verdict.why) == (papers is not None)

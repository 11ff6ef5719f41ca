"""Windows, tasks and detection scores: known latents, both poles, no document on both sides."""

import numpy as np
import pytest
from scipy import sparse

from darkmatter_utils.experiments import interp
from darkmatter_utils.experiments.explainers import Lexical, threshold
from darkmatter_utils.experiments.interp import Judgement, Task, accuracies, cut, halves, shuffled, task

VOCABULARY = 50


def stream(contexts=120, tokens=70, *, seed=0):
    """A random text, two contexts a document: (context, document, token), a token's id drawn from a skew
    law."""
    rng = np.random.default_rng(seed)
    weight = 1 / (1 + np.arange(VOCABULARY))
    token = rng.choice(VOCABULARY, size=contexts * tokens, p=weight / weight.sum())
    context = np.repeat(np.arange(contexts), tokens)
    return context, context // 2, token


def column(values):
    return sparse.csc_array(np.asarray(values, dtype=np.float32)[:, None])


@pytest.fixture(scope="module")
def text():
    context, document, token = stream()
    return token, cut(context, document, token, np.arange(len(token)) % (len(token) // 120))


@pytest.fixture(scope="module")
def lexical(text):
    token, _ = text
    return Lexical(token, vocabulary=VOCABULARY, decode=lambda ids: [f"t{i}" for i in ids])


def score(text, lexical, values, *, windows=None):
    _, own = text
    windows = windows or own
    made = task(column(values), windows, halves(windows.document, seed=0), seed=3)
    (judged,) = lexical([made])
    return accuracies(made, judged.said), judged, made


def test_windows_tile_each_context_from_its_start_and_leave_out_the_rest():
    context = np.array([0] * 7 + [1] * 3 + [2] * 6)
    document = context * 10
    token = np.arange(16)
    position = np.r_[np.arange(7), np.arange(3), np.arange(6)]
    windows = cut(context, document, token, position, length=3)
    assert windows.tokens.tolist() == [[0, 1, 2], [3, 4, 5], [7, 8, 9], [10, 11, 12], [13, 14, 15]]
    assert windows.document.tolist() == [0, 0, 10, 20, 20]
    assert windows.of.tolist() == [0, 0, 0, 1, 1, 1, -1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    for t, (w, p) in enumerate(zip(windows.of, windows.place)):
        assert w < 0 or windows.tokens[w, p] == token[t]
    position[3:7] += 1  # a token before the fourth is not scored
    holed = cut(context, document, token, position, length=3)
    assert holed.tokens[:2].tolist() == [[0, 1, 2], [3, 4, 5]] and holed.of[6] == -1
    position[4:7] += 1
    assert cut(context, document, token, position, length=3).tokens[:2].tolist() == [[0, 1, 2], [4, 5, 6]]


def test_a_task_shares_no_document_between_learning_and_test_and_its_deciles_ascend(text):
    token, windows = text
    rng = np.random.default_rng(1)
    values = np.where(token == 7, rng.exponential(size=len(token)) + 0.1, 0)
    learns = halves(windows.document, seed=0)
    made = task(column(values), windows, learns, seed=3)
    places = {tuple(w): d for w, d in zip(windows.tokens.tolist(), windows.document)}
    learned = {places[tuple(w)] for w in [*made.shown.tolist(), *made.silent.tolist()]}
    tested = {places[tuple(w)] for w in made.tested.tolist()}
    assert learned and tested and not learned & tested
    assert np.all((made.strength > 0) == (made.shown == 7)), "a strength stands where its token is"
    assert not (made.silent == 7).any() and not (made.tested[made.decile == 0] == 7).any()
    best = np.zeros(len(windows.tokens))
    np.maximum.at(best, windows.of[windows.of >= 0], values[windows.of >= 0])
    heights = {tuple(w): b for w, b in zip(windows.tokens.tolist(), best)}
    by_decile = [[heights[tuple(w)] for w in made.tested[made.decile == d].tolist()] for d in range(1, 11)]
    assert all(max(a) <= min(b) for a, b in zip(by_decile, by_decile[1:]))
    shown = made.strength.max(1)
    assert np.all(np.diff(shown) <= 0)


def test_a_rare_a_dense_and_a_silent_latent_are_not_scored(text):
    token, windows = text
    learns = halves(windows.document, seed=0)
    for values in (np.zeros(len(token)), np.ones(len(token)), np.arange(len(token)) < 30):
        assert task(column(values), windows, learns, seed=0) is None


def test_a_latent_of_one_token_is_found_always(text, lexical):
    token, _ = text
    found, judged, _ = score(text, lexical, (token == 11) * 1.0)
    assert found.min() == 1.0
    assert judged.explanation == "at ‘t11’ 100%"


def test_a_latent_of_a_pair_needs_the_token_before(text, lexical):
    token, _ = text
    fires = (token == 0) & (np.r_[-1, token[:-1]] == 1)
    found, judged, _ = score(text, lexical, fires * 1.0)
    assert found.mean() > 0.9 and "after ‘t1’ 100%" in judged.explanation
    alone = score(text, lexical, (token == 0) * 1.0 * (np.arange(len(token)) % 3 == 0))[0].mean()
    assert found.mean() > alone + 0.2


def test_a_latent_that_fires_by_chance_and_one_whose_windows_are_shuffled_are_not_found(text, lexical):
    token, windows = text
    rng = np.random.default_rng(2)
    chance = [
        score(text, lexical, (rng.random(len(token)) < 0.02) * rng.random(len(token)))[0] for _ in range(30)
    ]
    mixed = shuffled(windows, seed=1)
    shuffle = [score(text, lexical, (token == t) * 1.0, windows=mixed)[0] for t in range(8, 38)]
    for scores in (chance, shuffle):
        per_latent = np.mean(scores, axis=1)
        assert abs(per_latent.mean() - 0.5) < 4 * per_latent.std() / np.sqrt(len(per_latent)) + 0.005
        assert per_latent.std() > 0


def test_the_test_half_cannot_reach_what_is_learned(text, lexical):
    token, _ = text
    _, judged, made = score(text, lexical, (token == 11) * 1.0)
    other = made._replace(tested=made.tested[::-1], decile=made.decile[::-1])
    assert lexical([other])[0].explanation == judged.explanation
    assert np.array_equal(lexical([other])[0].said[::-1], judged.said)


def test_accuracy_at_its_poles_and_by_hand():
    decile = np.repeat(np.arange(11), 4)
    made = Task(*[np.zeros((1, 2))] * 4, decile, np.arange(44))
    right = (decile > 0).astype(float)
    assert np.array_equal(accuracies(made, right), np.ones(10))
    for said in (np.ones(44), np.zeros(44), np.full(44, 0.5)):
        assert np.array_equal(accuracies(made, said), np.full(10, 0.5))
    assert np.array_equal(accuracies(made, 1 - right), np.zeros(10))
    said = right.copy()
    said[0] = 1  # one of four silent windows taken for active: 3/4 of the rejections are left
    said[decile == 2] = [1, 1, 0, 0.5]
    assert accuracies(made, said)[:2].tolist() == [(1 + 0.75) / 2, (0.625 + 0.75) / 2]


def test_a_documents_pull_is_the_derivative_of_the_accuracies_by_its_weight():
    rng = np.random.default_rng(0)
    decile = np.repeat(np.arange(11), 6)
    made = Task(*[np.zeros((1, 2))] * 4, decile, rng.integers(3, 9, 66))
    said = rng.choice([0, 0.5, 1], 66)
    ids, found = interp.pulls(made, said)
    assert ids.tolist() == list(range(3, 9)) and found.sum(0) == pytest.approx(np.zeros(10), abs=1e-12)
    for at, document in enumerate(ids):
        weight = np.where(made.document == document, 1 + 1e-6, 1)
        share = lambda d, right, w=weight: np.average(right[decile == d], weights=w[decile == d])
        moved = [(share(d, said) + share(0, 1 - said)) / 2 for d in range(1, 11)]
        assert (np.array(moved) - accuracies(made, said)) / 1e-6 == pytest.approx(found[at], abs=1e-5)


def test_the_threshold_is_the_best_one_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(50):
        yes, no = rng.integers(0, 6, 9) * 1.0 + 1, rng.integers(0, 6, 13) * 1.0
        at, accuracy = threshold(yes, no)
        every = np.r_[-1.0, np.unique(np.r_[yes, no]) + 0.5]
        best = max(((yes > t).mean() + (no <= t).mean()) / 2 for t in every)
        assert accuracy == pytest.approx(best) == pytest.approx(((yes > at).mean() + (no <= at).mean()) / 2)


def test_activations_by_latent_are_the_saes_own():
    import torch

    from darkmatter_utils import Study
    from darkmatter_utils.adapters.saes import load_sae

    study = Study.load("nano")
    entry = study.saes[0]
    sae = load_sae(entry.id, study.data_folder() / entry.path, d_model=json_d(study))
    z = torch.randn(500, sae.d_model, generator=torch.Generator().manual_seed(0))
    found = interp.activations(sae.codes(z), sae.width)
    with torch.no_grad():
        assert np.array_equal(found.toarray(), sae.sae.encode(z).numpy())


def json_d(study):
    from darkmatter_utils.studies.activations import Activations

    return Activations(study).d_model


def test_an_explainer_is_any_function_of_tasks(text):
    token, windows = text
    made = interp.task(column((token == 5) * 1.0), windows, halves(windows.document, seed=0), seed=0)
    oracle = lambda tasks: [Judgement("t5", (t.tested == 5).any(1).astype(float)) for t in tasks]
    assert accuracies(made, oracle([made])[0].said).min() == 1.0

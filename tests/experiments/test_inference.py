"""Other inferences on one dictionary: no more latents than the encoder, never worse than they must be, gaps
as defined."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toys
from ideas import idea

from darkmatter_utils import Study, measure
from darkmatter_utils.claims import c09_inference
from darkmatter_utils.claims.claim import WORDS
from darkmatter_utils.experiments import inference_scores
from darkmatter_utils.experiments.inference import ENCODER, dictionary_of, warm_start
from darkmatter_utils.experiments.inference_scores import (
    all_codes,
    changes,
    evidence,
    few,
    inference,
    joined,
    overlap,
    tried,
)
from darkmatter_utils.stats.pursuit import Codes, gradient_pursuit, refit
from darkmatter_utils.studies.activations import Activations
from darkmatter_utils.studies.saes import load_saes

REFIT, WARM, STEPS, EQUAL, SETTLED, SIGNED = (
    "refit on its support",
    "warm start",
    "pursuit, L0 steps",
    "pursuit, to equal L0",
    "pursuit, then refit",
    "OMP, any sign",
)
INFERENCES = (ENCODER, REFIT, WARM, STEPS, EQUAL, SETTLED, SIGNED)
CODES = idea(11)


def case(seed=0, d_sae=80, d_model=16, tokens=200, l0=5):
    """Sparse mixtures with noise, and codes of a one-pass encoder: the atoms with the largest inner
    products."""
    rng = torch.Generator().manual_seed(seed)
    atoms = torch.randn(d_sae, d_model, generator=rng, dtype=torch.float64)
    atoms /= atoms.norm(dim=1, keepdim=True)
    index = torch.randint(d_sae, (tokens, l0), generator=rng)
    x = torch.einsum("tk,tkd->td", torch.rand(tokens, l0, generator=rng, dtype=torch.float64), atoms[index])
    x += 0.05 * torch.randn(tokens, d_model, generator=rng, dtype=torch.float64)
    score = (x @ atoms.T).clamp(min=0)
    wanted = torch.randint(0, 9, (tokens,), generator=rng)
    value, latent = score.sort(dim=1, descending=True)
    return x, atoms, Codes(latent[:, :8], torch.where(torch.arange(8) < wanted[:, None], value[:, :8], 0))


def left(x, codes, atoms):
    return (x - codes.decode(atoms)).square().sum(1)


def test_no_inference_has_more_latents_than_the_encoder_on_any_token():
    x, atoms, own = case()
    assert int((own.l0 == 0).sum()) > 5
    for name, codes in CODES(x, atoms, own).items():
        assert bool((codes.l0 <= own.l0).all()), name
        if name != SIGNED:
            assert bool((codes.values >= 0).all()), name


def test_each_inference_leaves_no_more_than_the_one_it_starts_from():
    x, atoms, own = case(1)
    codes = CODES(x, atoms, own)
    for better, worse in ((REFIT, own), (WARM, codes[REFIT]), (SETTLED, codes[EQUAL])):
        worse = worse if isinstance(worse, Codes) else codes[worse]
        assert bool((left(x, codes[better], atoms) <= left(x, worse, atoms) + 1e-12).all()), better
    assert float(left(x, codes[WARM], atoms).sum()) < 0.9 * float(left(x, codes[REFIT], atoms).sum())
    assert float(left(x, codes[SIGNED], atoms).sum()) < float(left(x, codes[EQUAL], atoms).sum())


def test_more_rounds_of_the_warm_start_only_help():
    x, atoms, own = case(2)
    errors = [float(left(x, warm_start(x, atoms, own, rounds=rounds), atoms).sum()) for rounds in (0, 1, 3)]
    assert errors[0] == pytest.approx(float(left(x, refit(x, atoms, own.support), atoms).sum()))
    assert errors[0] > errors[1] >= errors[2]


def test_on_an_orthonormal_dictionary_every_inference_finds_the_same_codes():
    """The encoder's inner products are then the best codes there are: the encoder gap is zero."""
    atoms = torch.eye(12, dtype=torch.float64)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    weight = torch.rand(50, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dense = torch.where(weight > 0.6, weight, 0)
    value, latent = dense.sort(dim=1, descending=True)
    x, own = dense @ atoms, Codes(latent, value)
    for name, codes in CODES(x, atoms, own).items():
        assert torch.allclose(codes.decode(torch.eye(12)), dense, atol=1e-9), name
        assert overlap(codes, own) == 1.0


def test_further_steps_bring_the_realised_l0_to_the_target_and_touch_no_other_token():
    x, atoms, own = case(3, d_sae=30, d_model=6)
    plain = gradient_pursuit(x, atoms, own.l0)
    longer = gradient_pursuit(x, atoms, own.l0, extra=64)
    short = plain.l0 < own.l0
    assert int(short.sum()) > 10 and bool((longer.l0 <= own.l0).all())
    assert float((longer.l0 == own.l0).double().mean()) > float((plain.l0 == own.l0).double().mean())
    assert torch.equal(longer.decode(torch.eye(30))[~short], plain.decode(torch.eye(30))[~short])
    equal = CODES(x, atoms, own)[EQUAL]
    assert torch.allclose(
        equal.decode(atoms), gradient_pursuit(x, atoms, own.l0, extra=32).decode(atoms), atol=1e-9
    )


def test_further_steps_are_steps_of_the_same_rule():
    """A token that needs one more step than its L0 ends where the rule itself is after that many steps."""
    x, atoms, own = case(3, d_sae=30, d_model=6)
    longer = gradient_pursuit(x, atoms, own.l0, extra=1)
    short = (gradient_pursuit(x, atoms, own.l0).l0 < own.l0).nonzero().squeeze(1)
    stepped = gradient_pursuit(x[short], atoms, own.l0[short] + 1)
    assert torch.allclose(longer.decode(atoms)[short], stepped.decode(atoms), atol=1e-10)


def test_overlap_by_hand():
    codes = Codes(torch.tensor([[0, 1], [2, 3]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    other = Codes(torch.tensor([[1, 5], [2, 2]]), torch.tensor([[2.0, 2.0], [0.0, 0.0]]))
    assert overlap(codes, other) == pytest.approx(1 / 3)


@pytest.mark.parametrize("study", ["nano", "world"])
def test_the_encoders_codes_give_the_saes_own_reconstruction(study):
    study = Study.load(study)
    if study.world:
        study = replace(study, world=study.world | {"documents": 2})
    source = Activations(study)
    batch = next(source.batches())
    seen = 0
    for sae in load_saes(study, source):
        dictionary = dictionary_of(sae)
        if dictionary is None:
            assert sae.kind in ("dead", "shrunk", "random")
            continue
        own, (x_hat, l0) = dictionary.encode(batch.source), sae.reconstruct(batch.source)
        made = own.decode(dictionary.atoms.double()) + dictionary.bias
        assert torch.allclose(made, x_hat.double(), atol=1e-6) and torch.equal(own.l0, l0.long()), sae.id
        seen += 1
    assert seen >= 3


@pytest.fixture(scope="module")
def nano():
    measurement = measure(toys.bare())
    return measurement, inference(measurement, codes=CODES, contexts=120, precision="float64")


def test_on_all_contexts_the_encoder_has_the_measurements_own_scores(nano):
    measurement, tables = nano
    mine = tables["scores"][tables["scores"]["inference"] == ENCODER].set_index("id")
    for metric in ("l0", "fvu", "fvu_linear", "fvu_nonlinear", "r2_per_dim", "r2_total"):
        np.testing.assert_allclose(
            mine[metric], measurement.saes.set_index("id").loc[mine.index, metric], rtol=1e-8
        )


def test_the_scores_add_up_and_the_gaps_are_differences(nano):
    _, tables = nano
    scores = tables["scores"]
    assert list(dict.fromkeys(scores["inference"])) == list(INFERENCES) and (scores["over"] == 0).all()
    np.testing.assert_allclose(scores["fvu"], scores["fvu_linear"] + scores["fvu_nonlinear"])
    over = tables["by_width"].set_index(["inference", "metric", "of", "width"])
    for width, name in tables["best"].itertuples(index=False):
        of = tables["gaps"][tables["gaps"]["width"] == width].set_index("part")["share"]
        assert of.sum() == pytest.approx(over.loc[(ENCODER, "fvu", "score", width), "value"])
        assert of["encoder gap"] > 0 and name not in (ENCODER, SIGNED)
    assert (over.loc[(ENCODER, "fvu", "change"), ["value", "low", "high"]] == 0).all(axis=None)
    settled = over.loc[(SETTLED, "fvu", "change")]
    assert ((settled["low"] <= settled["value"]) & (settled["value"] <= settled["high"])).all()
    assert (settled["high"] < 0).all()


def test_what_the_rule_takes_is_the_best_of_those_that_subtract_nothing(nano):
    _, tables = nano
    taken, over = evidence(tables), tables["by_width"]
    scores = over[
        (over["of"] == "score") & (over["metric"] == "fvu_nonlinear") & (over["inference"] != ENCODER)
    ]
    for width, name in taken.best.items():
        here = scores[(scores["width"] == width) & (scores["inference"] != SIGNED)].set_index("inference")[
            "value"
        ]
        assert here.idxmin() == name and taken.change[width].value < 0


def test_a_study_without_a_dictionary_is_told_so_and_not_judged(nano, monkeypatch):
    monkeypatch.setattr(inference_scores, "dictionary_of", lambda sae: None)
    found = inference.anew(nano[0], codes=CODES, contexts=8)
    assert "No SAE of this study has a dictionary" in found.reason and evidence(found) is found
    assert tried(few(nano[0], "w64"), CODES) is few(nano[0], "w64") is changes(found, None, SETTLED) is found


FINAL = "refit(x, dictionary, equal.support)"
WARMER = "warm_start(x, dictionary, equal, rounds=rounds)"


@pytest.mark.parametrize(
    "edits",
    [
        [(FINAL, WARMER.replace("=rounds", "=3"))],
        [(FINAL, WARMER), ("own):", "own, rounds=3):")],
        [(FINAL, WARMER), ("=rounds", "=many()"), ("@chapter", "def many():\n    return 3\n@chapter")],
    ],
    ids=["source", "default", "helper"],
)
def test_another_inference_changes_the_main_figure_and_what_the_rule_takes(nano, edits):
    measurement, found = nano
    edited = inference(measurement, codes=idea(11, *edits), contexts=120, precision="float64")
    rows = "inference == @SETTLED and metric == 'fvu' and of == 'score'"
    after, before = (made["by_width"].query(rows)["value"] for made in (edited, found))
    assert (after < before).all() and evidence(edited) != evidence(found)


def test_two_batches_of_codes_join_at_the_longer_width():
    a, b = (
        Codes(torch.tensor([[3]]), torch.tensor([[1.0]])),
        Codes(torch.tensor([[1, 2]]), torch.tensor([[1.0, 2.0]])),
    )
    assert joined([a, b]).decode(torch.eye(4)).tolist() == [[0, 0, 0, 1], [0, 1, 2, 0]]


def test_single_and_double_precision_agree_to_rounding_in_what_they_leave():
    study = toys.bare()
    source = Activations(study)
    batch, dictionary = next(source.batches()), dictionary_of(load_saes(study, source)[2])
    x, own = batch.x.double(), dictionary.encode(batch.source)
    fine, coarse = (
        {
            name: dictionary.decode(codes)
            for name, codes in all_codes(dictionary, x, own, CODES, dtype).items()
        }
        for dtype in (torch.float64, torch.float32)
    )
    for name in INFERENCES:
        sums = [float((x - made[name]).square().sum()) for made in (fine, coarse)]
        assert sums[0] == pytest.approx(sums[1], rel=1e-3), name


def test_what_the_rule_takes_is_paired(nano):
    """The lead is the difference of the two changes, draw by draw: its interval is not that of two numbers
    that know nothing of each other."""
    made = evidence(nano[1])
    for width, lead in made.lead.items():
        change, total = made.change[width], made.total[width]
        assert lead.value == pytest.approx(change.value - total.value, abs=1e-12)
        assert lead.high - lead.low < np.hypot(change.high - change.low, total.high - total.low)
    assert set(made.lead) == set(made.best) == set(made.change) and made.lead
    assert c09_inference.CLAIM.judge(made).word in WORDS


def test_a_pursuit_saves_error_even_where_the_codes_are_true():
    """The control of the chapter: SAEs that introduce nothing have an encoder gap, and the pursuit leaves
    true latents."""
    null = inference(measure("world"), codes=CODES, contexts=20)
    pursued = null["scores"][null["scores"]["inference"] == SETTLED]
    assert (pursued["shared"] < 0.9).all()
    over = null["by_width"]
    change = over[(over["inference"] == SETTLED) & (over["metric"] == "fvu") & (over["of"] == "change")]
    assert len(change) and (change["high"] < 0).all()
    drawn = changes(null, null, SETTLED)
    assert f"true codes: {SETTLED}" in set(drawn["inference"])


def test_slots_that_only_tokens_left_out_use_go_with_them():
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(40, 12, dtype=torch.float64, generator=generator)
    indices = torch.stack([torch.randperm(40, generator=generator) for _ in range(5)])
    values = torch.rand(5, 40, dtype=torch.float64, generator=generator) + 0.1
    values[:4, 6:] = 0  # the last has a latent in every slot
    kept = Codes(indices[:4], values[:4])
    trimmed = inference_scores.trimmed(kept)
    assert trimmed.values.shape == (4, 6) and torch.equal(trimmed.l0, kept.l0)
    assert torch.equal(trimmed.decode(dictionary), kept.decode(dictionary))
    x = torch.randn(4, 12, dtype=torch.float64, generator=generator)
    one, other = (refit(x, dictionary, codes.support).decode(dictionary) for codes in (trimmed, kept))
    assert torch.allclose(one, other, atol=1e-12)

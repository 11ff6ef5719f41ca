"""The one reader of activations: what is asked for together is what is asked for apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.studies.activations import MICRO, Activations, spread
from darkmatter_utils.studies.saes import load_saes, sample
from darkmatter_utils.studies.study import Study
from darkmatter_utils.worlds.saes import OracleSae

NANO, WORLD = Study.load("nano"), Study.load("world")
OTHERS = ["blocks.0.hook_mlp_in", "blocks.0.attn.hook_z", "blocks.1.hook_resid_post"]


def joined(source, **how):
    batches = list(source.batches(**how))
    return torch.cat([batch.x for batch in batches]), batches


def test_several_sites_in_one_pass_are_each_site_alone():
    _, batches = joined(Activations(NANO), sites=OTHERS)
    for site in OTHERS:
        alone = Activations(replace(NANO, site=site))
        x, _ = joined(alone)
        assert torch.equal(torch.cat([batch.sites[site] for batch in batches]), x)
        assert x.shape[1] == alone.d_model
    assert all(batch.sites[NANO.site] is batch.x is batch.source for batch in batches)


def test_scored_tokens_losses_and_a_pass_that_stops_early_are_one_text():
    source = Activations(NANO)
    x, whole = joined(source, losses=True)
    some, scored = joined(source, scored=True)
    keep = np.concatenate([batch.scored for batch in whole])
    assert torch.equal(x[torch.from_numpy(keep)], some) and 0 < keep.sum() < len(keep)
    for name in ("context", "document", "position", "token"):
        of = lambda batches: np.concatenate([getattr(batch, name) for batch in batches])
        assert np.array_equal(of(whole)[keep], of(scored)), name
    assert all(np.isnan(batch.loss).all() and batch.scored.all() for batch in scored)
    last = np.concatenate([batch.position for batch in whole]) == whole[0].position.max()
    assert np.array_equal(np.isnan(np.concatenate([batch.loss for batch in whole])), last)


def test_contexts_are_spread_evenly_or_every_so_many_th():
    source = Activations(NANO)
    total = len(source.contexts.tokens)
    assert source.rows(5).tolist() == spread(total, 5).tolist() and source.rows(5)[[0, -1]].tolist() == [
        0,
        total - 1,
    ]
    assert source.rows(10 * total).tolist() == source.rows().tolist() == list(range(total))
    assert source.rows(every=7).tolist() == list(range(0, total, 7))
    x, batches = joined(source)
    context = np.concatenate([batch.context for batch in batches])
    for how, rows in ((dict(contexts=5), source.rows(5)), (dict(every=7), source.rows(every=7))):
        torch.testing.assert_close(joined(source, **how)[0], x[torch.from_numpy(np.isin(context, rows))])


def test_whole_contexts_are_the_batches_with_bos():
    source = Activations(NANO)
    tokens, x = source.whole(source.rows(6))
    some, batches = joined(source, contexts=6)
    torch.testing.assert_close(x[:, 1:].flatten(0, 1), some)
    assert tokens[:, 1:].flatten().tolist() == np.concatenate([batch.token for batch in batches]).tolist()


def test_activations_stay_in_memory_where_they_fit(monkeypatch):
    source, runs = Activations(NANO), []
    monkeypatch.setattr(
        type(source.model),
        "read",
        (lambda read: lambda *a: runs.append(1) or read(*a))(type(source.model).read),
    )
    size = joined(source)[0].nbytes
    once = len(runs)
    for keep, again in ((size - 1, 2 * once), (size, once)):
        runs.clear()
        first, second = (joined(source, keep=keep)[0] for _ in range(2))
        assert torch.equal(first, second) and len(runs) == again
    runs.clear()
    joined(source, keep=size, scored=True)
    assert len(runs) == once  # another question


def test_half_precision_is_widened_at_every_site():
    model = load_model(NANO.data_folder() / NANO.model, dtype="bfloat16")
    tokens = torch.arange(1, 9)[None]
    assert {x.dtype for x in model.read(tokens, OTHERS).values()} == {torch.float32}
    source = Activations(replace(NANO, dtype="float32", model_dtype="bfloat16"))
    assert {x.dtype for batch in source.batches(sites=OTHERS) for x in batch.sites.values()} == {
        torch.float32
    }


def test_a_world_is_read_by_the_same_call():
    study = replace(WORLD, world=WORLD.world | {"documents": 6}, window=[8, 200])
    source = Activations(study)
    x, batches = joined(source, contexts=3, scored=True)
    assert sorted(set(np.concatenate([batch.document for batch in batches]))) == [0, 2, 5]
    whole, uncut = joined(source, contexts=3)
    keep = torch.from_numpy(np.concatenate([batch.scored for batch in uncut]))
    assert torch.equal(whole[keep], x) and len(x) == 3 * 192
    sae = OracleSae("oracle", source.world, 64)
    made, some = (torch.cat([sae.reconstruct(b.source)[0] for b in found]) for found in (uncut, batches))
    torch.testing.assert_close(made[keep], some)
    assert torch.equal(sum(batches[0].source.parts.values()), batches[0].source.x)
    with pytest.raises(BadInput, match="is simulated: it has no site 'blocks.0.hook_resid_post'"):
        next(source.batches(sites=["blocks.0.hook_resid_post"]))


def test_an_activation_that_is_not_finite_names_its_site_and_document(monkeypatch):
    source = Activations(NANO)
    monkeypatch.setattr(
        type(source.model),
        "read",
        lambda self, tokens, sites: {site: torch.full((*tokens.shape, 2), torch.nan) for site in sites},
    )
    with pytest.raises(
        BadInput, match="activation at blocks.0.hook_resid_post is NaN or infinite in document"
    ):
        next(source.batches())


def test_a_sample_is_some_contexts_and_one_reconstruction():
    x, x_hat, document, position = sample("nano", "w32", contexts=8)
    source = Activations(NANO, contexts_a_batch=MICRO)
    sae = {sae.id: sae for sae in load_saes(NANO)}["w32"]
    batches = list(source.batches(contexts=8, scored=True))
    np.testing.assert_allclose(x, torch.cat([batch.x for batch in batches]))
    np.testing.assert_allclose(x_hat, torch.cat([sae.reconstruct(batch.source)[0] for batch in batches]))
    assert document.tolist() == np.concatenate([batch.document for batch in batches]).tolist()
    assert position.min() == NANO.window[0] and position.max() == NANO.window[1] - 1

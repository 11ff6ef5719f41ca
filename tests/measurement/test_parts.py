"""Parts of x as chapters stream them, results kept by content, studies at other sites and of other suites."""

import numpy as np
import pandas as pd
import pytest
import torch
import toys

from darkmatter_utils import measure
from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.base.cache import kept
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.measurement.measure import stream_parts
from darkmatter_utils.studies.study import SaeEntry, Study


@pytest.fixture(scope="module")
def measured():
    return measure(toys.bare())


def test_the_parts_add_up_and_are_those_of_the_measurement(measured):
    id = measured.saes["id"].iloc[-1]
    batches = list(stream_parts(measured, [id]))
    x = torch.cat([batch.x.double() for batch, _ in batches])
    sae, linear, nonlinear = (
        torch.cat([getattr(p[id], name) for _, p in batches]) for name in ("sae", "linear", "nonlinear")
    )
    assert torch.allclose(sae + linear + nonlinear, x, atol=1e-12)
    kept = measured.tokens[measured.tokens.scored]
    for z, name in ((linear + nonlinear, "error"), (linear, "linear"), (nonlinear, "nonlinear")):
        assert np.allclose((z**2).sum(1), kept[f"{id}:{name}"], rtol=1e-6)
    total = float(((x - x.mean(0)) ** 2).sum())
    held_out = measured.sae(id).fvu_nonlinear_held_out
    assert float((nonlinear**2).sum()) / total == pytest.approx(held_out, rel=1e-9)


def test_another_set_of_documents_is_split_by_the_map_of_all_folds(measured):
    id = measured.saes["id"].iloc[0]
    batch, parts = next(iter(stream_parts(measured, [id], text="score", scored=False)))
    assert len(batch.x) == len(batch.scored) > batch.scored.sum()
    short = list(stream_parts(measured, [id], contexts=4))
    assert [len(np.unique(b.context)) for b, _ in short] == [4]
    with pytest.raises(BadInput, match="has no text .other."):
        next(iter(stream_parts(measured, [id], text="other")))
    with pytest.raises(BadInput, match="is simulated"):
        world = type(measured)(Study.load("world"), measured.folder)
        next(iter(stream_parts(world, ["dead"], text="component")))


def test_the_tokens_of_a_batch_that_are_kept(measured):
    batch, _ = next(iter(stream_parts(measured, [], scored=False)))
    some = batch.where(batch.position % 2 == 0)
    assert set(some.position % 2) == {0} and len(some.x) == len(some.document) == len(some.loss)
    assert torch.equal(some.source, some.x)


@kept
def with_gaps(measured, *, width):
    return {"rows": pd.DataFrame({"a": [1.0, np.nan] * width, "b": ["x", None] * width})}


def test_a_kept_result_is_what_a_fresh_one_is_gaps_and_all(measured, tmp_path, monkeypatch):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    first, again = (with_gaps(measured, width=3)["rows"] for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert len(list(tmp_path.glob("with-gaps-nano-*"))) == 1
    assert len(with_gaps(measured, width=4)["rows"]) == 8
    assert len(list(tmp_path.glob("with-gaps-nano-*"))) == 2


def test_a_study_at_another_site_measures_the_saes_that_are_there():
    study = toys.bare()
    extra = SaeEntry(id="elsewhere", site="blocks.1.hook_resid_post", suite="other", path="saes/w32")
    both = study.at(saes=(*study.saes, extra))
    assert both.selected() == study.selected() and both.fingerprint() == study.fingerprint()
    there = both.at("blocks.1.hook_resid_post", suite="other")
    assert [entry.id for entry in there.selected()] == ["elsewhere"]
    assert there.fingerprint() != study.fingerprint()
    assert both.sites("other") == ["blocks.1.hook_resid_post"]
    with pytest.raises(BadInput, match="no SAE of other at blocks.0.hook_resid_post; .*other at blocks.1"):
        both.at(suite="other")


def test_random_weights_keep_the_spread_of_each_matrix_and_follow_the_seed():
    folder = toys.bare().data_folder() / "model"
    trained, one, same, other = (load_model(folder, random_weights=seed) for seed in (None, 0, 0, 1))
    tokens = torch.arange(1, 9)[None]
    logits = [model.run(tokens, [])[1] for model in (trained, one, same, other)]
    assert torch.equal(logits[1], logits[2])
    assert not torch.allclose(logits[1], logits[3]) and not torch.allclose(logits[1], logits[0])
    for a, b in zip(
        trained.bridge.original_model.parameters(), one.bridge.original_model.parameters(), strict=True
    ):
        if a.ndim >= 2:
            assert float(b.detach().std()) == pytest.approx(float(a.detach().std()), rel=0.2)
        else:
            assert torch.equal(a, b)

"""Activations that are kept on disk between passes: the same numbers, or made again."""

import numpy as np
import pytest
import torch

from darkmatter_utils.adapters.saes import Sae
from darkmatter_utils.base.config import cache_folder
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.studies import activations, stored
from darkmatter_utils.studies.activations import Activations
from darkmatter_utils.studies.saes import load_saes, reconstructions
from darkmatter_utils.studies.study import Study

OTHER = "blocks.0.hook_mlp_out"


@pytest.fixture
def large(monkeypatch, tmp_path):
    """Every model is a large one; a cache of its own."""
    monkeypatch.setattr(stored, "LARGE", 0)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    return Study.load("nano")


def joined(study, **how):
    found = [batch.sites for batch in Activations(study).batches(**how)]
    return {site: torch.cat([one[site] for one in found]) for site in found[0]}


def unread(monkeypatch):
    """From here on the model may not be run."""
    monkeypatch.setattr(activations.LanguageModel, "run", lambda *_, **__: pytest.fail("the model was run"))


def files():
    return sorted(cache_folder().glob("activations-nano-score-*/*.numbers"))


def test_a_second_pass_reads_what_the_first_one_gave(large, monkeypatch):
    first = joined(large, sites=[OTHER])
    unread(monkeypatch)
    again, some = joined(large, sites=[OTHER]), joined(large, contexts=5)
    assert first.keys() == again.keys() and all(torch.equal(first[site], again[site]) for site in first)
    assert len(some[large.site]) < len(first[large.site])
    assert first[large.site].dtype == getattr(torch, large.dtype)
    assert [path.stem for path in files()] == sorted([OTHER, large.site])


def test_a_part_is_what_the_whole_gives_and_a_small_model_keeps_nothing(large, monkeypatch):
    some = joined(large, contexts=5)[large.site]
    joined(large)
    torch.testing.assert_close(joined(large, contexts=5)[large.site], some, rtol=0, atol=0)
    monkeypatch.setattr(stored, "LARGE", 1 << 40)
    [path.unlink() for path in files()]
    torch.testing.assert_close(joined(large, contexts=5)[large.site], some, rtol=1e-9, atol=1e-9)
    assert not files()


def test_what_was_altered_or_cut_off_is_made_again(large):
    first = joined(large)[large.site]
    path = files()[0]
    data = np.memmap(path, np.uint8, "r+")
    data[100] ^= 255
    data.flush()
    assert torch.equal(joined(large)[large.site], first)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert torch.equal(joined(large)[large.site], first)


def test_a_pass_with_losses_keeps_them_and_what_its_other_saes_read(large, monkeypatch):
    lost = lambda: np.concatenate([batch.loss for batch in Activations(large).batches(losses=True)])
    first, others = lost(), sorted({entry.site for entry in large.saes if entry.site} - {large.site})
    assert np.isfinite(first).any() and others
    unread(monkeypatch)
    np.testing.assert_array_equal(lost(), first)
    assert set(joined(large, sites=others)) == {large.site, *others}
    assert np.isnan(next(iter(Activations(large).batches())).loss).all()


def test_another_model_is_not_taken_for_it_and_what_it_left_goes(large, monkeypatch):
    first = joined(large)[large.site]
    folder = files()[0].parent
    monkeypatch.setattr(stored, "_files", lambda study: [["another", 1, 1]])
    assert torch.equal(joined(large)[large.site], first)
    assert not folder.exists() and len(files()) == 1


@pytest.mark.parametrize(("share", "kept"), [(0, 0), (0.9, 0), (1.5, 1), (2.1, 2)])
def test_it_takes_no_more_than_it_may(large, monkeypatch, share, kept):
    tokens = Activations(large).contexts.tokens.size
    size = tokens * Activations(large).d_model * getattr(torch, large.dtype).itemsize
    monkeypatch.setenv(stored.GIGABYTES, str(share * size / 1e9))
    joined(large, sites=[OTHER])
    assert len(files()) == kept


def test_a_size_that_is_none_is_one_line(large, monkeypatch):
    monkeypatch.setenv(stored.GIGABYTES, "much")
    with pytest.raises(BadInput, match="DARKMATTER_ACTIVATIONS is 'much'; give gigabytes, e.g. 10, or 0"):
        joined(large)


def test_codes_are_made_once_for_all_passes_and_are_the_same_ones(large, monkeypatch):
    source = Activations(large)
    loaded = load_saes(large, source)
    first = [(made, batch.x) for batch, made in reconstructions(source, loaded)]
    there = list(cache_folder().glob("activations-nano-score-*/codes-*/*/*.npz"))
    assert len(there) == len(first) * len(loaded)
    there[0].write_bytes(there[0].read_bytes()[:-40])  # cut off: made again
    made, encode = [], Sae.codes
    monkeypatch.setattr(Sae, "codes", lambda self, x: made.append(self.id) or encode(self, x))
    for (before, x), (batch, after) in zip(first, reconstructions(Activations(large), loaded), strict=True):
        assert torch.equal(batch.x, x)
        assert all(torch.equal(*pair) for id in before for pair in zip(before[id], after[id], strict=True))
    assert len(made) == 1
    loaded[0].sae.W_dec.data[0, 0] += 1
    loaded[0].__dict__.pop("digest")
    list(reconstructions(Activations(large), loaded[:1]))
    assert len(made) == 1 + len(first)


def test_codes_take_no_more_than_there_is_room_for(large, monkeypatch):
    joined(large)
    size = sum(path.stat().st_size for path in files())
    monkeypatch.setenv("DARKMATTER_ACTIVATIONS", str(size / 1e9))
    list(reconstructions(Activations(large), load_saes(large)))
    assert not list(cache_folder().glob("activations-nano-score-*/codes-*/*/*"))

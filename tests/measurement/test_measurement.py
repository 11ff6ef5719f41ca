"""A study measured in streams: the same numbers as from plain arrays, whatever the batches, memory and
threads."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from darkmatter_utils import decompose, measure
from darkmatter_utils.base import cache
from darkmatter_utils.base.errors import BadInput
from darkmatter_utils.measurement.harvest import METRICS, NORMS
from darkmatter_utils.studies.activations import Activations
from darkmatter_utils.studies.saes import load_saes
from darkmatter_utils.studies.study import Study

_NANO = Study.load("nano")
NANO = dataclasses.replace(_NANO, data=str(_NANO.data_folder()))
"""By the path of its files, so that tests with a cache of their own do not make them again."""


@pytest.fixture(scope="module")
def measured():
    return measure(NANO)


@pytest.fixture(scope="module")
def arrays():
    source = Activations(NANO)
    batches = list(source.batches())
    keep = torch.from_numpy(np.concatenate([b.scored for b in batches]))
    x = torch.cat([b.x for b in batches])[keep]
    hats = {sae.id: sae.reconstruct(x)[0] for sae in load_saes(NANO, source)}
    return x, hats, np.concatenate([b.document for b in batches])[keep.numpy()]


@pytest.fixture()
def copy(tmp_path):
    """The nano study's files, to be damaged, and the study over them."""
    folder = shutil.copytree(NANO.data_folder(), tmp_path / "data")
    settings = {k: v for k, v in NANO.to_dict().items() if k not in ("saes", "world")}
    return folder, lambda **changes: Study.of(settings | dict(data=str(folder), saes="manifest") | changes)


def reseal(folder):
    """Make the manifest agree with files that a test changed on purpose."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = dict(
            bytes=(folder / name).stat().st_size, sha256=cache.sha256(folder / name)
        )
    (folder / "manifest.json").write_text(json.dumps(manifest))


def columns(frame):
    return frame[[c for m in (*METRICS, *NORMS) for c in (m, f"{m}_low", f"{m}_high")] + ["l0"]].to_numpy(
        float
    )


def test_the_stream_gives_what_decompose_gives_on_the_arrays(measured, arrays):
    x, hats, document = arrays
    for row in measured.saes.itertuples():
        plain = decompose(
            x, hats[row.id], document=document, folds=NANO.folds, bootstrap=NANO.bootstrap, seed=NANO.seed
        )
        for metric in METRICS:
            expected, low = getattr(plain, metric), getattr(row, f"{metric}_low")
            assert getattr(row, metric) == pytest.approx(expected.value, abs=1e-9)
            assert low == pytest.approx(expected.low, abs=1e-7)
            held_out = getattr(row, f"{metric}_held_out")
            assert held_out == pytest.approx(plain.held_out[metric], abs=1e-9)
        for column, part in NORMS.items():
            assert getattr(row, column) == pytest.approx(plain.norm_r2[part].value, abs=1e-8)


def test_the_papers_protocol_from_sums_gives_what_it_gives_on_the_arrays(measured, arrays):
    x, hats, document = arrays
    for row in measured.paper.itertuples():
        settings = dict(document=document, protocol="paper", bootstrap=NANO.bootstrap, seed=NANO.seed)
        plain = decompose(x, hats[row.id], **settings)
        named = {name: getattr(plain, name) for name in METRICS}
        for name, estimate in (named | {c: plain.norm_r2[part] for c, part in NORMS.items()}).items():
            ours = [getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high")]
            assert ours == pytest.approx([estimate.value, estimate.low, estimate.high], rel=1e-9)


def test_tokens_hold_the_parts_whose_sums_are_the_scores(measured):
    scored = measured.tokens[measured.tokens.scored]
    for row in measured.saes.itertuples():
        shares = scored[[f"{row.id}:error", f"{row.id}:nonlinear"]].sum()
        rest = row.fvu_nonlinear_held_out / row.fvu  # each token by the map of the other folds
        assert shares.iloc[1] / shares.iloc[0] == pytest.approx(rest, rel=1e-5)
        assert scored[f"{row.id}:l0"].mean() == pytest.approx(row.l0)
    assert set(scored.position) == set(range(*NANO.window))
    assert scored.loss.notna().all() and len(pd.read_parquet(measured.tokens_path)) == len(measured.tokens)


@pytest.mark.parametrize(
    "change", [dict(contexts_a_batch=5), dict(contexts_a_batch=8, memory=0), "one thread"]
)
def test_batches_memory_and_threads_change_no_number(measured, change, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if change == "one thread" else 2)
        again = measure(NANO, **({} if change == "one thread" else change))
    finally:
        torch.set_num_threads(threads)
    for name in ("saes", "paper"):
        np.testing.assert_allclose(
            columns(getattr(again, name)), columns(getattr(measured, name)), rtol=0, atol=1e-9
        )
    for name, values in measured.replicates.items():
        np.testing.assert_allclose(again.replicates[name], values, rtol=0, atol=1e-9)


def test_the_same_study_is_not_measured_twice_and_damage_is_mended(measured, monkeypatch, tmp_path):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    said = []
    first = measure(NANO, progress=said.append)
    assert said and (count := len(said))
    measure(NANO, progress=said.append)
    assert len(said) == count
    (first.folder / "card.json").write_text("{}")
    again = measure(NANO, progress=said.append)
    assert len(said) > count and again.card["tokens"] == measured.card["tokens"]


def test_a_stop_in_the_middle_leaves_nothing_half(monkeypatch, tmp_path):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))

    def stop(line):
        if "parts" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(NANO, progress=stop)
    assert not list(tmp_path.glob("*measure-*"))


def test_altered_truncated_and_missing_files_are_named(copy):
    folder, study = copy
    path = folder / "saes" / "w32" / "sae_weights.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(
        BadInput, match=r"saes/w32/sae_weights.safetensors has \d+ bytes, the manifest says \d+"
    ):
        measure(study())
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(BadInput, match="w32/sae_weights.safetensors was altered"):
        measure(study())
    path.unlink()
    with pytest.raises(BadInput, match="w32/sae_weights.safetensors is missing"):
        measure(study())


def test_tokens_outside_the_vocabulary_and_too_few_documents(copy):
    folder, study = copy
    with pytest.raises(BadInput, match="3 documents cannot make 5 folds"):
        measure(study(contexts=6))
    with pytest.raises(BadInput, match="has no text 'sxore'; nearest valid names: score"):
        measure(study(text="sxore"))
    tokens = dict(np.load(folder / "tokens.npz"))
    tokens["score_tokens"][3, 3] = 999
    np.savez(folder / "tokens.npz", **tokens)
    reseal(folder)
    with pytest.raises(BadInput, match="token id 999 is outside the vocabulary of nano"):
        measure(study())


def test_nan_activations_name_site_and_document(copy):
    from safetensors.torch import load_file, save_file

    folder, study = copy
    state = load_file(folder / "model" / "model.safetensors")
    state["model.embed_tokens.weight"][7] = float("nan")
    save_file(state, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    reseal(folder)
    with pytest.raises(
        BadInput, match=r"activation at blocks.0.hook_resid_post is NaN or infinite in document \d+"
    ):
        measure(study())


def test_a_wrong_site_and_a_short_context_are_named(copy):
    _, study = copy
    with pytest.raises(
        BadInput,
        match="nano has no site 'blocks.0.hook_resid_pst'; nearest valid names: blocks.0.hook_resid_post",
    ):
        measure(study(site="blocks.0.hook_resid_pst", saes=[dict(id="dead", kind="dead")]))
    with pytest.raises(BadInput, match="contexts have 32 tokens, but the window starts at 40"):
        measure(study(window=[40, 60]))


def test_null_saes_are_measured_beside_trained_ones(copy):
    _, study = copy
    result = measure(
        study(saes=[dict(id="dead", kind="dead"), dict(id="shrunk", kind="shrunk", dials=dict(gain=0.5))])
    )
    dead, shrunk = result.sae("dead"), result.sae("shrunk")
    assert dead.fvu == pytest.approx(1, abs=1e-6) and dead.r2_total == pytest.approx(1, abs=1e-9)
    assert shrunk.fvu == pytest.approx(0.25, abs=1e-6) and shrunk.fvu_nonlinear == pytest.approx(0, abs=1e-12)

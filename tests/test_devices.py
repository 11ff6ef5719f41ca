"""Every chapter on a device that refuses what a GPU refuses; see `devices`."""

import json
import warnings

import numpy as np
import pytest
import torch
import toy_gguf
import toys
from devices import OnDevice, lent
from ideas import play
from throwaway import ROOT

from darkmatter_utils import cli
from darkmatter_utils.adapters.models import load_model
from darkmatter_utils.base.config import STUDIES
from darkmatter_utils.base.values import Absent
from darkmatter_utils.book.chapters import chapters
from darkmatter_utils.experiments.regress import of, regress
from darkmatter_utils.measurement.measure import measure
from darkmatter_utils.studies.study import Study
from darkmatter_utils.training.sae_training import SaeJob
from darkmatter_utils.training.suite import Group, Planned, Suite
from darkmatter_utils.training.suite_training import train_planned

NUMBERS = [c.number for c in chapters(ROOT) if "reads-records" not in c.source.read_text()]
"""The chapters that compute; those that read records compute nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """nano on the device, with a cache of its own: a result does not say on which device it was made."""
    there = tmp_path_factory.mktemp("lent")
    (there / "nano.yaml").write_text(
        (STUDIES / "nano.yaml").read_text().replace("device: cpu", "device: cuda")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKMATTER_CACHE", str(there / "cache"))
        patch.setenv("DARKMATTER_RECORDS", str(there / "records"))
        patch.chdir(there)
        yield there


@pytest.mark.parametrize("number", NUMBERS)
def test_a_chapter_runs_on_the_device_and_nothing_of_it_is_absent(number, folder):
    few = {"draws": 5} if number == 2 else {}
    with lent(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of so small a study
        made = play(number, study=str(folder / "nano.yaml"), **few)
    tables = [(n, t) for value in made.values() if isinstance(value, dict) for n, t in value.items()]
    assert not {name: table.reason for name, table in tables if isinstance(table, Absent)}
    assert not list((folder / "cache").rglob("*.absent"))
    assert (folder / "records" / "nano" / f"{number:02d}.json").is_file()


def test_one_sae_is_measured_on_the_device(folder, tmp_path, capsys):
    asked = [
        "--model",
        toys.model(tmp_path / "model"),
        "--sae",
        toys.sae(tmp_path / "sae"),
        "--site",
        toys.SITE,
    ]
    asked += ["--text", toys.text(tmp_path / "text.jsonl"), "--positions", "4:31", "--device", "cuda"]
    with lent():
        assert cli.main(["measure", *map(str, asked)]) == 0, capsys.readouterr().err


def test_an_idea_that_leaves_the_device_is_refused(folder):
    measurement = measure(Study.load(folder / "nano.yaml"))
    with lent():
        regress(measurement, of(lambda x, hat: ((x - hat) ** 2).sum(dim=1)))
        for wrong in (
            lambda x, hat: torch.from_numpy(((x - hat) ** 2).sum(dim=1).numpy()),
            lambda x, hat: np.linalg.norm(x - hat, axis=1),
            lambda x, hat: (x - hat) @ torch.ones(x.shape[1], dtype=x.dtype),
        ):
            with pytest.raises((TypeError, RuntimeError), match="cuda:0"):
                regress(measurement, of(wrong))


def test_the_device_has_a_gpus_manners():
    with lent():
        here, away, at = torch.arange(3.0, device="cuda"), torch.ones(3), torch.tensor([0, 2])
        assert here.device.type == "cuda" and away.device.type == "cpu"
        for wrong in (
            lambda: here.numpy(),
            lambda: np.asarray(here),
            lambda: here + away,
            lambda: away * here.sum(),
            lambda: torch.cat([here, away]),
            lambda: away[at.to("cuda")],
            lambda: here.__setitem__(at, away[at]),
        ):
            with pytest.raises((TypeError, RuntimeError), match="cuda|same device"):
                wrong()
        assert isinstance(here * torch.tensor(2.0), OnDevice) and float(here.sum()) == 3
        assert isinstance(here[at], OnDevice) and not isinstance(here.cpu(), OnDevice)
        assert here.numpy(force=True).tolist() == here.cpu().numpy().tolist() == [0, 1, 2]
        layer = torch.nn.Linear(3, 2).to("cuda", torch.float64)
        loss = layer(here.double()).sum()
        loss.backward()
        assert isinstance(layer.weight.grad, OnDevice) and isinstance(torch.zeros_like(layer.bias), OnDevice)


@pytest.mark.parametrize("kind", ["batchtopk", "topk"])
def test_an_sae_is_trained_on_the_device(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a lent one")
    rows = (np.random.default_rng(0).normal(size=(6000, 16)) + 3).astype(np.float16)
    site, job = "blocks.0.hook_resid_post", SaeJob("a", "s", 64, 4.0, 0, 128 * 60, 128, 3e-3)
    made = Suite("s", "m", "t", site, (Group(widths=[64]),), device="cuda")
    with lent(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SAELens' of its own parts
        train_planned(Planned(job, "", kind), made, tmp_path, texts=(rows[:4000], rows[4000:]), log=str)
    card, run = (json.loads((tmp_path / f"saes/a/{name}.json").read_text()) for name in ("card", "training"))
    assert 0 < card["fvu"] < 1 and card["l0"] == pytest.approx(4, rel=0.2)
    assert run["device"] == "a lent one"


def test_a_model_from_gguf_runs_on_the_device(tmp_path):
    _, words, merges = toy_gguf.tokenizer()
    toy_gguf.write(tmp_path / "m.gguf", toy_gguf.model(len(words)), words, merges)
    site, tokens = "blocks.0.hook_resid_post", torch.arange(4, 12)[None]
    with lent():
        model = load_model(tmp_path / "m.gguf", device="cuda")
        found = model.activations(tokens.to("cuda"), site)
        assert isinstance(found, OnDevice)
    here = load_model(tmp_path / "m.gguf").activations(tokens, site)
    torch.testing.assert_close(found.cpu(), here)

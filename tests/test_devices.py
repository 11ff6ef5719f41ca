"""Every chapter on a device that refuses what a GPU refuses; see `devices`."""

import warnings

import numpy as np
import pytest
import torch
import toys
from devices import OnDevice, lent
from ideas import play
from throwaway import ROOT

from darkmatter_utils import cli
from darkmatter_utils.base.config import STUDIES
from darkmatter_utils.base.values import Absent
from darkmatter_utils.book.chapters import chapters
from darkmatter_utils.experiments.regress import of, regress
from darkmatter_utils.measurement.measure import measure
from darkmatter_utils.studies.study import Study

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

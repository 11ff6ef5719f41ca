"""Results taken from one machine's cache to another's, and results for others' tables."""

import json
import shutil

import numpy as np
import pytest
import toys

from darkmatter_utils import cli, measure
from darkmatter_utils.cli import show
from darkmatter_utils.measurement import arrays


@pytest.fixture()
def export(tmp_path, monkeypatch, capsys):
    """The nano study measured on one machine and exported; then another machine."""
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "one"))
    numbers = measure("nano").saes
    assert cli.main(["study", "export", "nano", str(tmp_path / "nano")]) == 0
    assert "study nano: 2 result(s) in" in capsys.readouterr().out
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "two"))
    toys.nano()
    return tmp_path / "nano", numbers


def test_results_of_another_machine_are_read_and_not_made_anew(export, tmp_path, capsys):
    path, numbers = export
    assert cli.main(["study", "verify", str(path)]) == 0
    assert "2 result(s), each as it was written" in capsys.readouterr().out
    assert cli.main(["study", "import", str(path)]) == 0
    assert capsys.readouterr().out.startswith("study nano: 2 new result(s)")
    said = []
    assert measure("nano", progress=said.append).saes.equals(numbers) and said == []
    assert cli.main(["study", "import", str(path)]) == 0 and "0 new" in capsys.readouterr().out
    (saes,) = path.glob("*/saes.parquet")
    whole = saes.read_bytes()
    saes.write_bytes(whole[:40] + bytes([whole[40] ^ 255]) + whole[41:])
    shutil.rmtree(tmp_path / "two")
    for command in ("verify", "import"):
        assert cli.main(["study", command, str(path)]) == 2
        assert "nano: the result measure-nano-" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()
    (path / "about.json").unlink()
    assert cli.main(["study", "verify", str(path)]) == 2
    assert "is no export of a study" in capsys.readouterr().err
    assert cli.main(["study", "export", "nano", str(path)]) == 2  # nothing of one's own is replaced


def test_nothing_to_export(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path))
    assert cli.main(["study", "export", "world", str(tmp_path / "a")]) == 2
    assert "study world has no results here; run: darkmatter measure world" in capsys.readouterr().err
    assert cli.main(["study", "verify", str(tmp_path / "a")]) == 2


def test_a_result_for_others_tables():
    x = np.random.default_rng(0).normal(size=(300, 6))
    answer = arrays.measure(x, 0.5 * x, document=np.repeat(np.arange(30), 10), bootstrap=100)
    found = json.loads(show.saebench(answer, now=1.0))
    assert found["datetime_epoch_millis"] == 1000 and found["eval_type_id"] == "dark_matter"
    metrics = found["eval_result_metrics"]["decomposition"]
    assert metrics["fvu"] == answer.result.fvu.value and metrics["fvu_low"] == answer.result.fvu.low
    assert set(found["eval_result_metrics"]) == {
        "decomposition",
        "paper_protocol",
        "null_dead",
        "null_shrunk",
        "sparsity",
    }
    assert found["sae_lens_version"] == found["versions"]["sae-lens"]

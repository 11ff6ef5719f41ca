"""The toy study of the tests is made by the command that says so."""

import json

import numpy as np

from darkmatter_utils.base.cache import listed
from darkmatter_utils.base.config import DATA
from darkmatter_utils.cli import main


def test_nano_is_made_anew_by_the_command(tmp_path, monkeypatch, capsys):
    """Texts and files are those that ship; weights round otherwise on another processor."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    assert main(["train", "nano"]) == 0
    assert capsys.readouterr().out.endswith("made build/nano\n")
    made, shipped = tmp_path / "build" / "nano", DATA / "nano"
    assert listed(made).keys() == listed(shipped).keys()
    with np.load(made / "tokens.npz") as ours, np.load(shipped / "tokens.npz") as theirs:
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    about = [json.loads((folder / "manifest.json").read_text()) for folder in (made, shipped)]
    assert about[0]["saes"] == about[1]["saes"] and about[0]["sae_cards"] == about[1]["sae_cards"]

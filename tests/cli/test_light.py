"""An installation without extras: what needs no library of models runs, the rest names the extra."""

import subprocess
import sys
import tomllib

import numpy as np
import pytest
from packaging.requirements import Requirement
from throwaway import ROOT

from darkmatter_utils.cli import EXTRAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT = """
import importlib.abc, importlib.metadata, sys
gone = {gone}
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in gone:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Finder())
known = importlib.metadata.version
def version(name):
    if name.replace("-", "_") in gone:
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.version = version
from darkmatter_utils.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments, cwd):
    """The command where the packages of the extras are not there."""
    gone = {name for names in EXTRAS.values() for name in names}
    command = [sys.executable, "-c", WITHOUT.format(gone=gone), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_the_extras_are_those_of_the_package():
    asked = {
        extra: {Requirement(line).name.replace("-", "_") for line in lines}
        for extra, lines in PROJECT["optional-dependencies"].items()
    }
    assert set(EXTRAS["models"]) == asked["models"]
    always = {Requirement(line).name.replace("-", "_") for line in PROJECT["dependencies"]}
    assert not always & {name for names in EXTRAS.values() for name in names}


def test_arrays_are_measured(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 6))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "hat.npy", x + 0.1 * rng.normal(size=x.shape))
    np.save(tmp_path / "document.npy", np.repeat(np.arange(40), 30))
    given = [
        "--x",
        "x.npy",
        "--reconstruction",
        "hat.npy",
        "--document",
        "document.npy",
        "--bootstrap",
        "100",
    ]
    files = ["--json", "numbers.json", "--html", "page.html", "--saebench", "saebench.json"]
    done = run("measure", *given, *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "numbers.json").stat().st_size and "FVU" in done.stdout


def test_an_sae_in_a_folder_is_read(tmp_path):
    """Of any format: the arithmetic is here."""
    data = ROOT / "darkmatter_utils" / "data" / "nano" / "saes" / "w32"
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(600, 16)))
    rng = np.random.default_rng(1)
    made = {"W_enc": (16, 24), "W_dec": (24, 16), "b_enc": (24,), "b_dec": (16,), "threshold": (24,)}
    np.savez(tmp_path / "params.npz", **{n: rng.normal(size=s).astype("f4") for n, s in made.items()})
    for sae in (data, tmp_path / "params.npz"):
        done = run("measure", "--x", "x.npy", "--sae", sae, "--bootstrap", "100", cwd=tmp_path)
        assert done.returncode == 0 and "FVU" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments, extra",
    [
        (["measure", "--model", "model", "--sae", "sae"], "models"),
        (["compare", "a", "b", "--model", "m"], "models"),
        (["doctor", "--model", "m", "--sae", "a"], "models"),
    ],
)
def test_what_needs_more_names_the_extra(tmp_path, arguments, extra):
    data = ROOT / "darkmatter_utils" / "data" / "nano"
    places = {"model": data / "model", "m": data / "model", "sae": data / "saes" / "w32"}
    places |= {"a": data / "saes" / "w32", "b": data / "saes" / "w16"}
    done = run(*(places.get(word, word) for word in arguments), cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"pip install 'darkmatter-utils[{extra}]'" in done.stderr

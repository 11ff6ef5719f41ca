"""The lock, pyproject.toml and environment.yml say the same; the notebooks' pairing changes no source."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
ISSUE_PINS = ("jupyter-book>=1.0.4,<2", "transformer-lens>=3.9,<4", "sae-lens>=6.54,<7", "torch==2.13.0")
"""What the project has promised to pin."""


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def locked() -> dict[str, list[Requirement]]:
    """The lines of the lock by package."""
    found: dict[str, list[Requirement]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((ROOT / "environment.yml").read_text())


def pip_lines(conda) -> list[str]:
    return next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))


def pinned(locked, name: str, python: str) -> Version:
    """The version of a package that the lock gives on a Python on Linux."""
    where = {
        "python_version": python,
        "python_full_version": f"{python}.7",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
    }
    lines = [r for r in locked[canonicalize_name(name)] if r.marker is None or r.marker.evaluate(where)]
    assert len(lines) == 1, f"{name} on Python {python}: {lines}"
    (pin,) = lines[0].specifier
    assert pin.operator == "=="
    return Version(pin.version)


def test_every_line_of_the_lock_pins_one_version_and_none_is_of_one_machine(locked):
    for requirements in locked.values():
        for requirement in requirements:
            assert requirement.url is None
            assert [pin.operator for pin in requirement.specifier] == ["=="], requirement
            assert "+" not in str(requirement.specifier), "a local version can be found on one machine only"
    assert not [name for name in locked if name.startswith(("nvidia", "triton", "cuda"))]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_satisfies_what_the_package_asks_for(project, locked, python):
    asked = project["dependencies"] + [
        line for lines in project["optional-dependencies"].values() for line in lines
    ]
    for line in [*asked, *ISSUE_PINS]:
        requirement = Requirement(line)
        version = pinned(locked, requirement.name, python)
        assert requirement.specifier.contains(version, prereleases=True), f"{line}: the lock has {version}"


def test_the_promised_pins_are_in_the_package_or_the_lock(project, locked):
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + extras["models"] + extras["book"]
    specifiers = {canonicalize_name(Requirement(line).name): Requirement(line).specifier for line in asked}
    for line in ISSUE_PINS[:-1]:
        requirement = Requirement(line)
        assert specifiers[canonicalize_name(requirement.name)] == requirement.specifier
    assert str(pinned(locked, "torch", "3.12")) == "2.13.0"


def test_the_conda_environment_says_the_same_as_the_lock(project, locked, conda):
    assert conda["channels"][0] == "conda-forge" and "nodefaults" in conda["channels"]
    plain = [line for line in conda["dependencies"] if isinstance(line, str)]
    python = next(line.split("=")[1] for line in plain if line.startswith("python="))
    assert SpecifierSet(project["requires-python"]).contains(python) and python in PYTHONS
    assert "pip" in plain
    for line in pip_lines(conda):
        if not line.startswith("-"):
            (pin,) = Requirement(line).specifier
            assert Version(pin.version) == pinned(locked, Requirement(line).name, python), line
    names = {
        canonicalize_name(Requirement(line).name) for line in pip_lines(conda) if not line.startswith("-")
    }
    assert {canonicalize_name(Requirement(line).name) for line in ISSUE_PINS} <= names


def test_the_conda_environment_installs_the_package_under_the_lock(project, conda):
    options = [line for line in pip_lines(conda) if line.startswith("-")]
    assert "-c requirements.lock" in options, "what the lines above do not name comes from the lock too"
    extras = re.fullmatch(r"-e \.\[(.+)\]", next(line for line in options if line.startswith("-e")))[1].split(
        ","
    )
    assert set(extras) == set(project["optional-dependencies"])


def test_what_is_installed_is_what_is_locked(locked):
    from importlib.metadata import version

    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for name in (
        "torch",
        "transformer-lens",
        "sae-lens",
        "jupyter-book",
        "altair",
        "vl-convert-python",
        "papermill",
    ):
        assert Version(version(name)).public == pinned(locked, name, python).public


def make(*arguments: str, **options):
    return subprocess.run(
        [shutil.which("make"), *arguments], capture_output=True, text=True, check=False, cwd=ROOT, **options
    )


def test_make_names_the_pythons_it_can_use():
    done = make("-n", "test")
    assert done.returncode == 0, done.stderr
    wrong = make("VENV=build/no-venv", "PYTHON=/no/such/python", "build/no-venv/.ready")
    assert wrong.returncode != 0 and "this needs Python 3.11, 3.12 or 3.13" in wrong.stderr
    assert not (ROOT / "build" / "no-venv").exists()


def notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


def test_there_are_notebooks():
    assert notebooks()


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_round_trip_through_jupytext_leaves_the_source_as_it_is(path, tmp_path):
    shutil.copyfile(ROOT / "notebooks" / "jupytext.toml", tmp_path / "jupytext.toml")
    copy = tmp_path / path.name
    shutil.copyfile(path, copy)
    jupytext = [sys.executable, "-m", "jupytext", "--quiet"]
    subprocess.run([*jupytext, "--sync", str(copy)], check=True, cwd=tmp_path)
    assert copy.read_bytes() == path.read_bytes()
    paired = copy.with_suffix(".ipynb")
    # The notebook is the newer of the two: syncing writes the script from it.
    paired.touch()
    subprocess.run([*jupytext, "--sync", str(paired)], check=True, cwd=tmp_path)
    assert copy.read_bytes() == path.read_bytes()


def test_the_table_of_contents_lists_every_chapter_and_nothing_else():
    toc = (ROOT / "_toc.yml").read_text()
    listed = re.findall(r"book/(\d\d_\w+)", toc)
    assert sorted(listed) == [path.stem for path in notebooks()]

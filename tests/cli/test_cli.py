"""The command: one line and a status for whatever a user can get wrong."""

import json
import subprocess
import sys

import pytest
from throwaway import command, files, project

from darkmatter_utils import cli
from darkmatter_utils.cli import commands

NEAR = "nearest valid names: "


@pytest.fixture
def root(tmp_path, monkeypatch):
    found = project(tmp_path / "project")
    monkeypatch.chdir(found)
    monkeypatch.delenv("DARKMATTER_PROJECT", raising=False)
    return found


def complaint(capsys, *arguments: str) -> str:
    """The one line on stderr of a command that exits with 2."""
    assert cli.main(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and said.err.startswith("darkmatter: ")
    return said.err.strip().removeprefix("darkmatter: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "1", "--study", "wrold"], f"unknown study 'wrold'; {NEAR}world"),
        (["run", "1", "--study", "no/such.yaml"], "no study file at no/such.yaml"),
        (["run", "07", "--study", "world"], f"there is no chapter '07'; {NEAR}01_probe"),
        (["run", "--study", "world"], "name the chapters to run, or --all; there are: 01_probe"),
        (["run", "1", "--all", "--study", "world"], "name the chapters to run, or --all"),
        (
            ["run", "1", "--study", "world", "-p", "scal", "3"],
            f"chapter 01_probe has no parameter 'scal'; {NEAR}scale",
        ),
        (
            ["run", "1", "--study", "world", "-p", "scale", "abc"],
            "chapter 01_probe: scale is 'abc'; give a number, as ",
        ),
        (
            ["run", "1", "--study", "world", "-p", "scale", "true"],
            "chapter 01_probe: scale is True; give a number, as ",
        ),
        (["run", "1", "--study", "world", "-p", "scale", "["], "-p scale: '[' is no value; give a number"),
        (
            ["run", "1", "--study", "world", "-p", "scale", "-1"],
            "-p scale: -1 cannot be; give a number from 0",
        ),
        (["run", "1", "--study", "world", "-p", "scale", ".nan"], "-p scale: nan cannot be; give a number"),
        (
            ["run", "1", "--study", "nano", "-p", "sae", "w63"],
            f"-p sae: study nano has no SAE 'w63'; {NEAR}w64",
        ),
        (["run", "1", "--study", "nano", "-p", "sae", "[w16]"], "-p sae: study nano has no SAE '['w16']'"),
        (["run", "1", "--study", "nano", "-p", "pair", "w16"], "-p pair: 'w16' cannot be; give two SAEs"),
        (["run", "1", "--study", "nano", "-p", "pair", "[w16, w63]"], "-p pair: study nano has no SAE 'w63'"),
        (
            ["run", "1", "--study", "nano", "-p", "contexts", "0"],
            "-p contexts: 0 cannot be; give a number from 1 on",
        ),
        (["run", "1", "-p", "study", "wrold", "--study", "world"], "unknown study 'wrold'"),
        (
            ["render", "--study", "world"],
            "chapter 01_probe has not been run on study world; run: darkmatter build --study world",
        ),
        (["train", "tinny"], f"there is no suite at tinny; {NEAR}tiny"),
        (["measure", "nan"], f"unknown study 'nan'; {NEAR}nano"),
        (["measure", "nano", "--sae", "w63"], f"study nano has no SAE 'w63'; {NEAR}w64"),
        (
            ["measure"],
            (
                "give a study (darkmatter measure tiny), or --model and --sae, or --x; see: darkmatter "
                "measure --help"
            ),
        ),
        (["rnu"], "argument COMMAND: invalid choice: 'rnu'"),
        ([], "the following arguments are required: COMMAND; see: darkmatter --help"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(root, capsys, arguments, line):
    assert complaint(capsys, *arguments).startswith(line)


def test_a_parameter_that_a_cell_fails_on_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(project(tmp_path / "project", extra="\n# %%\n1 / (scale - 3)\n"))
    monkeypatch.delenv("DARKMATTER_PROJECT", raising=False)
    assert cli.main(["run", "1", "--study", "world", "-p", "scale", "3"]) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("darkmatter: ")]
    assert line.startswith("darkmatter: chapter 01_probe, with scale = 3, cell ") and "ZeroDivision" in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("folds: many", "study ?: folds is 'many'; expected a whole number"),
        ("name: a\nfold: 3", f"study a: unknown key 'fold'; {NEAR}folds"),
        ("name: a\ntitle: t\nsite: s\nsaes: [{id: b}]", "study a: give either a model or a world"),
        ("[1, 2", "mine.yaml is not YAML"),
    ],
)
def test_a_study_file_that_cannot_be_used_is_one_line(root, capsys, text, line):
    settings = text if text.startswith(("[", "name: a\ntitle")) else f"{text}\nsaes: [{{id: b}}]"
    (root / "mine.yaml").write_text(settings)
    assert complaint(capsys, "run", "1", "--study", "mine.yaml").startswith(line)


LIGHT = """
import sys
from darkmatter_utils.cli import main
for wrong in (["measure", "--wrong"], ["measure"], ["rnu"], ["measure", "tiny", "--model", "a"]):
    assert main(wrong) == 2
try:
    main(["measure", "--help"])
except SystemExit:
    assert not {"torch", "numpy", "pandas", "transformers"} & set(sys.modules)
    print("light")
"""


def test_help_and_a_wrong_argument_load_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("light\n")


def test_outside_a_project_the_command_says_what_a_project_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DARKMATTER_PROJECT", str(tmp_path))
    assert complaint(capsys, "status", "--study", "world").startswith(f"no book at {tmp_path} or above it")


def test_status_says_which_chapters_are_stale_and_why(root, capsys):
    assert cli.main(["status", "--study", "world"]) == 0
    said = capsys.readouterr().out
    assert "01_probe" in said and "stale" in said and "never run" in said


def test_measure_writes_a_table_and_the_same_numbers_as_json(root, capsys, tmp_path):
    path = tmp_path / "numbers.json"
    assert cli.main(["measure", "nano", "--sae", "w16", "--json", str(path)]) == 0
    table = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert [sae["id"] for sae in found["saes"]] == ["w16"] and found["study"]["name"] == "nano"
    sae = found["saes"][0]
    assert f"{sae['fvu']:.3f} [{sae['fvu_low']:.3f}, {sae['fvu_high']:.3f}]" in table
    assert sae["fvu"] == pytest.approx(sae["fvu_linear"] + sae["fvu_nonlinear"], abs=1e-5)


def test_a_full_disk_is_one_line(root, capsys):
    assert cli.main(["measure", "nano"]) == 0  # its progress, on a slow machine, is not what is read below
    capsys.readouterr()
    assert complaint(capsys, "measure", "nano", "--json", "/dev/full").startswith("the disk is full")


def test_a_file_where_a_folder_belongs_is_named(root, capsys):
    (root / "build").write_text("a file where a folder belongs")
    assert cli.main(["status", "--study", "world"]) == 2
    assert capsys.readouterr().err.endswith("/build/world/stamps/01.json: Not a directory\n")


def test_a_fault_of_the_program_is_one_line_too(root, capsys, monkeypatch):
    monkeypatch.setattr(commands, "status", lambda options: 1 / 0)
    assert cli.main(["status", "--study", "world"]) == 1
    assert capsys.readouterr().err.startswith(
        "darkmatter: fault: ZeroDivisionError: division by zero (with DARKMATTER_TRACE=1"
    )


def test_ctrl_c_that_a_library_made_something_else_of_is_ctrl_c(root, capsys, monkeypatch):
    def interrupted(options):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ModuleNotFoundError("No module named 'version'")  # noqa: B904

    monkeypatch.setattr(commands, "status", interrupted)
    assert cli.main(["status", "--study", "world"]) == 130
    assert capsys.readouterr().err.startswith("darkmatter: interrupted")


def test_build_runs_what_is_stale_renders_and_compares_with_what_is_published(root):
    first = command("build", "--study", "world", folder=root)
    assert first.returncode == 0, first.stderr
    page = root / "build" / "html" / "world" / "index.html"
    assert first.stdout.splitlines()[-2:] == [
        str(page),
        "chapter 01_probe of study world was never published",
    ]
    assert page.exists() and "1 of 1 chapters to run on study world\n" in first.stdout
    assert "chapter 01_probe: never run" in first.stdout
    assert "0.247" in (page.parent / "book" / "index.html").read_text()
    assert command("publish", "--study", "world", folder=root).returncode == 0
    before = files(root / "book")
    again = command("build", "--study", "world", folder=root)
    assert again.returncode == 0 and "chapter 01_probe: nothing changed" in again.stdout
    assert again.stdout.splitlines()[-1].startswith("8 of 8 recorded values agree with the published ones")
    published = root / "book" / "records" / "world" / "01.json"
    published.write_text(published.read_text().replace("0.246914", "0.3"))
    other = command("build", "--study", "world", folder=root)
    assert other.returncode == 1 and other.stderr == ""
    assert other.stdout.splitlines()[-2] == "01 half: published 0.3, here 0.246914 (0.18 of it)"
    assert other.stdout.splitlines()[-1].startswith("7 of 8 recorded values agree")
    assert files(root / "book") | {"records/world/01.json": b""} == before | {"records/world/01.json": b""}
    # A warning is an error, and the last good pages stay.
    (root / "book" / "index.md").write_text("# Index\n\nThe value is {glue:text}`01_probe.ipynb::gone:s`.\n")
    before = page.parent.joinpath("book", "index.html").read_bytes()
    broken = command("render", "--study", "world", folder=root)
    assert broken.returncode == 2
    assert broken.stderr.count("\n") == 1 and broken.stderr.startswith(
        "darkmatter: the book was not rendered: "
    )
    assert "gone" in broken.stderr and str(root) not in broken.stderr
    assert page.parent.joinpath("book", "index.html").read_bytes() == before

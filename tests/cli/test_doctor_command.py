"""``darkmatter doctor`` as it is typed: a table, one verdict, numbers, and every mistake as one line."""

import json

import pytest

from darkmatter_utils.cli import main
from darkmatter_utils.studies.study import Study

TINY = Study.load("tiny").data_folder()
POST = "blocks.{}.hook_resid_post".format


def asked(*extra, model=TINY / "model", sae=TINY / "saes" / "w512-l0-8", site=POST(1), l0="8"):
    given = {"--model": model, "--sae": sae, "--site": site, "--l0": l0, "--documents": "6"}
    pairs = ([name, str(value)] for name, value in given.items() if value is not None)
    return ["doctor", *(word for pair in pairs for word in pair), *extra]


def test_a_table_a_verdict_and_numbers(tmp_path, capsys):
    out = tmp_path / "numbers.json"
    assert main(asked("--json", str(out))) == 0
    said, numbers = capsys.readouterr(), json.loads(out.read_text())
    assert f"Most likely wrong: site {POST(2)}." in said.out and "settings tried" in said.err
    assert numbers["named"] == [f"site {POST(2)}"] and numbers["l0"] == 8
    for line in numbers["reading"]:
        assert line in said.out
    rows = numbers["settings"]
    assert [row["fvu"] for row in rows] == sorted(row["fvu"] for row in rows)
    best = rows[0]
    assert best["named"] and best["fvu"] <= numbers["given"]["fvu"] * 2 / 3
    first, given = (next(line for line in said.out.splitlines() if word in line) for word in ("named", "→"))
    assert f"{best['fvu']:.3f}" in first and "another L0" not in first
    assert f"{numbers['given']['fvu']:.3f}" in given and "another L0" in given
    assert f"numbers: {out}" in said.out


def test_a_sound_sae_and_numbers_on_standard_output(capsys):
    assert main(asked("--json", "-", site=POST(2))) == 0
    said = capsys.readouterr()
    numbers = json.loads(said.out)
    assert not numbers["named"] and not any(row["named"] for row in numbers["settings"])
    assert "settings that were tried lowers the FVU by a third" in said.err


@pytest.mark.parametrize(
    "change, told",
    [
        (dict(model=None), "--model is missing"),
        (dict(sae=None), "--sae is missing"),
        (dict(site=None), "does not say where it reads"),
        (dict(site="blocks.9.hook_resid_post"), "has layers 0 to 3"),
        (dict(l0="0"), "--l0 is 0"),
        (dict(l0="many"), "--l0"),
        (dict(sae=TINY / "saes" / "w5"), "there is no such file or folder"),
        (dict(extra=["--models", str(TINY / "nowhere")]), "no such folder"),
        (dict(extra=["--json", "/nowhere/numbers.json"]), "there is no folder /nowhere"),
        (dict(extra=["--json", str(TINY / "model")]), "is a folder"),
        (dict(extra=["--positions", "9:3"]), "are empty"),
        (dict(extra=["--positions", "255:256"]), "start earlier"),
    ],
)
def test_what_cannot_be_diagnosed_is_told_in_a_line(change, told, capsys):
    assert main(asked(*change.pop("extra", []), **change)) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert told in err[-1] and err[-1].startswith("darkmatter: ")

"""Whatever reads what the command writes: any encoding, a reader that leaves, nobody."""

import json
import os
import subprocess
import sys

import pytest
from throwaway import project

COMMAND = [sys.executable, "-m", "darkmatter_utils.cli", "status", "--study", "world"]


@pytest.fixture
def root(tmp_path):
    return project(tmp_path / "project")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_what_an_encoding_lacks_is_replaced(root, environment):
    source = root / "notebooks" / "01_probe.py"
    source.rename(source.with_name("01_größe_ℓ0.py"))
    done = subprocess.run(COMMAND, cwd=root, env=os.environ | environment, capture_output=True, check=False)
    assert done.returncode == 0 and b"01_gr" in done.stdout and done.stderr == b""


@pytest.mark.parametrize("asked", [COMMAND[3:], ["study", "new", "mine.yaml"]])  # written at once; at the end
def test_a_reader_may_leave(root, asked):
    how = dict(cwd=root, env=os.environ | {"PYTHONUNBUFFERED": ""})
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done = subprocess.Popen([*COMMAND[:3], *asked], **how, **pipes)
    done.stdout.close()
    assert (done.stderr.read(), done.wait()) == (b"", 0)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(root, closed):
    line = f"{' '.join(COMMAND)} {closed}"
    assert subprocess.run(line, shell=True, cwd=root, check=False).returncode == 0


def test_a_complaint_that_cannot_be_written_leaves_the_status(root):
    line = f"{' '.join(COMMAND[:3])} rnu 2>/dev/full"
    assert subprocess.run(line, shell=True, cwd=root, check=False).returncode == 2


def test_a_source_may_begin_with_a_byte_order_mark(root):
    source = root / "notebooks" / "01_probe.py"
    run = [*COMMAND[:3], "run", "01", "--study", "world"]
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
    done = subprocess.run(run, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_numbers_go_to_standard_output_alone():
    done = subprocess.run(
        [*COMMAND[:3], "measure", "nano", "--sae", "w16", "--json", "-"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [sae["id"] for sae in json.loads(done.stdout)["saes"]] == ["w16"]
    assert "FVU" in done.stderr and "w16" in done.stderr


def test_without_a_home_folder_the_variable_is_named(root):
    lines = [
        "import os, pwd, sys",
        "for name in ('HOME', 'DARKMATTER_CACHE', 'XDG_CACHE_HOME'): os.environ.pop(name, None)",
        "def unknown(uid): raise KeyError(uid)",
        "pwd.getpwuid = unknown",
        "from darkmatter_utils.cli import main",
        "sys.exit(main(['status', '--study', 'world']))",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "set DARKMATTER_CACHE" in done.stderr and done.stderr.count("\n") == 1


def test_the_version_is_said():
    done = subprocess.run([*COMMAND[:3], "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("darkmatter 0.")

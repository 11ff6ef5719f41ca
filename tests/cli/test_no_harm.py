"""Measuring starts no process, opens no connection for local folders, writes nothing but what was named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from published import gemma_scope, llama_scope
from throwaway import ROOT

WATCHED = """
import json, os, sys
log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
PROCESSES = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "pty.spawn")
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "shutil.rmtree", "os.symlink", "os.link", "os.truncate")
BY_FOLDER = ("os.mkdir", "os.remove")  # whose last argument is an open folder that the name is in
def watch(event, args):
    said = None
    if event in PROCESSES or event in NETWORK:
        said = [event, repr(args)[:300]]
    elif event == "open" and isinstance(args[0], (str, bytes)):
        path, mode, flags = args
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(flags, int) else 0
        if writes or any(letter in (mode or "") for letter in "wax+"):
            said = ["write", os.path.abspath(os.fsdecode(path))]
    elif event in CHANGES and not (isinstance(args[-1], int) and args[-1] >= 0 and event in BY_FOLDER):
        paths = args[1:2] if event in ("os.rename", "os.symlink", "os.link") else args[:1]
        for path in (os.path.abspath(os.fsdecode(p)) for p in paths if isinstance(p, (str, bytes))):
            said = ["write", path]
    if said:
        os.write(log, (json.dumps(said) + "\\n").encode())
sys.addaudithook(watch)
from darkmatter_utils.cli import main
sys.exit(main(sys.argv[1:]))
"""


def watched(folder, *arguments) -> tuple[int, str, list[list[str]]]:
    """(status, stderr, what was done) of the command in a folder, with a home and a hub cache of its own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    log = folder / "log"
    log.write_text("")
    own = {"HOME": str(home), "DARKMATTER_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_", "TORCH"))
    }
    command = [sys.executable, "-B", "-c", WATCHED.format(log=str(log)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=kept | own)
    return done.returncode, done.stderr, [json.loads(line) for line in log.read_text().splitlines()]


def outside(done, folder, *named) -> list[list[str]]:
    """What is not a write into the cache, the temporary folder, or a named output (or its part beside it); to
    open the folder of an output, which says whether it can be written, makes nothing."""
    fine = [folder / "cache", folder / "tmp", Path("/dev"), Path("/proc"), Path("/sys")]
    into = lambda path: any(Path(path).is_relative_to(one) for one in fine) or Path(path) == folder
    beside = lambda path: any(Path(path).name.startswith((name, f".{name}")) for name in named)
    return [said for said in done if said[0] != "write" or not (into(said[1]) or beside(said[1]))]


@pytest.fixture
def place(tmp_path):
    words = [f"{i} " + "the quick brown fox jumps over the lazy dog again and again " * 8 for i in range(40)]
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": line}) for line in words))
    return tmp_path


TINY = ROOT / "darkmatter_utils" / "data" / "tiny"
HOW = ["--site", "blocks.2.hook_resid_post", "--positions", "8:64", "--bootstrap", "100", "--documents", "30"]


@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("kind", ["saelens", "gemma-scope", "llama-scope"])
def test_measuring_local_folders(place, kind, dry):
    folder = TINY / "saes" / "w512-l0-8"
    if kind != "saelens":
        folder = place / (
            "gemma-scope-2b-pt-res/layer_2/width_1k/average_l0_8" if "gemma" in kind else "llama"
        )
        {"gemma-scope": gemma_scope, "llama-scope": llama_scope}[kind](folder)
    more = ["--dry-run"] if dry else ["--json", "numbers.json", "--html", "page.html"]
    asked = ["measure", "--model", TINY / "model", "--sae", folder, "--text", "text.jsonl", *HOW, *more]
    status, err, done = watched(place, *asked)
    if kind == "saelens":  # the others are of another model: refused after it and they were loaded
        assert status == 0, err
        assert dry or (place / "numbers.json").is_file()
    else:
        assert status == 2 and "SAE" in err, err
    assert outside(done, place, "numbers.json", "page.html") == []


def test_comparing_and_measuring_a_study(place):
    two = [TINY / "saes" / name for name in ("w512-l0-8", "w1024-l0-8")]
    status, err, done = watched(
        place, "compare", *two, "--model", TINY / "model", "--text", "text.jsonl", *HOW
    )
    assert status == 0, err
    assert outside(done, place) == []
    status, err, done = watched(place, "measure", "nano")
    assert status == 0, err
    assert outside(done, place) == []


def test_a_diagnosis(place):
    how = [*HOW[:-4], "--documents", "6", "--l0", "8", "--models", TINY / "model", "--json", "numbers.json"]
    sae = TINY / "saes" / "w512-l0-8"
    asked = ["doctor", "--model", TINY / "model", "--sae", sae, "--text", "text.jsonl", *how]
    status, err, done = watched(place, *asked)
    assert status == 0 and (place / "numbers.json").is_file(), err
    assert outside(done, place, "numbers.json") == []


def test_the_watcher_sees_a_process_a_connection_and_a_file(place):
    said = "import subprocess, socket; open('elsewhere', 'w'); subprocess.run(['true']); "
    said += "socket.socket().connect_ex(('127.0.0.1', 9))"
    log = place / "log"
    spied = WATCHED.format(log=str(log)).partition("from darkmatter_utils")[0] + said
    subprocess.run([sys.executable, "-c", spied], cwd=place, check=True)
    seen = outside([json.loads(line) for line in log.read_text().splitlines()], place)
    assert {one[0] for one in seen} >= {"write", "subprocess.Popen", "socket.connect"}

"""Names on the hub: a cache filled by hand, and a loopback server where the hub would be."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from loopback import COMMIT, Hub, serving
from published import gemma_scope

from darkmatter_utils import cli
from darkmatter_utils.adapters import hub, releases
from darkmatter_utils.base.errors import BadInput

SAE = "layer_1/width_16k/average_l0_9"
REPOSITORY = "google/gemma-scope-2b-pt-res"


@pytest.fixture()
def home(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("DARKMATTER_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture()
def there(home, monkeypatch, request):
    """A hub with one SAE; the hub's library writes in pieces of 10 MB, so what is to go on must be larger."""
    large = "go" in request.node.name.split("_")
    gemma_scope(home / "made" / SAE, d_in=16, d_sae=180_000 if large else 400)
    made = Hub(
        {
            REPOSITORY: {
                f"{SAE}/params.npz": (home / "made" / SAE / "params.npz").read_bytes(),
                "README.md": b"of SAEs",
            }
        },
        gated=["google/gemma-2-2b"],
        private=["me/secret"],
    )
    with serving(made) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield made


def test_a_cache_filled_by_hand(home, monkeypatch):
    """The folders of a real cache, and no network: SAELens' names, and the hub's own, come to the same
    files."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    cached = home / "hf" / "hub" / "models--google--gemma-scope-2b-pt-res"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    real = "layer_12/width_16k/average_l0_82"
    gemma_scope(cached / "snapshots" / COMMIT / real, d_in=16)
    wanted = cached / "snapshots" / COMMIT / real
    for name in (
        f"gemma-scope-2b-pt-res/{real}",
        f"{REPOSITORY}/{real}",
        f"{REPOSITORY}/{real}@{COMMIT}",
        "gemma-scope-2b-pt-res-canonical/layer_12/width_16k/canonical",
    ):
        assert hub.sae_folder(name) == wanted
    from darkmatter_utils.adapters.saes import load_any

    card = load_any(wanted).card
    assert (card.site, card.l0, card.model) == ("blocks.12.hook_resid_post", 82, "google/gemma-2-2b")


def test_measure_by_names_alone(home, monkeypatch):
    """A model and an SAE by name, from a hand-filled cache, to numbers."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for repository, fill in (
        ("openai-community--gpt2", lambda f: toys.model(f)),
        ("me--saes", lambda f: toys.sae(f / "layer_0" / "w32")),
    ):
        cached = home / "hf" / "hub" / f"models--{repository}"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text(COMMIT)
        fill(cached / "snapshots" / COMMIT)
    toys.text(home / "text.jsonl", documents=20)
    assert (
        cli.main(
            [
                "measure",
                "--model",
                "gpt2",
                "--sae",
                "me/saes/layer_0/w32",
                "--site",
                toys.SITE,
                "--text",
                str(home / "text.jsonl"),
                "--json",
                str(home / "a.json"),
                "--bootstrap",
                "100",
                "--positions",
                "4:32",
            ]
        )
        == 0
    )
    found = json.loads((home / "a.json").read_text())
    assert found["request"]["model"] == "gpt2" and found["documents"] == 20


def test_download_check_and_keep(there):
    lines = []
    folder = hub.sae_folder(f"{REPOSITORY}/{SAE}", progress=lines.append)
    assert (folder / "params.npz").read_bytes() == there.files[REPOSITORY][f"{SAE}/params.npz"]
    assert len(lines) == 1 and lines[0].startswith(f"download: {REPOSITORY}, file 1 of 1, {SAE}/params.npz, ")
    before = len(there.asked)
    assert hub.sae_folder(f"{REPOSITORY}/{SAE}") == folder and len(there.asked) == before
    assert not (folder.parents[2] / "README.md").exists()


def test_a_cut_download_can_go_on(there):
    there.faults[f"{SAE}/params.npz"] = ("cut", 1)
    folder = hub.sae_folder(f"{REPOSITORY}/{SAE}")
    assert (folder / "params.npz").read_bytes() == there.files[REPOSITORY][f"{SAE}/params.npz"]
    assert any(asked[2] and asked[2] != "bytes=0-" for asked in there.asked)  # the second half only


def test_damaged_files_are_removed_and_fetched_anew(there):
    there.faults[f"{SAE}/params.npz"] = ("damaged", 1)
    with pytest.raises(
        BadInput,
        match=r"another sha256 than the hub says \(checksum mismatch\): it is damaged and was removed",
    ):
        hub.sae_folder(f"{REPOSITORY}/{SAE}")
    folder = hub.sae_folder(f"{REPOSITORY}/{SAE}")
    data = there.files[REPOSITORY][f"{SAE}/params.npz"]
    assert hashlib.sha256((folder / "params.npz").read_bytes()).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "google/gemma-2-2b",
            (
                "google/gemma-2-2b is gated: ask for access at .*/google/gemma-2-2b, make a token .* hf "
                "auth login"
            ),
        ),
        (
            "me/secret",
            r"no me/secret that you may read \(401\): check the name; if it is private or gated, log in",
        ),
        ("no/model", r"there is no no/model at .* \(404\), nor a folder of that name here"),
        (REPOSITORY, r"google/gemma-scope-2b-pt-res has no \*.json or \*.safetensors"),
    ],
)
def test_what_the_hub_refuses(there, name, says):
    with pytest.raises(BadInput, match=says) as caught:
        hub.model_folder(name)
    assert "\n" not in str(caught.value)


def test_an_sae_that_is_not_there(there):
    with pytest.raises(
        BadInput, match=f"{REPOSITORY} has no layer_9/.* at its newest revision; it has README.md, {SAE}"
    ):
        hub.sae_folder(f"{REPOSITORY}/layer_9")


def test_a_release_that_only_saelens_reads(home):
    with pytest.raises(
        BadInput, match=r"in a format that only SAELens reads \(temporal\); save it once with"
    ):
        release = next(
            name for name, about in releases.known().items() if about.get("conversion_func") == "temporal"
        )
        hub.sae_folder(f"{release}/{releases.known()[release]['saes'][0]['id']}")


def test_no_hub_at_all(home, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        hub.Unreachable, match="there is no folder me/mine here, and me/mine cannot be had from http://127"
    ):
        hub.model_folder("me/mine")


STALL = f"""
from darkmatter_utils.adapters import hub
print(hub.sae_folder("{REPOSITORY}/{SAE}"))
"""


def test_a_stalled_download_can_go_on(there):
    """The bytes that came before the stall are not asked for again."""
    there.faults[f"{SAE}/params.npz"] = ("stall", 1)
    root = str(Path(hub.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", STALL],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env=os.environ | {"HF_HUB_DOWNLOAD_TIMEOUT": "1"},
    )
    assert (Path(done.stdout.strip()) / "params.npz").read_bytes() == there.files[REPOSITORY][
        f"{SAE}/params.npz"
    ]
    assert any(asked[2] and asked[2] != "bytes=0-" for asked in there.asked)


def test_a_dry_run_says_what_would_be_downloaded(there, home, capsys):
    toys.model(home / "model")
    assert (
        cli.main(["measure", "--model", str(home / "model"), "--sae", f"{REPOSITORY}/{SAE}", "--dry-run"])
        == 0
    )
    said = capsys.readouterr().out
    assert f"download {REPOSITORY}: 5" in said and "params.npz" in said and "download: 5" in said
    assert not (home / "hf" / "hub").exists() or not list((home / "hf" / "hub").rglob("*.npz"))


def filled(home, repository, inside):
    """The toy SAE in the hub's cache, as if it had been downloaded; its cfg.json."""
    cached = home / "hf" / "hub" / f"models--{repository.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    return toys.sae(cached / "snapshots" / COMMIT / inside) / "cfg.json"


def measured(home, sae, *more):
    """The numbers of the toy model, or of arrays, and an SAE by name."""
    given = more or ("--model", str(home / "model"), "--text", str(home / "text.jsonl"), "--site", toys.SITE)
    asked = [*given, *(() if more else ("--positions", "4:32")), "--sae", str(sae), "--bootstrap", "100"]
    assert cli.main(["measure", *asked, "--json", str(home / "a.json")]) == 0
    return json.loads((home / "a.json").read_text())


def test_what_the_list_of_releases_says_is_done_by_every_name_of_an_sae(home, monkeypatch):
    """Mistral's SAE is run as one whose own file says the normalisation: by the release, the repository, the
    folder in the cache, and on arrays."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    toys.model(home / "model")
    toys.text(home / "text.jsonl", documents=20)
    cfg = filled(home, "JoshEngels/Mistral-7B-Residual-Stream-SAEs", "mistral_7b_layer_8")
    said = json.loads(cfg.read_text())
    own = toys.sae(home / "own")
    plain = measured(home, own)["fvu"]["value"]
    (own / "cfg.json").write_text(json.dumps(said | {"normalize_activations": "constant_norm_rescale"}))
    right = measured(home, own)["fvu"]["value"]
    assert right != pytest.approx(plain, rel=0.01)
    names = (
        "mistral-7b-res-wg/blocks.8.hook_resid_pre",
        "JoshEngels/Mistral-7B-Residual-Stream-SAEs/" + ("mistral_7b_layer_8"),
    )
    for name in (*names, cfg.parent):
        assert measured(home, name)["fvu"]["value"] == pytest.approx(right), name
    np.save(home / "x.npy", np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32))
    on_arrays = [measured(home, name, "--x", str(home / "x.npy"))["fvu"] for name in (names[0], own)]
    assert on_arrays[0] == on_arrays[1]


def test_what_a_measurement_does_not_follow_is_said_by_every_name_of_an_sae(home, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    toys.model(home / "model")
    toys.text(home / "text.jsonl", documents=20)
    cfg = filled(home, "jbloom/GPT2-Small-SAEs-Reformatted", "blocks.1.hook_resid_pre")
    cfg.write_text(json.dumps(json.loads(cfg.read_text()) | {"context_size": 8}))
    names = (
        "gpt2-small-res-jb/blocks.1.hook_resid_pre",
        "jbloom/GPT2-Small-SAEs-Reformatted/" + ("blocks.1.hook_resid_pre"),
    )
    for name in (*names, cfg.parent):
        said = " ".join(measured(home, name)["warnings"])
        assert "centred writing weights" in said and "contexts of 8 tokens" in said, name
    np.save(home / "x.npy", np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32))
    said = measured(home, names[0], "--x", str(home / "x.npy"))["warnings"]
    assert any("centred writing weights" in line for line in said)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("blocks.8.hook_resid_pre/gpt2-small-res-jb", "gpt2-small-res-jb/blocks.8.hook_resid_pre"),
        ("gpt2-small/8-res-jb", "gpt2-small-res-jb/blocks.8.hook_resid_pre"),
        (
            "gemma-2-2b/20-gemmascope-res-16k",
            "gemma-scope-2b-pt-res-canonical/layer_20/width_16k/canonical",
        ),
    ],
)
def test_parts_exchanged_and_neuronpedias_names_are_known(name, meant):
    with pytest.raises(BadInput, match=f"has no release '{name.partition('/')[0]}'; nearest: {meant}$"):
        hub.sae_name(name)


def test_a_mistyped_release_names_the_nearest():
    with pytest.raises(
        BadInput, match="no release 'gpt2-small-res-jbb'; nearest: gpt2-small-res-jb/blocks.8.hook"
    ):
        hub.sae_name("gpt2-small-res-jbb/blocks.8.hook_resid_pre")
    assert hub.sae_name("someone/repository/folder") == ("someone/repository", "folder", None)

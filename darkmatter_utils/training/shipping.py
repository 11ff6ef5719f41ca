"""The SAEs that ``darkmatter train tiny`` trains: which they are, and the shipped folder of the finished."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..base import cache
from ..base.errors import BadInput
from . import corpus
from .sae_training import SaeJob
from .suite import Planned

D_MODEL, L0 = 128, 8.0
"""Of the language model's activations; target L0 of the suite in width, and of all others."""
WIDTHS, SEEDS = tuple(D_MODEL * 2**k for k in range(6)), 3
GRID_WIDTHS, L0S = WIDTHS[:4], (4.0, 6.0, 8.0, 12.0, 16.0)
"""The grid. Its widths have `SEEDS` training seeds at `L0`."""
SAMPLES = 3_000_000
"""Activations seen by each SAE."""
SITE, WINDOW = "blocks.2.hook_resid_post", (32, 255)
"""What `studies/tiny.yaml` says too: a test compares them."""
WIDTH = 1024
"""Of the suites "sites", "kinds" and "twin"."""
TWIN_SEED = 0
"""Seed of the random weights of the language model's twin."""
L1_RATE = 2e-3
"""Learning rate of the L1 SAE, which has no step that revives latents as the others have."""
SUITES = ("", "depth", "sites", "kinds", "twin", "components")
"""Their order in the manifest."""
FILES = ("cfg.json", "sae_weights.safetensors", "card.json", "training.json")
"""What a finished SAE's folder under ``build/saes`` holds.

cfg.json and sae_weights.safetensors as SAELens saves them (`shrink`); card.json: l0, fvu, dead on
the scored text; training.json: the fields of its SaeJob (l0: the target), seconds and curve. Beside them
entry.json, if it belongs to a named suite: suite, kind (architecture), and target where that is not x.
"""


def jobs() -> list[SaeJob]:
    """The unnamed suite, dearest first, so that processes side by side end together."""
    wanted = [(width, L0, seed) for width in WIDTHS for seed in range(SEEDS if width in GRID_WIDTHS else 1)]
    wanted += [(width, l0, 0) for width in GRID_WIDTHS for l0 in L0S if l0 != L0]
    name = lambda width, l0, seed: f"w{width}-l0-{l0:g}" + (f"-seed{seed}" if seed else "")
    made = [SaeJob(name(*w), SITE, *w, SAMPLES) for w in wanted]
    return sorted(made, key=lambda job: (-job.width, job.l0, job.seed))


def others() -> list[Planned]:
    """The suites "kinds", "twin", "sites" and "depth", in the order of their training."""
    job = lambda id, width=WIDTH, site=SITE, **more: SaeJob(id, site, width, L0, 0, SAMPLES, **more)
    sites = {"z": "blocks.2.attn.hook_z", "mlp": "blocks.2.hook_mlp_out"}
    depth = [
        (layer, width, f"blocks.{layer}.hook_resid_post") for layer in (0, 1, 3) for width in (256, 1024)
    ]
    return [
        Planned(job("kind-topk"), "kinds", "topk"),
        Planned(job("kind-frozen"), "kinds", "frozen"),
        Planned(job("kind-l1", lr=L1_RATE), "kinds", "standard"),
        Planned(job("twin-w1024"), "twin", random_weights=TWIN_SEED),
        *(Planned(job(f"site-{name}-w{WIDTH}", site=site), "sites") for name, site in sites.items()),
        *(Planned(job(f"depth-l{layer}-w{width}", width, site), "depth") for layer, width, site in depth),
    ]


def planned() -> list[Planned]:
    """All of them."""
    return [Planned(job) for job in jobs()] + others()


def finished(build: Path) -> list[dict]:
    """Every finished SAE in the manifest's order: its entry there, its card, its curve, and its folder."""
    found = []
    for folder in sorted((build / "saes").iterdir()):
        if not all((folder / name).is_file() for name in FILES):
            continue
        card, training = (json.loads((folder / name).read_text()) for name in ("card.json", "training.json"))
        about = folder / "entry.json"
        more = json.loads(about.read_text()) if about.is_file() else {}
        main = not more.get("suite") and training["l0"] == L0
        entry = {"id": folder.name, "kind": "jumprelu"}
        entry |= {name: training[name] for name in ("width", "l0", "site", "seed")}
        entry |= {"main": main, "dead": card["dead"], "path": f"saes/{folder.name}"} | more
        keys = ("seconds", "samples", "batch", "lr", "trained_as", "l1_coefficient", "search")
        card |= {k: training[k] for k in keys if k in training}
        found.append(dict(entry=entry, card=card, curve=training["curve"], folder=folder))
    order = lambda e: (SUITES.index(e.get("suite", "")), e["width"], e["l0"], e["seed"], e["id"])
    return sorted(found, key=lambda one: order(one["entry"]))


def ship(build: Path, out: Path) -> Path:
    """Copy what the package carries and write its manifest last; files that did not change are left alone.

    A reader in between finds the old manifest and its files: nothing goes before the new manifest stands.
    """
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}-part-") as made:
        part = Path(made)
        manifest = _fill(build, part)
        for name, about in manifest["files"].items():
            old = out / name
            if not old.is_file() or cache.sha256(old) != about["sha256"]:
                old.parent.mkdir(parents=True, exist_ok=True)
                (part / name).replace(old)
        (part / "manifest.json").write_text(json.dumps(manifest, separators=(",", ":")) + "\n")
        (part / "manifest.json").replace(out / "manifest.json")
    keep = {out / name for name in manifest["files"]} | {out / "manifest.json"}
    for path in sorted(out.rglob("*"), reverse=True):
        if path.is_file() and path not in keep:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return out


def _fill(build: Path, part: Path) -> dict:
    shutil.copytree(build / "model" / "saved", part / "model")
    np.savez_compressed(part / "tokens.npz", **dict(np.load(build / "held_out.npz")))
    text = json.loads((build / "text.json").read_text())
    notices = text.pop("held_out_licences")
    line = "=" * 80
    said = [
        f"{line}\n{name}: token ids of its source files are in tokens.npz\n{line}\n{notice}"
        for name, notice in notices.items()
    ]
    (part / "NOTICES.txt").write_text("\n\n".join(said) + "\n")
    saes = finished(build)
    for one in saes:
        (part / one["entry"]["path"]).mkdir(parents=True)
        for name in ("cfg.json", "sae_weights.safetensors"):
            shutil.copy(one["folder"] / name, part / one["entry"]["path"] / name)
    model = json.loads((build / "model" / "held_out.json").read_text())
    files = cache.listed(part)
    table: Counter[str] = Counter()
    for name, about in files.items():
        table[name.split("/")[0]] += about["bytes"]
    table["total"] = table.total()
    curve = model["curve"]
    tokens, seconds = curve[-1]["tokens"], curve[-1]["seconds"]
    return dict(
        made_by="darkmatter train tiny",
        python=sys.version.split()[0],
        versions=cache.versions(),
        megabytes={k: round(v / 1e6, 3) for k, v in table.items()},
        model=dict(parameters=model["parameters"], tokens_seen=tokens, seconds=seconds, curve=curve),
        held_out=model["held_out"],
        text=text,
        held_out_distributions=list(corpus.HELD_OUT),
        saes=[one["entry"] for one in saes],
        sae_cards={one["entry"]["id"]: one["card"] for one in saes},
        sae_curves={one["entry"]["id"]: one["curve"] for one in saes},
        files=files,
    )


def shrink(folder: Path, threshold: Tensor | None = None) -> None:
    """Rewrite a saved SAE with weights in float16 and thresholds in float32 (new ones if given), in place."""
    path = folder / "sae_weights.safetensors"
    state = load_file(path)
    if threshold is not None:
        state["threshold"] = threshold
    for name, value in state.items():
        keep = torch.float32 if name == "threshold" else torch.float16
        if value.abs().max() > torch.finfo(keep).max:
            raise BadInput(f"{folder.name}: {name} overflows {keep}")
        state[name] = value.to(keep).contiguous()
    save_file(state, path)
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg = {k: v for k, v in cfg.items() if k != "metadata"} | {"dtype": "float32", "device": "cpu"}
    (folder / "cfg.json").write_text(json.dumps(cfg, indent=1, sort_keys=True) + "\n")

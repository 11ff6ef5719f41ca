"""Write the shipped folder of the embedded study from everything that is finished in the build folder."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..base import cache
from ..base.errors import BadInput
from . import corpus
from .suites import L0

SUITES = ("", "depth", "sites", "kinds", "twin", "components")
"""Their order in the manifest; others follow by name."""
FILES = ("cfg.json", "sae_weights.safetensors", "card.json", "training.json")
"""What a finished SAE's folder under ``build/saes`` holds.

cfg.json and sae_weights.safetensors as SAELens saves them (`shrink`); card.json: l0, fvu, dead on
held-out text; training.json: the fields of its SaeJob (id, site, width, l0, seed, samples, batch, lr),
seconds and curve. Beside them entry.json, if it belongs to a named suite: suite, kind (architecture), and
target where that is not x.
"""


def finished(build: Path) -> list[dict]:
    """What the manifest says of every finished SAE: its entry, its card and its curve, in the manifest's
    order."""
    found = []
    for folder in sorted((build / "saes").iterdir()):
        if not all((folder / name).is_file() for name in FILES):
            continue
        card, training = (json.loads((folder / name).read_text()) for name in ("card.json", "training.json"))
        about = folder / "entry.json"
        more = json.loads(about.read_text()) if about.is_file() else {}
        entry = (
            dict(
                id=folder.name,
                kind="jumprelu",
                width=training["width"],
                l0=training["l0"],
                site=training["site"],
                seed=training["seed"],
                main=not more.get("suite") and training["l0"] == L0,
                dead=card["dead"],
                path=f"saes/{folder.name}",
            )
            | more
        )
        keys = ("seconds", "samples", "batch", "lr", "trained_as", "l1_coefficient", "search")
        card |= {k: training[k] for k in keys if k in training}
        found.append(dict(entry=entry, card=card, curve=training["curve"], folder=folder))
    return sorted(found, key=lambda one: _order(one["entry"]))


def _order(entry: dict) -> tuple:
    suite = entry.get("suite", "")
    place = SUITES.index(suite) if suite in SUITES else len(SUITES)
    return (place, suite, entry["width"], entry["l0"], entry["seed"], entry["id"])


def ship(build: Path, out: Path) -> Path:
    """Copy what the package carries and write its manifest last; files that did not change are left as they
    are.

    A reader that looks in between finds the old manifest and its files. Nothing is removed before the new
    manifest stands.
    """
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f"{out.name}-part-") as made:
        part = Path(made)
        manifest = _fill(build, part)
        for name, about in manifest["files"].items():
            old = out / name
            if not (
                old.is_file()
                and old.stat().st_size == about["bytes"]
                and cache.sha256(old) == about["sha256"]
            ):
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
    (part / "NOTICES.txt").write_text(
        "\n\n".join(
            f"{'=' * 80}\n{name}: token ids of its source files are in tokens.npz\n{'=' * 80}\n{notice}"
            for name, notice in notices.items()
        )
        + "\n"
    )
    saes = finished(build)
    for one in saes:
        (part / one["entry"]["path"]).mkdir(parents=True)
        for name in ("cfg.json", "sae_weights.safetensors"):
            shutil.copy(one["folder"] / name, part / one["entry"]["path"] / name)
    model = json.loads((build / "model" / "held_out.json").read_text())
    files = {
        p.relative_to(part).as_posix(): dict(bytes=p.stat().st_size, sha256=cache.sha256(p))
        for p in sorted(part.rglob("*"))
        if p.is_file()
    }
    table: dict[str, int] = {}
    for name, about in files.items():
        group = name.split("/")[0]
        table[group] = table.get(group, 0) + about["bytes"]
    return dict(
        made_by="darkmatter train tiny",
        python=sys.version.split()[0],
        versions=cache.versions(),
        megabytes={k: round(v / 1e6, 3) for k, v in table.items()}
        | {"total": round(sum(table.values()) / 1e6, 3)},
        model=dict(
            parameters=model["parameters"],
            tokens_seen=model["curve"][-1]["tokens"],
            seconds=model["curve"][-1]["seconds"],
            curve=model["curve"],
        ),
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

"""Activations of a suite's text, stored once for all SAEs of a site, in pieces made one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..adapters.models import load_model
from ..base.values import whole, write_atomic
from .suite import Suite

PIECES = 16
"""Files of a site's training activations; one that is finished is not made again."""
MICRO = {"cpu": 1}
"""Contexts of one forward pass: on a CPU one stays in its cache; `LARGE` on anything else."""
LARGE = 32


class Rows:
    """Activations [row, d] in several files, read as one array: a slice, or rows by ascending numbers."""

    def __init__(self, paths: Sequence[Path]):
        self.pieces = [np.load(path, mmap_mode="r") for path in paths]
        self.starts = np.cumsum([0, *map(len, self.pieces)])
        self.shape = (int(self.starts[-1]), self.pieces[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows) -> np.ndarray:
        rows = np.arange(len(self))[rows]
        cuts = np.searchsorted(rows, self.starts[1:-1])
        parts = zip(self.pieces, self.starts, np.split(rows, cuts))
        return np.concatenate([piece[some - start] for piece, start, some in parts])


def folder_of(build: Path, site: str, random_weights: int | None = None) -> Path:
    """Where a site's activations are."""
    return build / "rows" / (site if random_weights is None else f"{site}-random{random_weights}")


def training(build: Path, site: str, random_weights: int | None = None) -> Rows:
    """A site's training activations."""
    return Rows(sorted(folder_of(build, site, random_weights).glob("train-*.npy")))


def store(
    suite: Suite, build: Path, wanted: dict[str, int], *, piece: int | None = None, random_weights=None, log
) -> None:
    """Store the activations at sites: of all component contexts and of the first so many training contexts
    (``wanted``: by site), positions in the window, in float16; component.npy and train-00.npy ...

    Training activations louder than ``suite.loud`` median norms of the component text are left out.
    ``piece``: only that one of the `PIECES`; None: all of them. Cost: a pass of the model as far as the last
    site, whatever their number; 2 bytes a number on disk.
    """
    contexts = {name: np.load(build / f"{name}.npy", mmap_mode="r") for name in ("train", "component")}
    folders = {site: folder_of(build, site, random_weights) for site in wanted}
    cuts = np.linspace(0, len(contexts["train"]), PIECES + 1).round().astype(int)
    model = None

    def rows(what, tokens, sites):
        nonlocal model
        if model is None:
            how = dict(name=suite.name, dtype=suite.model_dtype, device=suite.device)
            model = load_model(suite.model, random_weights=random_weights, **how)
        clock, told = time.perf_counter(), time.perf_counter()
        micro = MICRO.get(suite.device, LARGE)
        for at in range(0, len(tokens), micro):
            some = torch.from_numpy(tokens[at : at + micro].astype(np.int64)).to(suite.device)
            found = model.read(some, sites)
            yield {site: x[:, slice(*suite.window)].flatten(0, 1) for site, x in found.items()}
            if (now := time.perf_counter()) - told > 20:
                told, done = now, (at + micro) / len(tokens)
                left = (now - clock) * (1 - done) / done
                log(f"activations: {what}, {done:.0%} of {len(tokens)} contexts, {left / 60:.0f} min left")

    missing = [site for site, folder in folders.items() if not (folder / "component.npy").exists()]
    if missing and piece is None:
        log(f"activations: component text at {len(missing)} sites")
        kept: dict[str, list] = {site: [] for site in missing}
        for found in rows("component text", contexts["component"], missing):
            for site, x in found.items():
                kept[site].append(x.half().cpu().numpy())
        for site, parts in kept.items():
            _save(folders[site] / "component.npy", np.concatenate(parts))
            norms = np.linalg.norm(np.concatenate(parts).astype(np.float32), axis=1)
            about = {"median_norm": float(np.median(norms)), "loud": suite.loud}
            write_atomic(folders[site] / "about.json", json.dumps(about))
    cut = {
        site: suite.loud * json.loads((f / "about.json").read_text())["median_norm"]
        for site, f in folders.items()
    }
    for number in range(PIECES) if piece is None else [piece]:
        name, (start, stop) = f"train-{number:02d}.npy", cuts[number : number + 2]
        missing = [s for s, f in folders.items() if start < wanted[s] and not (f / name).exists()]
        if not missing:
            continue
        kept = {site: [] for site in missing}
        for found in rows(f"piece {number + 1} of {PIECES}", contexts["train"][start:stop], missing):
            for site, x in found.items():
                kept[site].append(x[x.norm(dim=1) <= cut[site]].half().cpu().numpy())
        for site, parts in kept.items():
            _save(folders[site] / name, np.concatenate(parts))


def _save(path: Path, rows: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part, part.open("wb") as out:
        np.save(out, rows)

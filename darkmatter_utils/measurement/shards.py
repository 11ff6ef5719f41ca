"""The arrays of a probe: activations and reconstructions on disk, written shard by shard, picked up again
when killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from ..adapters.contexts import read
from ..adapters.models import load_model
from ..adapters.saes import load_any
from ..base import cache, provenance
from ..base.errors import BadInput

SHARD = 8
"""Documents between two points that a killed probe can go on from."""


def folder_of(planned) -> Path:
    """Where a probe keeps what it has so far, named by everything that the activations follow from."""
    idle = ("folds", "bootstrap", "seed", "text", "documents")
    folders = [Path(name).absolute() for name in planned.folders]
    key = cache.key_of(
        asked={name: value for name, value in asdict(planned.request).items() if name not in idle},
        files={str(folder): cache.stamps(folder) for folder in folders},
        tokens=planned.reading.sha256,
        window=planned.reading.window,
        versions=cache.versions(),
        code=provenance.key(provenance.of(activations, read, load_any, load_model)),
        threads=torch.get_num_threads(),
    )
    return cache.cache_folder() / f"probe-{key}"


def activations(planned, folder: Path, tell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, Sae(x), L0) of the counted tokens, memory-mapped; a shard that is marked done is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    reading, d_out = planned.reading, planned.sae.card.d_out
    edges = np.concatenate([[0], np.cumsum(reading.scored)])
    shape = (int(edges[-1]), d_out)
    kinds = {"x": (np.float32, shape), "x_hat": (np.float32, shape), "l0": (np.int32, shape[:1])}
    arrays = {name: _open(folder / f"{name}.npy", *kind) for name, kind in kinds.items()}
    start, stop = reading.window
    began, made = time.monotonic(), 0
    if found := sum(1 for _ in folder.glob("done-*")):
        tell(f"going on: {found} of {planned.shards} shards are there already")
    for shard in range(planned.shards):
        done = folder / f"done-{shard:05d}"
        if done.exists():
            continue
        rows = slice(shard * SHARD, (shard + 1) * SHARD)
        for row in range(*rows.indices(len(reading.length))):
            length = min(int(reading.length[row]), stop)
            tokens = torch.from_numpy(reading.tokens[row : row + 1, :length]).to(planned.request.device)
            read_at, written = _run(planned, tokens)
            hat, l0 = planned.sae.reconstruct(read_at[0, start:])
            at = slice(int(edges[row]), int(edges[row + 1]))
            for name, value in (("x", written[0, start:]), ("x_hat", hat), ("l0", l0)):
                if not torch.isfinite(value).all():
                    what = f"activation at {planned.writes}" if name == "x" else "SAE's reconstruction"
                    where = f"document {reading.document[row]}"
                    raise BadInput(f"the {what} is NaN or infinite in {where}; use a wider dtype")
                arrays[name][at] = value.cpu().float().numpy()
        for array in arrays.values():
            array.flush()
        done.touch()
        last = min(rows.stop, len(reading.length))
        made += int(edges[last] - edges[rows.start])
        rate = made / max(time.monotonic() - began, 1e-9)
        left = (edges[-1] - edges[last]) / rate
        tell(
            f"activations: shard {shard + 1} of {planned.shards}, documents {last} of "
            f"{len(reading.length)}, {rate:,.0f} tokens/s, {left:,.0f} s left"
        )
    return arrays["x"], arrays["x_hat"], arrays["l0"]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Inside the ``with``, no other process measures the same; BadInput where one does already."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(f"{folder}.lock").acquire(timeout=0)
    except Timeout:
        raise BadInput("the same is being measured by another process; wait for it, or end it") from None
    with lock:
        for left in folder.parent.glob(f"{folder.name}-done-*"):  # of a kill inside `discard`
            shutil.rmtree(left, ignore_errors=True)
        yield


def discard(folder: Path) -> None:
    """Remove a probe's arrays; the name goes first: a kill half-way leaves nothing that looks whole."""
    if folder.exists():
        gone = folder.rename(folder.with_name(f"{folder.name}-done-{os.getpid()}"))
        shutil.rmtree(gone, ignore_errors=True)


def _run(planned, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if planned.reads == planned.writes:
        found = planned.model.activations(tokens, planned.reads)
        return found, found
    found, _ = planned.model.run(tokens, [planned.reads, planned.writes])
    return found[planned.reads], found[planned.writes]


def _open(path: Path, dtype, shape) -> np.memmap:
    """The array of an interrupted probe, or a new one, put in place when it has its size."""
    if not path.exists():
        part = path.with_suffix(".part")
        np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):  # a disk that fills up under a memory map kills the process
            with part.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        os.replace(part, path)
    return np.lib.format.open_memmap(path, mode="r+")

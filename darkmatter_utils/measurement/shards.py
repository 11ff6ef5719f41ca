"""A probe's arrays on disk: activations and reconstructions, a few documents at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock, Timeout

from ..base.errors import BadInput
from ..base.values import whole

if TYPE_CHECKING:
    from .one_sae import Plan

SHARD = 8
"""Documents between two points that a killed probe can go on from."""


def activations(planned: Plan, tell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, Sae(x), L0) of the counted tokens, memory-mapped; a shard that is marked done is not made again."""
    (folder := planned.folder).mkdir(parents=True, exist_ok=True)
    reading, d_out = planned.reading, planned.sae.card.d_out
    edges = np.concatenate([[0], np.cumsum(reading.scored)])
    shape, counts = (int(edges[-1]), d_out), torch.from_numpy(reading.counts)
    kinds = {"x": (np.float32, shape), "x_hat": (np.float32, shape), "l0": (np.int32, shape[:1])}
    kinds |= {"input": (np.float32, shape)} if planned.transcodes else {}
    sites = [*planned.sae.card.earlier, planned.reads]
    arrays = {name: _open(folder / f"{name}.npy", *kind) for name, kind in kinds.items()}
    stop, documents = reading.window[1], len(reading.length)
    began, made = time.monotonic(), 0
    if ready := len(list(folder.glob("done-*"))):
        tell(f"going on: {ready} of {planned.shards} shards are there already")
    for shard in range(planned.shards):
        done = folder / f"done-{shard:05d}"
        if done.exists():
            continue
        rows = slice(shard * SHARD, (shard + 1) * SHARD)
        for row in range(*rows.indices(documents)):
            length = min(int(reading.length[row]), stop)
            tokens = torch.from_numpy(reading.tokens[row : row + 1, :length]).to(planned.request.device)
            found = planned.model.read(tokens, [*sites, planned.writes])
            mine = {site: value[0, :length][counts[row, :length]] for site, value in found.items()}
            y = mine[planned.writes]
            hat, l0 = planned.sae.reconstruct(torch.cat([mine[site] for site in sites], dim=1))
            at = slice(int(edges[row]), int(edges[row + 1]))
            made_now = {"x": y, "x_hat": hat, "l0": l0, "input": mine[planned.reads]}
            for name, value in ((name, made_now[name]) for name in arrays):
                if not torch.isfinite(value).all():
                    of = {"x": planned.writes, "input": planned.reads}
                    what = f"activation at {of[name]}" if name in of else "SAE's reconstruction"
                    where = f"document {reading.document[row]}"
                    raise BadInput(f"the {what} is NaN or infinite in {where}; use a wider dtype")
                arrays[name][at] = value.cpu().float().numpy()
        for array in arrays.values():
            array.flush()
        done.touch()
        last = min(rows.stop, documents)
        made += int(edges[last] - edges[rows.start])
        rate = made / max(time.monotonic() - began, 1e-9)
        left = (edges[-1] - edges[last]) / rate
        tell(
            f"activations: shard {shard + 1} of {planned.shards}, documents {last} of "
            f"{documents}, {rate:,.0f} tokens/s, {left:,.0f} s left"
        )
    return arrays["x"], arrays["x_hat"], arrays["l0"]


def input_of(planned: Plan) -> np.ndarray:
    """What a transcoder read at the counted tokens [token, d_in], once `activations` has been there."""
    return _open(planned.folder / "input.npy", np.float32, (planned.tokens, planned.sae.card.d_in))


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


def _open(path: Path, dtype, shape) -> np.memmap:
    """The array of an interrupted probe, or a new one, put in place when it has its size."""
    if not path.exists():
        with whole(path) as part:
            np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape).flush()
            if hasattr(os, "posix_fallocate"):  # a disk that fills up under a memory map kills the process
                with part.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
    return np.lib.format.open_memmap(path, mode="r+")

"""Batches of stored activations in an order that is a function of seed and step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch


def beside(rows, device: str):
    """``rows`` where an SAE is trained: as they are for a CPU, all of them in an accelerator's memory."""
    if device == "cpu":
        return rows
    made = torch.empty(rows.shape, dtype=torch.from_numpy(rows[:1]).dtype, device=device)
    for start in range(0, len(rows), 1 << 18):
        part = torch.from_numpy(rows[start : start + (1 << 18)])
        made[start : start + len(part)] = part.to(device)
    return made


def shuffled_rows(rows, batch: int, *, seed: int, start: int = 0) -> Iterator:
    """Endless batches [batch, d] of ``rows`` in random order, anew each pass; ``start`` skips batches."""
    per_pass, step = len(rows) // batch, start
    while True:
        order = np.random.default_rng([seed, step // per_pass]).permutation(len(rows))
        for i in range(step % per_pass, per_pass):
            yield rows[np.sort(order[i * batch : (i + 1) * batch])]
            step += 1

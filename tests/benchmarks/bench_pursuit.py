"""Gradient pursuit against a plain dense implementation of the same rule.

`python tests/benchmarks/bench_pursuit.py [threads]` prints seconds and their ratio at d_sae 16,384,
d_model 256, L0 32, batch 256, on the same threads.
"""

import sys
import time
from functools import partial

import torch

from darkmatter_utils.stats.pursuit import gradient_pursuit


def dense_pursuit(x, dictionary, l0):
    """The rule on dense codes: three products of token × d_sae × d_model a step."""
    codes = x.new_zeros(len(x), len(dictionary))
    for _ in range(l0):
        residual = x - codes @ dictionary
        score = residual @ dictionary.T
        support = codes != 0
        support[torch.arange(len(x)), score.argmax(1)] = True
        gradient = score * support
        direction = gradient @ dictionary
        size = (direction * direction).sum(1)
        step = torch.where(size > 0, (direction * residual).sum(1) / size, 0)
        codes = (codes + step[:, None] * gradient).clamp(min=0)
    return codes


def signals(tokens, d_sae, d_model, l0, dtype, seed=0):
    """Sparse non-negative mixtures of unit atoms with noise, and the atoms."""
    rng = torch.Generator().manual_seed(seed)
    atoms = torch.randn(d_sae, d_model, generator=rng, dtype=dtype)
    atoms /= atoms.norm(dim=1, keepdim=True)
    index = torch.randint(d_sae, (tokens, l0), generator=rng)
    value = torch.rand(tokens, l0, generator=rng, dtype=dtype)
    x = torch.einsum("tk,tkd->td", value, atoms[index])
    return x + 0.05 * torch.randn(tokens, d_model, generator=rng, dtype=dtype), atoms


def seconds(*calls, repeats=5):
    """Shortest wall time of each call, taken in turns: a busy machine slows all of them, not one."""
    times = [[] for _ in calls]
    for _ in range(repeats):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [min(taken) for taken in times]


def main(threads: int = 1) -> None:
    torch.set_num_threads(threads)
    for dtype in (torch.float32, torch.float64):
        x, atoms = signals(256, 16_384, 256, 32, dtype)
        plain, fast = seconds(partial(dense_pursuit, x, atoms, 32), partial(gradient_pursuit, x, atoms, 32))
        print(f"{dtype}, {threads} thread(s): dense {plain:.2f} s, ours {fast:.2f} s, {plain / fast:.1f} x")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

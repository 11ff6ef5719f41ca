"""`Moments` and its solve against `torch.linalg.lstsq`, on the same float32 rows and threads.

`python tests/benchmarks/bench_moments.py [threads] [rounds]` prints seconds and ratios for 40,000 × 768
float32 rows of x and an error of as many dimensions: one fit, the five out-of-fold fits that a decomposition
needs, and a further SAE. Ours computes in float64. `lstsq` is run in the float32 of the rows, and in float64:
on rows with two large dimensions, as residual streams have, float32 drops directions that hold the error, as
the printed R² shows, so that only the float64 one gives the same answer.
"""

import statistics
import sys
import time

import torch

from darkmatter_utils.stats.fits import LinearMap, cross_fit
from darkmatter_utils.stats.moments import Moments

TOKENS, D_MODEL, FOLDS = 40_000, 768, 5


def activations(seed=0):
    """x with means, correlations and two large dimensions, and an error that is half linear in it."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(TOKENS, D_MODEL, generator=rng) * torch.logspace(0, -1, D_MODEL)
    x = x @ torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=rng))[0] + torch.randn(
        D_MODEL, generator=rng
    )
    x[:, :2] += 300
    errors = [
        0.3 * x @ torch.randn(D_MODEL, D_MODEL, generator=rng) / D_MODEL**0.5
        + 0.1 * torch.randn(TOKENS, D_MODEL, generator=rng)
        for _ in range(2)
    ]
    return x, errors


def with_ones(x):
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)


def lstsq(x, y):
    """Weights and bias by the default driver."""
    return torch.linalg.lstsq(with_ones(x), y).solution


def lstsq64(x, y):
    return lstsq(x.double(), y.double())


def lstsq_folds(x, y):
    rest = [torch.arange(TOKENS) % FOLDS != k for k in range(FOLDS)]
    return [lstsq(x[rows], y[rows]) for rows in rest]


def ours(x, y):
    return LinearMap.fit(Moments(D_MODEL, y.shape[1]).update(x, y))


def ours_folds(x, y):
    folds = [Moments(D_MODEL, y.shape[1]).update(x[k::FOLDS], y[k::FOLDS]) for k in range(FOLDS)]
    return cross_fit(folds)


def r2(y, predicted):
    y, predicted = y.double(), predicted.double()
    return float(1 - ((y - predicted) ** 2).sum() / ((y - y.mean(0)) ** 2).sum())


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main(threads=1, rounds=3):
    torch.set_num_threads(threads)
    x, errors = activations()
    both = torch.cat(errors, dim=1)
    jobs = {
        "lstsq float32, one fit": (lstsq, errors[0]),
        "lstsq float64, one fit": (lstsq64, errors[0]),
        "Moments + solve": (ours, errors[0]),
        "Moments + solve, two SAEs": (ours, both),
        f"lstsq float32, {FOLDS} folds": (lstsq_folds, errors[0]),
        f"Moments + cross_fit, {FOLDS} folds": (ours_folds, errors[0]),
    }
    times = {name: [] for name in jobs}
    # Rounds, not repeats: whatever else the machine does falls on all of them alike.
    for _ in range(rounds):
        for name, (function, target) in jobs.items():
            times[name].append(seconds(function, x, target))
    median = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"{TOKENS:,} x {D_MODEL} float32 rows, {D_MODEL} targets an SAE, {threads} threads, median of "
        f"{rounds}"
    )
    for name, value in median.items():
        print(f"  {name:34s} {value:6.2f} s")
    one, two = median["Moments + solve"], median["Moments + solve, two SAEs"]
    for dtype in ("float32", "float64"):
        print(f"one fit: {median[f'lstsq {dtype}, one fit'] / one:.2f} x faster than lstsq in {dtype}")
    folds = median[f"lstsq float32, {FOLDS} folds"] / median[f"Moments + cross_fit, {FOLDS} folds"]
    print(f"{FOLDS} out-of-fold fits and one of all: {folds:.2f} x faster than lstsq's {FOLDS} in float32")
    print(f"a further SAE costs {(two - one) / one:.2f} of the first")
    ones, double = with_ones(x), with_ones(x.double())
    print(
        f"R²: lstsq float32 {r2(errors[0], ones @ lstsq(x, errors[0])):.8f}, float64 "
        f"{r2(errors[0], double @ lstsq64(x, errors[0])):.8f}, ours "
        f"{r2(errors[0], ours(x, errors[0])(x)):.8f}"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

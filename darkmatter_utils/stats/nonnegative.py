"""Many small non-negative least-squares problems at once."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy.optimize import nnls
from torch import Tensor

PATIENCE = 3
"""Full exchanges that a problem may make without progress before it exchanges one variable at a time."""


def solve_nonnegative(
    gram: Float64[Tensor, "token k k"], target: Float64[Tensor, "token k"], used: Bool[Tensor, "token k"]
) -> Float64[Tensor, "token k"]:
    """argmin_{w >= 0} w' gram w / 2 - target' w for each token; w = 0 where not ``used``.

    Block principal pivoting: guess which w are positive, solve for them, exchange all that violate w >= 0 or
    the gradient's sign. A handful of batched Cholesky solves; the few problems that are singular or cycle go
    to scipy's `nnls`, which takes any rank. Source: Kim & Park (2011), Fast nonnegative matrix factorization.
    """
    tokens, k = target.shape
    out = torch.zeros_like(target)
    free = used.clone()
    todo = torch.arange(tokens, device=target.device)
    fewest = torch.full((tokens,), k + 1, device=target.device)
    patience = torch.full((tokens,), PATIENCE, device=target.device)
    scale = target.abs().amax(1, keepdim=True) if k else target
    hard: list[Tensor] = []
    for _ in range(5 * k + 10):
        if not len(todo):
            break
        on = free[todo]
        system = torch.where(on[:, :, None] & on[:, None, :], gram[todo], 0)
        system.diagonal(dim1=1, dim2=2)[~on] = 1
        factor, info = torch.linalg.cholesky_ex(system)
        pivots = factor.diagonal(dim1=1, dim2=2)
        singular = (info > 0) | (pivots.amin(1) < 1e-7 * pivots.amax(1))
        hard.append(todo[singular])
        todo, on, factor = todo[~singular], on[~singular], factor[~singular]
        w = torch.cholesky_solve(torch.where(on, target[todo], 0)[:, :, None], factor).squeeze(2)
        gradient = torch.einsum("tij,tj->ti", gram[todo], w) - target[todo]
        wrong = (on & (w < 0)) | (~on & used[todo] & (gradient < -1e-12 * scale[todo]))
        count = wrong.sum(1)
        done = count == 0
        out[todo[done]] = torch.where(on[done], w[done], 0)
        todo, wrong, count = todo[~done], wrong[~done], count[~done]
        better = count < fewest[todo]
        fewest[todo] = torch.where(better, count, fewest[todo])
        patience[todo] = torch.where(better, PATIENCE, patience[todo] - 1)
        last = torch.arange(k, device=w.device) == (k - 1 - wrong.flip(1).int().argmax(1))[:, None]
        one = patience[todo] < 0  # the largest wrong index alone: slow, but it cannot cycle
        free[todo] ^= torch.where(one[:, None], wrong & last, wrong)
    for row in torch.cat([*hard, todo]).tolist():
        out[row] = _one(gram[row], target[row], used[row])
    return out


def _one(gram: Tensor, target: Tensor, used: Tensor) -> Tensor:
    """A singular problem: any square root A of gram, A'A = gram, gives the same least-squares problem."""
    value, vector = np.linalg.eigh(gram[used][:, used].cpu().numpy())
    kept = value > 1e-12 * value[-1] if value.size else []
    root = np.sqrt(value[kept])[:, None] * vector[:, kept].T
    right = vector[:, kept].T @ target[used].cpu().numpy() / np.sqrt(value[kept])
    out = torch.zeros_like(target)
    if value.size and value[-1] > 0:
        out[used] = torch.from_numpy(nnls(root, right)[0]).to(out)
    return out

"""Other inferences on an SAE's own dictionary: gradient pursuit, matching pursuit, a refit of given latents.

Each takes activations without the decoder's bias and returns a code that is never negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from scipy.optimize import nnls
from torch import Tensor
from torch.nn.functional import embedding_bag

from ..base.errors import BadInput, nearest

PATIENCE = 3
"""Full exchanges that a problem may make without progress before it exchanges one variable at a time."""
RULES = ("authors", "unit")
"""How pursuit picks an atom: by inner product, as the authors did, or by inner product over its length."""
ROOM = 1 << 26
"""Numbers in the Gram matrices of a batch: half a gigabyte."""


def solve_nonnegative(
    gram: Float64[Tensor, "token k k"], target: Float64[Tensor, "token k"], used: Bool[Tensor, "token k"]
) -> Float64[Tensor, "token k"]:
    """argmin_{w >= 0} w' gram w / 2 - target' w for each token; w = 0 where not ``used``.

    Block principal pivoting: guess which w are positive, solve for them, exchange all that violate w >= 0 or
    the gradient's sign. A handful of batched Cholesky solves; the few problems that are singular or cycle go
    to scipy's `nnls`, which takes any rank. Source: Kim & Park (2011), Fast nonnegative matrix factorization.
    """
    (tokens, k), free, out = target.shape, used.clone(), torch.zeros_like(target)
    todo = torch.arange(tokens, device=target.device)
    fewest, patience = torch.full_like(todo, k + 1), torch.full_like(todo, PATIENCE)
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
        done = ~wrong.any(1)
        out[todo[done]] = torch.where(on[done], w[done], 0)
        todo, wrong = todo[~done], wrong[~done]
        count = wrong.sum(1)
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
    out, (value, vector) = torch.zeros_like(target), np.linalg.eigh(gram[used][:, used].cpu().numpy())
    kept = value > 1e-12 * value[-1]
    size, vector = np.sqrt(value[kept]), vector[:, kept].T
    if value[-1] > 0:
        right = vector @ target[used].cpu().numpy() / size
        out[used] = torch.from_numpy(nnls(size[:, None] * vector, right)[0]).to(out)
    return out


@dataclass(frozen=True)
class Codes:
    """Sparse codes: token t is written Σ_j values[t, j] · dictionary[indices[t, j]]."""

    indices: Int[Tensor, "token k"]
    """Latents, the largest coefficient first, none active twice. A slot that is not used names a latent that
    is not active, so that a plain scatter of the values is right."""
    values: Float[Tensor, "token k"]
    """Their coefficients; 0 marks a slot that is not used."""

    @property
    def l0(self) -> Int[Tensor, " token"]:
        """The realised number of active latents, at most what was asked for."""
        return (self.values != 0).sum(1)

    @property
    def support(self) -> Int[Tensor, "token k"]:
        """The latents, and -1 for slots that are not used: what `refit` takes."""
        return torch.where(self.values != 0, self.indices, -1)

    def decode(self, dictionary: Float[Tensor, "d_sae d_model"]) -> Float[Tensor, "token d_model"]:
        """The reconstruction without the decoder's bias; O(token × k × d_model)."""
        return _combine(self.indices, self.values, dictionary.to(self.values.dtype))


def gradient_pursuit(
    x, dictionary, l0, *, extra: int = 0, chunk: int = 8192, batch: int = 256, rule: str = "authors"
) -> Codes:
    """Non-negative gradient pursuit from the empty set, as many steps on each token as its ``l0``.

    With residual r = x - w D and scores D r, a step adds the atom of the highest score to the support S = {i:
    w_i ≠ 0}, moves along the gradient g = (D r) on S by the step that fits best, |g|² / |g D|², and sets
    negative coefficients to zero. As in the authors' code an active atom may be picked again and a clamped
    one leaves the support, so that the realised L0 may fall short of ``l0``; such a token may take up to
    ``extra`` further steps, until the two are equal.

    ``x`` [token, d_model], ``dictionary`` [d_sae, d_model], ``l0`` an int or ints [token], 0 included. Ties
    go to the lowest index; a zero signal stays zero. ``rule="unit"`` divides scores by atom lengths in the
    pick. Time: one product of token × d_sae × d_model a step, where a dense implementation makes three;
    memory: ``batch`` × (``chunk`` + k), on which the result depends by rounding alone. float16 and bfloat16
    are worked in float32. Raises `BadInput` for shapes that do not fit, NaN or an unknown rule. Source:
    Engels et al., `encoder_pursuit.py`; Blumensath & Davies (2008), Gradient pursuits.
    """
    if rule not in RULES:
        raise BadInput(f"unknown rule '{rule}'; {nearest(rule, RULES)}")
    x, dictionary, steps = _checked(x, dictionary, l0)
    weight = 1 / dictionary.norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny) if rule == "unit" else None

    def advance(signal: Tensor, index: Tensor, value: Tensor, slot: Tensor) -> None:
        """One step of these tokens, in place; ``slot`` [token] is the column, not in use, of a new atom."""
        rows = torch.arange(len(signal), device=x.device)
        residual = signal - _combine(index, value, dictionary)
        pick, score, known = best_atom(residual, dictionary, chunk=chunk, weight=weight, at=index)
        active = value != 0
        again = ((index == pick[:, None]) & active).any(1)
        index[rows, slot], known[rows, slot] = torch.where(again, 0, pick), score
        active[rows, slot] = ~again
        gradient = torch.where(active, known, 0)
        direction = _combine(index, gradient, dictionary)
        size = (direction * direction).sum(1)
        length = torch.where(size > 0, (gradient * gradient).sum(1) / size, 0)
        value.add_(gradient * length[:, None]).clamp_(min=0)

    def pursue(signal: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        values = signal.new_zeros(len(signal), int(target.max()))
        indices = torch.zeros_like(values, dtype=torch.int64)
        for step in range(values.shape[1]):
            n = int((target > step).sum())  # targets descend: the tokens still at work are the first n
            slot = torch.full((n,), step, device=x.device)
            advance(signal[:n], indices[:n, : step + 1], values[:n, : step + 1], slot)
        for _ in range(extra):
            short = ((values != 0).sum(1) < target).nonzero().squeeze(1)
            if not len(short):
                break
            index, value = indices[short], values[short]
            advance(signal[short], index, value, (value == 0).int().argmax(1))
            indices[short], values[short] = index, value
        return indices, values

    return _in_batches(pursue, x, steps, batch, len(dictionary))


def omp(x, dictionary, l0, *, chunk: int = 8192, batch: int = 256) -> Codes:
    """Orthogonal matching pursuit: pick the atom of the largest |score|, refit all picked by least squares.

    Coefficients may be negative: it is the usual OMP (scikit-learn's, which it agrees with for atoms of
    length 1), not an SAE's inference; ``refit(x, dictionary, omp(...).support)`` is its non-negative sibling.
    A token stops early when its best score is below rounding or the picked atom depends on those it has.
    Time: that of `gradient_pursuit` plus O(token × k × d_model) a step; memory: ``batch`` × (``chunk`` + k ×
    d_model).
    """
    x, dictionary, steps = _checked(x, dictionary, l0)
    tiny = torch.finfo(x.dtype).eps

    def pursue(signal: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        most, tokens = int(target.max()), len(signal)
        # orthonormal rows that span the picked atoms: atoms = triangle' @ basis
        basis = signal.new_zeros(tokens, most, signal.shape[1])
        triangle = torch.eye(most, dtype=x.dtype, device=x.device).repeat(tokens, 1, 1)
        used = torch.zeros(tokens, most, dtype=torch.bool, device=x.device)
        indices, residual = torch.zeros_like(used, dtype=torch.int64), signal.clone()
        going = torch.ones(tokens, dtype=torch.bool, device=x.device)
        for step in range(most):
            n = int((target > step).sum())  # targets descend: the tokens still at work are the first n
            pick, score, _ = best_atom(residual[:n], dictionary, chunk=chunk, absolute=True)
            known = ((indices[:n] == pick[:, None]) & used[:n]).any(1)
            going[:n] &= (score**2 > tiny) & ~known
            on, atom, before = going[:n], dictionary[pick], basis[:n, :step]
            for _ in range(2):  # twice is enough for orthogonality at rounding
                along = torch.bmm(before, atom[:, :, None]).squeeze(2)
                atom = atom - torch.bmm(along[:, None], before).squeeze(1)
                triangle[:n, :step, step] += torch.where(on[:, None], along, 0)
            length = atom.norm(dim=1)
            on &= length**2 > tiny * dictionary[pick].square().sum(1)
            atom = torch.where(on[:, None], atom / length.clamp(min=tiny)[:, None], 0)
            triangle[:n, step, step] = torch.where(on, length, 1)
            triangle[:n, :step, step] = torch.where(on[:, None], triangle[:n, :step, step], 0)
            basis[:n, step], used[:n, step] = atom, on
            indices[:n, step] = torch.where(on, pick, 0)
            residual[:n] -= (residual[:n] * atom).sum(1, keepdim=True) * atom
        inner = torch.einsum("tkd,td->tk", basis, signal)
        values = torch.linalg.solve_triangular(triangle, inner[:, :, None], upper=True).squeeze(2)
        return indices, torch.where(used, values, 0)

    return _in_batches(pursue, x, steps, batch, len(dictionary))


def refit(x, dictionary, support, *, batch: int = 256) -> Codes:
    """Least-squares coefficients >= 0 of given latents: argmin_{w >= 0} |x - Σ_j w_j dictionary[support_j]|².

    ``support`` [token, k], -1 where unused (`Codes.support`). Exact (`solve_nonnegative` in float64), O(token
    × k² × (d_model + k)). Raises `BadInput` for a latent that the dictionary does not have.
    """
    x, dictionary, _ = _checked(x, dictionary, 0)
    support = torch.as_tensor(support, device=x.device)
    if support.ndim != 2 or len(support) != len(x):
        raise BadInput(f"support has shape {tuple(support.shape)}; give [token, k], {len(x)} tokens")
    if support.numel() and not -1 <= int(support.min()) <= int(support.max()) < len(dictionary):
        raise BadInput(f"support names latents outside 0 .. {len(dictionary) - 1} (or -1 for unused)")
    values = x.new_zeros(support.shape)
    batch = max(1, min(batch, ROOM // max(1, support.shape[1]) ** 2))
    for rows in torch.arange(len(x), device=x.device).split(batch):
        if support.shape[1]:
            atoms = dictionary[support[rows].clamp(min=0)].double()
            gram, target = atoms @ atoms.mT, torch.einsum("tkd,td->tk", atoms, x[rows].double())
            values[rows] = solve_nonnegative(gram, target, support[rows] >= 0).to(x.dtype)
    return _ordered(support.clamp(min=0).long(), values, len(dictionary))


def best_atom(
    residual: Tensor, dictionary: Tensor, *, chunk: int, weight=None, absolute=False, at: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The atom of each residual with the highest (weighted, or absolute) inner product; ties to the lowest.

    Its index [token], its plain inner product [token], and the inner products [token, k] with the atoms
    ``at``: all that a step needs of the scores, which are never held for more than ``chunk`` atoms.
    """
    best = residual.new_full((len(residual),), -torch.inf)
    plain, pick = torch.zeros_like(best), torch.zeros_like(best, dtype=torch.int64)
    known = None if at is None else residual.new_zeros(at.shape)
    for start in range(0, len(dictionary), chunk):
        score = residual @ dictionary[start : start + chunk].T
        if known is not None:
            here = at - start
            inside = (here >= 0) & (here < score.shape[1])
            known = torch.where(inside, score.gather(1, here.clamp(0, score.shape[1] - 1)), known)
        ranked = score.abs() if absolute else score
        if weight is not None:
            ranked = ranked * weight[start : start + chunk]
        top, index = ranked.max(1)
        better = top > best  # strictly, so that the lower index keeps a tie
        best, pick = torch.where(better, top, best), torch.where(better, index + start, pick)
        plain = torch.where(better, score.gather(1, index[:, None]).squeeze(1), plain)
    return pick, plain, known


def _combine(index: Tensor, value: Tensor, dictionary: Tensor) -> Tensor:
    if not index.shape[1]:
        return dictionary.new_zeros(len(index), dictionary.shape[1])
    return embedding_bag(index, dictionary, per_sample_weights=value, mode="sum")


def _ordered(indices: Tensor, values: Tensor, d_sae: int) -> Codes:
    order = values.abs().argsort(dim=1, descending=True, stable=True)[:, :d_sae]  # no more can be active
    indices, values = indices.gather(1, order), values.gather(1, order)
    active = torch.where(values != 0, indices, torch.iinfo(indices.dtype).max).sort(1).values
    run = active == torch.arange(indices.shape[1], device=indices.device)  # 0, 1, 2 ... are active as far as
    spare = run.int().cumprod(1).sum(1, keepdim=True)
    return Codes(torch.where(values != 0, indices, spare), values)


def _in_batches(pursue, x: Tensor, steps: Tensor, batch: int, d_sae: int) -> Codes:
    """Run ``pursue`` on tokens of similar L0 together, those that need the most steps first."""
    values = x.new_zeros(len(x), int(steps.max()) if len(x) else 0)
    indices = torch.zeros_like(values, dtype=torch.int64)
    for rows in steps.argsort(descending=True, stable=True).split(batch):
        if len(rows) and steps[rows[0]]:
            index, value = pursue(x[rows], steps[rows])
            indices[rows, : index.shape[1]], values[rows, : index.shape[1]] = index, value
    return _ordered(indices, values, d_sae)


def _checked(x, dictionary, l0) -> tuple[Tensor, Tensor, Tensor]:
    x, dictionary = torch.as_tensor(x), torch.as_tensor(dictionary)
    if x.ndim != 2 or dictionary.ndim != 2 or x.shape[1] != dictionary.shape[1] or not len(dictionary):
        raise BadInput(
            f"x {tuple(x.shape)} and dictionary {tuple(dictionary.shape)} do not fit; "
            "give [token, d_model] and [d_sae, d_model]"
        )
    dtype = torch.promote_types(torch.promote_types(x.dtype, dictionary.dtype), torch.float32)
    x, dictionary = x.to(dtype), dictionary.to(x.device, dtype)
    if not (torch.isfinite(x).all() and torch.isfinite(dictionary).all()):
        raise BadInput("x or dictionary holds NaN or infinite values; give finite activations and atoms")
    steps = torch.as_tensor(l0, device=x.device)
    if steps.is_floating_point() or steps.ndim > 1 or (steps.ndim == 1 and len(steps) != len(x)):
        raise BadInput(f"l0 is {steps.dtype} {tuple(steps.shape)}; give an int or {len(x)} ints [token]")
    if steps.numel() and int(steps.min()) < 0:
        raise BadInput(f"l0 is {int(steps.min())} somewhere; give 0 or more")
    return x.detach(), dictionary.detach(), steps.expand(len(x)).long()

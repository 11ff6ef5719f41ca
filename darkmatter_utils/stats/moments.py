"""Running sums of x and y: all that a least-squares fit of y on x ever needs.

n, the means, X'X, X'Y and Y'Y about the means. Two shards' sums add up (`merge`), a fold's sums can be taken
away (`subtract`), and neither needs the tokens again. y may hold the targets of many SAEs side by side: X'X
is then made once for all of them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput

CHUNK_ELEMENTS = 4_000_000
"""Numbers held as float64 at once: 32 MB, whatever the batch."""

BLOCK = 192
"""Columns of X'X made per product: only blocks on and below the diagonal are multiplied."""


def as_float64(array, *, device="cpu") -> Tensor:
    """The array, torch or numpy of any float or integer type, as a float64 tensor that must not be written
    to."""
    if isinstance(array, Tensor):
        return array.detach().to(device=device, dtype=torch.float64)
    array = np.asarray(array, dtype=np.float64)
    # torch warns of arrays that may not be written to, such as a memory map of float64.
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)


def chunk_rows(width: int) -> int:
    """Rows whose float64 copy of `width` columns stays within `CHUNK_ELEMENTS`."""
    return max(64, CHUNK_ELEMENTS // max(1, width))


def chunks(tokens: int, width: int):
    """Slices over `tokens` rows, `chunk_rows(width)` at a time."""
    rows = chunk_rows(width)
    return (slice(start, min(tokens, start + rows)) for start in range(0, tokens, rows))


def bad_rows(array: Tensor) -> Tensor:
    """Row indices that hold a NaN or an infinity; the common case (none) costs one sum."""
    if bool(torch.isfinite(array.sum())):
        return torch.empty(0, dtype=torch.long)
    return torch.nonzero(~torch.isfinite(array).all(dim=1)).flatten().cpu()


class Moments:
    """Sums of x [token, d_in] and y [token, d_out] about their means, in float64.

    n, x̄, ȳ, xx = Σ(x−x̄)(x−x̄)', xy = Σ(x−x̄)(y−ȳ)', yy = Σ(y−ȳ)² (the full matrix with `full_yy`).

    Every chunk is centred on its own mean before it is multiplied, then joined by Chan's update, so a
    dimension of mean 1e4 and deviation 1 keeps all its digits and the result does not depend on how the rows
    were batched. Cost: tokens × d_in × (d_in/2 + d_out) multiplications, memory d_in × (d_in + d_out),
    independent of tokens. Raises BadInput for wrong shapes and for NaN or infinity.
    Source: Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance".
    """

    def __init__(self, d_in: int, d_out: int, *, full_yy: bool = False, device="cpu"):
        if d_in < 1 or d_out < 0:
            raise BadInput(
                f"Moments needs d_in of at least 1 and d_out of at least 0, got {d_in} and {d_out}"
            )
        self.d_in, self.d_out, self.full_yy, self.device = int(d_in), int(d_out), bool(full_yy), device
        zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float64, device=device)
        self.n = 0
        self.x_mean, self.y_mean = zeros(d_in), zeros(d_out)
        self.xx, self.xy = zeros(d_in, d_in), zeros(d_in, d_out)
        self.yy = zeros(d_out, d_out) if full_yy else zeros(d_out)

    def __repr__(self) -> str:
        return f"Moments(d_in={self.d_in}, d_out={self.d_out}, n={self.n})"

    def update(self, x, y) -> Moments:
        """Add tokens: x [token, d_in], y [token, d_out], torch or numpy, any float type, memory-mapped or
        not."""
        for name, array, width in (("x", x, self.d_in), ("y", y, self.d_out)):
            if len(array.shape) != 2 or array.shape[1] != width:
                raise BadInput(f"{name} must be [token, {width}], got shape {list(array.shape)}")
        if x.shape[0] != y.shape[0]:
            raise BadInput(
                f"x and y must have as many tokens as each other, got {x.shape[0]} and {y.shape[0]}"
            )
        tokens = min(x.shape[0], chunk_rows(4 * (self.d_in + self.d_out)))
        empty = lambda width: torch.empty(tokens, width, dtype=torch.float64, device=self.device)
        buffers = {"x": empty(self.d_in), "y": empty(self.d_out)}
        for rows in chunks(x.shape[0], 4 * (self.d_in + self.d_out)):
            centred = []
            for name, array in (("x", x), ("y", y)):
                # Filling one buffer again and again keeps it in the processor's cache.
                exact = buffers[name][: rows.stop - rows.start].copy_(
                    as_float64(array[rows], device=self.device)
                )
                mean = exact.mean(dim=0)
                # A mean is finite unless some value is not, or the sum overflowed: only
                # then look at every value.
                if not bool(torch.isfinite(mean).all()) and len(bad := bad_rows(exact)):
                    raise BadInput(
                        f"{name} is NaN or infinite at token {rows.start + int(bad[0])} of this batch; "
                        "drop such tokens or their documents"
                    )
                centred += [exact.sub_(mean), mean]
            self._add(*centred)
        # Only blocks on and below the diagonal were multiplied.
        self.xx.copy_(self.xx.tril() + self.xx.tril(-1).T)
        return self

    def _add(self, x: Tensor, x_mean: Tensor, y: Tensor, y_mean: Tensor) -> None:
        for start in range(0, self.d_in, BLOCK):
            block = x[:, start : start + BLOCK]
            self.xx[start:, start : start + BLOCK].addmm_(x[:, start:].T, block)
        self.xy.addmm_(x.T, y)
        if self.full_yy:
            self.yy.addmm_(y.T, y)
        else:
            self.yy += y.square_().sum(dim=0)
        self._shift(x.shape[0], x_mean, y_mean)

    def _shift(self, n: int, x_mean: Tensor, y_mean: Tensor) -> None:
        """Chan's term for joining (n > 0) or removing (n < 0) tokens whose centred sums are already in."""
        total = self.n + n
        dx, dy = x_mean - self.x_mean, y_mean - self.y_mean
        if total > 0:
            weight = self.n * n / total
            self.xx.addmm_(weight * dx[:, None], dx[None])
            self.xy.addmm_(weight * dx[:, None], dy[None])
            if self.full_yy:
                self.yy.addmm_(weight * dy[:, None], dy[None])
            else:
                self.yy += weight * dy * dy
            self.x_mean += dx * (n / total)
            self.y_mean += dy * (n / total)
        self.n = total

    def merge(self, other: Moments) -> Moments:
        """Add another shard's sums, in place: as if its tokens had been seen here."""
        self._check(other)
        self.xx += other.xx
        self.xy += other.xy
        self.yy += other.yy
        if other.n:
            self._shift(other.n, other.x_mean, other.y_mean)
        return self

    def subtract(self, other: Moments) -> Moments:
        """Take away sums that were merged before, in place: as if its tokens had never been seen.

        Loses digits where `other` holds nearly all of a direction's variance; to fit without a fold, merging
        the other folds (`fits.leave_out`) does not.
        """
        self._check(other)
        if other.n > self.n:
            raise BadInput(f"cannot subtract {other.n} tokens from {self.n}")
        if other.n == self.n:
            self.load_state_dict(Moments(self.d_in, self.d_out, full_yy=self.full_yy).state_dict())
            return self
        self.xx -= other.xx
        self.xy -= other.xy
        self.yy -= other.yy
        if other.n:
            self._shift(-other.n, other.x_mean, other.y_mean)
        diagonal = self.yy.diagonal() if self.full_yy else self.yy
        diagonal.clamp_(min=0)
        self.xx.diagonal().clamp_(min=0)
        return self

    def _check(self, other: Moments) -> None:
        mine, theirs = ((m.d_in, m.d_out, m.full_yy) for m in (self, other))
        if mine != theirs:
            raise BadInput(f"Moments of (d_in, d_out, full_yy) = {mine} cannot be joined with {theirs}")

    def copy(self) -> Moments:
        """An independent copy."""
        new = Moments(self.d_in, self.d_out, full_yy=self.full_yy, device=self.device)
        new.load_state_dict(self.state_dict())
        return new

    def targets(self, columns: slice) -> Moments:
        """The sums for a slice of y's columns; X'X is shared with this object, not copied."""
        yy = self.yy[columns, columns] if self.full_yy else self.yy[columns]
        return self._with(self.x_mean, self.y_mean[columns], self.xx, self.xy[:, columns], yy)

    def select(self, columns: Tensor) -> Moments:
        """The sums for some of x's columns, given by their indices."""
        xx = self.xx[columns][:, columns]
        return self._with(self.x_mean[columns], self.y_mean, xx, self.xy[columns], self.yy)

    def turn(self, basis: Tensor) -> Moments:
        """The sums for x B, ``basis`` B [d_in, k]: those of x's components along k directions."""
        xx, xy = basis.T @ self.xx @ basis, basis.T @ self.xy
        return self._with(self.x_mean @ basis, self.y_mean, xx, xy, self.yy)

    def _with(self, x_mean: Tensor, y_mean: Tensor, xx: Tensor, xy: Tensor, yy: Tensor) -> Moments:
        new = Moments.__new__(Moments)
        new.d_in, new.d_out, new.full_yy, new.device = len(x_mean), len(y_mean), self.full_yy, self.device
        new.n, new.x_mean, new.y_mean, new.xx, new.xy, new.yy = self.n, x_mean, y_mean, xx, xy, yy
        return new

    def raw(self) -> tuple[Tensor, Tensor]:
        """(Σxx' [d_in, d_in], Σxy' [d_in, d_out]) about zero: what a fit without intercept needs."""
        weighted = self.n * self.x_mean[:, None]
        return self.xx + weighted * self.x_mean, self.xy + weighted * self.y_mean

    def state_dict(self) -> dict[str, Tensor]:
        """The sums as tensors; `load_state_dict` is its inverse."""
        names = ("x_mean", "y_mean", "xx", "xy", "yy")
        return {"n": torch.tensor(self.n)} | {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state: dict[str, Tensor]) -> Moments:
        """Replace the sums by those of a `state_dict` of the same sizes."""
        for name in ("x_mean", "y_mean", "xx", "xy", "yy"):
            mine, value = getattr(self, name), torch.as_tensor(state[name])
            if mine.shape != value.shape:
                raise BadInput(f"state's {name} has shape {list(value.shape)}, expected {list(mine.shape)}")
            setattr(self, name, value.to(device=self.device, dtype=torch.float64).clone())
        self.n = int(state["n"])
        return self

    def save(self, path) -> Path:
        """Write the sums to one .npz file, atomically: a reader sees the old file or the new one."""
        path = Path(path)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **{name: value.cpu().numpy() for name, value in self.state_dict().items()})
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path

    @classmethod
    def load(cls, path, *, device="cpu") -> Moments:
        """Sums written by `save`."""
        with np.load(path) as file:
            state = {name: torch.from_numpy(file[name]) for name in file.files}
        d_in, d_out = state["xy"].shape
        moments = cls(d_in, d_out, full_yy=state["yy"].ndim == 2, device=device)
        return moments.load_state_dict(state)

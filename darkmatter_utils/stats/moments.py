"""Running sums of x and y: all that a least-squares fit of y on x ever needs.

n, the means, X'X, X'Y and Σy² about the means. Two shards' sums add up (`merge`) without the tokens. y may
hold the targets of many SAEs side by side: X'X is then made once for all of them.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from ..base.errors import BadInput

CHUNK_ELEMENTS = 5_000_000
"""Numbers held as float64 at once: 40 MB, whatever the batch. Of a thousand rows a product is so large that
threads seldom wait for each other, which beside a busy neighbour costs more than the product itself."""
BLOCK = 192
"""Columns of X'X made per product: only blocks on and below the diagonal are multiplied."""


def as_float64(array, *, device="cpu") -> Tensor:
    """The array, torch or numpy of any number type, as a float64 tensor that must not be written to."""
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

    n, x̄, ȳ, xx = Σ(x−x̄)(x−x̄)' [d_in, d_in], xy = Σ(x−x̄)(y−ȳ)' [d_in, d_out], yy = Σ(y−ȳ)² [d_out].

    Every chunk is centred on its own mean before it is multiplied, then joined by Chan's update, so a
    dimension of mean 1e4 and deviation 1 keeps all its digits and the result does not depend on how the rows
    were batched. ``gram`` False: without xx, where it is known from elsewhere (`with_gram`). Cost: tokens ×
    d_in × (d_in/2 + d_out) multiplications, memory d_in × (d_in + d_out), independent of tokens. Raises
    BadInput for wrong shapes and for NaN or infinity.
    Source: Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance".
    """

    def __init__(self, d_in: int, d_out: int, *, device="cpu", gram: bool = True):
        if d_in < 1 or d_out < 0:
            raise BadInput(
                f"Moments needs d_in of at least 1 and d_out of at least 0, got {d_in} and {d_out}"
            )
        self.d_in, self.d_out, self.device, self.n = int(d_in), int(d_out), device, 0
        zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float64, device=device)
        self.x_mean, self.y_mean, self.yy = zeros(d_in), zeros(d_out), zeros(d_out)
        self.gram, self.xx, self.xy = gram, zeros(d_in, d_in if gram else 0), zeros(d_in, d_out)

    def __repr__(self) -> str:
        return f"Moments(d_in={self.d_in}, d_out={self.d_out}, n={self.n})"

    def update(self, x, y) -> Moments:
        """Add tokens: x [token, d_in], y [token, d_out], torch or numpy of any type, memory-mapped or not."""
        for name, array, width in (("x", x, self.d_in), ("y", y, self.d_out)):
            if len(array.shape) != 2 or array.shape[1] != width:
                raise BadInput(f"{name} must be [token, {width}], got shape {list(array.shape)}")
        if x.shape[0] != y.shape[0]:
            raise BadInput(
                f"x and y must have as many tokens as each other, got {x.shape[0]} and {y.shape[0]}"
            )
        width = 2 * (self.d_in + self.d_out)
        tokens = min(x.shape[0], chunk_rows(width))
        empty = lambda width: torch.empty(tokens + 1, width, dtype=torch.float64, device=self.device)
        # One buffer is filled again and again: fresh memory costs more than the sums.
        arrays = (("x", x, empty(self.d_in)), ("y", y, empty(self.d_out)))
        for rows in chunks(x.shape[0], width):
            centred, n = [], rows.stop - rows.start
            for name, array, buffer in arrays:
                exact = as_float64(array[rows], device=self.device)
                mean = exact.mean(dim=0)
                # A mean is finite unless some value is not, or the sum overflowed: only then look at all.
                if not bool(torch.isfinite(mean).all()) and len(bad := bad_rows(exact)):
                    raise BadInput(
                        f"{name} is NaN or infinite at token {rows.start + int(bad[0])} of this batch; "
                        "drop such tokens or their documents"
                    )
                torch.sub(exact, mean, out=buffer[:n])
                centred += [buffer[: n + 1], mean]
            x_rows, x_mean, y_rows, y_mean = centred
            x_rows[n], y_rows[n] = self._join(n, x_mean, y_mean)
            self._add(x_rows, y_rows)
        for stop in range(BLOCK, self.xx.shape[1], BLOCK):
            self.xx[stop - BLOCK : stop, stop:] = self.xx[stop:, stop - BLOCK : stop].T
        return self

    def _add(self, x: Tensor, y: Tensor) -> None:
        for start in range(0, self.d_in if self.gram else 0, BLOCK):
            block = x[:, start : start + BLOCK]
            self.xx[start:, start : start + BLOCK].addmm_(x[:, start:].T, block)
        self.xy.addmm_(x.T, y)
        self.yy += y.square_().sum(dim=0)

    def _join(self, n: int, x_mean: Tensor, y_mean: Tensor) -> tuple[Tensor, Tensor]:
        """n tokens more, of these means: Chan's term for joining them, as one more row of x and of y."""
        total = self.n + n
        dx, dy = x_mean - self.x_mean, y_mean - self.y_mean
        root = (self.n * n / total) ** 0.5
        self.x_mean += dx * (n / total)
        self.y_mean += dy * (n / total)
        self.n = total
        return root * dx, root * dy

    def merge(self, other: Moments) -> Moments:
        """Add another shard's sums, in place: as if its tokens had been seen here."""
        mine, theirs = ((m.d_in, m.d_out) for m in (self, other))
        if mine != theirs:
            raise BadInput(f"Moments of (d_in, d_out) = {mine} cannot be joined with {theirs}")
        self.xx += other.xx
        self.xy += other.xy
        self.yy += other.yy
        if other.n:
            dx, dy = self._join(other.n, other.x_mean, other.y_mean)
            self.xx.addmm_(dx[:, None], dx[None, : self.xx.shape[1]])
            self.xy.addmm_(dx[:, None], dy[None])
            self.yy += dy * dy
        return self

    def with_gram(self, other: Moments) -> Moments:
        """These sums with the X'X of ``other``, which are of the same tokens; it is not copied."""
        return self._with(xx=other.xx, gram=True)

    def copy(self) -> Moments:
        """An independent copy."""
        names = ("x_mean", "y_mean", "xx", "xy", "yy")
        return self._with(**{name: getattr(self, name).clone() for name in names})

    def targets(self, columns: slice) -> Moments:
        """The sums for a slice of y's columns; X'X is shared with this object, not copied."""
        return self._with(y_mean=self.y_mean[columns], xy=self.xy[:, columns], yy=self.yy[columns])

    def select(self, columns: Tensor) -> Moments:
        """The sums for some of x's columns, given by their indices."""
        xx = self.xx[columns][:, columns]
        return self._with(x_mean=self.x_mean[columns], xx=xx, xy=self.xy[columns])

    def turn(self, basis: Tensor) -> Moments:
        """The sums for x B, ``basis`` B [d_in, k]: those of x's components along k directions."""
        xx, xy = basis.T @ self.xx @ basis, basis.T @ self.xy
        return self._with(x_mean=self.x_mean @ basis, xx=xx, xy=xy)

    def _with(self, **sums: Tensor) -> Moments:
        new = copy.copy(self)
        vars(new).update(sums)
        new.d_in, new.d_out = new.xy.shape
        return new


def rank_of(moments: Moments) -> int:
    """Directions of x that vary, by more than rounding."""
    values = torch.linalg.eigvalsh(moments.xx)
    return int((values > 1e-10 * values[-1]).sum())

"""Tokens of a simulated world, with all that was put into them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

WORLD_PARTS = ("mean", "features", "manifold", "dense", "curved", "noise")
"""Names of the parts of x in a `WorldBatch`; they sum to x. The last four are what the paper calls
Dense(x)."""
DENSE = WORLD_PARTS[2:]


@dataclass(frozen=True)
class WorldBatch:
    """Tokens of whole documents, in stream order, with every part of their activations (float64)."""

    x: Float64[Tensor, "token d_model"]
    document: Int64[Tensor, " token"]
    position: Int64[Tensor, " token"]
    token: Int64[Tensor, " token"]
    """The feature with the largest coefficient on the token; `features` (one past the last) where none
    fires."""
    parts: dict[str, Float64[Tensor, "token d_model"]]
    """Each of `WORLD_PARTS`; their sum is x."""
    row: Int64[Tensor, " fire"]
    feature: Int64[Tensor, " fire"]
    value: Float64[Tensor, " fire"]
    """Feature `feature` has coefficient `value` > 0 on token `row`; ordered by row, then feature."""

    def codes(self, features: int) -> Float64[Tensor, "token features"]:
        """The coefficients of the first ``features`` features as a dense matrix."""
        dense = torch.zeros(len(self.x), features, dtype=self.x.dtype)
        kept = self.feature < features
        dense[self.row[kept], self.feature[kept]] = self.value[kept]
        return dense

    def where(self, keep: Bool[Tensor, " token"]) -> WorldBatch:
        """The tokens where ``keep`` is true."""
        fires, row = keep[self.row], keep.cumsum(0) - 1
        tokens = {name: getattr(self, name)[keep] for name in ("x", "document", "position", "token")}
        codes = {name: getattr(self, name)[fires] for name in ("feature", "value")}
        parts = {name: part[keep] for name, part in self.parts.items()}
        return WorldBatch(**tokens, **codes, row=row[self.row[fires]], parts=parts)

    @classmethod
    def join(cls, members: list[WorldBatch]) -> WorldBatch:
        """Several batches as one, in order."""
        first = np.cumsum([0] + [len(member.x) for member in members])
        rows = [member.row + int(start) for member, start in zip(members, first, strict=False)]
        columns = {
            name: torch.cat([getattr(member, name) for member in members])
            for name in ("x", "document", "position", "token", "feature", "value")
        }
        parts = {name: torch.cat([member.parts[name] for member in members]) for name in WORLD_PARTS}
        return cls(**columns, row=torch.cat(rows), parts=parts)


def tokens_of(world, documents: int) -> WorldBatch:
    """The first documents of a world as one batch."""
    return WorldBatch.join(list(world.documents(0, documents, batch=documents)))

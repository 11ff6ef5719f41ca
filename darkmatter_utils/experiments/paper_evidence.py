"""The paper's own points as what each rule takes: `Question.judge(..., points=True)` says what they earn.

Values alone, without intervals; what the paper does not publish is empty or None, and the statements about it
are left out. Source: the figures of arXiv 2410.14670v2, as `claims.paper.points` has them.
"""

from __future__ import annotations

from collections.abc import Callable

from ..base.values import Estimate
from ..claims import c03_same_tokens
from ..claims.paper import points


def same_tokens() -> c03_same_tokens.Evidence:
    """Claim 3: the 21 pairs of Fig. 4, as they are; nothing was taken out of either norm."""
    drawn = points("4")
    pairs = zip(drawn["width"].astype(int), drawn["x"].astype(int), drawn["value"])
    raw = {f"{narrow:,} and {wide:,}": Estimate(value) for narrow, wide, value in pairs}
    return c03_same_tokens.Evidence(raw=raw, partial={}, shuffled={}, seeds=None)


EVIDENCE: dict[int, Callable[[], object]] = {3: same_tokens}
"""By claim, what makes its evidence from the paper's points."""

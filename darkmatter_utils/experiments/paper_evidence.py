"""The paper's own points as what each rule takes: `Question.judge(..., points=True)` says what they earn.

Values alone, without intervals; what the paper does not publish is empty or None, and the statements about it
are left out. Source: the figures of arXiv 2410.14670v2, as `claims.paper.points` has them.
"""

from __future__ import annotations

from collections.abc import Callable

from ..base.values import Estimate
from ..claims import c03_same_tokens, c07_fewer_features
from ..claims.paper import points
from . import paper_points


def same_tokens() -> c03_same_tokens.Evidence:
    """Claim 3: the 21 pairs of Fig. 4, as they are; nothing was taken out of either norm."""
    drawn = points("4")
    pairs = zip(drawn["width"].astype(int), drawn["x"].astype(int), drawn["value"])
    raw = {f"{narrow:,} and {wide:,}": Estimate(value) for narrow, wide, value in pairs}
    return c03_same_tokens.Evidence(raw=raw, partial={}, shuffled={}, seeds=None)


def fewer_features() -> c07_fewer_features.Evidence:
    """Claim 7: the two FVUs of §5.2, and the accuracies of Fig. 7 scored as in this book; one SAE a part."""
    fvu = points("text", panel="5.2", quantity="FVU, about").set_index("series")["value"]
    fvu = {name.removeprefix("SAE on "): value for name, value in fvu.items()}
    accuracy = paper_points.detection().groupby("reads")["value"].mean()
    gaps = fvu["NonlinearError"] - fvu["LinearError"], accuracy["LinearError"] - accuracy["NonlinearError"]
    fvu_gap, accuracy_gap = (Estimate(float(gap)) for gap in gaps)
    return c07_fewer_features.Evidence(seeds=1, fvu_gap=fvu_gap, accuracy_gap=accuracy_gap, fvu=fvu)


EVIDENCE: dict[int, Callable[[], object]] = {3: same_tokens, 7: fewer_features}
"""By claim, what makes its evidence from the paper's points."""

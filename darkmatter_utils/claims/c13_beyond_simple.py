"""Claim 13: the activation predicts the error's norm better than simple predictors do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ..base.values import Estimate
from ..base.words import span
from . import say
from .claim import NO_SUITE, Claim, Effect, Told
from .statement import Statement


class Thresholds(NamedTuple):
    """What "better" means."""

    lead: float = 0.05  # the least that x must be ahead of the best single simple predictor
    gain: float = 0.02  # the least that x must add to all simple predictors and ten of its components


class Evidence(NamedTuple):
    """What the rule takes, by place (a width at a layer); paired differences of R² of ‖SaeError‖²."""

    lead: Mapping[str, Estimate]  # from x minus from the best single simple predictor of that place
    gain: Mapping[str, Estimate]  # what x adds to all simple facts and ten of its components
    early: Mapping[str, Estimate]  # the lead at the first layers, which the paper excepts; it is told
    best: Mapping[str, str]  # which single predictor is the best at each place, early ones too; it is told


THRESHOLDS = Thresholds()
EXCEPTED = "Every place is in the first layers of the model, which the paper excepts (App. A.3)."


def early(layer: int, layers: int | None) -> bool:
    """Whether a layer (from 0) is in the first tenth of a model's layers, or one of the first two: the paper
    says that x is worse "at the first few layers". A simulated world has no layers (None)."""
    return layers is not None and layer < max(2, layers // 10)


def statements(thresholds: Thresholds = THRESHOLDS) -> tuple[Statement, ...]:
    """Claim 13 at every place behind the first layers."""
    return (
        Statement(
            name="ahead of the best single",
            quantity="the R² from x minus that from the best single simple predictor",
            inside=(thresholds.lead, math.inf),
            values=lambda e: e.lead,
            noun="place",
        ),
        Statement(
            name="adds",
            quantity="what x adds to the R² of all simple predictors and ten of its components",
            inside=(thresholds.gain, math.inf),
            values=lambda e: e.gain,
            noun="place",
            guard=True,
        ),
    )


def note(evidence: Evidence) -> str:
    """Which predictor is the best, and what there is at the first layers."""
    counted = Counter(evidence.best.values()).most_common()
    said = f"The best single predictor is {', '.join(f'{name} at {n}' for name, n in counted)} of the places."
    if not evidence.early:
        return said
    return f"{said} At the first layers, not judged, the lead is {span(say.values(evidence.early))}."


CLAIM = Claim(
    number=13,
    short="The activation predicts the error's norm better than simple predictors do.",
    topic="x beats simple predictors of the norm",
    chapter="03_error_norms",
    paper='every other predictor "significantly worse", but at the first few layers (App. A.3)',
    paper_place="App. A.3, Fig. 13",
    paper_points=(
        "R² from x is ahead of the best single predictor by 0.06 to 0.71 at layers 5 to 39, by 0.38 on "
        "average, and behind the token at layers 0 and 1; the best of them is often the SAE's L0 (0.87 at "
        "layer 5)"
    ),
    rule=(
        "R² of the error's squared norm at each width of the suite and at layers that have SAEs; the first "
        "tenth of the model's layers, at least the first two, is told, not judged. Single predictors are "
        "‖x‖ (with its square), the position, the loss of the next token, the token, and the SAE's L0 at "
        "the token; the best at a document is the one of the largest R² on the documents of other folds, for "
        "the largest of several R² that are near one another is too large by their noise."
    ),
    falsifier="a single simple predictor reaches the same R²",
    written=(
        "Its present form, statements with margins, was fixed before the next study's model was measured "
        "and after tiny had been seen: the best single predictor, the SAE's L0 among them, instead of ‖x‖, "
        "position and token together, the margins, and the exception of the first layers are new. That the "
        "best is chosen on other documents came when simulated studies showed its rule wrong too often."
    ),
    evidence=Evidence,
    statements=statements,
    guard=lambda e: "" if e.lead else EXCEPTED if e.early else NO_SUITE,
    note=note,
    brief=lambda e: f"R² higher by {span(say.values(e.lead))}",
    here=Told("lead", "R² from x less that from the best single predictor", say.by_name()),
    beside=(
        Told("gain", "what x adds to all simple predictors and ten of its components", say.by_name()),
        Told("early", "at the first layers", say.by_name()),
    ),
    effect=Effect("x is ahead of the best single predictor of the norm", lambda e: e.lead),
)

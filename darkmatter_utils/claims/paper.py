"""The paper's values, figures, slips and choices of protocol, and where each figure has its counterpart here.

Numbers of figures, sections and equations are those of arXiv 2410.14670v2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..base.config import DATA
from .claim import Records


@cache
def _values() -> pd.DataFrame:
    return pd.read_csv(
        DATA / "paper" / "values.csv", comment="#", dtype={"figure": str, "panel": str, "x": str}
    )


def points(figure: str, *, panel: str | None = None, **where) -> pd.DataFrame:
    """The paper's own values of a figure or table ("2", "Table 1"), a row a point, where columns hold what is
    asked: panel, series, quantity, model, layer, width, l0, x. Raises KeyError where there is none.

    Columns and how each value was read: data/paper/README.md. Source: arXiv 2410.14670v2, CC BY 4.0.
    """
    found = _values()
    for column, value in {"figure": figure, "panel": panel, **where}.items():
        found = found if value is None else found[found[column] == value]
    if found.empty:
        raise KeyError(f"the paper's values have no {figure} with {panel=}, {where}")
    return found


def grids(quantity: str, *, l0: float | None = None) -> pd.DataFrame:
    """The six grids over width and L0 of Figs. 2, 10 and 11, 142 SAEs; with ``l0``, of each grid and width
    the one whose L0 is nearest to it, by ratio."""
    rows = pd.concat([points(figure, quantity=quantity) for figure in ("2", "10", "11")])
    if l0 is None:
        return rows
    away = np.log(rows["l0"] / l0).abs()
    return rows.loc[away.groupby([rows["figure"], rows["panel"], rows["width"]], sort=False).idxmin()]


@dataclass(frozen=True)
class PaperFigure:
    """One figure or table of the paper, or its section on the data."""

    number: str  # "7", "9a", "Table 1", "§4", as in the paper's second version
    experiment: str  # number of the experiment, E0 to E12, as this book counts them
    shows: str  # what it shows
    counterparts: tuple[tuple[str, str], ...]  # (chapter file, figure label) of each figure here

    @property
    def name(self) -> str:
        """The number in words: "Fig. 7", "Table 1", "§4"."""
        return f"Fig. {self.number}" if self.number[0].isdigit() else self.number


def _of(chapter: str, *labels: str) -> tuple[tuple[str, str], ...]:
    return tuple((chapter, label) for label in labels)


SETTING = _of("01_what_saes_leave_behind", "fig-context", "fig-position")
PROTOCOL = _of("02_how_to_measure_it", "fig-sample-size")
NORMS = _of("03_error_norms", "fig-norms", "fig-norm-l0")
VECTORS = _of("04_half_linear", "fig-vector", "fig-vector-l0")
SCALING = _of("05_scaling", "fig-scaling", "fig-flat") + _of("00_index", "fig-index")
NULL = _of("07_models_of_activations", "fig-null", "fig-matched")
DEPTH = _of("03_error_norms", "fig-depth")
NESTED = _of("03_error_norms", "fig-alone", "fig-steps")
PAIRS = _of("06_token_by_token", "fig-pairs", "fig-ratio")
CONTEXT = _of("01_what_saes_leave_behind", "fig-context")
SIMULATED = _of("07_models_of_activations", "fig-ablation")
TABLE_1 = _of("07_models_of_activations", "fig-landing", "fig-ablation")
PARTS_NORM = _of("08_nonlinear_error", "fig-norm-parts", "fig-norm-null", "fig-norm-drop")
PROBE = _of("08_nonlinear_error", "fig-probe", "fig-norm-theory")
FEATURES = _of("09_features_in_the_error", "fig-features", "fig-deciles", "fig-feature-spread")
COST = _of("10_what_it_costs", "fig-cost", "fig-cost-width", "fig-cost-l0", "fig-cost-orders")
INFERENCE = _of("11_can_inference_shrink_it", "fig-inference", "fig-change", "fig-gaps")
LEVEL = _of("05_scaling", "fig-flat") + _of("15_the_report", "fig-paper-constancy")
EARLIER = _of("12_can_earlier_layers_shrink_it", "fig-earlier", "fig-earlier-parts")
GRID = "norm test, vector test and FVU_nonlinear over width and L0"

PAPER_FIGURES = (
    PaperFigure("§4", "E0", "data: tokens, positions, which SAEs", SETTING + PROTOCOL),
    PaperFigure("1", "E2", "breakdown of the variance over width, with a fitted curve", SCALING + NULL),
    PaperFigure("2", "E1", f"{GRID}: Gemma 2 2B, layer 12, and 9B, layer 20", NORMS + VECTORS + LEVEL),
    PaperFigure("3", "E3", "norm test over depth, in three models", DEPTH),
    PaperFigure("4", "E4", "a wider SAE's error norm from a narrower one's, all pairs", PAIRS),
    PaperFigure("5", "E4", "error norms at 100 tokens of one document", CONTEXT + PAIRS),
    PaperFigure("6", "E6", "norm test of every part", PARTS_NORM),
    PaperFigure("7", "E7", "interpretability of SAEs trained on error parts, by decile", FEATURES),
    PaperFigure("8", "E8", "loss recovered by each part, over width and over L0", COST),
    PaperFigure("9a", "E9", "the breakdown with gradient pursuit", INFERENCE),
    PaperFigure("9b", "E10", "error parts predicted from other components", EARLIER),
    PaperFigure("10", "E1", f"{GRID}: Gemma 2 2B, layers 5 and 19", NORMS + VECTORS + DEPTH + LEVEL),
    PaperFigure("11", "E1", f"{GRID}: Gemma 2 9B, layers 9 and 31", NORMS + VECTORS + DEPTH + LEVEL),
    PaperFigure("12", "E4", "norms of the two parts at 100 tokens of one document", CONTEXT + PAIRS),
    PaperFigure("13", "E11", "norm prediction against simple predictors, by layer", NESTED),
    PaperFigure("14", "E12", "the norm's probe against mean latent activation", PROBE),
    PaperFigure("15", "E5", "the synthetic check: over ablation, and over two noises", SIMULATED),
    PaperFigure("16", "E4", "what the norm of NonlinearError adds to Fig. 4", PAIRS),
    PaperFigure("Table 1", "E5", "true against estimated noise in the synthetic check", TABLE_1),
)
"""All sixteen figures and the table, by their numbers in arXiv 2410.14670v2. The released code says those of
the first version: its 7, 8, 9, 10a and 10b are 6, 7, 8, 9a and 9b here; 13 to 15 are the same."""


NOTHING = "nothing"


class Erratum(NamedTuple):
    """One slip in print."""

    where: str  # equation, section, figure or table
    printed: str  # what is there, in short
    right: str  # what is right, and by what
    changes: str = NOTHING  # what it changes


ERRATA = (
    Erratum("(10), (21)", "a ∈ R", "a ∈ R^d"),
    Erratum("(13)", "squared norms, one scalar", "the code of Figs. 4 and 16 takes norms, with an intercept",
            "what the R² of these figures is of"),
    Erratum("(15)", "SaeError(x) − b*", "SaeError(x) − b* x"),
    Erratum("(17)", "‖w‖₁ ≪ d", "‖w‖₀ ≪ d"),
    Erratum("(19), (20)", "+ Introduced", "− Introduced, by (4); the two sums share the term i = m",
            "the sign of a part; no number"),
    Erratum("(23)", "the errors", "their norms, by the code"),
    Erratum("(23)", "R with ⊭ for its exponent", "R²"),
    Erratum("§4", "Gemma 9 9B; Gemma Scope has SAEs for 2B", "Gemma 2 9B; for both"),
    Erratum("§4.1", "layer 9 of Gemma 2 2B", "layer 12, by Fig. 2"),
    Erratum("§4.1", "70% to 95% at every width, L0, layer and model", "0.00 to 0.96, by Fig. 3",
            "claim 2 in the text's words: 3 of 198 places are below 70%, two of them Llama's last layer"),
    Erratum("§4.2", "15% and 72%", "16.5% and 74.9%, by Figs. 2, 10 and 11", "2 of 142 SAEs are above 72%"),
    Erratum("§4.3", "at other layers it decreases as L0 increases",
            "as the width increases, by App. A.2 and Figs. 10 and 11", "where claim 4 is not made"),
    Erratum("§4.3", "nonlinear features in the linear error", "absent features"),
    Erratum("§4.4", "SAE₂ is larger than SAE₂", "than SAE₁"),
    Erratum("Figs. 2, 10, 11", "norms in the right plots", "in the left ones"),
    Erratum("Fig. 5", "with average nonlinear error", "it is not drawn"),
    Erratum("§5.1", "the bar of Sae(x) sums up Fig. 2", "that of SaeError(x)"),
    Erratum("§5.1", "one or two SAEs with R² at or below 0 left out", "at or below 0.5, by the code",
            "Llama 3.1 8B 32k at layer 31, R² 0.03, is one of them: a value, not a failed fit"),
    Erratum("§5.2", "Gemma 2 9B, layer 20, 16k, L0 about 60, with parts of equal size",
            "Gemma 2 2B, layer 12, 16k, L0 82, by the code: there they are equal (R² 0.49, Fig. 2a)",
            "which SAE Fig. 7 is about; those of the SAE in the text are 62% and 37% (Fig. 8)"),
    Erratum("§5.2", "about 5% more interpretable", "3.2 points over deciles, by Fig. 7",
            "the size of claim 7; not its sign"),
    Erratum("§5.3", "relative to the norm of Sae(x)", "to that of the SAE's error, by the legend of Fig. 8"),
    Erratum("Fig. 8, right", "L0 20, 36, 68, 138, 310, 427", "36, 58, 427, 20, 57, 310, by the code",
            "the course over L0: put right, NonlinearError's share of R² rises with every L0"),
    Erratum("§6.2", "attention and MLP of layer 19", "of layer 20, by (16) and the code"),
    Erratum("Fig. 10b", "Gemma 2 9B", "Gemma 2 2B"),
    Erratum("App. A.2", "Section 7 and Section 7", "Figs. 10 and 11"),
    Erratum("App. A.3", "predicts ‖SaeError(x)‖", "its square, by the code", "what the R² of Fig. 13 is of"),
    Erratum("App. C.1", "4λ³ + 6λ³ + λ; ρ = 6/√66 ≈ 0.73 at λ = 1", "4λ³ + 6λ² + λ; ρ = 6/√44 ≈ 0.905",
            "in the authors' favour: R² is 0.82, not 0.53"),
    Erratum("App. C.1", "b = E w²/E w", "with an intercept Cov(w, w²)/Var w",
            "the weight, for Poisson 2λ + 1 instead of λ + 1; not ρ, where all rates are equal"),
    Erratum("App. C.1", "x = Σ s_i y_i", "a = Σ s_i y_i"),
    Erratum("App. C.1", "w G wᵀ", "wᵀ G w"),
    Erratum("Fig. 14", "a window of 10", "of 100, by the code", "how smooth the line is"),
    Erratum("Table 1", "0.98, 0.14, 0.10 and 0.90, over the noise of Fig. 15",
            "0.97, −0.05, 0.18 and 0.92, by Fig. 15's heat maps", "the two small ones, not the two large"),
    Erratum("App. E", "a fall of up to 5%", "6.6%, by Fig. 16", "in the authors' favour"),
    Erratum("Fig. 1", "tokens from position 200 on (§4)", "its SAE points are from position 1, by the code",
            "their FVU_nonlinear is 5% below Fig. 2b's, so Fig. 9a seems to save less than it does"),
)  # fmt: skip
"""Slips in the second version's text and figures, in its order."""


class Choice(NamedTuple):
    """One choice."""

    key: str  # by which a chapter records what it changes: `Chapter.protocol`, or the `protocol` of a claim
    name: str  # what is chosen
    released: str  # what the paper's released code does
    here: str  # what this book does
    chapter: int = 0  # the chapter that measures what it changes; 0 where none does


CHOICES = (
    Choice("intercept", "intercept", "none; §4 says that bias terms are included", "fitted", 2),
    Choice("split", "unit of the split", "tokens, at random: a document is on both sides",
           "whole documents, in folds", 2),
    Choice("rows", "rows that are scored", "all for FVU_nonlinear, the fitted ones too",
           "both, weighed so that the maps' own error cancels", 2),
    Choice("together", "the three together", "as above", "as above", 4),
    Choice("weight", "weight of dimensions", "R² averaged over dimensions, FVU pooled",
           "both, always named", 4),
    Choice("centre", "centre of the variance", "one scalar for all dimensions, in the synthetic check",
           "the mean of each dimension", 2),
    Choice("positions", "positions",
           "from 200 (§4); from 1 for the SAE points of Fig. 1, whose FVU_nonlinear is 5% lower for it",
           "one window for every number", 1),
    Choice("which SAEs", "which SAEs are compared",
           "nearest to L0 60, as realised (Fig. 1) or by its name (Fig. 9a); it drifts with width",
           "made for one L0, thresholds set to it", 5),
    Choice("flat line", "the flat line", "the mean, drawn as a line (Fig. 1)",
           "a slope with an interval, against a stated range", 5),
    Choice("fitted curve", "the fitted curve", "gradient steps from a random start",
           "bounded least squares; every width left out once", 5),
    Choice("uncertainty", "uncertainty", "none, but for the bars of Fig. 7",
           "95% intervals over documents and training seeds", 5),
    Choice("low R² over depth", "points of low R² in the norm test over depth",
           "set to 0 and cut off below 0.4: two points of Fig. 3, Llama at layer 31",
           "all drawn", 3),
    Choice("low R² over parts", "points of low R² in the norm test over parts",
           "dropped at 0.5 or below (Fig. 6); §5.1 says at 0 or below",
           "all drawn", 8),
    Choice("from itself", "what a norm is predicted from", "x",
           "x, and the part itself, which is what the argument is about", 8),
    Choice("", "token baseline of the norm", "fitted and scored on the same rows",
           "out-of-fold means, shrunk"),
    Choice("", "tokens under a replaced site", "streamed anew and paired by position, unchecked",
           "the tokens that were encoded"),
    Choice("L0 of a pursuit", "L0 of a pursuit", "the encoder's as a target; the realised one is not kept",
           "equal, as realised, on the same tokens", 11),
    Choice("order of the parts", "order of the parts", "to Sae(x), first (Fig. 8)",
           "first and last, and the mean of both, which adds up to 1", 10),
    Choice("control of the loss", "control of the loss", "none (Fig. 8)",
           "vectors of equal norm, of several kinds", 10),
    Choice("control of earlier layers", "control of earlier layers", "none",
           "the raw activation, rank-matched; shuffled tokens", 12),
    Choice("", "tokens of encoder and pursuit",
           "from 1 and from 200 (Figs. 1, 9a); on the same (Fig. 2b) FVU_nonlinear falls by 4.5 to 13.2%",
           "the same"),
    Choice("", "labels of the sweep over L0", "those of Fig. 8, right, are in another order than its bars",
           "each SAE by its own L0"),
    Choice("", "rows of the synthetic check",
           "those that were fitted: d/n = 7% of any noise counts as linear (Fig. 15)", "out of sample"),
    Choice("", "positions of SAEs trained on error parts", "trained from 200 on, scored on contexts of 128",
           "the same positions for both"),
)  # fmt: skip
"""In the order of the chapters."""


def changes(records: Records) -> list[tuple[Choice, str]]:
    """Every choice with what it changes on the study of these records, from this book's to the other."""
    found = []
    for choice in CHOICES:
        told = records.get(choice.chapter, {}).get("protocol", {}).get(choice.key)
        said = told or "not measured on this study"
        found.append((choice, said if choice.chapter else "not measured"))
    return found

"""The paper's figures, experiments and choices of protocol, and where each has its counterpart here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..base.config import DATA
from .report import Records


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
    """One figure or table of the paper, or one experiment without a figure number."""

    number: str  # its number, or numbers that are known jointly only; "–" where none is known
    version: str  # the paper's version that has it under this number: "1" or "2"; "–" for none
    experiment: str  # number of the experiment, E0 to E12, as this book counts them
    shows: str  # what it shows
    counterparts: tuple[tuple[str, str], ...]  # (chapter file, figure label) of each figure here

    @property
    def name(self) -> str:
        """The number in words: "Fig. 7", "Table 1"."""
        return self.number if self.number == "–" or self.number.startswith("Table") else f"Fig. {self.number}"


def _of(chapter: str, *labels: str) -> tuple[tuple[str, str], ...]:
    return tuple((chapter, label) for label in labels)


SETTING = _of("01_what_saes_leave_behind", "fig-context", "fig-position")
PROTOCOL = _of("02_how_to_measure_it", "fig-protocols")
NORMS = _of("03_error_norms", "fig-norms", "fig-norm-l0")
VECTORS = _of("04_half_linear", "fig-vector", "fig-vector-l0")
SCALING = _of("05_scaling", "fig-scaling", "fig-flat") + _of("00_index", "fig-index")
NULL = _of("07_models_of_activations", "fig-null", "fig-matched")
DEPTH = _of("03_error_norms", "fig-depth")
NESTED = _of("03_error_norms", "fig-alone", "fig-steps")
PER_TOKEN = _of("06_token_by_token", "fig-ratio", "fig-pairs")
SIMULATED = _of("07_models_of_activations", "fig-ablation")
TABLE_1 = _of("07_models_of_activations", "fig-landing", "fig-ablation")
PARTS_NORM = _of("08_nonlinear_error", "fig-norm-parts", "fig-norm-null")
PROBE = _of("08_nonlinear_error", "fig-probe", "fig-norm-theory")
FEATURES = _of("09_features_in_the_error", "fig-features", "fig-deciles", "fig-feature-spread")
COST = _of("10_what_it_costs", "fig-cost", "fig-cost-width", "fig-cost-l0")
INFERENCE = _of("11_can_inference_shrink_it", "fig-inference", "fig-gaps")
EARLIER = _of("12_can_earlier_layers_shrink_it", "fig-earlier", "fig-earlier-parts")
TESTS = (
    "the linear tests over width and L0, and error norms token by token; which number is which is not known"
)

PAPER_FIGURES = (
    PaperFigure("1", "1", "E2", "breakdown of the variance over width, with a fitted curve", SCALING + NULL),
    PaperFigure("2-6, 11, 12", "1", "E1, E4", TESTS, NORMS + VECTORS + PER_TOKEN),
    PaperFigure("7", "1", "E6", "norm test of every part", PARTS_NORM),
    PaperFigure("8", "1", "E7", "interpretability of SAEs trained on error parts", FEATURES),
    PaperFigure("9", "1", "E8", "loss recovered by each part", COST),
    PaperFigure("10a", "1", "E9", "the breakdown with gradient pursuit", INFERENCE),
    PaperFigure("10b", "1", "E10", "error parts predicted from other components", EARLIER),
    PaperFigure("13", "1", "E11", "norm prediction against simple predictors, by layer", NESTED),
    PaperFigure("14", "1", "E12", "the norm's probe against mean latent activation", PROBE),
    PaperFigure("15", "1", "E5", "the synthetic check", SIMULATED),
    PaperFigure("Table 1", "1", "E5", "true against estimated noise in the synthetic check", TABLE_1),
    PaperFigure("1", "2", "E2", "breakdown of the variance over width, with a fitted curve", SCALING + NULL),
    PaperFigure("2", "2", "E1", "contours of the linear tests over width and L0", NORMS + VECTORS),
    PaperFigure("6", "2", "E6", "norm test of every part", PARTS_NORM),
    PaperFigure("7", "2", "E7", "SAEs trained on error parts", FEATURES),
    PaperFigure("8", "2", "E8", "loss recovered by each part", COST),
    PaperFigure("Table 1", "2", "E5", "true against estimated noise in the synthetic check", TABLE_1),
    PaperFigure("–", "–", "E0", "data: tokens, positions, which SAEs", SETTING + PROTOCOL),
    PaperFigure("–", "2", "E3", "norm test over depth; its number was not found", DEPTH),
)
"""Every figure number that could be tied to an experiment: the first version's from the released code, the
second's from a summary."""


class Choice(NamedTuple):
    """One choice."""

    key: str  # by which a chapter records what it changes: `Chapter.protocol`, or the `protocol` of a claim
    name: str  # what is chosen
    released: str  # what the paper's released code does
    here: str  # what this book does
    chapter: int = 0  # the chapter that measures what it changes; 0 where none does


CHOICES = (
    Choice("intercept", "intercept", "none, though the text says that there is one", "fitted", 2),
    Choice("split", "unit of the split", "tokens, at random: a document is on both sides",
           "whole documents, in folds", 2),
    Choice("rows", "rows that are scored", "all for FVU_nonlinear, the fitted ones too",
           "only rows that were not fitted", 2),
    Choice("together", "the three together", "as above", "as above", 4),
    Choice("weight", "weight of dimensions", "R² averaged over dimensions, FVU pooled",
           "both, always named", 4),
    Choice("centre", "centre of the variance", "one scalar for all dimensions, in the synthetic check",
           "the mean of each dimension", 2),
    Choice("positions", "positions", "from 1 in the first version's figures, from 200 elsewhere",
           "one window for every number", 1),
    Choice("which SAEs", "which SAEs are compared",
           "the one with an L0 nearest to a target; it drifts with width",
           "made for one L0, thresholds set to it", 5),
    Choice("flat line", "the flat line", "a mean, drawn as a line",
           "a slope with an interval, against a stated range", 5),
    Choice("fitted curve", "the fitted curve", "gradient steps from a random start",
           "bounded least squares; every width left out once", 5),
    Choice("uncertainty", "uncertainty", "none", "95% intervals over documents and training seeds", 5),
    Choice("low R² over depth", "points of low R² in the norm test over depth",
           "set to 0 and cut off below 0.4",
           "all drawn", 3),
    Choice("low R² over parts", "points of low R² in the norm test over parts", "dropped at 0.5 or below",
           "all drawn", 8),
    Choice("from itself", "what a part's norm is predicted from", "x",
           "x, and the part itself, which is what the argument is about", 8),
    Choice("", "token baseline of the norm", "fitted and scored on the same rows",
           "out-of-fold means, shrunk"),
    Choice("", "tokens under a replaced site", "streamed anew and paired by position, unchecked",
           "the tokens that were encoded"),
    Choice("L0 of a pursuit", "L0 of a pursuit", "the encoder's as a target; the realised one is not kept",
           "equal, as realised, on the same tokens", 11),
    Choice("control of the loss", "control of the loss", "none",
           "vectors of equal norm, of several kinds", 10),
    Choice("control of earlier layers", "control of earlier layers", "none",
           "the raw activation, rank-matched; shuffled tokens", 12),
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

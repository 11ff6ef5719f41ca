"""The paper's figures and experiments, and where each has its counterpart in this book."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperFigure:
    """One figure or table of the paper, or one experiment without a figure number."""

    number: str
    """Its number, or numbers that are known jointly only; "–" where none is known."""
    version: str
    """The paper's version that has it under this number: "1" or "2"; "–" for an experiment without one."""
    experiment: str
    """Number of the experiment, E0 to E12, as this book counts them."""
    shows: str
    """What it shows."""
    counterparts: tuple[tuple[str, str], ...]
    """(chapter file, figure label) of each figure here."""

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
FEATURES = _of("09_features_in_the_error", "fig-features", "fig-feature-spread")
COST = _of("10_what_it_costs", "fig-cost", "fig-cost-width", "fig-cost-l0")
INFERENCE = _of("11_can_inference_shrink_it", "fig-inference", "fig-gaps")
EARLIER = _of("12_can_earlier_layers_shrink_it", "fig-earlier", "fig-earlier-parts")

PAPER_FIGURES = (
    PaperFigure("1", "1", "E2", "breakdown of the variance over width, with a fitted curve", SCALING + NULL),
    PaperFigure(
        "2-6, 11, 12",
        "1",
        "E1, E4",
        "the linear tests over width and L0, and error norms token by token; which "
        "number is which is not known",
        NORMS + VECTORS + PER_TOKEN,
    ),
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

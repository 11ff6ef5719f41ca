"""The ledger: what the paper claims, its number, the rule that judges it, and what would show it wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..base.errors import BadInput
from ..base.words import percent
from . import rules, rules_cost, rules_everywhere, rules_features, rules_inference, rules_norms, rules_worlds
from .rules import FLAT, GAIN, HALF, MISS, NORM, NORM_FAILS, NOT_HALF, SAME_TOKENS, SPLIT, UNKNOWN, Verdict
from .rules_cost import PROPORTIONAL, SAME

ABSTRACT = "abstract"
"""Read in the paper's abstract."""
REPORTED = "as reported by others"
"""Read in summaries of the paper; the figure's own values were not seen."""

SOURCES = {
    1: "the abstract of both arXiv versions",
    2: "the abstract of both arXiv versions",
    3: 'the abstract of both arXiv versions, in words ("remarkably predictable")',
    4: "a third-party summary of the second version",
    5: "the released code, which fits c, a and m",
    6: "a third-party summary of the second version",
    7: "third-party notes on the paper",
    8: "the abstract of both arXiv versions, in words",
    9: 'a third-party summary; the abstract says "very slight decrease"',
    10: "a third-party summary of the second version",
    11: 'a third-party summary ("validated synthetically")',
    12: "a public reproducibility sheet that quotes the journal's text",
    13: "the script of the first version's Fig. 13",
}
"""Where the paper's number of each claim was read; the full text was not available to this edition."""
NOT_FOUND = {
    3: "any number for it",
    4: "the height of the line",
    5: "the fitted values, which its figure prints",
    6: "the values of the figure",
    7: "the accuracies by decile",
    8: "any percentage",
    11: "the entries of the table",
    13: "the values of the figure",
}
"""What of the paper's numbers could not be found."""

PAPER = {
    "window": "positions 200 to 1022",
    "widths": "seven widths",
    "off L0": "by a fifth",
}
"""Facts of the paper and its released code that prose quotes."""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    number: int
    """Its number in this book, 1 to 13."""
    short: str
    """The claim as one sentence."""
    paper: str
    """The paper's number, or its word."""
    paper_source: str
    """Where that was read."""
    rule: str
    """The rule in words, with its thresholds."""
    falsifier: str
    """What would show the claim wrong."""
    chapter: str = ""
    """The file of the chapter that measures it, without suffix; empty until there is one."""
    judged: Callable[..., Verdict] | None = None
    """The rule as code, of `rules.py`; None until the claim is measured."""
    written: str = "It was written before the result."
    """When the rule was written, and what was changed since."""


def claim(number: int) -> Claim:
    """The claim of that number; BadInput names the numbers there are."""
    if number not in LEDGER:
        raise BadInput(f"there is no claim {number!r}; claims are numbered {min(LEDGER)} to {max(LEDGER)}")
    return LEDGER[number]


def judge(number: int, *, unfit: str = "", **measured) -> Verdict:
    """The verdict on claim `number`, from the numbers that its rule in `rules.py` takes.

    `unfit` says why the study cannot speak of any claim; a claim that no chapter measures yet cannot be told.
    """
    entry = claim(number)
    if unfit:
        return Verdict(UNKNOWN, unfit)
    if entry.judged is None or not measured:
        return Verdict(UNKNOWN, "No chapter of this edition measures it yet.")
    return entry.judged(**measured)


def unfit(study) -> str:
    """Why a study cannot speak of any claim; "" where it can."""
    if study.name == "nano":
        return "The study nano is a format test: its model has random weights. It speaks of no claim."
    return ""


LEDGER = {
    entry.number: entry
    for entry in (
        Claim(
            1,
            "About half of the error vector is a linear function of the activation.",
            "about 0.5",
            ABSTRACT,
            "R² per dimension of the SAE's error from x, on held-out documents, at each width of the suite. "
            f"*Holds*: every interval lies inside {HALF[0]} to {HALF[1]}. *Does not hold*: every "
            f"interval lies "
            f"outside {NOT_HALF[0]} to {NOT_HALF[1]}; or at some width less than half of R² is left once "
            "shrinkage is undone (Sae(x) rescaled by its best scalar); or the strict and the paper's "
            "protocol "
            f"differ by more than {SPLIT}. *Partly*: anything else.",
            "R² below 0.2 on held-out documents; or mostly shrinkage; or an artefact of the split",
            "04_half_linear",
            rules.half_linear,
            "Its thresholds were written before the result. Its guard against shrinkage was replaced "
            "after the "
            "first results were seen; chapter 04 tells how, and what the first form says.",
        ),
        Claim(
            2,
            "More than 90% of the variance of the error's norm is linearly predictable from the activation.",
            "above 0.9",
            ABSTRACT,
            "R² of the error's squared norm from x, on held-out documents, at each width of the suite "
            "and, where "
            f"the study has SAEs of other layers, there too. *Holds*: every interval reaches {NORM}, "
            f"and at each "
            f"width x does better than all simple predictors together by {GAIN} or more. *Does not "
            f"hold*: more "
            f"than a quarter of these places lie below {NORM_FAILS}, or x does better by {GAIN} at no width. "
            "*Partly*: anything else.",
            "x does no better than simple predictors, or R² is below 0.7 in more than a quarter of the "
            "places "
            "tried",
            "03_error_norms",
            rules_norms.norm_linear,
            "It was written before the result; the other layers were added as places, in this form, "
            "after the "
            "widths had been seen and before the layers were.",
        ),
        Claim(
            3,
            "Wider SAEs fail on the same tokens as narrower ones.",
            "in words only",
            ABSTRACT,
            "R² between the error norms of two widths, with ‖x‖, position and token taken out of both. "
            "*Holds*: "
            f"every interval is above {SAME_TOKENS}. *Does not hold*: every interval is below. *Partly*: "
            f"anything else, or {SAME_TOKENS} is left when tokens are shuffled within their documents.",
            f"a partial R² below {SAME_TOKENS}",
            "06_token_by_token",
            rules_norms.same_tokens,
            "It was written before the result; position, and the guard with shuffled tokens, were "
            "added to its first form, "
            "before any result too.",
        ),
        Claim(
            4,
            "The nonlinear part of the unexplained variance does not depend on the SAE width, at a fixed L0.",
            "a flat line",
            REPORTED,
            "Change of FVU_nonlinear per doubling of the width, from the slope of its logarithm; the "
            "interval "
            f"carries documents and training seeds. *Holds*: the interval lies inside "
            f"±{percent(FLAT)}. *Does "
            "not hold*: it lies outside. *Cannot be told*: it crosses the edge. *Partly*: inside, but an SAE "
            "that introduces no error is as flat.",
            "a slope outside that range, or a null that is as flat",
            "05_scaling",
            rules.constant,
        ),
        Claim(
            5,
            "The rest of the unexplained variance shrinks with width towards a floor.",
            "a fitted curve with c > 0",
            REPORTED,
            "Fit FVU = c + a·W^−m with c ≥ 0; the interval carries documents and training seeds. "
            "*Holds*: FVU "
            "falls, the interval of c is above 0, and the fit to the other widths predicts every left-out "
            f"width within {MISS:.0f} standard errors. *Partly*: a left-out width is missed. *Does not "
            f"hold*: "
            "FVU does not fall, or the interval of c reaches 0 and ends below half of the widest SAE's FVU. "
            "*Cannot be told*: it reaches 0 and ends higher.",
            "an interval of c that reaches 0, or a left-out width missed by more than 2 standard errors",
            "05_scaling",
            rules.floor,
        ),
        Claim(
            6,
            "NonlinearError is not a sparse linear code: its norm is the hardest of all parts to predict.",
            "the lowest of all parts",
            REPORTED,
            rules_worlds.NORM_RULE,
            "an oracle SAE that introduces no error has an equally low R²",
            "08_nonlinear_error",
            rules_worlds.norm_lowest,
        ),
        Claim(
            7,
            "SAEs trained on NonlinearError find fewer and less interpretable features.",
            "FVU 0.59 against 0.54",
            REPORTED,
            rules_features.RULE,
            rules_features.FALSIFIER,
            "09_features_in_the_error",
            rules_features.fewer_features,
        ),
        Claim(
            8,
            "NonlinearError costs the model its proportional share of the loss.",
            "proportional",
            ABSTRACT,
            "Share of the loss lost to Sae(x) that adding NonlinearError wins back, over its share of "
            "FVU: the slope through "
            "the origin, over the widths of the suite. *Near 1*: its interval lies inside "
            f"{PROPORTIONAL[0]} to {PROPORTIONAL[1]}. Beside it the same slope for four kinds of "
            f"vectors that have the norms "
            "of the error and its parts, token by token, and are not the error; a kind is told apart "
            "where the interval of "
            f"the difference lies beyond ±{SAME}, and equal where it lies inside. *Holds*: near 1, and "
            f"every kind told apart. "
            "*Does not hold*: the interval lies wholly outside, or every kind is equal: then any "
            "vector of that norm has its "
            "proportional share. *Partly*: near 1, some kinds told apart. *Cannot be told*: anything else.",
            "a slope whose interval is far from 1, or equal to that of the controls of equal norm",
            "10_what_it_costs",
            rules_cost.proportional,
        ),
        Claim(
            9,
            "Better inference on the same dictionary barely reduces NonlinearError.",
            "FVU lower by 3 to 5%",
            REPORTED,
            rules_inference.PURSUIT_RULE,
            "FVU_nonlinear falls by more than 10%",
            "11_can_inference_shrink_it",
            rules_inference.barely_helps,
        ),
        Claim(
            10,
            "Reconstructions at earlier layers predict part of NonlinearError.",
            "R² up to 0.50",
            REPORTED,
            rules_inference.EARLIER_RULE,
            "the raw activation, rank-matched, explains as much, or shuffled tokens do",
            "12_can_earlier_layers_shrink_it",
            rules_inference.earlier_predicts,
        ),
        Claim(
            11,
            "LinearError is mostly absent features, NonlinearError mostly error that the SAE introduces.",
            "in a synthetic table",
            REPORTED,
            rules_worlds.LANDING_RULE,
            "more than 25% of a true part lands in the other estimated part",
            "07_models_of_activations",
            rules_worlds.parts_land,
        ),
        Claim(
            12,
            "None of this is special to one model or layer.",
            "3 models",
            REPORTED,
            rules_everywhere.RULE,
            f"a sign differs in more than {percent(rules_everywhere.DIFFER)} of the cells",
            "15_the_report",
            rules_everywhere.everywhere,
        ),
        Claim(
            13,
            "The activation predicts the error's norm better than simple predictors do.",
            "an ordering",
            REPORTED,
            "Nested out-of-fold models of the error's squared norm, at each width of the suite and at "
            "each layer "
            "that has SAEs. *Holds*: everywhere R² from x is above that from ‖x‖, position and token, "
            "and x adds "
            "to all simple predictors and ten of its principal components (both intervals above 0). "
            "*Does not "
            "hold*: at more than a quarter of the places the three reach the R² of x (the interval of the "
            "difference is not above 0). *Partly*: anything else.",
            "token, ‖x‖ and position reach the same R²",
            "03_error_norms",
            rules_norms.beyond_simple,
            "It was written when nested models had been seen in the simulated world only; what each simple "
            "predictor reaches alone at the widths of the suite was known from the first edition.",
        ),
    )
}
"""Claims 1 to 13, by number."""

"""Choices of protocol: what the released code does, what this book does, and which chapter says what that
changes."""

from __future__ import annotations

from typing import NamedTuple

from .report import Records


class Choice(NamedTuple):
    """One choice."""

    key: str
    """By which a chapter records what it changes: `Chapter.protocol`, or the `protocol` of a claim."""
    name: str
    """What is chosen."""
    released: str
    """What the paper's released code does."""
    here: str
    """What this book does."""
    chapter: int = 0
    """The chapter that measures what it changes; 0 where none does."""


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

    def said(choice: Choice) -> str:
        if not choice.chapter:
            return "not measured"
        told = records.get(choice.chapter, {}).get("protocol", {})
        return told.get(choice.key) or "not measured on this study"

    return [(choice, said(choice)) for choice in CHOICES]

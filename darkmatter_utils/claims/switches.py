"""Choices of protocol: what the released code does, what this book does, and what each changes here, from the
records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..base.words import percent, plain, span
from .report import Records

STRICT = "strict: documents held out, intercept"
TOKENS = "tokens held out, intercept"
NO_INTERCEPT = "tokens held out, no intercept"
PAPER = "paper: one split of tokens, FVU on fitted rows too"
"""Protocols of chapter 02, one step apart, as its record names them."""


@dataclass(frozen=True)
class Switch:
    """One choice."""

    name: str
    """What is chosen."""
    released: str
    """What the paper's released code does."""
    here: str
    """What this book does."""
    chapter: int
    """The chapter that measures what it changes; 0 where none does."""
    change: Callable[[Mapping[str, Any]], str]
    """What it changes, from the values of that chapter's record: from this book's choice to the other."""


def changes(records: Records) -> list[tuple[Switch, str]]:
    """Every switch with what it changes on the study of these records, "not measured on this study" where
    they lack it."""
    return [(switch, _change(switch, records)) for switch in SWITCHES]


def _change(switch: Switch, records: Records) -> str:
    if not switch.chapter:
        return "not measured"
    try:
        return switch.change(records[switch.chapter]) or "not measured on this study"
    except (KeyError, TypeError, ValueError):  # no such number, or none at this study
        return "not measured on this study"


def _step(first: str, then: str, metric: str) -> Callable[[Mapping], str]:
    """What one step between two protocols of chapter 02 does to a number, on its live arrays."""

    def change(values: Mapping) -> str:
        before, after = (values["steps"][name][metric] for name in (first, then))
        return f"{metric} {plain(before, 3)} → {plain(after, 3)}, on live arrays of {values['live tokens']}"

    return change


def _definition(name: str) -> Callable[[Mapping], str]:
    def change(values: Mapping) -> str:
        found = values["definitions"]
        here = next(value for key, value in found.items() if "this book" in key)
        return f"FVU {plain(here, 3)} → {plain(found[name], 3)}, on live arrays"

    return change


def _together(values: Mapping) -> str:
    worst = values["evidence"]["1"]["numbers"]["split"]
    return (
        f"R² per dimension, strict minus paper: {span(worst.values(), lambda v: plain(v, 4))} over the suite"
    )


def _two_r2(values: Mapping) -> str:
    both = zip(values["R2 per dimension"]["value"], values["R2 total"]["value"], strict=True)
    return (
        f"per dimension minus pooled: {span([a - b for a, b in both], lambda v: plain(v, 4))} over the suite"
    )


def _position(values: Mapping) -> str:
    return (
        f"late over early error inside the window: {plain(values['late over early'], 3)} "
        f"({values['window']} is scored)"
    )


def _seeds(values: Mapping) -> str:
    wide = values["evidence"]["5"]["numbers"]["c"]
    return (
        f"the floor is {plain(wide['value'], 3)} with a 95% interval "
        f"{plain(wide['high'] - wide['low'], 3)} wide"
    )


def _floor(values: Mapping) -> str:
    misses = values["evidence"]["5"]["numbers"]["misses"].values()
    return f"left-out widths are missed by up to {max(abs(miss) for miss in misses):.1f} standard errors"


def _flat(values: Mapping) -> str:
    change = values["evidence"]["4"]["numbers"]["change"]
    return f"{percent(change['value'], 1)} per doubling, where the line is drawn flat"


def _l0(values: Mapping) -> str:
    low, high = values["evidence"]["4"]["numbers"]["l0"]
    return f"L0 over the suite: {plain(low)} to {plain(high)}"


def _below(level: float) -> Callable[[Mapping], str]:
    """How many places of claim 2 a plot would lose that cuts at a level of R²."""

    def change(values: Mapping) -> str:
        taken = values["evidence"]["2"]["numbers"]
        r2 = [e["value"] for e in [*taken["r2"].values(), *(taken.get("layers") or {}).values()]]
        return (
            f"{sum(v < level for v in r2)} of {len(r2)} places lie below {level}: that plot would lose them"
        )

    return change


def _norm_points(values: Mapping) -> str:
    tests = values["tests"]
    mine = [
        v
        for part, source, v in zip(tests["part"], tests["source"], tests["value"], strict=True)
        if part == "NonlinearError" and source == "from x"
    ]
    return (
        f"{sum(v <= 0.5 for v in mine)} of {len(mine)} SAEs have a NonlinearError at 0.5 or below: that "
        f"figure would lose them"
    )


def _from_itself(values: Mapping) -> str:
    return (
        f"NonlinearError is the lowest part at {values['from x']} SAEs from x, at {values['from itself']} "
        f"from the part itself"
    )


def _raw(values: Mapping) -> str:
    taken = values["evidence"]["10"]["numbers"]
    best = {name: max(e["value"] for e in taken[name].values()) for name in ("sae", "raw")}
    return (
        f"SAE outputs of earlier sites reach {plain(best['sae'])}, as many directions of the raw "
        f"activation {plain(best['raw'])}"
    )


def _controls(values: Mapping) -> str:
    taken = values["evidence"]["8"]["numbers"]
    others = [e["value"] for e in taken["controls"].values()]
    return f"slope {plain(taken['slope']['value'])} for the error, {span(others)} for vectors of equal norm"


def _unequal(values: Mapping) -> str:
    change = [e["value"] for e in values["evidence"]["9"]["numbers"]["change"].values()]
    return (
        f"at equal L0 and on the same tokens, FVU_nonlinear changes by "
        f"{span(change, lambda v: percent(v, 1))}"
    )


def _none(values: Mapping) -> str:
    return ""


SWITCHES = (
    Switch(
        "intercept",
        "none, though the text says that there is one",
        "fitted",
        2,
        _step(TOKENS, NO_INTERCEPT, "R² per dimension"),
    ),
    Switch(
        "unit of the split",
        "tokens, at random: a document is on both sides",
        "whole documents, in folds",
        2,
        _step(STRICT, TOKENS, "R² per dimension"),
    ),
    Switch(
        "rows that are scored",
        "all for FVU_nonlinear, the fitted ones too",
        "only rows that were not fitted",
        2,
        _step(NO_INTERCEPT, PAPER, "FVU_nonlinear"),
    ),
    Switch("the three together", "as above", "as above", 4, _together),
    Switch(
        "weight of dimensions", "R² averaged over dimensions, FVU pooled", "both, always named", 4, _two_r2
    ),
    Switch(
        "centre of the variance",
        "one scalar for all dimensions, in the synthetic check",
        "the mean of each dimension",
        2,
        _definition("centred by one scalar mean for all dimensions"),
    ),
    Switch(
        "positions",
        "from 1 in the first version's figures, from 200 elsewhere",
        "one window for every number",
        1,
        _position,
    ),
    Switch(
        "which SAEs are compared",
        "the one with an L0 nearest to a target; it drifts with width",
        "made for one L0, thresholds set to it",
        5,
        _l0,
    ),
    Switch(
        "the flat line",
        "a mean, drawn as a line",
        "a slope with an interval, against a stated range",
        5,
        _flat,
    ),
    Switch(
        "the fitted curve",
        "gradient steps from a random start",
        "bounded least squares; every width left out once",
        5,
        _floor,
    ),
    Switch("uncertainty", "none", "95% intervals over documents and training seeds", 5, _seeds),
    Switch(
        "points of low R² in the norm test over depth",
        "set to 0 and cut off below 0.4",
        "all drawn",
        3,
        _below(0.4),
    ),
    Switch(
        "points of low R² in the norm test over parts",
        "dropped at 0.5 or below",
        "all drawn",
        8,
        _norm_points,
    ),
    Switch(
        "what a part's norm is predicted from",
        "x",
        "x, and the part itself, which is what the argument is about",
        8,
        _from_itself,
    ),
    Switch(
        "token baseline of the norm",
        "fitted and scored on the same rows",
        "out-of-fold means, shrunk",
        0,
        _none,
    ),
    Switch(
        "tokens under a replaced site",
        "streamed anew and paired by position, unchecked",
        "the tokens that were encoded",
        0,
        _none,
    ),
    Switch(
        "L0 of a pursuit",
        "the encoder's as a target; the realised one is not kept",
        "equal, as realised, on the same tokens",
        11,
        _unequal,
    ),
    Switch("control of the loss", "none", "vectors of equal norm, of several kinds", 10, _controls),
    Switch(
        "control of earlier layers", "none", "the raw activation, rank-matched; shuffled tokens", 12, _raw
    ),
    Switch(
        "positions of SAEs trained on error parts",
        "trained from 200 on, scored on contexts of 128",
        "the same positions for both",
        0,
        _none,
    ),
)
"""In the order of the chapters."""

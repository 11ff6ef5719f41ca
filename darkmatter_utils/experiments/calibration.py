"""How often a rule is wrong: studies are simulated whose truth is known, and judged.

A verdict is false where it says "holds" of a statement that is false, or "does not hold" of one that is true.
Every statement is simulated with the truth at its margin, and displaced from there by as much again as the
margin lies from the middle of the range (of a one-sided range from 0, or from 1 where it is about a ratio),
outwards and inwards, but no more than half the way to 1 where 1 is the most that there can be.
``darkmatter calibrate`` makes the table that ships in data/calibration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..base import cache, provenance
from ..base.config import DATA
from ..claims import (
    c01_half_linear,
    c02_norm_linear,
    c03_same_tokens,
    c04_flat,
    c05_floor,
    c06_norm_lowest,
    c07_fewer_features,
    c08_proportional,
    c09_inference,
    c10_earlier,
    c12_everywhere,
    c13_beyond_simple,
    fixed,
)
from ..claims.claim import FAILS, HOLDS, PARTLY, UNKNOWN, Question
from ..stats.intervals import at_most
from . import simulated_documents as documents
from . import simulated_norms as norms
from . import simulated_suites as suites

FOLDER = DATA / "calibration"
AGAIN = 5
"""So many studies of every rule are simulated again by a test."""
MARGIN, FALSE, TRUE = "at the margin", "false", "true"
"""The truths of a statement."""
NOTHING, NULL_STUDIES = "nothing introduced", 200
"""The truth of simulated studies whose SAEs introduce no error, and how many there are."""
LETTERS = {HOLDS: "h", PARTLY: "p", FAILS: "f", UNKNOWN: "u"}
MOST_FALSE, LEAST_POWER = 0.08, 0.80
"""What a rule is held to: the upper end of its rate of false verdicts, and the share of studies in which it
tells what is displaced from the margin by as much again."""


class Rule(NamedTuple):
    """A question, and what simulates a study of it."""

    question: Question
    simulate: Callable  # (rng, {statement: {truth: value}}) -> {(statement, truth): evidence}
    share: tuple[str, tuple[float, float]] | None = None  # of a rule without statements: its name, its range
    studies: int = 400
    null: Callable | None = None  # number of a study that introduces no error -> evidence

    @property
    def inside(self) -> dict[str, tuple[float, float]]:
        """The range of each statement."""
        if self.share:
            return dict([self.share])
        return {one.name: one.inside for one in self.question.statements()}

    def word(self, statement: str, evidence) -> str:
        """What one statement says of evidence."""
        if self.share:
            return self.question.judge(evidence).word
        return next(one for one in self.question.statements() if one.name == statement).judge(evidence).word

    @property
    def introduced(self) -> str:
        """The statement that says, where it holds, that error is introduced."""
        return next(one.name for one in self.question.statements() if one.introduced)


SHARE = c12_everywhere.THRESHOLDS.differ
RULES: dict[str, Rule] = {
    "1": Rule(c01_half_linear.CLAIM, documents.half_linear),
    "2": Rule(c02_norm_linear.CLAIM, norms.norm_linear),
    "3": Rule(c03_same_tokens.CLAIM, norms.same_tokens),
    "4": Rule(c04_flat.CLAIM, suites.flat, null=suites.flat_null),
    "5": Rule(c05_floor.CLAIM, suites.floor),
    "6": Rule(c06_norm_lowest.CLAIM, norms.norm_lowest, null=suites.norm_lowest_null),
    "7": Rule(c07_fewer_features.CLAIM, suites.fewer_features),
    "8": Rule(c08_proportional.CLAIM, suites.proportional, studies=200),
    "9": Rule(c09_inference.CLAIM, documents.inference),
    "10": Rule(c10_earlier.CLAIM, documents.earlier, studies=200),
    "12": Rule(c12_everywhere.CLAIM, suites.everywhere, share=("share", (-math.inf, SHARE))),
    "13": Rule(c13_beyond_simple.CLAIM, norms.beyond_simple),
}
"""By name as the table has it: claims by number."""


def truths(inside: tuple[float, float]) -> dict[str, float]:
    """The truths at which a statement of that range is simulated."""
    low, high = inside
    if math.isfinite(low) and math.isfinite(high):
        step, margin, inner = (high - low) / 2, high, (low + high) / 2
        outer = margin + (step if high >= 1 else min(step, (1 - high) / 2))
        return {MARGIN: margin, FALSE: outer, TRUE: inner}
    margin, out = (low, -1) if math.isfinite(low) else (high, 1)
    step = abs(margin - (1.0 if margin > 1 else 0.0))
    step = min(step, (1 - margin) / 2) if 0 < margin < 1 else step
    return {MARGIN: margin, FALSE: margin + out * step, TRUE: margin - out * step}


def study(name: str, number: int, *, seed: int = 0) -> dict[tuple[str, str], str]:
    """The word of each statement at each truth in one simulated study of a rule."""
    rule, rng = RULES[name], np.random.default_rng([seed, *name.encode(), number])
    found = rule.simulate(rng, {statement: truths(inside) for statement, inside in rule.inside.items()})
    return {key: rule.word(key[0], evidence) for key, evidence in found.items()}


def rows(name: str, *, studies: int | None = None, seed: int = 0) -> pd.DataFrame:
    """A row a statement and truth: rule, statement, truth, value; of how many studies it says what (`LETTERS`
    in words), the words of the first studies, in letters; and ``code``."""
    found: dict[tuple[str, str], list[str]] = {}
    studies = RULES[name].studies if studies is None else studies
    for number in range(studies):
        for key, word in study(name, number, seed=seed).items():
            found.setdefault(key, []).append(word)
    rule, table = RULES[name], []
    if rule.null:
        nulls = range(min(studies, NULL_STUDIES))
        found[rule.introduced, NOTHING] = [rule.word(rule.introduced, rule.null(n)) for n in nulls]
    for (statement, truth), words in found.items():
        value = truths(rule.inside[statement]).get(truth, math.nan)
        about = {"rule": name, "statement": statement, "truth": truth, "value": round(value, 6)}
        about |= {"studies": len(words)} | {word: words.count(word) for word in LETTERS}
        first = "".join(LETTERS[word] for word in words[:AGAIN])
        table.append(about | {"first": first, "code": code(name)})
    return pd.DataFrame(table)


def code(name: str) -> str:
    """The digest of a rule (`claims.fixed`) and of what simulates it; estimators do not count: a change of
    theirs shows in the studies that are simulated again."""
    rule, home = RULES[name], "experiments.simulated_"
    made = provenance.of(*filter(None, (rule.simulate, rule.null, truths)))
    mine = {name: digest for name, digest in made.items() if name.startswith(home) or "truths" in name}
    return provenance.key(mine | {"rule": fixed.digest(rule.question.evidence.__module__.rpartition(".")[2])})


def calibrate(folder: Path = FOLDER, *, only: Sequence[str] = (), log=lambda line: None) -> None:
    """Write the table, rules.csv, into ``folder`` of calibration results; ``only``: of these rules, keeping
    the others' rows. Cost: about a second a study of the rules over documents."""
    path, made = folder / "rules.csv", {}
    if only and path.is_file():
        made = dict(list(pd.read_csv(path, dtype={"rule": str}).groupby("rule")))
    for name in only or RULES:
        log(f"calibration of the rule of {name}")
        made[name] = rows(name)
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat([made[name] for name in RULES if name in made]).to_csv(path, index=False)


def shipped() -> pd.DataFrame:
    """The table that ships, with its `rates`. Raises BadInput where the file is not the manifest's."""
    cache.verify(FOLDER, only=["rules.csv"])
    return rates(pd.read_csv(FOLDER / "rules.csv", dtype={"rule": str}))


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """The table with ``false``, the share of false verdicts (at the margin, a hair from which the one or the
    other word is false, the larger share of the two), and ``upper``, the upper end of its one-sided 95%
    interval (Clopper-Pearson); ``power``, the share of right words, NaN at the margin."""
    holds, fails, n = table[HOLDS], table[FAILS], table["studies"]
    of = [table["truth"].isin([FALSE, NOTHING]), table["truth"] == TRUE]
    wrong = np.select(of, [holds, fails], np.maximum(holds, fails))
    upper = at_most(wrong, n)
    power = np.select([table["truth"] == FALSE, of[1]], [fails / n, holds / n], np.nan)
    return table.assign(false=wrong / n, upper=upper, power=power)


def summary(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row a statement of the table that ships (or of another): rule, statement, studies, ``false`` and
    ``upper``, the largest over its truths, ``power``, the smallest; ``sound``, whether false verdicts are as
    rare as asked; ``answers``, whether a truth that is off the margin by as much again is told as often as
    asked."""
    found = shipped() if table is None else rates(table)
    found = found[found["truth"] != NOTHING]
    worst = {"studies": "min", "false": "max", "upper": "max", "power": "min"}
    found = found.groupby(["rule", "statement"], sort=False).agg(worst).reset_index()
    return found.assign(sound=found["upper"] <= MOST_FALSE, answers=found["power"] >= LEAST_POWER)

"""What choices of protocol change, in numbers: what the other choice gives against what this book's gives.

    chapter.protocol({"rows": "FVU 0.10 → 0.09"}, {"rows": [relative("FVU", 0.10, 0.09)]})

A record has the sentences under ``protocol`` and the numbers under ``effects``, by the keys of
`paper.CHOICES`. A choice that adds a control or an interval, and changes no number, has a sentence alone.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..base.values import Absent, Estimate, from_json
from ..base.words import percent, plain
from . import c02_norm_linear, c04_flat, c08_proportional, c10_earlier
from .claim import Records
from .paper import CHOICES

R2, SHARE = "R²", "share"
LETTERS = 33
"""Characters of a label in one line."""


class Change(NamedTuple):
    """What a choice changes of one number."""

    quantity: str  # which number
    unit: str  # of ``change``: R2, other − here; SHARE, other / here − 1, or other − here of what are changes
    here: float  # by this book's choice
    other: float  # by the other one
    change: Estimate  # from this book's to the other; its ends are NaN where no interval is known
    place: str = ""  # the width, L0 or site; "" of the study as a whole
    tokens: int | None = None  # of how many tokens, where these are not all of the study's


Changes = dict[str, list[Change]]
"""By the keys of `paper.CHOICES`."""


def difference(
    quantity: str, here: float, other: float, *, ends=(nan, nan), unit: str = R2, **about
) -> Change:
    """Other − here, with the interval ``ends``; ``about``: place and tokens."""
    return Change(quantity, unit, here, other, Estimate(other - here, *ends), **about)


def relative(quantity: str, here: float, other: float, **about) -> Change:
    """Other / here − 1."""
    return Change(quantity, SHARE, here, other, Estimate(other / here - 1 if here else nan), **about)


def fewer(tokens: int | Absent, whole: int) -> int | None:
    """How many tokens, where they are fewer than ``whole``, those of the study; else None."""
    return None if isinstance(tokens, Absent) or tokens >= whole else int(tokens)


def without_low(key: str, quantity: str, values, least: float) -> Changes:
    """The median of R²s where those at or below ``least`` are dropped; {} where none is left."""
    values = np.asarray(values, float)
    if not (values > least).any():
        return {}
    here, other = (float(np.median(some)) for some in (values, values[values > least]))
    return {key: [difference(quantity, here, other)]}


def of_depth(evidence: c02_norm_linear.Evidence | Absent) -> Changes:
    """The norm test over depth without the points that Fig. 3 cuts off."""
    r2 = [one.value for one in c02_norm_linear.everywhere(evidence).values()] if evidence else []
    quantity = "median R² of SaeError's norm"
    return without_low("low R² over depth", quantity, r2, c02_norm_linear.PLOTTED)


def of_slope(evidence: c04_flat.Evidence | Absent) -> Changes:
    """A slope where the paper's Fig. 1 has a level line."""
    quantity, change = "FVU_nonlinear a doubling", evidence.change if evidence else {}
    turned = lambda e: {"ends": (-e.high, -e.low), "unit": SHARE}
    found = [difference(quantity, e.value, 0.0, **turned(e), place=l0) for l0, e in change.items()]
    return {"flat line": found} if found else {}


def of_orders(evidence: c08_proportional.Evidence | Absent, *, tokens: int | None) -> Changes:
    """A part of the error given back first, as in Fig. 8, in place of the mean of both orders."""
    orders = evidence.orders if evidence and evidence.slope is not None else {}
    quantity = "slope of loss on FVU"
    first = [one.value for order, one in orders.items() if "as in the paper" in order]
    found = [relative(quantity, evidence.slope.value, one, tokens=tokens) for one in first]
    return {"order of the parts": found} if found else {}


def of_controls(evidence: c10_earlier.Evidence | Absent, *, tokens: int | None) -> Changes:
    """R² from earlier SAE outputs where that from the raw activation is not taken off: the change is the
    latter, with its interval."""
    quantity, found = "R² of NonlinearError", []
    for site, raw in (evidence.raw if evidence else {}).items():
        here, other = evidence.over_raw[site].value, evidence.sae[site].value
        about = {"ends": (raw.low, raw.high), "place": site, "tokens": tokens}
        found.append(difference(quantity, here, other, **about)._replace(change=raw))
    return {"control of earlier layers": found} if found else {}


def as_recorded(changes: Mapping[str, Sequence[Change]]) -> dict[str, list[dict]]:
    """As a record holds them."""
    return {key: [one._asdict() for one in found] for key, found in changes.items()}


def table(records: Records) -> pd.DataFrame:
    """The recorded changes, a row a number and place: key, choice, chapter, and the fields of `Change`, of
    which ``change`` is value, low and high."""
    rows = []
    for choice in CHOICES:
        for one in records.get(choice.chapter, {}).get("effects", {}).get(choice.key, []):
            change = from_json(one["change"]).to_dict()
            rows.append({"key": choice.key, "choice": choice.name, "chapter": choice.chapter} | one | change)
    names = ["key", "choice", "chapter", *Change._fields, "value", "low", "high"]
    return pd.DataFrame(rows, columns=names).drop(columns="change")


def largest(changes: pd.DataFrame, *, world: bool = False) -> pd.DataFrame | Absent:
    """Of each choice and unit the number and place that changes most, by size, with a label; absent where
    there is none, and where the study is a simulated ``world``."""
    if world:
        return Absent("What choices change is drawn of language models; this study is simulated.")
    by_size = changes.dropna(subset="value").sort_values("value", key=abs, ascending=False, kind="stable")
    found = by_size.drop_duplicates(["key", "unit"]).reset_index(drop=True)
    if not len(found):
        return Absent("This study has no number of what a choice of protocol changes.")
    return found.assign(label=[_label(row) for row in found.itertuples()])


def _label(row) -> str:
    sampled = row.tokens is not None and isfinite(row.tokens)
    tokens = f" ({row.tokens / 1000:,.0f}k)" if sampled else ""
    name = f"points of {row.key}" if row.key.startswith("low R²") else row.choice
    said = f"{signed(row.value, row.unit)} {row.quantity.partition('R² of ')[2] or row.quantity}{tokens}"
    return "\n".join([*textwrap.wrap(name, LETTERS), *textwrap.wrap(said, LETTERS)])


def signed(value: float, unit: str) -> str:
    """A change with its sign: "+0.72", "−0.0005", "−48%", "+2.4%", "0"."""
    size = abs(value)
    if not size:
        return "0"
    if unit == SHARE:
        said = percent(value, 0 if size >= 0.1 else 1)
    else:
        said = plain(value, 2 if size >= 0.1 else 3 if size >= 0.01 else 4)
    return f"+{said}" if value > 0 and said.strip("0.%") else said


def sentence(drawn: pd.DataFrame) -> str:
    """What `largest` shows: which choice moves R² most, and by how much the paper's three do together."""
    r2 = drawn[drawn["unit"] == R2]
    if not len(r2):
        return f"Most changes with the {drawn.iloc[0].choice}: {signed(*drawn.iloc[0][['value', 'unit']])}"
    first, three = r2.iloc[0], r2[r2["key"] == "together"]
    said = f"R² moves by {signed(first.value, R2)} with {first.choice}"
    if len(three) and first.key != "together":
        moved = signed(three.iloc[0].value, R2)
        said += f", by {moved} with intercept, split and scored rows together"
    return said

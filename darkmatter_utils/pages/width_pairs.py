"""Pairs of widths in charts, tables and words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .. import charts
from ..base.values import Estimate
from ..base.words import interval, percent, plain, span
from ..charts.tables import Table, Words
from ..experiments.neighbours import KINDS, WidthPairs
from ..measurement.widths import suite_rows

NO_PAIRS = "*This study has fewer than two SAEs of different width.*"
ORACLES = "the same, simulated oracles"
"""How charts name the SAEs that introduce nothing."""


def ratio_chart(found: WidthPairs, oracles: WidthPairs | None):
    """R² between error norms over the ratio of the two widths: raw, taken out, shuffled, and the oracles'."""
    shown = [
        (found, "raw", KINDS["raw"]),
        (found, "partial", KINDS["partial"]),
        (found, "shuffled", KINDS["shuffled"]),
    ]
    shown += [(oracles, "partial", ORACLES)] if oracles is not None else []
    frame = pd.concat([of.by_ratio(kind).assign(what=name) for of, kind, name in shown], ignore_index=True)
    if frame.empty:
        return Words(NO_PAIRS)
    return charts.lines(
        frame,
        "ratio",
        "value",
        low="low",
        high="high",
        color="what",
        x_scale="log2",
        x_title="how many times wider the second SAE is (1: the same width, another seed)",
        y_title="R² between error norms",
        y_domain=(min(0.0, float(frame["low"].min())), 1),
    )


def pair_heat(found: WidthPairs, *kinds: str, titles=(), style: str = ".2f"):
    """One table in colour a kind: the narrower SAE across, the wider down; on the diagonal two seeds of one
    width."""
    views = []
    size = 320 if len(kinds) > 1 else 430
    for kind, title in zip(kinds, titles or [KINDS[kind] for kind in kinds], strict=True):
        rows = found.table[found.table["kind"] == kind].sort_values(["wide", "narrow"])
        if rows.empty:
            return Words(NO_PAIRS)
        named = rows.assign(**{side: [f"{w:,}" for w in rows[side]] for side in ("narrow", "wide")})
        views.append(
            charts.heat(
                named,
                "narrow",
                "wide",
                "value",
                x_title="narrower SAE (latents)",
                title=title,
                y_title="wider SAE",
                value_title=title,
                fmt=style,
                width=size,
            )
        )
    return charts.beside(*views) if len(views) > 1 else views[0]


def ratio_table(found: WidthPairs, *kinds: str, style=plain):
    """One row a ratio of widths, one column a kind, with intervals."""
    made = {kind: found.by_ratio(kind) for kind in kinds}
    first = made[kinds[0]]
    if first.empty:
        return Words(NO_PAIRS)
    frame = pd.DataFrame(
        {
            "times wider": ["1 (another seed)" if r == 1 else f"{r:g}" for r in first["ratio"]],
            "pairs": first["pairs"],
        }
    )
    for kind, rows in made.items():
        frame[KINDS[kind]] = [interval(Estimate(r.value, r.low, r.high), style) for r in rows.itertuples()]
    return Table(frame, dict.fromkeys((KINDS[kind] for kind in kinds), str))


def added_words(found: WidthPairs) -> Words:
    """What ‖NonlinearError‖ of the narrower SAE adds, in a sentence that is true whatever the numbers."""
    added, square = (found.mean(found.rows(kind)) for kind in ("added", "added square"))
    if added is None:
        return Words(NO_PAIRS)
    again = found.mean(found.rows("added", same=True))
    sharper = (
        f"; for another seed of the same width, {interval(again, lambda v: percent(v, 1))}" if again else ""
    )
    return Words(
        f"On average over the pairs of widths, ‖NonlinearError‖ of the narrower SAE removes "
        f"{interval(added, lambda v: percent(v, 1))} of what its error norm leaves of the wider "
        f"one's{sharper}. The square of "
        f"the error norm in its place, a control for a bent relation, removes "
        f"{interval(square, lambda v: percent(v, 1))}."
    )


def seed_pair_words(found: WidthPairs) -> Words:
    """What two trainings of one width share, and how far an SAE's own effect moves a pair; says so without
    seeds."""
    again, spread = found.mean(found.rows("partial", same=True)), found.seed_sd.get("partial", float("nan"))
    if again is None:
        return Words(
            (
                "*No width of this study was trained from several seeds: its diagonal is empty, and "
                "intervals carry documents only.*"
            )
        )
    return Words(
        f"With everything taken out, two trainings of one width share {interval(again)}. Another seed "
        f"moves an SAE's R² with "
        f"any partner by a standard deviation of {plain(spread, 3)}; the intervals carry it."
    )


def suite_ids(measurement) -> list[str]:
    """The first seed of each width of the suite, narrow to wide."""
    rows = suite_rows(measurement).sort_values(["width", "seed"], kind="stable").drop_duplicates("width")
    return rows["id"].tolist()


def oracle_words(oracles: WidthPairs | None) -> Words:
    """How much the oracles' error norms agree; says so where they are the study itself, or are not
    computed."""
    values = None if oracles is None else oracles.rows("partial")["value"]
    if values is None or values.empty:
        return Words(
            "- **What agreement means.** An oracle SAE introduces no error, it only lacks features, "
            "and two of them may agree "
            "as well: agreement says that tokens are hard, not why."
        )
    return Words(
        "- **What agreement means.** The oracle SAEs of the simulated world introduce no error: they "
        "lack features, and a wide one "
        f"lacks a subset of what a narrow one lacks. With everything taken out, their pairs of widths "
        f"have an R² of {span(values)}. "
        "So agreement between widths does not tell *absent* features from error that the SAE adds; it "
        "says that the "
        "tokens are hard, not why."
    )


def level_words(measurement) -> Words:
    """The mean norm of either part of the error at the narrowest and the widest SAE, in units of the root of
    x's variance."""
    tokens, ids = measurement.tokens[measurement.tokens["scored"]], suite_ids(measurement)
    first = measurement.sae(ids[0])
    unit = np.sqrt(tokens[f"{ids[0]}:error"].mean() / first["fvu"])
    said = []
    for part, name in (("linear", "LinearError"), ("nonlinear", "NonlinearError")):
        levels = [plain(np.sqrt(tokens[f"{id}:{part}"]).mean() / unit) for id in (ids[0], ids[-1])]
        said.append(f"the mean norm of {name} goes from {levels[0]} to {levels[1]}")
    widths = [int(measurement.sae(id)["width"]) for id in (ids[0], ids[-1])]
    return Words(
        (
            f"From {widths[0]:,} to {widths[1]:,} latents, {' and '.join(said)} (in units of the root of "
            f"the variance of x)."
        )
    )

"""Pairs of widths: the pairs of SAEs of `neighbours` joined over training seeds, with what the seeds add to
intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .. import charts
from ..base.values import Estimate
from ..base.words import interval, percent, plain, span
from ..charts.tables import Table, Words
from ..experiments.neighbours import KINDS, pairs
from ..measurement.measure import measure
from ..measurement.widths import estimate, suite_rows

NO_PAIRS = "*This study has fewer than two SAEs of different width.*"
ORACLES = "the same, simulated oracles"
"""How charts name the SAEs that introduce nothing."""


@dataclass(frozen=True)
class WidthPairs:
    """Every kind of agreement for every pair of widths; a width with several seeds makes a pair with
    itself."""

    table: pd.DataFrame
    """One row a pair and kind: narrow, wide, kind, value, low, high."""
    replicates: np.ndarray
    """[row, replicate]: a column is one draw of documents and of seeds."""
    seed_sd: dict[str, float]
    """By kind, the standard deviation of a width's effect from seed to seed; NaN without several seeds."""

    def rows(self, kind: str, *, same: bool = False) -> pd.DataFrame:
        """The pairs of different widths, or of one width and two seeds (``same``)."""
        t = self.table
        return t[(t["kind"] == kind) & ((t["narrow"] == t["wide"]) == same)]

    def estimates(self, kind: str) -> dict[str, Estimate]:
        """By pair of different widths, named "128 and 256"."""
        return {
            f"{r.narrow:,} and {r.wide:,}": Estimate(r.value, r.low, r.high)
            for r in self.rows(kind).itertuples()
        }

    def mean(self, rows: pd.DataFrame) -> Estimate | None:
        """The mean of some rows with its interval; None of no row."""
        return estimate(rows["value"].mean(), self.replicates[rows.index].mean(axis=0)) if len(rows) else None

    def by_ratio(self, kind: str) -> pd.DataFrame:
        """Mean over the pairs of one ratio of widths: ratio, pairs, value, low, high; 1: another seed of the
        same width."""
        rows = self.table[self.table["kind"] == kind]
        made = []
        for ratio, some in rows.groupby(rows["wide"] / rows["narrow"]):
            e = self.mean(some)
            made.append(
                {"ratio": float(ratio), "pairs": len(some), "value": e.value, "low": e.low, "high": e.high}
            )
        return pd.DataFrame(made, columns=["ratio", "pairs", "value", "low", "high"])


def width_pairs(measurement, *, seed: int = 0) -> WidthPairs:
    """The width suite's pairs, joined over seeds.

    A pair's value is the mean over its seeds. A trained SAE is taken to add an effect of its own to every
    pair it is in, of one variance σ² at all widths, estimated from pairs of widths with several seeds (means
    over the partner's seeds); a replicate adds a draw u_w of variance σ²/seeds for each of its two widths,
    the same u_w in all pairs of that width.
    """
    saes = suite_rows(measurement).sort_values(["width", "seed"], kind="stable")
    width = dict(zip(saes["id"], saes["width"].astype(int), strict=True))
    found, drawn = pairs(measurement, list(saes["id"]))
    found = found.assign(narrow=found["a"].map(width), wide=found["b"].map(width))
    seeds = saes.groupby("width").size()
    freedom = int((seeds - 1).sum())
    rng = np.random.default_rng([seed, 0x9A1])
    normal = {w: rng.standard_normal(drawn.shape[1]) / np.sqrt(n) for w, n in seeds.items()}
    scale = np.sqrt(freedom / rng.chisquare(freedom, size=drawn.shape[1])) if freedom else 0.0
    spread = {kind: _spread(rows) for kind, rows in found.groupby("kind")}
    rows, replicates = [], []
    for (narrow, wide, kind), some in found.groupby(["narrow", "wide", "kind"], sort=False):
        sd = spread[kind] if np.isfinite(spread[kind]) else 0.0
        of_documents = drawn[some.index].mean(axis=0)
        replicates.append(of_documents + sd * scale * (normal[narrow] + normal[wide]))
        e = estimate(some["value"].mean(), replicates[-1])
        rows.append(
            {"narrow": narrow, "wide": wide, "kind": kind, "value": e.value, "low": e.low, "high": e.high}
        )
    table = pd.DataFrame(rows, columns=["narrow", "wide", "kind", "value", "low", "high"])
    return WidthPairs(table, np.array(replicates), spread)


def _spread(rows: pd.DataFrame) -> float:
    """σ: the standard deviation of an SAE's effect on its pairs, pooled over both sides of all pairs of
    widths."""
    squares = freedom = 0.0
    for (narrow, wide), some in rows.groupby(["narrow", "wide"]):
        for side in ("a", "b") if narrow != wide else ():
            means = some.groupby(side)["value"].mean()
            squares, freedom = squares + ((means - means.mean()) ** 2).sum(), freedom + len(means) - 1
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def oracle_pairs(study) -> WidthPairs | None:
    """The pairs of the simulated world's oracle SAEs, beside a study whose activations are not simulated."""
    return None if study.world or study.name == "nano" else width_pairs(measure("world"))


def same_evidence(found: WidthPairs) -> dict:
    """What the rule of claim 3 takes."""
    return {
        "partial": found.estimates("partial"),
        "shuffled": found.estimates("shuffled"),
        "seeds": found.mean(found.rows("partial", same=True)),
    }


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

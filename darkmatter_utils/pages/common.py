"""What the chapters say in words and tables: claims with verdicts, cards, numbers with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from ..base.words import interval, percent, plain
from ..charts.tables import Table, Words
from ..claims.evidence import shares_by_width
from ..claims.ledger import claim
from ..claims.rules import Verdict
from ..measurement.scaling import per_doubling, steps
from ..measurement.widths import Suite


def opening(number: int, verdict: Verdict, study) -> Words:
    """The claim and its verdict on a study, for the first screen of its chapter."""
    entry = claim(number)
    return Words(
        f"> **Claim {number} of the paper.** {entry.short} The paper: {entry.paper} "
        f"({entry.paper_source}).\n>\n"
        f"> {verdict.markdown(study)}"
    )


def question(statement: str, verdict: Verdict, study) -> Words:
    """A statement that is this book's own and its verdict, for the first screen of a chapter without a
    claim."""
    return Words(f"> **What this chapter checks.** {statement}\n>\n> {verdict.markdown(study)}")


def rule_of(number: int) -> Words:
    """The rule that judged a claim, in words, and what would falsify the claim."""
    entry = claim(number)
    return Words(
        f"**The rule for claim {number}.** {entry.rule} {entry.written}\n\n"
        f"**What would show it wrong:** {entry.falsifier}."
    )


def suite_table(*suites: Suite, names: Mapping[str, str], style: Callable[[float], str] = plain) -> Table:
    """One row a width: each metric with its interval, and the number of trained SAEs behind it."""
    frame = pd.DataFrame({"width": suites[0].widths, "seeds": suites[0].seeds})
    for suite in suites:
        frame[names[suite.metric]] = [interval(e, style) for e in suite.estimates().values()]
    return Table(frame, {names[suite.metric]: str for suite in suites})


NAMES = {"fvu": "FVU", "fvu_nonlinear": "FVU_nonlinear"}
"""Metrics as tables name them."""


def share_table(measurement) -> Table:
    """At each width: FVU beside the gain's R², the constant's share, and R² before and after shrinkage is
    undone.
    """
    names = {
        "fvu": "FVU",
        "gain": "R² of a scalar gain",
        "full": "R² of all of x",
        "scale": "best scale of Sae(x)",
        "after": "R² of all of x, rescaled",
        "mean": "a constant's share of the squared error",
    }
    frame = shares_by_width(measurement)[["width", *names]].rename(columns=names)
    styles = {names[n]: lambda v: plain(v, 3) for n in ("fvu", "gain", "full", "scale", "after")}
    return Table(frame, styles | {names["mean"]: lambda v: percent(v, 1)})


def estimates_table(estimates: Mapping, *, style: Callable[[float], str] = plain, header: str = "value"):
    """Named estimates with their intervals; says so where there are none."""
    known = {name: e for name, e in estimates.items() if e is not None}
    if not known:
        return Words("*This study has too few widths at one L0.*")
    return Table(
        pd.DataFrame({"": list(known), header: [interval(e, style) for e in known.values()]}), {header: str}
    )


def steps_table(*suites: Suite) -> Table:
    """The change between neighbouring widths, per doubling, then the slope's change and that of all of
    them."""
    columns = {}
    for suite in suites:
        each, whole = steps(suite)
        rows = {f"{a:,} to {b:,} latents": e for (a, b), e in each.items()}
        rows |= {
            "each doubling, from the slope": per_doubling(suite),
            "from the narrowest to the widest": whole,
        }
        columns[NAMES[suite.metric]] = {
            name: interval(e, lambda v: percent(v, 1)) for name, e in rows.items() if e is not None
        }
    frame = pd.DataFrame(columns).rename_axis("change per doubling of the width").reset_index()
    return Table(frame, dict.fromkeys(columns, str))


def left_out_table(missed: pd.DataFrame):
    """Each left-out width: measured, predicted with and without a floor, the misses in standard errors."""
    if missed.empty:
        return Words("*This study has too few widths at one L0.*")
    names = {
        "fvu": "FVU",
        "predicted": "predicted, with a floor",
        "miss": "missed by (SE)",
        "predicted_c0": "predicted, c = 0",
        "miss_c0": "c = 0 missed by (SE)",
    }
    three, one = (lambda v: f"{v:.3f}"), (lambda v: f"{v:+.1f}".replace("-", "−"))
    return Table(
        missed.rename(columns=names), {names[n]: one if n.startswith("miss") else three for n in names}
    )

"""What the chapters say in words and tables: claims with verdicts, cards, numbers with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from ..base.words import interval, percent, plain
from ..charts.tables import Table
from ..experiments.evidence import shares_by_width
from ..measurement.widths import Suite


def suite_table(*suites: Suite, names: Mapping[str, str], style: Callable[[float], str] = plain) -> Table:
    """One row a width: each metric with its interval, and the number of trained SAEs behind it."""
    frame = pd.DataFrame({"width": suites[0].widths, "seeds": suites[0].seeds})
    for suite in suites:
        frame[names[suite.metric]] = [interval(e, style) for e in suite.estimates().values()]
    return Table(frame, {names[suite.metric]: str for suite in suites})


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

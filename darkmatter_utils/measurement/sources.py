"""Sources of a study's documents (packages, books, sites): its numbers in each alone, and without each.

The interval that a verdict is judged by is over documents (and training seeds): it says what other documents
*of these sources* would give. Documents of one source are alike, so other sources may differ by more: the
functions here show by how much. A study whose documents name fewer than two sources has none, {}.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ..base.values import Estimate
from ..stats.intervals import over_groups
from .harvest import REPLICATED
from .measure import Measurement

ALONE, WITHOUT = "alone", "without"
"""Which documents a number is of: those of a source, or all but those."""
Statistic = Callable[[Measurement], float]
"""A number that follows from `Measurement.saes` and `Measurement.replicates` alone."""


def shares(measurement: Measurement) -> dict[str, float]:
    """The share of the scored tokens that each source has, largest first; {} for fewer than two sources."""
    tokens = measurement.documents.groupby("source")["tokens"].sum().sort_values(ascending=False)
    return {} if len(tokens) < 2 else (tokens / tokens.sum()).to_dict()


def by_source(measurement: Measurement, metric: str, sae: str, *, kind: str = ALONE) -> dict[str, float]:
    """A score of one SAE (a column of `Measurement.saes`) by source: of its documents alone, about their own
    means, or of all documents ``without`` them. Maps are the study's, estimation error taken out."""
    return each(measurement, lambda view: float(view.sae(sae)[metric]), kind=kind)


def each(measurement: Measurement, statistic: Statistic, *, kind: str = ALONE) -> dict[str, float]:
    """A statistic by source, for "in k of G sources", such as the change of an FVU per doubling of the width:
    ``lambda m: per_doubling(width_suite(m, "fvu_nonlinear")).value``. Cost: the statistic's, G times."""
    return {name: statistic(_view(measurement, name, kind)) for name in shares(measurement)}


def over_sources(measurement: Measurement, statistic: Statistic) -> Estimate:
    """The statistic with its 95% interval over sources: the jackknife over sources, each weighing as its
    tokens, t with G − 1 degrees of freedom (`intervals.over_groups`); NaN ends for fewer than two."""
    left, share = each(measurement, statistic, kind=WITHOUT), shares(measurement)
    return over_groups(statistic(measurement), list(left.values()), [share[name] for name in left])


def told(measurement: Measurement, statistics: dict[str, Statistic]) -> pd.DataFrame:
    """A row a source: source, share of the scored tokens, and by statistic ``<name>``, without that source,
    and ``<name> alone``; the first row is of all sources, with ``<name>_low`` and ``_high`` over sources."""
    share = shares(measurement)
    rows: list[dict] = [{"source": "all", "share": 1.0}]
    rows += [{"source": name, "share": value} for name, value in share.items()]
    for what, statistic in statistics.items():
        e = over_sources(measurement, statistic)
        rows[0] |= {what: e.value, f"{what}_low": e.low, f"{what}_high": e.high}
        kinds = {what: WITHOUT, f"{what} alone": ALONE}
        found = {name: each(measurement, statistic, kind=kind) for name, kind in kinds.items()}
        for row in rows[1:]:
            row |= {name: values[row["source"]] for name, values in found.items()}
    return pd.DataFrame(rows)


def _view(measurement: Measurement, source: str, kind: str) -> Measurement:
    """The measurement as those documents alone would have it; replicates are moved to the new values, as
    what weighs SAEs by their spread needs them: their intervals are not the source's."""
    table = measurement.of_sources.query("source == @source and kind == @kind").set_index("id")
    table = table.loc[measurement.saes["id"]].reset_index()
    scores = [name for name in table if name in measurement.saes and name != "id"]
    saes = measurement.saes.reset_index(drop=True)
    view = Measurement(measurement.study, measurement.folder)
    moved = {
        name: measurement.replicates[name] * (table[name] / saes[name]).to_numpy() for name in REPLICATED
    }
    view.__dict__.update(saes=saes.assign(**table[scores]), replicates=moved)  # where cached properties are
    return view

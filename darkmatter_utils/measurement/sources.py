"""Sources of a study's documents (packages, books, sites): its numbers in each alone, and without each.

The interval that a verdict is judged by is over documents (and training seeds): it says what other documents
*of these sources* would give. Documents of one source are alike, so other sources may differ by more: the
functions here show by how much. A study whose documents name fewer than two sources has none, {}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from ..base.values import Absent, Estimate
from ..stats.intervals import over_groups
from .harvest import REPLICATED
from .measure import Measurement

ALONE, WITHOUT = "alone", "without"
"""Which documents a number is of: those of a source, or all but those."""
NONE = Absent("The documents of this study do not say which sources they are from.")
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


def each(measurement: Measurement, statistic: Callable, *, kind: str = ALONE) -> dict:
    """A statistic (of any form) by source, for "in k of G sources", such as the change of an FVU per
    doubling of the width: ``lambda m: per_doubling(width_suite(m, "fvu_nonlinear")).value``. Cost: the
    statistic's, G times."""
    return {name: statistic(_view(measurement, name, kind)) for name in shares(measurement)}


def over_sources(measurement: Measurement, statistic: Statistic) -> Estimate:
    """The statistic with its 95% interval over sources: the jackknife over sources, each weighing as its
    tokens, t with G − 1 degrees of freedom (`intervals.over_groups`); NaN ends for fewer than two."""
    left, share = each(measurement, statistic, kind=WITHOUT), shares(measurement)
    return over_groups(statistic(measurement), list(left.values()), [share[name] for name in left])


def told(measurement: Measurement, statistics: Mapping[str, Statistic]) -> pd.DataFrame | Absent:
    """The rows of a table: source, tokens (share), and by statistic its value without that source, and of it
    alone; the first row is of all, with the interval over sources. Absent for fewer than two sources."""
    if not (share := shares(measurement)):
        return NONE
    columns: dict[str, list] = {"documents": ["all", *(f"without {name}" for name in share)]}
    columns["tokens"] = [1.0, *(1 - part for part in share.values())]
    for what, statistic in statistics.items():
        without, alone = (each(measurement, statistic, kind=kind).values() for kind in (WITHOUT, ALONE))
        columns[what] = [over_sources(measurement, statistic), *map(Estimate, without)]
        columns[f"{what}, of that source alone"] = [None, *map(Estimate, alone)]
    return pd.DataFrame(columns)


def _view(measurement: Measurement, source: str, kind: str) -> Measurement:
    """The measurement as those documents alone would have it; replicates are moved to the new values, as
    what weighs SAEs by their spread needs them: their intervals are not the source's."""
    table = measurement.of_sources.query("source == @source and kind == @kind").set_index("id")
    table = table.loc[measurement.saes["id"]].reset_index()
    scores = [name for name in table if name in measurement.saes and name != "id"]
    saes = measurement.saes.reset_index(drop=True)
    view = Measurement(measurement.study, measurement.folder)
    ratios = {name: (table[name] / saes[name]).to_numpy() for name in REPLICATED}
    moved = {name: measurement.replicates[name] * ratio for name, ratio in ratios.items()}
    view.__dict__.update(
        saes=saes.assign(**table[scores]), replicates=measurement.replicates | moved
    )  # where cached properties are
    return view

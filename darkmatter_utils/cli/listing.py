"""The decomposition of a study's SAEs for a terminal and as JSON."""

from __future__ import annotations

import json
import math

from ..base.values import to_json
from ..book.records import data_hashes, versions

COLUMNS = {
    "fvu": "FVU",
    "fvu_linear": "FVU linear",
    "fvu_nonlinear": "FVU nonlinear",
    "r2_total": "R² total",
    "r2_per_dim": "R² per dim",
    "norm_error": "R² of ‖error‖²",
}
"""Metrics of the table, with their headings."""


def table(saes, *, title: str):
    """A rich table, one row an SAE, every number with its 95% interval over documents."""
    from rich.table import Table

    shown = Table(
        "SAE", "kind", "width", "L0", *COLUMNS.values(), title=title, title_justify="left", box=None
    )
    for column in shown.columns[2:]:
        column.justify = "right"
    for _, row in saes.iterrows():
        numbers = [_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in COLUMNS]
        width = f"{row['width']:,}" if row["width"] else "–"
        shown.add_row(str(row["id"]), str(row["kind"]), width, _number(row["l0"], 1), *numbers)
    return shown


def as_json(study, saes, warnings) -> str:
    """The same numbers with warnings, the study's settings, hashes of its data and versions, as indented
    JSON."""
    rows = [{name: to_json(value) for name, value in row.items()} for row in saes.to_dict("records")]
    about = {
        "study": study.to_dict(),
        "data": data_hashes(study),
        "versions": versions(),
        "saes": rows,
        "warnings": list(warnings),
    }
    return json.dumps(about, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _interval(value: float, low: float, high: float) -> str:
    if math.isnan(low):
        return _number(value, 3)
    return f"{_number(value, 3)} [{_number(low, 3)}, {_number(high, 3)}]"


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "\u2212")

"""What two choices of protocol change at every width of the suite, by what the measurement holds."""

from __future__ import annotations

import numpy as np

from ..claims.protocol import Change, Changes, difference, relative
from ..measurement.measure import Measurement
from ..measurement.widths import over_widths, suite_rows, width_suite

R2_OF = "R² of SaeError"


def of_suite(measurement: Measurement) -> Changes:
    """``weight``: R² averaged over dimensions for R² total. ``together``: R² per dimension and FVU_nonlinear
    by the released code for this book's. Of all of the study's tokens; intervals, which R² alone has, carry
    documents and training seeds. Cost: a sort of the measurement's replicates."""
    saes = suite_rows(measurement, measurement.saes.reset_index(drop=True))
    if not len(saes):
        return {}
    each, pooled = (width_suite(measurement, name).estimates() for name in ("r2_per_dim", "r2_total"))
    by_weight = width_suite(measurement, "r2_per_dim", minus="r2_total").estimates()
    paper = measurement.paper.set_index("id").loc[saes["id"]]
    drawn = [np.asarray(measurement.replicates[f"{of}r2_per_dim"])[:, saes.index] for of in ("", "paper ")]
    moved = paper["r2_per_dim"].to_numpy(float) - saes["r2_per_dim"].to_numpy(float)
    by_code = over_widths(saes, moved, drawn[1] - drawn[0], "r2_per_dim").estimates()
    both = saes.assign(paper=paper["fvu_nonlinear"].to_numpy())[["width", "fvu_nonlinear", "paper"]]
    both = np.exp(np.log(both.set_index("width")).groupby("width").mean())
    return {
        "weight": [_moved(width, pooled[width].value, by) for width, by in by_weight.items()],
        "together": [
            *(_moved(width, each[width].value, by) for width, by in by_code.items()),
            *(relative("FVU_nonlinear", *row, place=_place(width)) for width, row in both.iterrows()),
        ],
    }


def _moved(width: int, here: float, by) -> Change:
    return difference(R2_OF, here, here + by.value, ends=(by.low, by.high), place=_place(width))


def _place(width: int) -> str:
    return f"{int(width):,} latents"

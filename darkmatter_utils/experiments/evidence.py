"""What a measurement says, with nothing more computed, to chapters 01 and 02."""

from __future__ import annotations

import pandas as pd

from ..claims import q01_setting, q02_protocols
from ..measurement.widths import reference_sae


def setting(measurement) -> q01_setting.Evidence:
    """Chapter 01: the model's and the SAEs' own numbers."""
    saes, held = measurement.saes, measurement.held_out
    main = saes[saes["main"].astype(bool)]
    return q01_setting.Evidence(
        gain=None if not held else held["trigram"] - held["nats_per_token"],
        dead=float(saes["dead"].max()),
        left=float(saes.set_index("id").loc[reference_sae(measurement), "fvu"]),
        l0_off=float((main["l0"] / main["l0_target"] - 1).abs().max()),
    )


def protocols(measurement) -> q02_protocols.Evidence:
    """Chapter 02: how far strict and paper lie apart."""
    apart = protocol_differences(measurement).drop(columns="id")
    return q02_protocols.Evidence({name: float(abs(values).max()) for name, values in apart.items()})


def protocol_differences(measurement) -> pd.DataFrame:
    """Strict minus paper for every SAE: id, and one column for each metric that both protocols give."""
    names = {"r2_per_dim": "R² per dimension", "r2_total": "R² total", "fvu_nonlinear": "FVU_nonlinear"}
    both = measurement.saes[["id", *names]].merge(
        measurement.paper[["id", *names]], on="id", suffixes=("", "_paper")
    )
    apart = {words: both[name] - both[f"{name}_paper"] for name, words in names.items()}
    return pd.DataFrame({"id": both["id"]} | apart)

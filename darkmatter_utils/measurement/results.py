"""What a chapter computes beyond a measurement, kept by content: a few tables, made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from ..base import cache, provenance
from ..base.provenance import Name
from ..studies.study import Study
from .measure import files_of

MEASURED = (Name("measurement.harvest", "compute"), Name("measurement.measure", "Measurement"))
Tables = dict[str, pd.DataFrame]
"""Tables by name; what a result is."""


def kept(
    name: str,
    study: Study,
    modules: Sequence[str],
    compute: Callable[[], Mapping[str, pd.DataFrame]],
    **settings,
) -> Tables:
    """The tables that ``compute()`` returns, from the cache where the same was asked before.

    The key: ``name``, the study with its files, the sources of ``modules`` and of all that these import,
    versions, and ``settings`` (JSON values: everything else that the numbers depend on). Tables are stored as
    Parquet, atomically, and verified on reading; both ways return them as read back, so that a fresh and a
    kept result are the same.
    """
    key = cache.key_of(
        name=name,
        study=study.fingerprint(),
        files=files_of(study),
        code=provenance.key(provenance.closure([*MEASURED, *(Name(f"experiments.{m}") for m in modules)])),
        versions=cache.versions(),
        settings=settings,
    )
    place = cache.Kept(f"{name}-{study.name}", key)
    found = place.read(_read)
    if found is None:
        made = compute()
        place.write(lambda folder: _write(made, folder))
        found = place.read(_read)
    return found


def _write(tables: Mapping[str, pd.DataFrame], folder) -> None:
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")


def _read(folder) -> Tables:
    return {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}

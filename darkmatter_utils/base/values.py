"""A number with its interval; values as JSON holds them, and back; files there whole or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

DIGITS = 6
"""Significant digits of a recorded number."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95% interval; the ends are NaN where no interval was asked for."""

    value: float
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        said = f"{self.value:.4g}"
        return said if math.isnan(self.low) else f"{said} [{self.low:.4g}, {self.high:.4g}]"

    def to_dict(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)


def in_columns(estimate: Estimate, name: str = "value") -> dict[str, float]:
    """An estimate as cells of a row: ``name``, ``name_low``, ``name_high``; by default value, low, high."""
    low, high = ("low", "high") if name == "value" else (f"{name}_low", f"{name}_high")
    return {name: estimate.value, low: estimate.low, high: estimate.high}


@dataclass(frozen=True)
class Absent:
    """What stands for a result that a study cannot give: false, and whatever is asked of it (a table, a
    column, a method's answer) is absent, too. A page shows the reason where a figure would stand."""

    reason: str  # one sentence for the page

    def __bool__(self) -> bool:
        return False

    def __getitem__(self, name) -> Absent:
        return self

    def __getattr__(self, name: str) -> Absent:
        if name.startswith("_"):
            raise AttributeError(name)
        return self

    def __call__(self, *args, **settings) -> Absent:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __call__
    __and__ = __rand__ = __or__ = __ror__ = __invert__ = __lt__ = __le__ = __gt__ = __ge__ = __call__

    def __iter__(self):
        return iter(())

    def __len__(self) -> int:
        return 0

    def __format__(self, style: str) -> str:
        return "–"

    def _repr_markdown_(self) -> str:
        return f"*{self.reason}*"


def estimates(frame, name: str = "value") -> list[Estimate] | Absent:
    """A column of a frame with its interval (name_low and name_high, else low and high), row by row."""
    if isinstance(frame, Absent):
        return frame
    low, high = (f"{name}_{end}" if f"{name}_{end}" in frame else end for end in ("low", "high"))
    return [Estimate(*map(float, row)) for row in frame[[name, low, high]].to_numpy(float)]


def to_json(value, *, digits: int | None = DIGITS) -> Any:
    """A JSON value: floats to so many digits (None: all), what is not finite or absent as null, estimates as
    value, low, high."""
    if isinstance(value, Absent):
        return None
    again = partial(to_json, digits=digits)
    if hasattr(value, "low") and hasattr(value, "high"):
        return {name: again(getattr(value, name)) for name in ("value", "low", "high")}
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return again(value.tolist())
    if isinstance(value, dict):
        return {str(key): again(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [again(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else float(f"{value:.{digits}g}")
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def from_json(kept: Any) -> Any:
    """What `to_json` made of the numbers, back: estimates, and whole-number keys."""
    if isinstance(kept, list):
        return [from_json(item) for item in kept]
    if not isinstance(kept, dict):
        return kept
    if set(kept) == {"value", "low", "high"}:
        return Estimate(**{name: float("nan") if end is None else end for name, end in kept.items()})
    number = lambda key: int(key) if key.removeprefix("-").isdigit() else key
    return {number(key): from_json(item) for key, item in kept.items()}


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write a file or a folder to; after the ``with`` it stands at ``path``; after
    an error nothing has changed."""
    part, old = (path.with_name(f".{path.name[:200]}.{os.getpid()}.{end}") for end in ("part", "old"))
    gone = lambda one: shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)
    gone(part)  # left by a process of the same number that was killed
    try:
        yield part
        if path.is_dir():  # a folder is not replaced in one step: by renaming, there is never half of one
            os.replace(path, old)
        os.replace(part, path)
    finally:
        gone(part)
        gone(old)


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all; into a pipe or a terminal as it is."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")

"""No estimate lies outside of its interval, or at an end of it."""

from collections.abc import Iterator

import pandas as pd

ROOM = 0.02
"""Share of an interval's length that its estimate keeps from both ends."""
EXACT = 5e-4
"""So near to 0 or 1 a number is told as that, to three decimals. R² of what is orthogonal to x is 0 to second
order from x, and nearly so from the four loudest directions of a layer before; replicates, which refit
nothing, then all lie on one side of it."""


def estimates_in(found, where: str = "") -> Iterator[tuple[str, float, float, float]]:
    """(where, value, low, high) of every estimate in a record's values or a frame: fields value, low, high,
    or a name beside name_low and name_high, of numbers or of columns."""
    found = found.to_dict("list") if isinstance(found, pd.DataFrame) else found
    if isinstance(found, list):
        for i, one in enumerate(found):
            yield from estimates_in(one, f"{where}[{i}]")
    if not isinstance(found, dict):
        return
    triples = {name: (name, f"{name}_low", f"{name}_high") for name in found}
    triples["value"] = ("value", "low", "high")
    for name, keys in triples.items():
        if found.keys() >= set(keys):
            columns = [value if isinstance(value, list) else [value] for value in map(found.get, keys)]
            yield from ((f"{where}/{name}[{i}]", *row) for i, row in enumerate(zip(*columns, strict=True)))
    for name, one in found.items():
        yield from estimates_in(one, f"{where}/{name}")


def without_room(found) -> list[str]:
    """Estimates that have an interval and no room in it, unless they are exact: 0 or 1 by construction."""
    told = []
    for where, value, low, high in estimates_in(found):
        if not all(isinstance(number, int | float) and number == number for number in (value, low, high)):
            continue
        margin = ROOM * (high - low)
        exact = min(abs(value), abs(value - 1)) < EXACT and low <= value <= high
        if not exact and not low + margin <= value <= high - margin:
            told.append(f"{where}: {value:.6g} [{low:.6g}, {high:.6g}]")
    return told
